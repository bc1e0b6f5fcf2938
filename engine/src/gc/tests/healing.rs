//! Scrub finds what rotted, a push heals it; adoption gives a restored database its bytes back.

use std::sync::Arc;

use bytes::Bytes;

use super::{ACME, blob, collect, collect_all, used};
use crate::Error;
use crate::access::Action;
use crate::change::{Change, Seen};
use crate::content::fault::{BlobFault, FaultBlobs, How, When};
use crate::content::opendal::OpendalStore;
use crate::content::{BlobStore, ObjectKey};
use crate::digest::Digest;
use crate::gc::{AdoptOptions, FsckOptions, ScrubOptions, ScrubReport, Subset};
use crate::id::SessionId;
use crate::keys;
use crate::records::{BlobRecord, BlobState};
use crate::tests::support::{World, image, sha256};

async fn scrub(world: &World, options: &ScrubOptions) -> ScrubReport {
    world.engine.scrub(options, &|_| {}).await.unwrap()
}

async fn object(world: &World, digest: &Digest) -> ObjectKey {
    blob(world, digest).await.unwrap().object(ACME, digest)
}

async fn is_clean(world: &World) {
    let report = world.engine.fsck(&FsckOptions::default().deep(), &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_flipped_bit_is_quarantined_and_a_push_heals_it() {
    let world = World::new().await;
    world.push_image("api", b"a layer", "v1").await;
    let digest = sha256(b"a layer");
    let before = used(&world).await;
    let key = object(&world, &digest).await;
    world.engine.core.blobs.put(&key, Bytes::from_static(b"a laxer")).await.unwrap();
    let report = scrub(&world, &ScrubOptions::default()).await;
    assert_eq!(report.good.count, 2, "the config and the manifest");
    assert!(matches!(report.rotten.as_slice(), [one] if one.digest == digest && one.quarantined));
    let repository = world.open("api", Action::Pull).await.unwrap();
    assert!(matches!(repository.stat_blob(&digest).await, Err(Error::BlobUnknown { .. })));
    let again = scrub(&world, &ScrubOptions::default()).await;
    assert_eq!((again.rotten.len(), again.quarantined.count), (0, 1));
    world.push_blob("api", b"a layer").await;
    assert_eq!(repository.stat_blob(&digest).await.unwrap().size, 7);
    assert_eq!(used(&world).await, before);
    collect_all(&world).await;
    assert!(scrub(&world, &ScrubOptions::default()).await.rotten.is_empty());
    is_clean(&world).await;
}

#[tokio::test]
async fn a_missing_and_a_short_object_are_quarantined() {
    let world = World::new().await;
    let missing = world.push_blob("api", b"missing").await;
    let short = world.push_blob("api", b"short").await;
    let blobs = &world.engine.core.blobs;
    blobs.delete(&object(&world, &missing).await).await.unwrap();
    blobs.put(&object(&world, &short).await, Bytes::from_static(b"sho")).await.unwrap();
    assert_eq!(scrub(&world, &ScrubOptions::default()).await.rotten.len(), 2);
    for digest in [missing, short] {
        let state = blob(&world, &digest).await.unwrap().state;
        assert!(matches!(state, BlobState::Quarantined { .. }), "{state:?}");
    }
}

#[tokio::test]
async fn content_that_is_missing_while_others_are_found_is_quarantined() {
    let world = World::new().await;
    let mut digests = Vec::new();
    for n in 0..8_u8 {
        digests.push(world.push_blob("api", &[n]).await);
    }
    // The first and the last of the walk, and one between.
    digests.sort_by_key(Digest::to_bytes);
    for at in [0, 4, 7] {
        let key = object(&world, &digests[at]).await;
        world.engine.core.blobs.delete(&key).await.unwrap();
    }
    let report = scrub(&world, &ScrubOptions::default()).await;
    assert_eq!((report.wrong, report.good.count), (3, 5));
    assert!(report.rotten.iter().all(|rotten| rotten.quarantined));
}

#[tokio::test]
async fn rotten_content_that_nobody_links_goes() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"rotten").await;
    let key = object(&world, &digest).await;
    world.engine.core.blobs.put(&key, Bytes::from_static(b"rotton")).await.unwrap();
    assert_eq!(scrub(&world, &ScrubOptions::default()).await.rotten.len(), 1);
    collect_all(&world).await;
    assert!(blob(&world, &digest).await.is_none());
    assert_eq!(used(&world).await, 0);
}

