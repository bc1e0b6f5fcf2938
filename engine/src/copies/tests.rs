//! Copies are made behind pushes, found and removed by collections, and give manifests back.

use std::sync::Arc;

use bytes::Bytes;

use super::batch::{Batch, Manifest};
use super::copy_waiting;
use crate::access::{Action, Caller};
use crate::change::Seen;
use crate::content::fault::{BlobFault, FaultBlobs, How, When};
use crate::content::opendal::OpendalStore;
use crate::digest::Digest;
use crate::gc::{
    AdoptOptions, AdoptReport, CollectOptions, CollectReport, FsckCounts, FsckOptions, ScrubOptions,
};
use crate::id::{OrganisationId, SessionId};
use crate::keys;
use crate::meta::{Commit, CommitId, Key};
use crate::records::{Body, CopyRecord, LinkRecord, ManifestRecord, NameRecord, Record};
use crate::tests::support::{World, image};

const ACME: OrganisationId = OrganisationId(1);
const DAY: std::time::Duration = std::time::Duration::from_hours(25);

async fn collect(world: &World) -> CollectReport {
    world.engine.collect(&CollectOptions::default(), &|_| {}).await.unwrap()
}

async fn clean(world: &World) -> FsckCounts {
    let report = world.engine.fsck(&FsckOptions::default().deep(), &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    report.counts
}

async fn adopt(world: &World) -> AdoptReport {
    world.engine.adopt(&AdoptOptions::default(), &|_| {}).await.unwrap()
}

async fn copy_of(world: &World, digest: &Digest) -> Option<CopyRecord> {
    world.engine.core.read(keys::copy(ACME, digest)).await.unwrap().value
}

async fn objects(world: &World) -> usize {
    let listed = world.engine.core.blobs.list("", None, 1000).await.unwrap();
    // But for what says the epoch.
    listed.iter().filter(|entry| keys::object::parse_epoch(&entry.key).is_none()).count()
}

/// Writes a row as nobody would.
async fn write(world: &World, key: Key, value: Option<Bytes>) {
    let core = &world.engine.core;
    let mut commit = Commit::new(CommitId(core.seams.random_16()));
    match value {
        Some(value) => commit.put.push((key, value)),
        None => commit.delete.push(key),
    }
    core.meta.commit(commit).await.unwrap();
}

/// The row of a manifest of `acme/main/api`.
async fn manifest_key(world: &World, digest: &Digest) -> Key {
    let core = &world.engine.core;
    let name = keys::repository_name(ACME, crate::id::RegistryId(2), "api");
    let Some(NameRecord::Live(id)) = core.read(name).await.unwrap().value else { panic!() };
    let id = crate::id::RepositoryId(id);
    let link: Seen<LinkRecord> = core.read(keys::link(ACME, digest, id)).await.unwrap();
    keys::manifest(ACME, id, link.value.unwrap().number)
}

#[tokio::test]
async fn a_push_waits_for_no_copy_and_one_is_made_behind_it() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    let used = world.used_bytes().await;
    assert_eq!(objects(&world).await, 2, "the config and the layer");
    let counts = clean(&world).await;
    assert_eq!((counts.uncopied_manifests.count, counts.copies.count), (1, 0));

    world.engine.flush().await.unwrap();
    let counts = clean(&world).await;
    assert_eq!((counts.uncopied_manifests.count, counts.copies.count), (0, 1));
    assert_eq!(world.used_bytes().await, used, "a copy costs nobody anything");
    let object = copy_of(&world, &digest).await.unwrap().object(ACME, &digest);
    let read = world.engine.core.blobs.stat(&object).await.unwrap();
    assert_eq!(read, Some(counts.inline_manifests.bytes));
}

#[tokio::test]
async fn repositories_share_a_copy_and_the_last_one_takes_it_along() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    world.push_image("web", b"a layer", "v1").await;
    world.engine.flush().await.unwrap();
    assert_eq!(clean(&world).await.copies.count, 1);
    let first = copy_of(&world, &digest).await;
    for (repository, left) in [("api", true), ("web", false)] {
        let repository = world.open(repository, Action::Delete).await.unwrap();
        repository.delete_manifest(&digest).await.unwrap();
        let report = collect(&world).await;
        assert_eq!(report.uncopied.count, u64::from(!left));
        assert_eq!(copy_of(&world, &digest).await.is_some(), left);
    }
    assert!(first.is_some());
    assert_eq!(objects(&world).await, 2);
}

