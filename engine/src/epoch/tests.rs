//! A bucket and metadata of one history agree; after a restore of either they do not, until united.

use std::sync::Arc;

use bytes::Bytes;

use super::{Epoch, EpochRecord, Look, advance, unite};
use crate::Error;
use crate::change::Seen;
use crate::content::fault::{BlobFault, FaultBlobs, How, When};
use crate::content::opendal::OpendalStore;
use crate::gc::{AdoptOptions, CollectOptions, CollectReport, FsckOptions};
use crate::id::{OrganisationId, SessionId};
use crate::keys;
use crate::meta::{Commit, CommitId, Key};
use crate::records::Record;
use crate::tests::support::{World, sha256};

async fn collect(world: &World, options: &CollectOptions) -> CollectReport {
    world.engine.collect(options, &|_| {}).await.unwrap()
}

async fn record(world: &World) -> Seen<EpochRecord> {
    world.engine.core.read(keys::EPOCH.to_vec()).await.unwrap()
}

async fn agrees(world: &World) -> bool {
    Look::take(&world.engine.core).await.unwrap().agrees()
}

/// Puts back the row of the epoch as a restore of older metadata does.
async fn restore(world: &World, row: Option<EpochRecord>) {
    let core = &world.engine.core;
    let mut commit = Commit::new(CommitId(core.seams.random_16()));
    let key: Key = keys::EPOCH.to_vec();
    match row {
        Some(row) => commit.put.push((key, row.encode())),
        None => commit.delete.push(key),
    }
    core.meta.commit(commit).await.unwrap();
}

/// An object of something that was pushed after the backup: no row names it.
async fn pushed_since(world: &World) {
    let key = keys::object::settled(OrganisationId(1), &sha256(b"since"), SessionId([7; 16]));
    world.engine.core.blobs.put(&key, Bytes::from_static(b"since")).await.unwrap();
}

#[tokio::test]
async fn each_collection_advances_the_epoch_and_leaves_one_in_the_bucket() {
    let world = World::new().await;
    assert!(agrees(&world).await, "a new store");
    for number in 1..4 {
        let report = collect(&world, &CollectOptions::default()).await;
        assert!(!report.refused && agrees(&world).await);
        let record = record(&world).await.value.unwrap();
        assert_eq!((record.current.number, record.next), (number, None));
        let listed = world.engine.core.blobs.list(keys::object::EPOCHS, None, 10).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(keys::object::parse_epoch(&listed[0].key), Some(record.current));
    }
    let report = world.engine.fsck(&FsckOptions::default(), &|_| {}).await.unwrap();
    assert!(report.is_clean() && !report.waits_for_adopt, "{:?}", report.findings);
    assert_eq!((report.counts.objects.count, report.counts.foreign.count), (0, 0));
}

#[tokio::test]
async fn older_metadata_are_found_and_nothing_is_swept_until_adopted() {
    let world = World::new().await;
    collect(&world, &CollectOptions::default()).await;
    let backup = record(&world).await.value;
    collect(&world, &CollectOptions::default()).await;
    for older in [backup, None] {
        pushed_since(&world).await;
        restore(&world, older.clone()).await;
        let report = collect(&world, &CollectOptions::default()).await;
        assert_eq!((report.refused, report.orphans.count), (true, 0));
        assert_eq!(record(&world).await.value, older, "a refused collection advances nothing");
        let found = world.engine.fsck(&FsckOptions::default(), &|_| {}).await.unwrap();
        assert!(found.waits_for_adopt && found.is_clean(), "{:?}", found.findings);
        let dry = AdoptOptions::default().dry_run();
        world.engine.adopt(&dry, &|_| {}).await.unwrap();
        assert!(!agrees(&world).await);
        world.engine.adopt(&AdoptOptions::default(), &|_| {}).await.unwrap();
        assert!(agrees(&world).await);
        let report = collect(&world, &CollectOptions::default()).await;
        assert_eq!((report.refused, report.orphans.count), (false, 1));
    }
}

