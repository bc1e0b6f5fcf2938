//! The trail: read, sealed, verified, and found out when somebody changes it.

mod trimming;

use futures::TryStreamExt;

use super::seal::seal;
use super::verify::verify;
use super::{Event, EventKind, Problem, SYSTEM, TrailQuery, Verification};
use crate::access::Role;
use crate::extension::Batch;
use crate::id::{ChainId, OrganisationId};
use crate::meta::{Commit, CommitId, Row, log, prefix_range};
use crate::seam::Clock as _;
use crate::tenancy::tests::{Town, caller, operator, organisation, principal, registry};
use crate::{Engine, Error, keys};

/// A town with a trail of a few lines in one chain: created, registry, three members.
struct Story {
    town: Town,
    id: OrganisationId,
    chain: ChainId,
}

impl Story {
    async fn new() -> Self {
        let town = Town::new().await;
        let id = town.engine.organisation(&caller("ann"), &organisation("acme")).await.unwrap().id;
        let chain = town.engine.core.chain;
        let story = Self { town, id, chain };
        for name in ["bob", "carl", "dora"] {
            story.line(&story.town.engine, name).await;
        }
        story
    }

    /// One more line: somebody becomes a viewer.
    async fn line(&self, engine: &Engine, name: &str) {
        self.town.clock.advance(std::time::Duration::from_secs(1));
        engine
            .set_role(&caller("ann"), &organisation("acme"), &principal(name), None, Role::Viewer)
            .await
            .unwrap();
    }

    async fn rows(&self) -> Vec<Row> {
        let range = prefix_range(&keys::audit_chain(self.id, self.chain));
        self.town.meta.scan(range, usize::MAX).await.unwrap()
    }

    /// What somebody with the database in hand does, past the engine.
    async fn tamper(&self, put: Vec<Row>, delete: Vec<Vec<u8>>) {
        let mut commit = Commit::new(CommitId(self.town.engine.core.seams.random_16()));
        (commit.put, commit.delete) = (put, delete);
        self.town.meta.commit(commit).await.unwrap();
    }

    async fn verify(&self) -> Verification {
        verify(&self.town.engine.core, self.id).await.unwrap()
    }

    async fn read(&self, query: &TrailQuery, limit: usize) -> Vec<String> {
        let (ann, acme) = (caller("ann"), organisation("acme"));
        let (mut lines, mut after) = (Vec::new(), None);
        loop {
            let engine = &self.town.engine;
            let page = engine.trail(&ann, Some(&acme), query, after.as_deref(), limit).await;
            let page = page.unwrap();
            assert!(page.items.len() <= limit);
            let empty = page.items.is_empty();
            lines.extend(page.items.into_iter().map(|line| match line.event.kind {
                EventKind::MemberSet { principal, .. } => principal,
                other => other.name().to_owned(),
            }));
            after = page.next;
            if after.is_none() || (query.oldest_first && empty) {
                return lines;
            }
        }
    }
}

#[tokio::test]
async fn every_change_has_one_line_and_the_chain_verifies() {
    let story = Story::new().await;

    let found = story.verify().await;

    assert_eq!(found.problems, []);
    assert_eq!(found.lines, 5);
    assert_eq!(found.heads.len(), 1);
    assert_eq!(found.heads[0].length, 5);
    let lines = story.read(&TrailQuery::default(), 2).await;
    assert_eq!(
        lines,
        ["user:dora", "user:carl", "user:bob", "registry_created", "organisation_created"]
    );
}

#[tokio::test]
async fn an_edited_line_shows() {
    let story = Story::new().await;
    let (key, value) = story.rows().await.remove(2);
    let mut edited = value.to_vec();
    let at = edited.windows(3).position(|bytes| bytes == b"bob").unwrap();
    edited[at..at + 3].copy_from_slice(b"eve");
    story.tamper(vec![(key, edited.into())], vec![]).await;

    let found = story.verify().await;

    assert_eq!(found.problems, [Problem::Altered { chain: story.chain, sequence: 2 }]);
}

#[tokio::test]
async fn a_line_that_was_edited_with_its_hash_shows_at_the_next() {
    let story = Story::new().await;
    let rows = story.rows().await;
    let (before, _) = log::decode(&rows[1].1).unwrap();
    let (_, entry) = log::decode(&rows[2].1).unwrap();
    let entry = [&entry[..], b"!"].concat();
    let forged = log::encode(&log::link(&before, 2, &entry), &entry);
    story.tamper(vec![(rows[2].0.clone(), forged)], vec![]).await;

    let found = story.verify().await;

    let altered = Problem::Altered { chain: story.chain, sequence: 3 };
    assert!(found.problems.contains(&altered), "{:?}", found.problems);
}