#[tokio::test]
async fn what_a_kill_forgot_the_next_collection_copies() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    drop(world.engine.core.copies.take());
    world.engine.flush().await.unwrap();
    assert_eq!(copy_of(&world, &digest).await, None);
    let dry = CollectOptions::default().dry_run();
    let told = world.engine.collect(&dry, &|_| {}).await.unwrap();
    assert_eq!((told.copied.count, copy_of(&world, &digest).await), (1, None));
    assert_eq!(collect(&world).await.copied.count, 1);
    assert_eq!(collect(&world).await.copied.count, 0);
    assert_eq!(clean(&world).await.uncopied_manifests.count, 0);
}

#[tokio::test]
async fn a_walk_over_many_pages_copies_and_keeps_them_all() {
    let world = World::new().await;
    let config = world.push_blob("api", b"{}").await;
    for n in 0..700_u32 {
        let layer = world.push_blob("api", &n.to_be_bytes()).await;
        world.push_manifest("api", &image(&config, 2, &layer, 4), &[]).await.unwrap();
    }
    drop(world.engine.core.copies.take());
    assert_eq!(collect(&world).await.copied.count, 700);
    let again = collect(&world).await;
    assert_eq!((again.copied.count, again.uncopied.count), (0, 0));
    assert_eq!(clean(&world).await.copies.count, 700);
}

#[tokio::test]
async fn a_budget_ends_the_walk_over_copies_too_and_the_next_run_goes_on_there() {
    let world = World::new().await;
    let config = world.push_blob("api", b"{}").await;
    for n in 0..1_200_u32 {
        let layer = world.push_blob("api", &n.to_be_bytes()).await;
        world.push_manifest("api", &image(&config, 2, &layer, 4), &[]).await.unwrap();
    }
    drop(world.engine.core.copies.take());
    let options = CollectOptions { budget: Some(1), ..CollectOptions::default() };
    let mut copied = Vec::new();
    while copied.iter().sum::<u64>() < 1200 {
        let report = world.engine.collect(&options, &|_| {}).await.unwrap();
        // A page, after what was left of the walk before it.
        assert!(report.looked_at < 2000, "{report:?}");
        copied.push(report.copied.count);
        assert!(copied.len() < 20, "{copied:?}");
    }
    let some = copied.iter().filter(|count| **count > 0).count();
    assert!(some >= 3, "no run made them all: {copied:?}");
    assert_eq!(copied.iter().sum::<u64>(), 1200);
    assert_eq!(clean(&world).await.copies.count, 1200);
}

#[tokio::test]
async fn an_intent_keeps_its_object_and_is_begun_anew_after_a_kill() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    let core = &world.engine.core;
    let generation = SessionId([7; 16]);
    let at = core.now().await.unwrap();
    let left = CopyRecord { size: 1, generation, stored: false, at };
    write(&world, keys::copy(ACME, &digest), Some(left.encode())).await;
    core.blobs.put(&left.object(ACME, &digest), Bytes::from_static(b"{")).await.unwrap();
    let report = collect(&world).await;
    assert_eq!((report.copied.count, report.orphans.count), (0, 0), "somebody is at it");
    world.clock.advance(core.settings.delete_delay);
    let report = collect(&world).await;
    assert_eq!((report.copied.count, report.orphans.count), (1, 1));
    assert_eq!(objects(&world).await, 3);
    clean(&world).await;
}

#[tokio::test]
async fn a_copy_that_comes_too_late_takes_its_object_away() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    let core = &world.engine.core;
    let small = |bytes: &'static [u8]| vec![Manifest { digest, bytes: Bytes::from_static(bytes) }];
    let late = Batch::begin(core, ACME, small(b"late")).await.unwrap();
    world.clock.advance(core.settings.delete_delay);
    assert_eq!(collect(&world).await.copied.count, 1);
    assert_eq!(late.store().await.unwrap().made.count, 0);
    assert_eq!(objects(&world).await, 3);
    clean(&world).await;
}

#[tokio::test]
async fn what_the_store_refuses_is_tried_again_and_fails_no_push() {
    let blobs = FaultBlobs::new(OpendalStore::memory().unwrap());
    let world = World::over(Arc::new(blobs.clone())).await;
    let config = world.push_blob("api", b"{}").await;
    let layer = world.push_blob("api", b"a layer").await;
    let (call, when) = (blobs.calls(), When::Before);
    let how = How::Failed { temporary: true };
    blobs.fail(BlobFault { call, when, how, lasting: true });
    let manifest = image(&config, 2, &layer, 7);
    let digest = world.push_manifest("api", &manifest, &["v1"]).await.unwrap();
    assert!(copy_waiting(&world.engine.core).await.is_err());
    world.engine.flush().await.unwrap();
    assert_eq!(copy_of(&world, &digest).await, None, "no intent is left");
    blobs.heal();
    copy_waiting(&world.engine.core).await.unwrap();
    assert!(copy_of(&world, &digest).await.unwrap().stored);
    clean(&world).await;
}

