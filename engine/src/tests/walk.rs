//! The walks of a push, a pull and a delete.

use futures::TryStreamExt;

use super::support::{World, body, image, sha256};
use crate::access::Action;
use crate::content::ObjectRead;
use crate::{Chunk, Error};

async fn read(read: ObjectRead) -> Vec<u8> {
    match read {
        ObjectRead::Stream(stream) => stream.try_collect::<Vec<_>>().await.unwrap().concat(),
        ObjectRead::File { .. } => panic!("memory has no files"),
    }
}

#[tokio::test]
async fn an_image_is_pulled_as_it_was_pushed() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    assert_eq!(world.digest_of("api", "v1").await.unwrap(), digest);
    let repository = world.open("api", Action::Pull).await.unwrap();
    let blob = repository.blob(&sha256(b"a layer")).await.unwrap();
    assert_eq!(read(blob.read(0..7).await.unwrap()).await, b"a layer");
    assert_eq!(read(blob.read(2..5).await.unwrap()).await, b"lay");
}

#[tokio::test]
async fn the_work_of_a_request_can_move_between_threads() {
    let world = World::new().await;
    let spawned = tokio::spawn(async move {
        let digest = world.push_image("api", b"a layer", "v1").await;
        let repository = world.open("api", Action::Pull).await.unwrap();
        repository.stat_blob(&sha256(b"a layer")).await.unwrap();
        let to = world.open("other", Action::Push).await.unwrap();
        assert!(to.mount(&sha256(b"a layer"), &repository).await.unwrap());
        assert!(to.mount_from_any(&sha256(b"{}")).await.unwrap());
        let repository = world.open("api", Action::Delete).await.unwrap();
        repository.delete_manifest(&digest).await.unwrap();
        repository.delete_blob(&sha256(b"a layer")).await.unwrap();
        world.engine.catalog(&world.caller).page(None, 10).await.unwrap();
    });
    spawned.await.unwrap();
}

#[tokio::test]
async fn a_manifest_that_names_what_is_missing_is_refused_with_all_of_it() {
    let world = World::new().await;
    let manifest = image(&sha256(b"no config"), 9, &sha256(b"no layer"), 8);
    match world.push_manifest("api", &manifest, &["v1"]).await {
        Err(Error::References { missing }) => assert_eq!(missing.len(), 2),
        other => panic!("{other:?}"),
    }
    assert!(matches!(world.digest_of("api", "v1").await, Err(Error::NameUnknown { .. })));
}

#[tokio::test]
async fn an_upload_goes_on_in_chunks_and_says_where_it_stands() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    let chunk = Chunk { at: Some(0), length: Some(5) };
    let upload = repository.append(upload.id, chunk, body(b"hello")).await.unwrap();
    assert_eq!(upload.offset, 5);
    let wrong = Chunk { at: Some(7), length: None };
    match repository.append(upload.id, wrong, body(b"!")).await {
        Err(Error::OutOfOrder { offset: 5, at: 7 }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(repository.append(upload.id, chunk, body(b"hello")).await.unwrap().offset, 5);
    let rest = Chunk { at: Some(5), length: None };
    repository.append(upload.id, rest, body(b" world")).await.unwrap();
    let digest = sha256(b"hello world");
    let info = repository.finish_upload(upload.id, &digest).await.unwrap();
    assert_eq!(info.size, 11);
    assert_eq!(repository.finish_upload(upload.id, &digest).await.unwrap(), info);
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing_behind() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    repository.append(upload.id, Chunk::default(), body(b"hello")).await.unwrap();
    match repository.finish_upload(upload.id, &sha256(b"other")).await {
        Err(Error::DigestMismatch { found, .. }) => assert_eq!(found, sha256(b"hello")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(repository.upload(upload.id).await, Err(Error::UploadUnknown { .. })));
    let objects = world.engine.core.blobs.list("", None, 10).await.unwrap();
    assert!(objects.is_empty(), "{objects:?}");
    let pull = world.open("api", Action::Pull).await.unwrap();
    assert!(matches!(pull.blob(&sha256(b"hello")).await, Err(Error::BlobUnknown { .. })));
}

#[tokio::test]
async fn what_a_manifest_names_is_not_deleted() {
    let world = World::new().await;
    let digest = world.push_image("api", b"a layer", "v1").await;
    let repository = world.open("api", Action::Delete).await.unwrap();
    match repository.delete_blob(&sha256(b"a layer")).await {
        Err(Error::InUse { by, .. }) => assert_eq!(by, [digest]),
        other => panic!("{other:?}"),
    }
    repository.delete_manifest(&digest).await.unwrap();
    assert!(matches!(world.digest_of("api", "v1").await, Err(Error::ManifestUnknown { .. })));
    repository.delete_blob(&sha256(b"a layer")).await.unwrap();
    let pull = world.open("api", Action::Pull).await.unwrap();
    assert!(matches!(pull.blob(&sha256(b"a layer")).await, Err(Error::BlobUnknown { .. })));
}

#[tokio::test]
async fn a_digest_of_another_algorithm_is_verified_by_reading_again() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    repository.append(upload.id, Chunk::default(), body(b"hello")).await.unwrap();
    let digest = crate::digest::Digest::of(crate::digest::Algorithm::Sha512, b"hello");
    repository.finish_upload(upload.id, &digest).await.unwrap();
    let pull = world.open("api", Action::Pull).await.unwrap();
    assert_eq!(pull.stat_blob(&digest).await.unwrap().size, 5);
}

#[tokio::test]
async fn one_handle_pushes_all_of_a_repository_that_it_makes() {
    let world = World::new().await;
    let repository = world.open("new", Action::Push).await.unwrap();
    for bytes in [&b"{}"[..], b"a layer"] {
        repository.push_blob(&sha256(bytes), None, body(bytes)).await.unwrap();
    }
    let text = image(&sha256(b"{}"), 2, &sha256(b"a layer"), 7);
    let (content_type, digest, tags) = (None, None, vec!["v1".parse().unwrap()]);
    let push = crate::ManifestPush { bytes: text.into(), content_type, digest, tags };
    let pushed = repository.push_manifest(&push).await.unwrap();
    assert_eq!(world.digest_of("new", "v1").await.unwrap(), pushed.digest);
}

#[tokio::test]
async fn a_sparse_registry_takes_manifests_without_their_content_and_keeps_what_comes_later() {
    let world = World::new().await;
    let layer = world.push_blob("api", b"a layer").await;
    let manifest = image(&sha256(b"{}"), 2, &layer, 7);
    let refused = world.push_manifest("api", &manifest, &["v1"]).await;
    assert!(matches!(refused, Err(Error::References { .. })), "{refused:?}");
    world.set_sparse().await;
    let digest = world.push_manifest("api", &manifest, &["v1"]).await.unwrap();
    // What comes later is named from the start.
    world.push_blob("api", b"{}").await;
    let repository = world.open("api", Action::Delete).await.unwrap();
    match repository.delete_blob(&sha256(b"{}")).await {
        Err(Error::InUse { by, .. }) => assert_eq!(by, [digest]),
        other => panic!("{other:?}"),
    }
}