#[tokio::test]
async fn a_removed_line_shows() {
    for removed in 0..4_u64 {
        let story = Story::new().await;
        let log = keys::audit_chain(story.id, story.chain);
        story.tamper(vec![], vec![log::entry_key(&log, removed)]).await;

        let found = story.verify().await;

        let wanted = Problem::Removed { chain: story.chain, sequence: removed, count: 1 };
        assert_eq!(found.problems, [wanted]);
    }
}

#[tokio::test]
async fn lines_that_changed_places_show_with_where_they_belong() {
    for (one, other) in [(1, 2), (1, 3), (0, 4), (3, 4)] {
        let story = Story::new().await;
        let rows = story.rows().await;
        let swapped = vec![
            (rows[one].0.clone(), rows[other].1.clone()),
            (rows[other].0.clone(), rows[one].1.clone()),
        ];
        story.tamper(swapped, vec![]).await;

        let found = story.verify().await;

        let (chain, one, other) = (story.chain, one as u64, other as u64);
        let wanted = [
            Problem::Moved { chain, sequence: one, belongs: other },
            Problem::Moved { chain, sequence: other, belongs: one },
        ];
        assert_eq!(found.problems, wanted);
    }
}

#[tokio::test]
async fn a_line_of_another_chain_shows() {
    let story = Story::new().await;
    let other = story.town.restarted().await;
    story.line(&other, "eve").await;
    let foreign = keys::audit_chain(story.id, other.core.chain);
    let value = story.town.meta.get(&log::entry_key(&foreign, 0)).await.unwrap().unwrap();
    let own = keys::audit_chain(story.id, story.chain);
    story.tamper(vec![(log::entry_key(&own, 5), value)], vec![]).await;

    let found = story.verify().await;

    assert_eq!(found.problems, [Problem::Altered { chain: story.chain, sequence: 5 }]);
}

#[tokio::test]
async fn a_chain_that_lost_its_end_shows_by_the_seal_of_another() {
    let story = Story::new().await;
    let other = story.town.restarted().await;
    story.line(&other, "eve").await;
    assert_eq!(other.seal().await.unwrap(), 1);
    assert_eq!(other.seal().await.unwrap(), 0, "nothing happened since");
    assert!(story.verify().await.is_good());
    let log = keys::audit_chain(story.id, story.chain);
    story.tamper(vec![], vec![log::entry_key(&log, 4)]).await;

    let found = story.verify().await;

    let chain = story.chain;
    assert_eq!(found.problems, [Problem::CutOff { chain, found: 4, sealed: 5 }]);
}

#[tokio::test]
async fn a_chain_that_is_gone_shows_by_the_seal_of_another() {
    let story = Story::new().await;
    let other = story.town.restarted().await;
    story.line(&other, "eve").await;
    other.seal().await.unwrap();
    let rows = story.rows().await;
    story.tamper(vec![], rows.into_iter().map(|(key, _)| key).collect()).await;

    let found = story.verify().await;

    let chain = story.chain;
    assert_eq!(found.problems, [Problem::CutOff { chain, found: 0, sealed: 5 }]);
}

#[tokio::test]
async fn a_chain_that_was_written_anew_shows_by_the_seal_of_another() {
    let story = Story::new().await;
    let other = story.town.restarted().await;
    story.line(&other, "eve").await;
    other.seal().await.unwrap();
    let log = keys::audit_chain(story.id, story.chain);
    let mut hash = log::genesis(&log);
    let mut forged = Vec::new();
    // Whole and well linked, but without what happened in line 2.
    for (sequence, from) in [0, 1, 3, 4, 4].into_iter().enumerate() {
        let (_, entry) = log::decode(&story.rows().await[from].1).unwrap();
        hash = log::link(&hash, sequence as u64, &entry);
        forged.push((log::entry_key(&log, sequence as u64), log::encode(&hash, &entry)));
    }
    story.tamper(forged, vec![]).await;

    let found = story.verify().await;

    assert_eq!(found.problems, [Problem::Rewritten { chain: story.chain, sequence: 4 }]);
}