#[tokio::test]
async fn the_shares_of_a_scrub_together_read_everything_once() {
    let world = World::new().await;
    for n in 0..40_u8 {
        world.push_blob("api", &[n]).await;
    }
    let mut read = 0;
    for n in 1..=3 {
        let subset = Subset::new(n, 3);
        let options = ScrubOptions { subset, ..ScrubOptions::default() };
        let share = scrub(&world, &options).await.good.count;
        assert!(share > 0 && share < 40);
        read += share;
    }
    assert_eq!(read, 40);
    assert_eq!((Subset::new(0, 3), Subset::new(4, 3), Subset::new(1, 0)), (None, None, None));
}

#[tokio::test]
async fn a_lost_content_row_is_adopted_from_its_object() {
    let world = World::new().await;
    world.push_image("api", b"a layer", "v1").await;
    let digest = sha256(b"a layer");
    let core = &world.engine.core;
    let seen: Seen<BlobRecord> = core.read(keys::blob(ACME, &digest)).await.unwrap();
    let mut change = Change::new(core);
    change.remove(&seen);
    change.use_bytes(ACME, -7, None);
    change.commit().await.unwrap();
    let dry = world.engine.adopt(&AdoptOptions::default().dry_run(), &|_| {}).await.unwrap();
    assert_eq!(dry.adopted.count, 1);
    assert!(blob(&world, &digest).await.is_none());
    let report = world.engine.adopt(&AdoptOptions::default(), &|_| {}).await.unwrap();
    assert_eq!((report.adopted.bytes, report.named.count), (7, 1));
    is_clean(&world).await;
    let again = world.engine.adopt(&AdoptOptions::default(), &|_| {}).await.unwrap();
    assert_eq!((again.adopted.count, again.named.count), (0, 2));
}

#[tokio::test]
async fn a_row_of_an_older_generation_is_given_the_newer_object() {
    let world = World::new().await;
    world.push_image("api", b"a layer", "v1").await;
    let digest = sha256(b"a layer");
    let core = &world.engine.core;
    let newer = keys::object::settled(ACME, &digest, SessionId([7; 16]));
    let wrong = keys::object::settled(ACME, &digest, SessionId([6; 16]));
    core.blobs.delete(&object(&world, &digest).await).await.unwrap();
    core.blobs.put(&newer, Bytes::from_static(b"a layer")).await.unwrap();
    core.blobs.put(&wrong, Bytes::from_static(b"a laxer")).await.unwrap();
    let lost = keys::object::settled(ACME, &sha256(b"lost"), SessionId([5; 16]));
    core.blobs.put(&lost, Bytes::from_static(b"lost")).await.unwrap();
    let report = world.engine.adopt(&AdoptOptions::default(), &|_| {}).await.unwrap();
    assert_eq!((report.adopted.count, report.wrong.count, report.unlinked.count), (1, 1, 1));
    is_clean(&world).await;
    world.clock.advance(super::DAY);
    assert_eq!(collect(&world).await.orphans.count, 2);
    is_clean(&world).await;
}

