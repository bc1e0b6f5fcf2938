//! What the rules say about one tag or one manifest: no rows, no clock, only facts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::rules::{RetentionRule, TagRule, UntaggedRule, days};
use crate::pattern::Pattern;
use crate::seam::Timestamp;

/// The rules of a registry for one repository. First all its tags are [`counted`](Self::count),
/// then each is [judged](Self::tag).
pub(super) struct Judge<'a> {
    immutable: &'a [Pattern],
    tags: Vec<Counted<'a>>,
    untagged: Vec<&'a UntaggedRule>,
    now: Timestamp,
}

/// A rule on tags, and the newest of those it keeps by number.
struct Counted<'a> {
    rule: &'a TagRule,
    newest: BinaryHeap<Reverse<(Timestamp, String)>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        immutable: &'a [Pattern],
        rules: &'a [RetentionRule],
        repository: &str,
        now: Timestamp,
    ) -> Self {
        let here =
            |names: &Option<Pattern>| names.as_ref().is_none_or(|names| names.matches(repository));
        let (mut tags, mut untagged) = (Vec::new(), Vec::new());
        for rule in rules {
            match rule {
                RetentionRule::Tags(rule) if here(&rule.repositories) => {
                    tags.push(Counted { rule, newest: BinaryHeap::new() });
                }
                RetentionRule::Untagged(rule) if here(&rule.repositories) => untagged.push(rule),
                RetentionRule::Tags(_) | RetentionRule::Untagged(_) => {}
            }
        }
        Self { immutable, tags, untagged, now }
    }

    /// Whether any rule is about tags.
    pub(super) fn is_about_tags(&self) -> bool {
        !self.tags.is_empty()
    }

    /// Whether any rule is about manifests without a tag.
    pub(super) fn is_about_untagged(&self) -> bool {
        !self.untagged.is_empty()
    }

    /// Whether tags must be counted before they are judged.
    pub(super) fn counts(&self) -> bool {
        self.tags.iter().any(|counted| counted.rule.keep_last.is_some_and(|last| last > 0))
    }

    /// Counts a tag among the newest.
    pub(super) fn count(&mut self, tag: &str, set_at: Timestamp) {
        for Counted { rule, newest } in &mut self.tags {
            let last = usize::try_from(rule.keep_last.unwrap_or(0)).unwrap_or(usize::MAX);
            if last == 0 || !selects(rule, tag) {
                continue;
            }
            if newest.len() == last
                && newest
                    .peek()
                    .is_some_and(|Reverse((at, name))| (*at, name.as_str()) > (set_at, tag))
            {
                continue;
            }
            newest.push(Reverse((set_at, tag.to_owned())));
            if newest.len() > last {
                newest.pop();
            }
        }
    }

    /// Why a tag expires; nothing where it stays.
    pub(super) fn tag(
        &self,
        tag: &str,
        set_at: Timestamp,
        pulled_at: Option<Timestamp>,
    ) -> Option<String> {
        if self.immutable.iter().any(|pattern| pattern.matches(tag)) {
            return None;
        }
        let mut selected = false;
        for Counted { rule, newest } in &self.tags {
            if !selects(rule, tag) {
                continue;
            }
            selected = true;
            let last = rule.keep_last.is_some_and(|last| {
                let full = u32::try_from(newest.len()).is_ok_and(|length| length >= last);
                let oldest = newest.peek().map(|Reverse((at, name))| (*at, name.as_str()));
                last > 0 && (!full || oldest.is_none_or(|oldest| (set_at, tag) >= oldest))
            });
            let pulled = rule.keep_pulled_days.zip(pulled_at);
            let kept = rule.keep_all
                || last
                || rule.keep_pushed_days.is_some_and(|within| self.is_within(set_at, within))
                || pulled.is_some_and(|(within, at)| self.is_within(at, within));
            if kept {
                return None;
            }
        }
        selected.then(|| {
            let pulled = match pulled_at {
                Some(at) => format!("pulled {}", self.ago(at)),
                None => "never seen pulled".to_owned(),
            };
            format!("set {}, {pulled}, and kept by no rule", self.ago(set_at))
        })
    }

    /// Why a manifest without a tag expires that was used last then; nothing where it stays.
    pub(super) fn untagged(&self, used_at: Timestamp) -> Option<String> {
        if self.untagged.is_empty()
            || self.untagged.iter().any(|rule| self.is_within(used_at, rule.keep_days))
        {
            return None;
        }
        Some(format!("without a tag, and last pushed or pulled {}", self.ago(used_at)))
    }

    fn is_within(&self, at: Timestamp, within: u32) -> bool {
        at.plus(days(within)) > self.now
    }

    fn ago(&self, at: Timestamp) -> String {
        const DAY: u64 = 24 * 60 * 60;
        match self.now.since(at).as_secs() / DAY {
            0 => "less than a day ago".to_owned(),
            1 => "a day ago".to_owned(),
            count => format!("{count} days ago"),
        }
    }
}