#[tokio::test]
async fn chains_are_merged_by_time_in_both_directions_and_pages_of_any_size() {
    let story = Story::new().await;
    let other = story.town.restarted().await;
    for (engine, name) in [
        (&other, "p1"),
        (&story.town.engine, "p2"),
        (&other, "p3"),
        (&other, "p4"),
        (&story.town.engine, "p5"),
    ] {
        story.line(engine, name).await;
    }
    let oldest = TrailQuery { oldest_first: true, ..TrailQuery::default() };

    for limit in [1, 2, 3, 7, 100] {
        let mut newest_first = story.read(&TrailQuery::default(), limit).await;
        newest_first.reverse();
        let oldest_first = story.read(&oldest, limit).await;
        assert_eq!(newest_first, oldest_first);
        let names: Vec<_> = oldest_first.iter().skip(2).map(String::as_str).collect();
        let wanted = ["bob", "carl", "dora", "p1", "p2", "p3", "p4", "p5"]
            .map(|name| format!("user:{name}"));
        assert_eq!(names, wanted.each_ref().map(String::as_str));
    }
}

#[tokio::test]
async fn a_reader_from_the_oldest_on_misses_nothing_whatever_the_clocks_say() {
    let story = Story::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let query = TrailQuery { oldest_first: true, ..TrailQuery::default() };
    let engine = &story.town.engine;
    let page = engine.trail(&ann, Some(&acme), &query, None, 100).await.unwrap();
    let caught_up = page.next.unwrap();
    let other = story.town.restarted().await;
    story.town.clock.set(crate::seam::Timestamp(5));
    story.line(&other, "eve").await;
    story.line(engine, "fred").await;

    let page = engine.trail(&ann, Some(&acme), &query, Some(&caught_up), 100).await.unwrap();

    assert_eq!(page.items.len(), 2);
    let next = page.next.unwrap();
    let page = engine.trail(&ann, Some(&acme), &query, Some(&next), 100).await.unwrap();
    assert_eq!(page.items, []);
    let newest = TrailQuery::default();
    let wrong = engine.trail(&ann, Some(&acme), &newest, Some(&next), 100).await;
    assert!(matches!(wrong, Err(Error::Invalid(_))), "{wrong:?}");
}

#[tokio::test]
async fn a_query_shows_only_what_it_asks_for() {
    let story = Story::new().await;
    story.town.push("acme/main/app", b"layer").await.unwrap();
    let by = async |query: TrailQuery| story.read(&query, 10).await;
    let all = TrailQuery::default;
    let clock = story.town.clock.clone();
    let now = crate::seam::Clock::now(&*clock);

    let kinds = vec!["member_set".to_owned()];
    assert_eq!(by(TrailQuery { kinds, ..all() }).await.len(), 3);
    let principal = Some("user:operator".to_owned());
    assert_eq!(by(TrailQuery { principal, ..all() }).await, ["organisation_created"]);
    let repository = Some("acme/main/app".to_owned());
    let pushed = ["blob_pushed", "upload_started", "repository_created"];
    assert_eq!(by(TrailQuery { repository, ..all() }).await, pushed);
    let from = Some(now);
    assert_eq!(by(TrailQuery { from, ..all() }).await, [&pushed[..], &["user:dora"]].concat());
    let until = Some(now);
    assert_eq!(by(TrailQuery { until, ..all() }).await.len(), 4);
}

#[tokio::test]
async fn only_admins_read_a_trail_and_only_operators_the_systems() {
    let story = Story::new().await;
    let acme = organisation("acme");
    let query = TrailQuery::default();
    let engine = &story.town.engine;
    let trail = |who, of| engine.trail(who, of, &query, None, 10);
    let (ann, bob, stranger, operator) = (caller("ann"), caller("bob"), caller("x"), operator());

    assert!(matches!(trail(&bob, Some(&acme)).await, Err(Error::Denied { .. })));
    assert!(matches!(trail(&stranger, Some(&acme)).await, Err(Error::NameUnknown { .. })));
    assert!(matches!(trail(&operator, Some(&acme)).await, Err(Error::NameUnknown { .. })));
    assert!(matches!(trail(&ann, None).await, Err(Error::Denied { .. })));
    assert!(trail(&operator, None).await.is_ok());
    let ceiling = crate::access::Ceiling::Grants(std::sync::Arc::from([]));
    let bounded = crate::access::Caller { ceiling, ..operator.clone() };
    assert!(matches!(trail(&bounded, None).await, Err(Error::Denied { .. })));
    assert!(engine.verify_trail(&operator, Some(&acme)).await.unwrap().is_good());
}

