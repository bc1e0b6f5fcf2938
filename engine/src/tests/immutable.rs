//! Immutable tags: set once, and then neither moved nor removed.

use std::sync::Arc;

use bytes::Bytes;

use super::support::World;
use crate::access::Action;
use crate::digest::Digest;
use crate::name::Reference;
use crate::{Error, ManifestPush, PushedManifest};

async fn make_immutable(world: &World, patterns: &[&str]) {
    let patterns = patterns.iter().map(|text| text.parse().unwrap()).collect();
    world.set_registry(|record| record.immutable_tags = patterns).await;
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, tag: &str, pattern: &str) {
    match result {
        Err(Error::TagImmutable { tag: t, pattern: p }) => assert_eq!((&*t, &*p), (tag, pattern)),
        other => panic!("{other:?}"),
    }
}

/// Whatever a tag is called, of pushes that race for it one wins and the others are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threat_b7_of_fifty_pushes_to_an_immutable_tag_one_wins() {
    let world = Arc::new(World::new().await);
    make_immutable(&world, &["*"]).await;
    let config = world.push_blob("api", b"{}").await;
    let mut texts = Vec::new();
    for number in 0..50_u32 {
        let layer = world.push_blob("api", &number.to_be_bytes()).await;
        texts.push(super::support::image(&config, 2, &layer, 4));
    }
    for tag in ["latest", "v1", "1.0.0", "main"] {
        let pushes = texts.iter().map(|text| {
            let (world, text) = (Arc::clone(&world), text.clone());
            tokio::spawn(async move { world.push_manifest("api", &text, &[tag]).await })
        });
        let ended = futures::future::join_all(pushes).await;
        let (mut won, mut lost) = (Vec::new(), 0);
        for push in ended {
            match push.unwrap() {
                Ok(digest) => won.push(digest),
                Err(Error::TagImmutable { .. }) => lost += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((won.len(), lost), (1, 49), "{tag}");
        assert_eq!(world.digest_of("api", tag).await.unwrap(), won[0]);
    }
}

#[tokio::test]
async fn an_immutable_tag_neither_moves_nor_goes_and_the_same_push_is_fine() {
    let world = World::new().await;
    let digest = world.push_image("api", b"one", "v1").await;
    world.push_image("api", b"one", "free").await;
    make_immutable(&world, &["nothing", "v[0-9]*"]).await;
    assert_eq!(world.push_image("api", b"one", "v1").await, digest);
    let config = world.push_blob("api", b"{}").await;
    let layer = world.push_blob("api", b"two").await;
    let other = super::support::image(&config, 2, &layer, 3);
    refused(world.push_manifest("api", &other, &["free", "v1"]).await, "v1", "v[0-9]*");
    assert_eq!(world.digest_of("api", "free").await.unwrap(), digest, "all or nothing");
    let repository = world.open("api", Action::Delete).await.unwrap();
    refused(repository.delete_tag(&"v1".parse().unwrap()).await, "v1", "v[0-9]*");
    refused(repository.delete_manifest(&digest).await, "v1", "v[0-9]*");
    repository.delete_tag(&"free".parse().unwrap()).await.unwrap();
    assert_eq!(world.digest_of("api", "v1").await.unwrap(), digest);

    make_immutable(&world, &[]).await;
    let repository = world.open("api", Action::Delete).await.unwrap();
    repository.delete_manifest(&digest).await.unwrap();
}

/// An index of these manifests, of a size each, as a push to `v1`.
fn index(kind: &str, manifests: &[(Digest, usize)]) -> ManifestPush {
    let entry = |(digest, size): &(Digest, usize)| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size}}}"#
        )
    };
    let entries = manifests.iter().map(entry).collect::<Vec<_>>().join(",");
    let bytes = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","artifactType":"{kind}","manifests":[{entries}]}}"#
    );
    let tags = vec!["v1".parse().unwrap()];
    ManifestPush { bytes: Bytes::from(bytes), content_type: None, digest: None, tags }
}

#[tokio::test]
async fn an_immutable_tag_takes_more_of_what_it_has_from_who_keeps_such_a_list() {
    let world = World::new().await;
    let config = world.push_blob("api", b"{}").await;
    let mut parts = Vec::new();
    for layer in [&b"one"[..], b"two", b"three"] {
        let digest = world.push_blob("api", layer).await;
        let text = super::support::image(&config, 2, &digest, layer.len());
        parts.push((world.push_manifest("api", &text, &[]).await.unwrap(), text.len()));
    }
    let [one, two, three] = [parts[0], parts[1], parts[2]];
    make_immutable(&world, &["v*"]).await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let beyond =
        async |push: ManifestPush, before| repository.push_manifest_beyond(&push, before).await;
    let digest = |pushed: PushedManifest| Some(pushed.digest);
    let first = digest(beyond(index("a/list", &[one]), None).await.unwrap());
    let second = digest(beyond(index("a/list", &[two, one]), first).await.unwrap());
    assert_eq!(Some(world.digest_of("api", "v1").await.unwrap()), second);
    let gone = repository.manifest_to_replace(&Reference::Digest(first.unwrap())).await.unwrap();
    assert!(gone.is_none(), "what was only the state before went");

    // Nothing is taken out or replaced, and what is a list stays that one.
    for push in [
        index("a/list", &[two, three]),
        index("a/list", &[one]),
        index("b/list", &[one, two, three]),
    ] {
        refused(beyond(push, second).await, "v1", "v*");
    }
    let more = index("a/list", &[one, two, three]);
    let moved = beyond(more.clone(), first).await;
    assert!(matches!(moved, Err(Error::TagMoved { .. })), "{moved:?}");
    // Whoever does not say that it is one more replaces the tag, whatever is in it.
    refused(repository.push_manifest(&more).await, "v1", "v*");
    refused(repository.push_manifest_over(&more, second).await, "v1", "v*");
    assert_eq!(Some(world.digest_of("api", "v1").await.unwrap()), second);
    let third = digest(beyond(more, second).await.unwrap());
    assert_eq!(Some(world.digest_of("api", "v1").await.unwrap()), third);
    refused(repository.require_mutable(&"v1".parse().unwrap()), "v1", "v*");
    repository.require_mutable(&"w1".parse().unwrap()).unwrap();
}
