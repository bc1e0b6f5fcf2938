//! Trails whose old lines were cut off.

use super::*;

/// The lines up to now are sealed, and those before `keep` cut off.
async fn trimmed(story: &Story) -> crate::audit::TrimReport {
    seal(&story.town.engine.core, story.id).await.unwrap();
    story.town.clock.advance(std::time::Duration::from_hours(1));
    let before = story.town.clock.now();
    story.line(&story.town.engine, "later").await;
    let (engine, acme) = (&story.town.engine, organisation("acme"));
    engine.trim_trail(&operator(), Some(&acme), before).await.unwrap()
}

#[tokio::test]
async fn what_is_left_of_a_trimmed_trail_verifies_and_goes_on() {
    let story = Story::new().await;
    let report = trimmed(&story).await;
    // The seal itself is behind what it covers, and stays.
    assert_eq!((report.lines, report.chains, report.complete), (5, 1, true));
    let found = story.verify().await;
    assert_eq!(found.problems, []);
    assert_eq!((found.lines, found.heads[0].length), (3, 8));
    let kinds = ["sealed", "user:later", "trail_trimmed"];
    let query = TrailQuery { oldest_first: true, ..TrailQuery::default() };
    assert_eq!(story.read(&query, 2).await, kinds);
    let mut newest = story.read(&TrailQuery::default(), 2).await;
    newest.reverse();
    assert_eq!(newest, kinds);

    // And again: the line that told of the first cut goes, what it told is told anew.
    let again = trimmed(&story).await;
    assert!(again.lines > 0);
    assert_eq!(story.verify().await.problems, []);
    let engine = story.town.restarted().await;
    story.line(&engine, "ed").await;
    seal(&engine.core, story.id).await.unwrap();
    assert_eq!(story.verify().await.problems, []);
}

#[tokio::test]
async fn only_operators_trim_and_only_what_is_sealed() {
    let story = Story::new().await;
    story.town.clock.advance(std::time::Duration::from_hours(1));
    let (engine, acme) = (&story.town.engine, organisation("acme"));
    let now = story.town.clock.now();
    let denied = engine.trim_trail(&caller("ann"), Some(&acme), now).await;
    assert!(matches!(denied, Err(Error::Denied { .. })));
    let report = engine.trim_trail(&operator(), Some(&acme), now).await.unwrap();
    assert_eq!((report.lines, report.complete), (0, true), "no seal covers them");
    assert_eq!(story.verify().await.lines, 5);
}

#[tokio::test]
async fn behind_a_cut_edited_removed_and_reordered_lines_show_as_before_it() {
    let start = async || {
        let story = Story::new().await;
        trimmed(&story).await;
        for name in ["one", "two", "three"] {
            story.line(&story.town.engine, name).await;
        }
        assert_eq!(story.verify().await.problems, []);
        story
    };
    let story = start().await;
    let chain = story.chain;
    let (key, value) = story.rows().await.remove(3);
    let mut edited = value.to_vec();
    let last = edited.len() - 1;
    edited[last] ^= 1;
    story.tamper(vec![(key, edited.into())], vec![]).await;
    let problems = story.verify().await.problems;
    assert!(matches!(problems[..], [Problem::Altered { sequence: 8, .. }]), "{problems:?}");

    let story = start().await;
    let (key, _) = story.rows().await.remove(4);
    story.tamper(vec![], vec![key]).await;
    let problems = story.verify().await.problems;
    assert_eq!(problems, [Problem::Removed { chain, sequence: 9, count: 1 }]);

    // The first that is left: its predecessor is in the row alone.
    let story = start().await;
    let (key, _) = story.rows().await.remove(0);
    story.tamper(vec![], vec![key]).await;
    let problems = story.verify().await.problems;
    assert_eq!(problems, [Problem::Removed { chain, sequence: 5, count: 1 }]);

    let story = start().await;
    let rows = story.rows().await;
    let swapped =
        vec![(rows[3].0.clone(), rows[4].1.clone()), (rows[4].0.clone(), rows[3].1.clone())];
    story.tamper(swapped, vec![]).await;
    let problems = story.verify().await.problems;
    assert!(
        problems.iter().any(|problem| matches!(problem, Problem::Moved { .. })),
        "{problems:?}"
    );
}

/// Whoever removes lines and writes the row of a cut, as if an operator had trimmed, is found out.
#[tokio::test]
async fn a_cut_that_no_line_tells_of_shows() {
    use crate::records::{Record, TrimmedRecord};

    let story = Story::new().await;
    let rows = story.rows().await;
    let (hash, _) = log::decode(&rows[2].1).unwrap();
    let forged = TrimmedRecord { length: 3, hash, before: story.town.clock.now() };
    let row = (keys::trimmed(story.id, story.chain), forged.encode());
    let gone = rows.into_iter().take(3).map(|(key, _)| key).collect();
    story.tamper(vec![row], gone).await;
    let problems = story.verify().await.problems;
    assert_eq!(problems, [Problem::Untold { chain: story.chain, count: 3 }]);
}

#[tokio::test]
async fn what_was_pushed_before_a_cut_needs_no_line() {
    let story = Story::new().await;
    story.town.push("acme/main/api", b"old").await.unwrap();
    trimmed(&story).await;
    story.town.push("acme/main/api", b"new").await.unwrap();
    let options = crate::gc::FsckOptions::default();
    let report = story.town.engine.fsck(&options, &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}