#[tokio::test]
async fn an_export_is_the_whole_trail_in_lines_of_json() {
    let story = Story::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let query = TrailQuery { oldest_first: true, ..TrailQuery::default() };

    let lines = story.town.engine.export_trail(&ann, Some(&acme), query).await.unwrap();
    let lines: Vec<_> = lines.try_collect().await.unwrap();

    assert_eq!(lines.len(), 5);
    let main = story.town.engine.registry(&ann, &acme, &registry("main")).await.unwrap();
    assert_eq!(
        serde_json::to_value(&lines[1]).unwrap(),
        serde_json::json!({
            "chain": story.chain.to_string(),
            "sequence": 1,
            "hash": const_hex::encode(lines[1].hash),
            "organisation": story.id.to_string(),
            "at": 1_700_000_000_000_u64,
            "principal": "user:ann",
            "origin": {"address": null, "request_id": null, "user_agent": null},
            "kind": {"registry_created": {"registry": main.id.to_string(), "name": "main"}},
        })
    );
}

#[tokio::test]
async fn a_chain_of_any_length_is_measured() {
    let story = Story::new().await;
    let users = story.town.engine.extension("identity");
    let mut batch = Batch::new();
    for sequence in 0..300_u64 {
        for length in [0, 1, 2, 15, 16, 17, 63, 64, 255, 256] {
            if sequence == length {
                users.commit(std::mem::take(&mut batch)).await.ok();
                let core = &story.town.engine.core;
                let measured = super::chains::length(core, SYSTEM, core.chain).await.unwrap();
                assert_eq!(measured, length);
            }
        }
        let kind = EventKind::SignedIn { method: "password".to_owned(), success: true };
        let at = users.now().await.unwrap();
        batch = batch.event(Event::by(&caller("ann"), SYSTEM, at, kind));
    }
}

#[tokio::test]
async fn a_kind_is_named_as_its_json_names_it() {
    let story = Story::new().await;
    story.town.push("acme/main/app", b"layer").await.unwrap();
    seal(&story.town.engine.core, story.id).await.unwrap();
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let query = TrailQuery::default();
    let page = story.town.engine.trail(&ann, Some(&acme), &query, None, 100).await.unwrap();
    assert_eq!(page.items.len(), 9);
    for line in page.items {
        let json = serde_json::to_value(&line.event.kind).unwrap();
        assert!(json.get(line.event.kind.name()).is_some(), "{json}");
    }
}