#[tokio::test]
async fn who_says_so_sweeps_despite_a_restore() {
    let world = World::new().await;
    collect(&world, &CollectOptions::default()).await;
    pushed_since(&world).await;
    restore(&world, None).await;
    let dry = CollectOptions::default().despite_restore().dry_run();
    assert_eq!(collect(&world, &dry).await.orphans.count, 1);
    assert!(!agrees(&world).await);
    let report = collect(&world, &CollectOptions::default().despite_restore()).await;
    assert_eq!((report.refused, report.orphans.count), (false, 1));
    assert!(agrees(&world).await);
}

#[tokio::test]
async fn another_bucket_and_an_emptied_one_are_found() {
    let world = World::new().await;
    collect(&world, &CollectOptions::default()).await;
    let core = &world.engine.core;
    let own = core.blobs.list(keys::object::EPOCHS, None, 10).await.unwrap().remove(0).key;
    core.blobs.delete(&own).await.unwrap();
    assert!(!agrees(&world).await, "an empty bucket");
    let other = keys::object::epoch(Epoch { number: 1, nonce: 99 });
    core.blobs.put(&other, Bytes::new()).await.unwrap();
    assert!(!agrees(&world).await, "another's");
    unite(core).await.unwrap();
    assert!(agrees(&world).await);
}

#[tokio::test]
async fn a_kill_or_a_failure_at_each_step_leaves_both_agreeing() {
    for when in [When::Before, When::After] {
        let blobs = FaultBlobs::new(OpendalStore::memory().unwrap());
        let world = World::over(Arc::new(blobs.clone())).await;
        for at in 0..6 {
            let (call, how) = (blobs.calls() + at, How::Failed { temporary: true });
            blobs.fail(BlobFault { call, when, how, lasting: false });
            let advanced = advance(&world.engine.core).await;
            blobs.heal();
            assert!(matches!(advanced, Ok(true) | Err(Error::Unavailable(_))), "{advanced:?}");
            assert!(agrees(&world).await, "{at}");
        }
        assert!(advance(&world.engine.core).await.unwrap());
        assert_eq!(record(&world).await.value.unwrap().next, None);
    }
}

#[tokio::test]
async fn processes_that_advance_it_at_once_agree() {
    let world = World::new().await;
    let core = &world.engine.core;
    for _ in 0..20 {
        let (one, two, three) = tokio::join!(advance(core), advance(core), advance(core));
        assert!(one.unwrap() && two.unwrap() && three.unwrap());
        assert!(agrees(&world).await);
    }
}

#[tokio::test]
async fn a_late_write_of_an_old_epoch_turns_nothing_back() {
    let world = World::new().await;
    let core = &world.engine.core;
    advance(core).await.unwrap();
    let old = record(&world).await.value.unwrap().current;
    advance(core).await.unwrap();
    core.blobs.put(&keys::object::epoch(old), Bytes::new()).await.unwrap();
    assert!(agrees(&world).await);
}

#[tokio::test]
async fn a_full_disk_is_swept_in_the_epoch_that_is() {
    let blobs = FaultBlobs::new(OpendalStore::memory().unwrap());
    let world = World::over(Arc::new(blobs.clone())).await;
    collect(&world, &CollectOptions::default()).await;
    let mut swept = 0;
    for at in 0..12 {
        pushed_since(&world).await;
        let before = record(&world).await.value.unwrap().current;
        let call = blobs.calls() + at;
        blobs.fail(BlobFault { call, when: When::Before, how: How::Full, lasting: false });
        let collected = world.engine.collect(&CollectOptions::default(), &|_| {}).await;
        blobs.heal();
        assert!(agrees(&world).await);
        if record(&world).await.value.unwrap().current == before
            && let Ok(report) = collected
        {
            assert_eq!((report.refused, report.orphans.count), (false, 1));
            swept += 1;
        }
    }
    assert!(swept > 0, "the put of the next epoch is among the calls");
}