fn selects(rule: &TagRule, tag: &str) -> bool {
    rule.tags.as_ref().is_none_or(|tags| tags.matches(tag))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;
    const NOW: u64 = 1000 * DAY;

    #[derive(Debug, Clone)]
    struct Fact {
        name: String,
        set: u64,
        pulled: Option<u64>,
    }

    /// The definition, word by word, over all tags at once.
    fn by_definition(immutable: &[Pattern], rules: &[TagRule], tags: &[Fact], one: &Fact) -> bool {
        if immutable.iter().any(|pattern| pattern.matches(&one.name)) {
            return false;
        }
        let selecting: Vec<_> = rules.iter().filter(|rule| selects(rule, &one.name)).collect();
        let kept = selecting.iter().any(|rule| {
            let newer = tags.iter().filter(|other| {
                selects(rule, &other.name) && (other.set, &other.name) > (one.set, &one.name)
            });
            let within = |at: u64, within: u32| at + u64::from(within) * DAY > NOW;
            rule.keep_all
                || rule.keep_last.is_some_and(|last| newer.count() < last as usize)
                || rule.keep_pushed_days.is_some_and(|days| within(one.set, days))
                || one.pulled.zip(rule.keep_pulled_days).is_some_and(|(at, days)| within(at, days))
        });
        !selecting.is_empty() && !kept
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        prop::sample::select(vec!["*", "v*", "v?", "[ab]*", "*1", "latest"])
            .prop_map(|text| text.parse().unwrap())
    }

    fn rule() -> impl Strategy<Value = TagRule> {
        let days = || prop::option::of(1_u32..60);
        (
            prop::option::of(pattern()),
            prop::bool::weighted(0.1),
            prop::option::of(0_u32..6),
            days(),
            days(),
        )
            .prop_map(|(tags, keep_all, keep_last, keep_pushed_days, keep_pulled_days)| {
                TagRule {
                    repositories: None,
                    tags,
                    keep_all,
                    keep_last,
                    keep_pushed_days,
                    keep_pulled_days,
                }
            })
    }

    fn fact() -> impl Strategy<Value = Fact> {
        ("(v[0-9]|[ab]1|latest|x)", 0_u64..80, prop::option::of(0_u64..80)).prop_map(
            |(name, age, pulled)| Fact {
                name,
                set: NOW - age * DAY,
                pulled: pulled.map(|age| NOW - age * DAY),
            },
        )
    }

    proptest! {
        #[test]
        fn the_rules_let_go_what_their_definition_says(
            rules in prop::collection::vec(rule(), 0..4),
            immutable in prop::collection::vec(pattern(), 0..2),
            facts in prop::collection::vec(fact(), 0..16),
        ) {
            let mut facts = facts;
            facts.sort_by(|a, b| a.name.cmp(&b.name));
            facts.dedup_by(|a, b| a.name == b.name);
            let all: Vec<_> = rules.iter().cloned().map(RetentionRule::Tags).collect();
            let mut judge = Judge::new(&immutable, &all, "any", Timestamp(NOW));
            for fact in &facts {
                judge.count(&fact.name, Timestamp(fact.set));
            }
            for fact in &facts {
                let pulled = fact.pulled.map(Timestamp);
                let expires = judge.tag(&fact.name, Timestamp(fact.set), pulled).is_some();
                let wanted = by_definition(&immutable, &rules, &facts, fact);
                prop_assert_eq!(expires, wanted, "{:?} under {:?}", fact, rules);
            }
        }
    }

    #[test]
    fn a_rule_of_other_repositories_lets_nothing_go() {
        let rule = TagRule {
            repositories: Some("team/*".parse().unwrap()),
            keep_last: Some(0),
            ..TagRule::default()
        };
        let rules = [RetentionRule::Tags(rule)];
        let expires = |repository| {
            let judge = Judge::new(&[], &rules, repository, Timestamp(NOW));
            judge.tag("v1", Timestamp(0), None).is_some()
        };
        assert!(expires("team/api") && !expires("api"));
    }
}
