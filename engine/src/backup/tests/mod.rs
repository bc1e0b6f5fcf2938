//! Backups, restores and copies over a small world.

mod copying;
mod measured;
mod pinning;
mod restoring;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::Engine;
use crate::access::{Action, Caller, PrincipalId};
use crate::content::opendal::OpendalStore;
use crate::digest::Digest;
use crate::gc::FsckOptions;
use crate::meta::MemoryStore;
use crate::seam::{ManualClock, Seams, SeededEntropy, Timestamp};
use crate::tests::support::World;

/// Larger than what is written whole.
const LARGE: usize = 3 << 20;

fn seams() -> Seams {
    let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_100_000)));
    Seams { clock, entropy: Arc::new(SeededEntropy::new(99)) }
}

/// Empty stores in memory.
fn empty(seams: &Seams) -> Stores {
    let blobs = Arc::new(OpendalStore::memory().unwrap());
    Stores { meta: Arc::new(MemoryStore::new(seams)), blobs }
}

fn stores_of(engine: &Engine) -> Stores {
    Stores { meta: Arc::clone(&engine.core.meta), blobs: Arc::clone(&engine.core.blobs) }
}

/// A world with images, a large layer, an upload under way and a deleted tag.
async fn filled() -> World {
    let world = World::new().await;
    world.push_image("api", b"a layer", "1.0").await;
    world.push_image("api", &large(), "2.0").await;
    world.push_image("web", b"another layer", "latest").await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, Some(4096)).await.unwrap();
    let half = crate::tests::support::body(b"half");
    repository.append(upload.id, crate::Chunk::default(), half).await.unwrap();
    world
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

async fn backup(world: &World, folder: &Path) -> BackupReport {
    let folder = BackupFolder::open_or_make(folder).unwrap();
    world.engine.backup(&folder, &BackupOptions::default(), &|_| {}).await.unwrap()
}

async fn engine(stores: &Stores, seams: &Seams) -> Engine {
    let (meta, blobs) = (Arc::clone(&stores.meta), Arc::clone(&stores.blobs));
    Engine::builder(meta, blobs).seams(seams.clone()).build().await.unwrap()
}

async fn is_clean(engine: &Engine) {
    let report = engine.fsck(&FsckOptions::default().deep(), &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// What a tag of the world serves: the manifest's digest, and its layers' digests.
async fn served(engine: &Engine, name: &str, tag: &str) -> Option<(Digest, Vec<Digest>)> {
    let caller = Caller::known(PrincipalId::new("user:tester").unwrap());
    let path = format!("acme/main/{name}").parse().unwrap();
    let repository = engine.repository(&caller, &path, Action::Pull).await.ok()?;
    let manifest = repository.manifest(&tag.parse().unwrap()).await.ok()?;
    let text: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
    let mut layers = Vec::new();
    for layer in text["layers"].as_array().unwrap() {
        let digest: Digest = layer["digest"].as_str().unwrap().parse().unwrap();
        let blob = repository.blob(&digest).await.ok()?;
        let read = blob.read(0..blob.info().size).await.ok()?;
        let bytes = bytes_of(read).await;
        assert_eq!(Digest::of(digest.algorithm(), &bytes), digest);
        layers.push(digest);
    }
    Some((manifest.digest, layers))
}

async fn bytes_of(read: crate::content::ObjectRead) -> Vec<u8> {
    use futures::TryStreamExt;
    match read {
        crate::content::ObjectRead::Stream(stream) => {
            stream.try_collect::<Vec<_>>().await.unwrap().concat()
        }
        crate::content::ObjectRead::File { file, offset, length } => {
            use std::os::unix::fs::FileExt;
            let mut bytes = vec![0; usize::try_from(length).unwrap()];
            file.read_exact_at(&mut bytes, offset).unwrap();
            bytes
        }
    }
}

/// The rows of a store that belong to its installation and not to the store.
async fn rows(stores: &Stores) -> Vec<crate::meta::Row> {
    let mut range = crate::meta::prefix_range(b"");
    range.start = b"\"".to_vec();
    stores.meta.scan(range, 10_000).await.unwrap()
}
