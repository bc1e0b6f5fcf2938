//! What was deleted is removed in turns, so that one large tenant keeps nobody waiting.

use std::time::Duration;

use super::{Town, caller, operator, organisation, principal, push, registry};
use crate::Engine;
use crate::access::Role;
use crate::gc::{CollectOptions, FsckOptions};
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::prefix_range;
use crate::records::Record;
use crate::tenancy::purge::{Bounds, PurgeRecord, TurnRecord, purge};

/// Content of one byte each, different ones.
const BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut n = 0_u8;
    while n < u8::MAX {
        bytes[n as usize] = n;
        n += 1;
    }
    bytes[255] = u8::MAX;
    bytes
};

fn bounds(turn_rows: u64) -> Bounds {
    Bounds { turn_rows, ..Bounds::default() }
}

impl Town {
    async fn fill(&self, path: &str, pieces: std::ops::Range<usize>) {
        for n in pieces {
            push(&self.engine, path, &BYTES[n..=n]).await.unwrap();
        }
    }

    /// Another organisation of Ann's.
    async fn found(&self, name: &str) -> OrganisationId {
        let ann = principal("ann");
        let (by, named) = (operator(), organisation(name));
        let made = self.engine.create_organisation(&by, &named, None, Some(&ann)).await;
        let id = made.unwrap().id;
        self.create_registry(name, "main").await;
        id
    }

    async fn left_of(&self, id: OrganisationId) -> usize {
        let rows = prefix_range(&keys::organisation_rows(id));
        self.meta.scan(rows, 10_000).await.unwrap().len()
    }
}

