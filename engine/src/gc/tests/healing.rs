//! Scrub finds what rotted, a push heals it; adoption gives a restored database its bytes back.

use bytes::Bytes;

use super::{ACME, blob, collect, collect_all, used};
use crate::Error;
use crate::access::Action;
use crate::change::{Change, Seen};
use crate::content::ObjectKey;
use crate::digest::Digest;
use crate::gc::{AdoptOptions, FsckOptions, ScrubOptions, ScrubReport, Subset};
use crate::id::SessionId;
use crate::keys;
use crate::records::{BlobRecord, BlobState};
use crate::tests::support::{World, sha256};

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
