//! Somebody wants the content while the collector is between two of its steps.

use super::{ACME, DAY, blob, collect, collect_all, objects, used};
use crate::access::Action;
use crate::change::{Change, Seen};
use crate::digest::Digest;
use crate::gc::CollectReport;
use crate::gc::content::Content;
use crate::graph::{Closely, Unlinked, unlink};
use crate::id::{RegistryId, RepositoryId};
use crate::keys;
use crate::records::{BlobRecord, BlobState, LinkRecord, NameRecord};
use crate::tests::support::{World, image};

async fn home(world: &World, name: &str) -> RepositoryId {
    let key = keys::repository_name(ACME, RegistryId(2), name);
    match world.engine.core.read::<NameRecord>(key).await.unwrap().value {
        Some(NameRecord::Live(id)) => RepositoryId(id),
        other => panic!("{other:?}"),
    }
}

async fn condemned_link(world: &World, digest: &Digest) -> Seen<LinkRecord> {
    let core = &world.engine.core;
    let id = home(world, "api").await;
    let seen = core.read(keys::link(ACME, digest, id)).await.unwrap();
    match unlink(core, ACME, id, digest, &seen, Closely::Number).await.unwrap() {
        Unlinked::Condemned(link) => link,
        other => panic!("{other:?}"),
    }
}

async fn removal_is_lost(world: &World, link: &Seen<LinkRecord>) {
    let mut change = Change::new(&world.engine.core);
    change.remove(link);
    assert!(change.commit().await.is_err());
}

async fn readable(world: &World, digest: &Digest) -> bool {
    let repository = world.open("api", Action::Pull).await.unwrap();
    match repository.blob(digest).await {
        Ok(blob) => blob.read(0..blob.info().size).await.is_ok(),
        Err(_) => false,
    }
}

/// Content that nobody links any more, and the collector's hand on it.
async fn unlinked<'a>(world: &'a World, digest: &Digest) -> Content<'a> {
    let link = condemned_link(world, digest).await;
    let mut change = Change::new(&world.engine.core);
    change.remove(&link);
    change.commit().await.unwrap();
    Content { core: &world.engine.core, organisation: ACME, digest: *digest }
}

#[tokio::test]
async fn a_head_between_condemning_and_removing_a_link_wins() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"wanted").await;
    world.clock.advance(DAY);
    let link = condemned_link(&world, &digest).await;
    world.open("api", Action::Pull).await.unwrap().stat_blob(&digest).await.unwrap();
    removal_is_lost(&world, &link).await;
    collect(&world).await;
    assert!(readable(&world, &digest).await);
}

#[tokio::test]
async fn a_manifest_between_condemning_and_removing_a_link_wins() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"wanted").await;
    let config = world.push_blob("api", b"{}").await;
    world.clock.advance(DAY);
    let link = condemned_link(&world, &digest).await;
    world.push_manifest("api", &image(&config, 2, &digest, 6), &["v1"]).await.unwrap();
    removal_is_lost(&world, &link).await;
    collect_all(&world).await;
    assert!(readable(&world, &digest).await);
}

#[tokio::test]
async fn a_push_between_condemning_content_and_the_second_look_wins() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"wanted").await;
    let content = unlinked(&world, &digest).await;
    let condemned = content.condemn(&content.read().await.unwrap()).await.unwrap().unwrap();
    world.push_blob("api", b"wanted").await;
    assert!(!content.decide(&condemned, world.engine.core.now().await.unwrap()).await.unwrap());
    assert_eq!(blob(&world, &digest).await.unwrap().state, BlobState::Live);
    assert!(readable(&world, &digest).await);
}

#[tokio::test]
async fn a_push_of_what_is_being_deleted_makes_a_new_generation_that_stays() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"wanted").await;
    let content = unlinked(&world, &digest).await;
    let now = world.engine.core.now().await.unwrap();
    let condemned = content.condemn(&content.read().await.unwrap()).await.unwrap().unwrap();
    assert!(content.decide(&condemned, now).await.unwrap());
    let deleting: Seen<BlobRecord> = content.read().await.unwrap();
    let old = deleting.value.as_ref().unwrap().generation;
    world.push_blob("api", b"wanted").await;
    assert_ne!(blob(&world, &digest).await.unwrap().generation, old);
    // A collector that read the row before the push deletes the object it read of.
    let mut stale = CollectReport::default();
    content.delete(&deleting, now, &mut stale).await.unwrap();
    assert_eq!(stale.deleted.count, 0);
    assert!(readable(&world, &digest).await);
    assert_eq!(used(&world).await, 6);
    world.open("api", Action::Pull).await.unwrap().stat_blob(&digest).await.unwrap();
    collect(&world).await;
    assert!(readable(&world, &digest).await);
}

#[tokio::test]
async fn the_generation_before_a_push_anew_goes_once_the_delay_is_over() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"wanted").await;
    let content = unlinked(&world, &digest).await;
    collect(&world).await;
    assert!(matches!(blob(&world, &digest).await.unwrap().state, BlobState::Deleting { .. }));
    world.push_blob("api", b"wanted").await;
    assert_eq!(collect(&world).await.orphans.count, 0);
    assert_eq!(objects(&world).await, 2);
    world.clock.advance(DAY / 2);
    assert_eq!(collect(&world).await.orphans.count, 1);
    assert!(readable(&world, &content.digest).await);
}

#[tokio::test]
async fn a_deletion_that_broke_off_is_made_undone() {
    let world = World::new().await;
    let manifest = world.push_image("api", b"a layer", "v1").await;
    condemned_link(&world, &manifest).await;
    collect(&world).await;
    let key = keys::link(ACME, &manifest, home(&world, "api").await);
    let link: Seen<LinkRecord> = world.engine.core.read(key).await.unwrap();
    assert_eq!(link.value.unwrap().state, crate::records::LinkState::Live);
}

#[tokio::test]
async fn content_in_flight_is_moved_under_its_digest() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"flying").await;
    let core = &world.engine.core;
    let seen: Seen<BlobRecord> = core.read(keys::blob(ACME, &digest)).await.unwrap();
    let record = seen.value.clone().unwrap();
    let flying = keys::object::in_flight(ACME, record.generation);
    let settled = keys::object::settled(ACME, &digest, record.generation);
    core.blobs.settle(&settled, &flying).await.unwrap();
    core.blobs.delete(&settled).await.unwrap();
    let mut change = Change::new(core);
    change.replace(&seen, &BlobRecord { settled: false, ..record });
    change.commit().await.unwrap();
    let report = collect(&world).await;
    assert_eq!((report.settled.count, report.orphans.count), (1, 0));
    assert!(readable(&world, &digest).await);
    world.clock.advance(DAY / 2);
    assert_eq!(collect(&world).await.orphans.count, 1);
    assert!(readable(&world, &digest).await);
}

#[tokio::test]
async fn two_collections_at_once_do_no_harm() {
    let world = World::new().await;
    for n in 0..20_u8 {
        world.push_blob("api", &[n]).await;
    }
    world.push_image("api", b"a layer", "v1").await;
    for _ in 0..2 {
        world.clock.advance(DAY);
        tokio::join!(collect(&world), collect(&world));
    }
    // The config, the layer, and the copy of the manifest.
    assert_eq!(objects(&world).await, 3);
    let held: i64 = i64::try_from(b"a layer{}".len()).unwrap();
    assert!(used(&world).await > held);
}
