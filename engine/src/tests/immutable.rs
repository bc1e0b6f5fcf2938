//! Immutable tags: set once, and then neither moved nor removed.

use std::sync::Arc;

use super::support::World;
use crate::Error;
use crate::access::Action;

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