async fn is_sound(engine: &Engine) {
    let report = engine.fsck(&FsckOptions::default(), &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_large_organisation_keeps_a_small_one_no_longer_than_its_turn() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let large = town.engine.organisation(&ann, &acme).await.unwrap().id;
    town.fill("acme/main/app", 0..250).await;
    let mut small = Vec::new();
    for name in ["one", "two", "three"] {
        small.push(town.found(name).await);
        town.fill(&format!("{name}/main/app"), 0..3).await;
        town.engine.delete_organisation(&ann, &organisation(name), true).await.unwrap();
    }
    town.engine.delete_organisation(&ann, &acme, true).await.unwrap();

    let first = purge(&town.engine.core, bounds(60)).await.unwrap();

    assert!(first.left);
    for id in small {
        assert_eq!(town.left_of(id).await, 0, "its own turn was enough");
    }
    let before = town.left_of(large).await;
    assert!((400..500).contains(&before), "{before}: 60 rows went");
    let mut passes = 0;
    // Each in another process, as after a kill.
    while purge(&town.restarted().await.core, bounds(60)).await.unwrap().left {
        passes += 1;
        assert!(passes < 20);
    }
    assert!(passes > 5, "{passes}");
    assert_eq!(town.left_of(large).await, 0);
    assert_eq!(crate::content::BlobStore::list(&*town.blobs, "", None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_walk_for_a_registry_goes_on_where_its_last_turn_ended() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let id = town.engine.organisation(&ann, &acme).await.unwrap().id;
    town.create_registry("acme", "other").await;
    for name in ["bob", "eve", "kim", "lou", "pam"] {
        let who = principal(name);
        town.engine
            .set_role(&ann, &acme, &who, Some(&registry("main")), Role::Viewer)
            .await
            .unwrap();
    }
    town.fill("acme/other/kept", 0..150).await;
    town.fill("acme/main/app", 140..200).await;
    town.engine.delete_registry(&ann, &acme, &registry("main"), true).await.unwrap();

    let (mut places, mut engine) = (Vec::new(), town.restarted().await);
    while purge(&engine.core, bounds(10)).await.unwrap().left {
        let place = town.meta.get(&keys::purge(id)).await.unwrap().unwrap();
        let place = PurgeRecord::decode(&place).unwrap();
        places.push((place.stage as u8, place.next));
        assert!(places.len() < 200, "{places:?}");
        is_sound(&engine).await;
        engine = town.restarted().await;
    }

    assert!(places.len() > 20, "content and links of both, ten at a time: {}", places.len());
    let rows = places.iter().filter(|(stage, _)| *stage < 3);
    assert!(rows.is_sorted(), "it never goes back: {places:?}");
    assert_eq!(town.meta.get(&keys::purge(id)).await.unwrap(), None);
    is_sound(&engine).await;
    let members = engine.members(&ann, &acme, None, 10).await.unwrap().items;
    assert_eq!(members.len(), 1, "who had no other role is no member any more");
    let links = town.meta.scan(prefix_range(&keys::contents(id)), 10_000).await.unwrap();
    let links = links.iter().filter(|(key, _)| keys::parse_content(key).unwrap().1.is_some());
    assert_eq!(links.count(), 150);
    let lines = engine.verify_trail(&ann, Some(&acme)).await.unwrap();
    assert!(lines.is_good());
}

#[tokio::test]
async fn what_is_given_up_while_a_walk_is_under_way_gets_a_walk_of_its_own() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let id = town.engine.organisation(&ann, &acme).await.unwrap().id;
    town.fill("acme/main/first", 0..40).await;
    town.fill("acme/main/second", 0..40).await;
    town.fill("acme/main/kept", 0..5).await;
    let delete = async |name: &str| {
        let path = format!("acme/main/{name}").parse().unwrap();
        town.engine.delete_repository(&ann, &path).await.unwrap();
    };
    delete("first").await;
    for _ in 0..6 {
        assert!(purge(&town.engine.core, bounds(10)).await.unwrap().left);
    }
    delete("second").await;
    let mut passes = 0;
    while purge(&town.engine.core, bounds(10)).await.unwrap().left {
        passes += 1;
        assert!(passes < 100);
    }
    let rows = town.meta.scan(prefix_range(&keys::all_doomed(id)), 10).await.unwrap();
    assert_eq!(rows, []);
    let links = town.meta.scan(prefix_range(&keys::contents(id)), 10_000).await.unwrap();
    let links = links.iter().filter(|(key, _)| keys::parse_content(key).unwrap().1.is_some());
    assert_eq!(links.count(), 5);
    is_sound(&town.engine).await;
}

#[tokio::test]
async fn a_pass_that_its_bounds_ended_is_gone_on_with_by_whose_turn_it_is() {
    let town = Town::new().await;
    let ann = caller("ann");
    let mut all = Vec::new();
    for name in ["one", "two", "three", "four", "five"] {
        all.push(town.found(name).await);
        town.fill(&format!("{name}/main/app"), 0..10).await;
        town.engine.delete_organisation(&ann, &organisation(name), true).await.unwrap();
    }
    // No time at all is one page of one organisation.
    let hurried = Bounds { turn_rows: 15, time: Duration::ZERO, ..Bounds::default() };
    let mut turns = Vec::new();
    loop {
        let purged = purge(&town.restarted().await.core, hurried).await.unwrap();
        assert!(purged.rows <= 16, "{purged:?}");
        if !purged.left {
            break;
        }
        let turn = town.meta.get(keys::PURGE).await.unwrap();
        turns.push(turn.map(|turn| TurnRecord::decode(&turn).unwrap().next.0));
        assert!(turns.len() < 100);
        if all.is_empty() {
            break;
        }
        let mut left = 0;
        for id in &all {
            left += town.left_of(*id).await;
        }
        if left == 0 {
            break;
        }
    }
    turns.truncate(5);
    turns.sort_unstable();
    turns.dedup();
    assert_eq!(turns.len(), 5, "each had its turn before any had its second: {turns:?}");
}

#[tokio::test]
async fn a_collection_with_a_budget_is_complete_when_nothing_is_left_of_who_was_deleted() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let id = town.engine.organisation(&ann, &acme).await.unwrap().id;
    town.fill("acme/main/app", 0..100).await;
    town.engine.delete_organisation(&ann, &acme, true).await.unwrap();
    let options = CollectOptions { budget: Some(100), ..CollectOptions::default() };
    let (mut runs, mut rows) = (0, 0);
    loop {
        let report = town.engine.collect(&options, &|_| {}).await.unwrap();
        assert!(report.tenant_rows <= 101, "{report:?}");
        rows += report.tenant_rows;
        runs += 1;
        if report.complete {
            break;
        }
        assert!(runs < 20);
    }
    assert!(runs >= 2 && rows > 200, "{runs} runs, {rows} rows");
    assert_eq!(town.left_of(id).await, 0);
}