#[tokio::test]
async fn a_lost_or_damaged_manifest_is_rebuilt_from_its_copy() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    world.engine.flush().await.unwrap();
    let key = manifest_key(&world, &digest).await;
    let core = &world.engine.core;
    let whole = core.meta.get(&key).await.unwrap().unwrap();
    let mut other = ManifestRecord::decode(&whole).unwrap();
    other.body = Body::Inline(b"{}".to_vec());
    for damage in [None, Some(Bytes::from_static(b"?")), Some(other.encode())] {
        write(&world, key.clone(), damage.clone()).await;
        let found = world.engine.fsck(&FsckOptions::default(), &|_| {}).await.unwrap();
        assert!(!found.is_clean());
        let dry = world.engine.adopt(&AdoptOptions::default().dry_run(), &|_| {}).await.unwrap();
        assert_eq!(dry.rebuilt.count, 1);
        assert_eq!(core.meta.get(&key).await.unwrap(), damage);
        assert_eq!(adopt(&world).await.rebuilt.count, 1);
        clean(&world).await;
        assert_eq!(world.digest_of("api", "v1").await.unwrap(), digest);
        let rebuilt = ManifestRecord::decode(&core.meta.get(&key).await.unwrap().unwrap()).unwrap();
        let whole = ManifestRecord::decode(&whole).unwrap();
        assert_eq!((rebuilt.body, rebuilt.children), (whole.body, whole.children));
    }
    assert_eq!(adopt(&world).await.rebuilt.count, 0);
}

#[tokio::test]
async fn a_lost_manifest_without_a_copy_is_told() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    let key = manifest_key(&world, &digest).await;
    write(&world, key, None).await;
    let report = adopt(&world).await;
    assert_eq!((report.rebuilt.count, report.lost.count), (0, 1));
}

#[tokio::test]
async fn a_copy_that_is_gone_or_rotten_is_found_and_made_anew() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    world.engine.flush().await.unwrap();
    let core = &world.engine.core;
    let copy = copy_of(&world, &digest).await.unwrap();
    let object = copy.object(ACME, &digest);
    let rotten = vec![b'x'; usize::try_from(copy.size).unwrap()];
    core.blobs.put(&object, rotten.into()).await.unwrap();
    let found = world.engine.fsck(&FsckOptions::default().deep(), &|_| {}).await.unwrap();
    assert_eq!(found.wrong, 1, "{:?}", found.findings);
    let report = world.engine.scrub(&ScrubOptions::default(), &|_| {}).await.unwrap();
    assert!(matches!(report.rotten.as_slice(), [one] if one.digest == digest && !one.quarantined));
    let collected = collect(&world).await;
    assert_eq!((collected.copied.count, collected.orphans.count), (1, 1));
    clean(&world).await;

    let object = copy_of(&world, &digest).await.unwrap().object(ACME, &digest);
    core.blobs.delete(&object).await.unwrap();
    assert_eq!(adopt(&world).await.forgotten.count, 1);
    assert_eq!(collect(&world).await.copied.count, 1);
    clean(&world).await;
    assert_eq!(world.digest_of("api", "v1").await.unwrap(), digest);
}

#[tokio::test]
async fn a_deleted_organisation_leaves_no_copies() {
    let world = World::new().await;
    world.push_image("api", b"a layer", "v1").await;
    world.engine.flush().await.unwrap();
    let operator = Caller { operator: true, ..world.caller.clone() };
    let acme = "acme".parse().unwrap();
    world.engine.delete_organisation(&operator, &acme, true).await.unwrap();
    collect(&world).await;
    world.clock.advance(DAY);
    collect(&world).await;
    assert_eq!(objects(&world).await, 0);
    let copies = crate::meta::prefix_range(&keys::all_copies());
    assert_eq!(world.engine.core.meta.scan(copies, 1).await.unwrap(), []);
}

#[tokio::test]
async fn bytes_that_are_not_the_manifests_own_are_never_copied() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    let key = manifest_key(&world, &digest).await;
    let core = &world.engine.core;
    let mut record: ManifestRecord = core.read(key.clone()).await.unwrap().value.unwrap();
    record.body = Body::Inline(b"{}".to_vec());
    write(&world, key, Some(record.encode())).await;
    world.engine.flush().await.unwrap();
    assert_eq!(collect(&world).await.copied.count, 0);
    assert_eq!(copy_of(&world, &digest).await, None);
}
