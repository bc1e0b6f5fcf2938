//! Retention rules: what the admins of a registry say, and what is too much of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::pattern::Pattern;

/// The most rules of a registry.
pub const MAX_RULES: usize = 32;
/// The most patterns of immutable tags of a registry.
pub const MAX_IMMUTABLE: usize = 32;
/// The most tags that one rule may keep by number: they are counted in memory.
pub const MAX_KEEP_LAST: u32 = 10_000;
/// The longest time that a rule may name: a hundred years.
const MAX_DAYS: u32 = 36_500;

/// One rule. A rule *selects* tags, or manifests without one, and says which of those it keeps.
/// What at least one rule selects and no rule keeps expires. What no rule selects stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RetentionRule {
    /// About tags.
    Tags(TagRule),
    /// About manifests that no tag points at, that no index here names, and that are about nothing
    /// which is here.
    Untagged(UntaggedRule),
}

/// Which tags a rule is about, and which of those it keeps. Must say at least one of the
/// reasons to keep; each of them keeps alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TagRule {
    /// Only in repositories of these names; in all where absent.
    pub repositories: Option<Pattern>,
    /// Only tags of these names; all where absent.
    pub tags: Option<Pattern>,
    /// Keep whatever it selects: to take some out of what others select.
    pub keep_all: bool,
    /// Keep so many in each repository, those that were set last. 0 keeps none by this.
    pub keep_last: Option<u32>,
    /// Keep what was set within so many days.
    pub keep_pushed_days: Option<u32>,
    /// Keep what points at a manifest that was pulled within so many days.
    pub keep_pulled_days: Option<u32>,
}

/// How long manifests without a tag stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UntaggedRule {
    /// Only in repositories of these names; in all where absent.
    #[serde(default)]
    pub repositories: Option<Pattern>,
    /// Keep what was pushed or pulled within so many days; at least one.
    pub keep_days: u32,
}

/// So many days.
pub(super) fn days(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}

impl TagRule {
    fn check(&self) -> Result<(), String> {
        let Self { keep_all, keep_last, keep_pushed_days, keep_pulled_days, .. } = self;
        let says = *keep_all
            || keep_last.is_some()
            || keep_pushed_days.is_some()
            || keep_pulled_days.is_some();
        if !says {
            return Err("must say what it keeps (keep_last 0 to keep nothing)".to_owned());
        }
        if keep_last.is_some_and(|last| last > MAX_KEEP_LAST) {
            return Err(format!("keep_last is at most {MAX_KEEP_LAST}"));
        }
        for days in [keep_pushed_days, keep_pulled_days].into_iter().flatten() {
            check_days(*days)?;
        }
        Ok(())
    }
}

fn check_days(days: u32) -> Result<(), String> {
    if (1..=MAX_DAYS).contains(&days) {
        Ok(())
    } else {
        Err(format!("a time is 1 to {MAX_DAYS} days, not {days}"))
    }
}

/// Fails with [`Error::Invalid`] where the settings of a registry are more than is taken.
pub(crate) fn check(immutable_tags: &[Pattern], rules: &[RetentionRule]) -> Result<(), Error> {
    if immutable_tags.len() > MAX_IMMUTABLE {
        let count = immutable_tags.len();
        return Err(Error::Invalid(format!(
            "immutable_tags has {count} patterns; a registry has at most {MAX_IMMUTABLE}"
        )));
    }
    if rules.len() > MAX_RULES {
        let count = rules.len();
        return Err(Error::Invalid(format!(
            "retention has {count} rules; a registry has at most {MAX_RULES}"
        )));
    }
    for (at, rule) in rules.iter().enumerate() {
        let checked = match rule {
            RetentionRule::Tags(rule) => rule.check(),
            RetentionRule::Untagged(rule) => check_days(rule.keep_days),
        };
        checked.map_err(|why| Error::Invalid(format!("retention[{at}] {why}")))?;
    }
    Ok(())
}
