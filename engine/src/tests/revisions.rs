//! What tells that something derived from a repository is old, and tags that are changed only from
//! what they were.

use super::support::{World, body, image, sha256};
use crate::access::Action;
use crate::digest::Digest;
use crate::name::Tag;
use crate::{Error, ManifestPush, Revision};

async fn revision(world: &World) -> Revision {
    world.open("api", Action::Pull).await.unwrap().revision().await.unwrap()
}

fn image_push(layer: &[u8], tag: &str) -> ManifestPush {
    let manifest = image(&sha256(b"{}"), 2, &sha256(layer), layer.len());
    ManifestPush {
        bytes: manifest.into(),
        content_type: None,
        digest: None,
        tags: vec![tag.parse::<Tag>().unwrap()],
    }
}

async fn over(world: &World, layer: &[u8], before: Option<Digest>) -> Result<Digest, Error> {
    world.push_blob("api", b"{}").await;
    world.push_blob("api", layer).await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let pushed = repository.push_manifest_over(&image_push(layer, "v1"), before).await;
    pushed.map(|pushed| pushed.digest)
}

#[tokio::test]
async fn every_change_of_tags_and_manifests_is_another_revision_and_a_read_is_none() {
    let world = World::new().await;
    let mut seen = vec![revision(&world).await];
    let first = world.push_image("api", b"one", "v1").await;
    seen.push(revision(&world).await);
    world.digest_of("api", "v1").await.unwrap();
    assert_eq!(seen.last(), Some(&revision(&world).await));
    let second = world.push_image("api", b"two", "v1").await;
    seen.push(revision(&world).await);
    let repository = world.open("api", Action::Delete).await.unwrap();
    repository.delete_manifest(&first).await.unwrap();
    seen.push(revision(&world).await);
    repository.delete_tag(&"v1".parse().unwrap()).await.unwrap();
    seen.push(revision(&world).await);
    repository.delete_manifest(&second).await.unwrap();
    seen.push(revision(&world).await);
    let mut distinct = seen.clone();
    distinct.dedup();
    assert_eq!(distinct, seen, "each step has its own");
}

#[tokio::test]
async fn a_tag_is_changed_only_from_what_it_was_and_the_old_state_goes_with_it() {
    let world = World::new().await;
    let one = over(&world, b"one", None).await.unwrap();
    let late = over(&world, b"two", None).await.unwrap_err();
    assert!(matches!(late, Error::TagMoved { found: Some(found), .. } if found == one), "{late}");
    let two = over(&world, b"two", Some(one)).await.unwrap();
    assert_eq!(world.digest_of("api", "v1").await.unwrap(), two);
    let gone = world.digest_of("api", &one.to_string()).await.unwrap_err();
    assert!(matches!(gone, Error::ManifestUnknown { .. }), "{gone}");
    // Another tag keeps it.
    let repository = world.open("api", Action::Push).await.unwrap();
    repository.push_manifest(&image_push(b"two", "kept")).await.unwrap();
    over(&world, b"three", Some(two)).await.unwrap();
    assert_eq!(world.digest_of("api", "kept").await.unwrap(), two);
    let moved = over(&world, b"one", Some(two)).await.unwrap_err();
    assert!(matches!(moved, Error::TagMoved { .. }), "{moved}");
}

#[tokio::test]
async fn a_listing_has_the_repositories_of_its_registry_in_pages() {
    let world = World::new().await;
    for name in ["b", "a", "c/d"] {
        world.push_image(name, b"layer", "v1").await;
    }
    let (acme, main) = ("acme".parse().unwrap(), "main".parse().unwrap());
    let listing = world.engine.listing(&world.caller, &acme, &main).await.unwrap();
    let first = listing.page(None, 2).await.unwrap();
    let rest = listing.page(first.next.as_deref(), 2).await.unwrap();
    let names: Vec<_> =
        first.items.iter().chain(&rest.items).map(|one| one.name.as_str()).collect();
    assert_eq!((names, rest.next), (vec!["a", "b", "c/d"], None));
    let one = first.items.first().unwrap();
    assert!(!listing.holds(one.id, "application/x").await.unwrap());
    let config = "application/vnd.oci.image.config.v1+json";
    assert!(listing.holds(one.id, config).await.unwrap(), "an image's type is its config's");
    let before = one.revision;
    let repository = world.open("a", Action::Push).await.unwrap();
    repository.push_blob(&sha256(b"more"), None, body(b"more")).await.unwrap();
    world.push_image("a", b"more", "v2").await;
    let after = listing.page(None, 1).await.unwrap();
    assert_ne!(after.items.first().unwrap().revision, before);
}