#[tokio::test]
async fn a_store_that_fails_or_is_not_there_makes_nothing_rotten() {
    let blobs = FaultBlobs::new(OpendalStore::memory().unwrap());
    let world = World::over(Arc::new(blobs.clone())).await;
    for n in 0..80_u8 {
        world.push_blob("api", &[n]).await;
    }
    let how = How::Failed { temporary: false };
    blobs.fail(BlobFault { call: blobs.calls(), when: When::Before, how, lasting: true });
    let report = scrub(&world, &ScrubOptions::default()).await;
    assert_eq!((report.wrong, report.unread.count), (0, 80));
    blobs.heal();
    // Somebody unmounts the disk: all is missing.
    let entries = world.engine.core.blobs.list("", None, 100).await.unwrap();
    let away = blobs.inner();
    for entry in &entries {
        away.delete(&entry.key).await.unwrap();
    }
    let stopped = world.engine.scrub(&ScrubOptions::default(), &|_| {}).await;
    assert!(matches!(stopped, Err(Error::Unavailable(_))), "{stopped:?}");
    let options = ScrubOptions { missing_in_a_row: Some(100), ..ScrubOptions::default() };
    let told = scrub(&world, &options).await;
    assert_eq!((told.wrong, told.quarantined.count), (80, 0));
    assert!(told.rotten.iter().all(|rotten| !rotten.quarantined));
    for n in 0..80_u8 {
        let state = blob(&world, &sha256(&[n])).await.unwrap().state;
        assert_eq!(state, BlobState::Live, "{n}");
    }
}

#[tokio::test]
async fn one_object_that_can_not_be_read_ends_neither_fsck_nor_adopt() {
    let blobs = FaultBlobs::new(OpendalStore::memory().unwrap());
    let world = World::over(Arc::new(blobs.clone())).await;
    world.push_image("api", b"a layer", "v1").await;
    world.push_image("api", b"b layer", "v2").await;
    // The row of one is lost, so that adoption wants to read its object.
    let lost = sha256(b"a layer");
    let core = &world.engine.core;
    let seen: Seen<BlobRecord> = core.read(keys::blob(ACME, &lost)).await.unwrap();
    let mut change = Change::new(core);
    change.remove(&seen);
    change.use_bytes(ACME, -7, None);
    change.commit().await.unwrap();
    blobs.fail_reads(true);
    let deep = FsckOptions::default().deep();
    let report = world.engine.fsck(&deep, &|_| {}).await.unwrap();
    let unread = report.findings.iter().filter(|one| one.what.contains("can't be read")).count();
    assert_eq!(unread, 2, "{:?}", report.findings);
    assert_eq!(report.counts.objects.count, 3);
    let adopted = world.engine.adopt(&AdoptOptions::default(), &|_| {}).await.unwrap();
    assert_eq!((adopted.unread.count, adopted.named.count, adopted.wrong.count), (1, 2, 0));
    blobs.fail_reads(false);
    let adopted = world.engine.adopt(&AdoptOptions::default(), &|_| {}).await.unwrap();
    assert_eq!(adopted.adopted.count, 1);
    is_clean(&world).await;
}

#[tokio::test]
async fn a_large_manifest_that_is_quarantined_is_not_served_from_memory() {
    let world = World::new().await;
    let config = world.push_blob("api", b"{}").await;
    let layer = world.push_blob("api", b"a layer").await;
    let large = format!("{}{}", image(&config, 2, &layer, 7), " ".repeat(4096));
    let digest = world.push_manifest("api", &large, &["v1"]).await.unwrap();
    let by_digest = digest.to_string();
    for reference in ["v1", &by_digest] {
        assert_eq!(world.digest_of("api", reference).await.unwrap(), digest);
    }
    let key = object(&world, &digest).await;
    world.engine.core.blobs.put(&key, Bytes::from(vec![b' '; large.len()])).await.unwrap();
    let report = scrub(&world, &ScrubOptions::default()).await;
    assert_eq!(report.wrong, 1);
    for reference in ["v1", &by_digest] {
        let gone = world.digest_of("api", reference).await;
        assert!(matches!(gone, Err(Error::ManifestUnknown { .. })), "{gone:?}");
    }
    world.push_manifest("api", &large, &[]).await.unwrap();
    assert_eq!(world.digest_of("api", "v1").await.unwrap(), digest);
}