/// The chains that the last line of this process's chain names.
async fn sealed(engine: &Engine, id: OrganisationId) -> Vec<ChainId> {
    let range = prefix_range(&keys::audit_chain(id, engine.core.chain));
    let rows = engine.core.meta.scan(range, usize::MAX).await.unwrap();
    let (_, entry) = log::decode(&rows.last().unwrap().1).unwrap();
    match super::decode_event(&entry).unwrap().kind {
        EventKind::Sealed { heads } => heads.into_iter().map(|(chain, ..)| chain).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_seal_names_what_has_grown_since_the_last_whoever_made_that() {
    let story = Story::new().await;
    let mut ended = Vec::new();
    for name in ["eve", "fay", "gil"] {
        let other = story.town.restarted().await;
        story.line(&other, name).await;
        ended.push(other.core.chain);
        other.seal().await.unwrap();
        let named = sealed(&other, story.id).await;
        assert!(named.contains(&other.core.chain) && named.len() <= 2, "{named:?}");
    }
    let last = story.town.restarted().await;
    story.line(&last, "hal").await;
    last.seal().await.unwrap();
    // The seal of the one before grew its chain; the others are sealed for good.
    let mut named = sealed(&last, story.id).await;
    named.sort();
    let mut wanted = vec![ended[2], last.core.chain];
    wanted.sort();
    assert_eq!(named, wanted);
    let found = story.verify().await;
    assert_eq!((found.problems, found.heads.len()), (vec![], 5));
    // All of them are still covered: a chain that goes now shows.
    let range = prefix_range(&keys::audit_chain(story.id, ended[0]));
    let rows = story.town.meta.scan(range, usize::MAX).await.unwrap();
    story.tamper(vec![], rows.into_iter().map(|(key, _)| key).collect()).await;
    let found = story.verify().await;
    assert_eq!(found.problems, [Problem::CutOff { chain: ended[0], found: 0, sealed: 2 }]);
}

#[tokio::test]
async fn a_trail_that_can_not_be_sealed_keeps_no_other_from_it() {
    let story = Story::new().await;
    let town = &story.town;
    town.engine.create_organisation(&operator(), &organisation("beta"), None, None).await.unwrap();
    let beta = town.engine.organisation(&operator(), &organisation("beta")).await.unwrap().id;
    let (first, second) = if story.id < beta { (story.id, beta) } else { (beta, story.id) };
    let head = prefix_range(&keys::audit_chain(first, story.chain));
    let (key, _) = town.meta.scan(head, usize::MAX).await.unwrap().pop().unwrap();
    story.tamper(vec![(key, bytes::Bytes::from_static(b"short"))], vec![]).await;
    let failed = town.engine.seal().await;
    assert!(matches!(failed, Err(Error::Corrupted(_))), "{failed:?}");
    assert_eq!(sealed(&town.engine, second).await, [story.chain]);
}

#[tokio::test]
async fn the_trail_of_a_deleted_organisation_is_for_operators_alone() {
    let story = Story::new().await;
    let (engine, acme) = (&story.town.engine, organisation("acme"));
    let query = TrailQuery::default();
    let live = engine.trail(&operator(), Some(&acme), &query, None, 10).await;
    assert!(live.is_err(), "an operator reads no trail of a living one: {live:?}");
    engine.delete_organisation(&operator(), &acme, true).await.unwrap();
    for _ in 0..2 {
        // First while its rows go, then when they are gone.
        let page = engine.trail(&operator(), Some(&acme), &query, None, 100).await.unwrap();
        let kinds: Vec<_> = page.items.iter().map(|line| line.event.kind.name()).collect();
        assert!(kinds.contains(&"organisation_deleted"), "{kinds:?}");
        assert!(kinds.contains(&"organisation_created"), "{kinds:?}");
        let exported = engine.export_trail(&operator(), Some(&acme), query.clone()).await.unwrap();
        assert!(exported.try_collect::<Vec<_>>().await.unwrap().len() >= kinds.len());
        assert!(engine.verify_trail(&operator(), Some(&acme)).await.unwrap().is_good());
        for who in ["ann", "bob"] {
            let refused = engine.trail(&caller(who), Some(&acme), &query, None, 10).await;
            assert!(matches!(refused, Err(Error::NameUnknown { .. })), "{refused:?}");
            let refused = engine.verify_trail(&caller(who), Some(&acme)).await;
            assert!(matches!(refused, Err(Error::NameUnknown { .. })), "{refused:?}");
        }
        crate::tenancy::purge::purge(&engine.core, crate::tenancy::purge::Bounds::default())
            .await
            .unwrap();
    }
    let never = engine.trail(&operator(), Some(&organisation("never")), &query, None, 10).await;
    assert!(matches!(never, Err(Error::NameUnknown { .. })), "{never:?}");
}

#[tokio::test]
async fn the_old_name_of_a_renamed_organisation_opens_no_trail_to_operators() {
    let story = Story::new().await;
    let (engine, acme, new) = (&story.town.engine, organisation("acme"), organisation("renamed"));
    engine.rename_organisation(&caller("ann"), &acme, &new).await.unwrap();
    let read = engine.trail(&operator(), Some(&acme), &TrailQuery::default(), None, 10).await;
    assert!(matches!(read, Err(Error::NameUnknown { .. })), "{read:?}");
}

#[tokio::test]
async fn who_follows_from_the_end_misses_nothing_of_any_process() {
    let story = Story::new().await;
    let engine = &story.town.engine;
    let end = engine.trail_end(story.id).await.unwrap();
    assert!(engine.follow(story.id, Some(&end), 10).await.unwrap().items.is_empty());

    let other = story.town.restarted().await;
    story.line(&other, "emil").await;
    story.line(engine, "fay").await;
    story.line(&other, "gus").await;

    let (mut seen, mut after) = (Vec::new(), end);
    loop {
        let page = engine.follow(story.id, Some(&after), 2).await.unwrap();
        if page.items.is_empty() {
            break;
        }
        seen.extend(page.items.into_iter().map(|line| match line.event.kind {
            EventKind::MemberSet { principal, .. } => principal,
            other => other.name().to_owned(),
        }));
        after = page.next.unwrap();
    }
    assert_eq!(seen, ["user:emil", "user:fay", "user:gus"]);
    let all = engine.follow(story.id, None, 100).await.unwrap().items.len();
    assert_eq!(all, story.rows().await.len() + 2, "from the first line on, of both chains");
}
