//! Links that share a number, as two processes can make them in one millisecond (THREATS C21).

use std::time::Duration;

use super::support::{World, image, sha256};
use crate::access::Action;
use crate::change::{Change, Seen};
use crate::digest::Digest;
use crate::gc::{CollectOptions, FsckOptions};
use crate::id::{Number, OrganisationId, RegistryId, RepositoryId};
use crate::records::{LinkRecord, NameRecord};
use crate::{Error, keys};

const ACME: OrganisationId = OrganisationId(1);
/// Past a lease, and past the delay.
const DAY: Duration = Duration::from_hours(25);

async fn link(world: &World, digest: &Digest) -> Seen<LinkRecord> {
    let core = &world.engine.core;
    let name = keys::repository_name(ACME, RegistryId(2), "api");
    let Some(NameRecord::Live(id)) = core.read(name).await.unwrap().value else { panic!() };
    core.read(keys::link(ACME, digest, RepositoryId(id))).await.unwrap()
}

async fn number(world: &World, digest: &Digest) -> Number {
    link(world, digest).await.value.unwrap().number
}

/// Gives a link that nothing names yet the number of another.
async fn collide(world: &World, digest: &Digest, with: &Digest) {
    let number = number(world, with).await;
    let seen = link(world, digest).await;
    let record = LinkRecord { number, ..seen.value.clone().unwrap() };
    let mut change = Change::new(&world.engine.core);
    change.replace(&seen, &record);
    change.commit().await.unwrap();
}

async fn is_sound(world: &World) {
    let report = world.engine.fsck(&FsckOptions::default().deep(), &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

async fn collect_all(world: &World) {
    for _ in 0..3 {
        world.clock.advance(DAY);
        world.engine.collect(&CollectOptions::default(), &|_| {}).await.unwrap();
        is_sound(world).await;
    }
}

async fn has(world: &World, digest: &Digest) -> bool {
    let repository = world.open("api", Action::Pull).await.unwrap();
    repository.stat_blob(digest).await.is_ok()
}

#[tokio::test]
async fn what_names_a_blob_does_not_hold_the_manifest_of_its_number() {
    let world = World::new().await;
    let other = world.push_image("api", b"another layer", "other").await;
    let (config, layer) = (sha256(b"{}"), world.push_blob("api", b"a layer").await);
    collide(&world, &layer, &other).await;
    let image = image(&config, 2, &layer, 7);
    let naming = world.push_manifest("api", &image, &["v1"]).await.unwrap();
    is_sound(&world).await;
    let deleting = world.open("api", Action::Delete).await.unwrap();

    deleting.delete_manifest(&other).await.expect("no manifest names it");

    match deleting.delete_blob(&layer).await {
        Err(Error::InUse { by, .. }) => assert_eq!(by, [naming]),
        told => panic!("{told:?}"),
    }
    collect_all(&world).await;
    assert!(has(&world, &layer).await, "it is named");
    assert!(!has(&world, &sha256(b"another layer")).await);
    world.open("api", Action::Delete).await.unwrap().delete_manifest(&naming).await.unwrap();
    collect_all(&world).await;
    assert!(!has(&world, &layer).await);
}

#[tokio::test]
async fn two_blobs_of_one_number_may_both_become_manifests() {
    let world = World::new().await;
    let (config, layer) =
        (world.push_blob("api", b"{}").await, world.push_blob("api", b"a layer").await);
    let one = image(&config, 2, &layer, 7);
    let two = format!("{one} ");
    let first = world.push_blob("api", one.as_bytes()).await;
    let second = world.push_blob("api", two.as_bytes()).await;
    collide(&world, &second, &first).await;
    // Both are named as blobs, by a manifest each and by one that names both.
    let mut naming = Vec::new();
    for (one, length, two, other) in [
        (&first, one.len(), &config, 2),
        (&second, two.len(), &config, 2),
        (&first, one.len(), &second, two.len()),
    ] {
        let manifest = image(one, length, two, other);
        naming.push(world.push_manifest("api", &manifest, &[]).await.unwrap());
    }
    assert_eq!(number(&world, &first).await, number(&world, &second).await);

    assert_eq!(world.push_manifest("api", &one, &["one"]).await.unwrap(), first);
    assert_eq!(world.push_manifest("api", &two, &["two"]).await.unwrap(), second);

    assert_ne!(number(&world, &first).await, number(&world, &second).await);
    is_sound(&world).await;
    assert_eq!(world.digest_of("api", "one").await.unwrap(), first);
    assert_eq!(world.digest_of("api", "two").await.unwrap(), second);
    let deleting = world.open("api", Action::Delete).await.unwrap();
    for (digest, mut by) in
        [(&first, vec![naming[0], naming[2]]), (&second, vec![naming[1], naming[2]])]
    {
        match deleting.delete_blob(digest).await {
            Err(Error::InUse { by: mut told, .. }) => {
                told.sort_by_key(Digest::to_bytes);
                by.sort_by_key(Digest::to_bytes);
                assert_eq!(told, by);
            }
            told => panic!("{told:?}"),
        }
    }
    for digest in &naming {
        deleting.delete_manifest(digest).await.unwrap();
    }
    for digest in [&first, &second] {
        deleting.delete_manifest(digest).await.unwrap();
    }
    collect_all(&world).await;
    for digest in [first, second, config, layer] {
        assert!(!has(&world, &digest).await);
    }
}

#[tokio::test]
async fn blobs_of_one_number_are_kept_for_what_names_either() {
    let world = World::new().await;
    let (config, layer) =
        (world.push_blob("api", b"{}").await, world.push_blob("api", b"a layer").await);
    let other = world.push_blob("api", b"nothing names it").await;
    collide(&world, &other, &layer).await;
    let manifest = image(&config, 2, &layer, 7);
    let naming = world.push_manifest("api", &manifest, &["v1"]).await.unwrap();
    collect_all(&world).await;
    assert!(has(&world, &layer).await && has(&world, &other).await);
    let deleting = world.open("api", Action::Delete).await.unwrap();
    deleting.delete_blob(&other).await.expect("nobody names it, and somebody asked");
    collect_all(&world).await;
    assert!(has(&world, &layer).await && !has(&world, &other).await);
    deleting.delete_manifest(&naming).await.unwrap();
    collect_all(&world).await;
    assert!(!has(&world, &layer).await);
}
