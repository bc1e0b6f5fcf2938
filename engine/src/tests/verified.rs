//! Whole reads that are verified on their way out.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;

use super::support::{World, body, sha256};
use crate::access::Action;
use crate::content::fs::{Durability, FsStore};
use crate::content::{ObjectRead, StoreError};
use crate::digest::Digest;
use crate::disk::RealDisk;
use crate::id::OrganisationId;
use crate::keys;
use crate::records::{BlobRecord, Record};
use crate::{Error, Settings};

const ACME: OrganisationId = OrganisationId(1);

fn settings(verify_reads: bool) -> Settings {
    Settings { verify_reads, ..Settings::default() }
}

/// Something of several chunks and a bit.
fn content() -> Vec<u8> {
    (0..700_001_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect()
}

/// Pushes a blob, and changes one byte of its object past the engine.
async fn rotten(world: &World, at: usize) -> Digest {
    let mut bytes = content();
    let digest = world.push_blob("api", &bytes).await;
    bytes[at] ^= 1;
    let core = &world.engine.core;
    let row = core.meta.get(&keys::blob(ACME, &digest)).await.unwrap().unwrap();
    let object = BlobRecord::decode(&row).unwrap().object(ACME, &digest);
    core.blobs.delete(&object).await.unwrap();
    core.blobs.put(&object, Bytes::from(bytes)).await.unwrap();
    digest
}

/// All that a read of the whole gives, and how it ends.
async fn whole(world: &World, digest: &Digest) -> (Vec<u8>, Option<StoreError>) {
    let repository = world.open("api", Action::Pull).await.unwrap();
    let blob = repository.blob(digest).await.unwrap();
    let ObjectRead::Stream(mut stream) = blob.read(0..blob.info().size).await.unwrap() else {
        panic!("a verified read is a stream")
    };
    let mut got = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => got.extend_from_slice(&chunk),
            Err(error) => return (got, Some(error)),
        }
    }
    (got, None)
}

/// Of either store: what is right comes whole, what rotted never does and then is absent.
async fn verifies(world: &World) {
    for bytes in [&b""[..], b"x", &content()] {
        let digest = world.push_blob("right", bytes).await;
        let repository = world.open("right", Action::Pull).await.unwrap();
        let blob = repository.blob(&digest).await.unwrap();
        let ObjectRead::Stream(stream) = blob.read(0..bytes.len() as u64).await.unwrap() else {
            panic!("a verified read is a stream")
        };
        let got: Vec<_> = stream.map(Result::unwrap).collect().await;
        assert_eq!(got.concat(), bytes);
    }
}

async fn breaks_off(world: &World, at: usize) {
    let digest = rotten(world, at).await;
    let (got, error) = whole(world, &digest).await;
    assert!(matches!(error, Some(StoreError::Rotten { .. })), "{error:?}");
    assert!(got.len() < content().len(), "the last chunk went out");
    let repository = world.open("api", Action::Pull).await.unwrap();
    let absent = repository.stat_blob(&digest).await;
    assert!(matches!(absent, Err(Error::BlobUnknown { .. })), "{absent:?}");
    // A push heals it.
    world.push_blob("api", &content()).await;
    let (got, error) = whole(world, &digest).await;
    assert!(error.is_none() && sha256(&got) == digest);
}

#[tokio::test]
async fn what_rotted_in_a_bucket_breaks_off_before_its_last_chunk_and_is_quarantined() {
    let world = World::with(settings(true)).await;
    breaks_off(&world, 0).await;
    breaks_off(&world, content().len() - 1).await;
    verifies(&world).await;
}

#[tokio::test]
async fn what_rotted_in_a_file_breaks_off_before_its_last_chunk_and_is_quarantined() {
    let folder = tempfile::tempdir().unwrap();
    let store = FsStore::open(Arc::new(RealDisk), folder.path(), Durability::Full).unwrap();
    let world = World::build(Arc::new(store), settings(true)).await;
    breaks_off(&world, 300_000).await;
    verifies(&world).await;
}

#[tokio::test]
async fn a_part_of_a_blob_is_read_as_it_is_and_so_is_all_of_it_by_default() {
    let world = World::with(settings(true)).await;
    let digest = rotten(&world, 5).await;
    let repository = world.open("api", Action::Pull).await.unwrap();
    let blob = repository.blob(&digest).await.unwrap();
    let ObjectRead::Stream(stream) = blob.read(0..10).await.unwrap() else { panic!("a file") };
    assert_eq!(stream.map(Result::unwrap).collect::<Vec<_>>().await.concat().len(), 10);
    let world = World::with(settings(false)).await;
    let digest = rotten(&world, 5).await;
    let (got, error) = whole(&world, &digest).await;
    assert!(error.is_none() && got.len() == content().len());
    world.open("api", Action::Pull).await.unwrap().stat_blob(&digest).await.unwrap();
}

#[tokio::test]
async fn a_verified_read_that_is_given_up_quarantines_nothing() {
    let world = World::with(settings(true)).await;
    let digest = rotten(&world, 5).await;
    let repository = world.open("api", Action::Pull).await.unwrap();
    let blob = repository.blob(&digest).await.unwrap();
    let read = blob.read(0..blob.info().size).await.unwrap();
    drop(read);
    repository.stat_blob(&digest).await.unwrap();
    let push = world.open("api", Action::Push).await.unwrap();
    push.push_blob(&sha256(b"x"), None, body(b"x")).await.unwrap();
}
