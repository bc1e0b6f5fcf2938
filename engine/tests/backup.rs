//! Backups under fire: while images are pushed, retagged, deleted and collected, what was acknowledged
//! before a backup began is in it, whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use strongroom_engine::access::Action;
use strongroom_engine::backup::{
    BackupFolder, BackupOptions, RestoreOptions, Stores, copy_storage, restore,
};
use strongroom_engine::content::fault::FaultBlobs;
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::digest::Digest;
use strongroom_engine::disk::RealDisk;
use strongroom_engine::gc::Progress;
use strongroom_engine::meta::{MemoryStore, RedbStore};
use strongroom_engine::seam::Seams;
use strongroom_engine::{Engine, Error, Settings};

use support::{body, engine, found, image, open, push_of, read_blob, sha256};

const PUSHERS: u64 = 3;
const BACKUPS: usize = 4;

/// What the load was told, by tag: the manifest and its layer.
#[derive(Debug, Default)]
struct Told {
    acknowledged: Mutex<BTreeMap<String, (Digest, Digest)>>,
    /// Tags whose deletion was begun.
    doomed: Mutex<BTreeSet<String>>,
    deleted: AtomicU64,
    collected: AtomicU64,
    over: AtomicBool,
}

fn settings() -> Settings {
    // What is deleted goes at once: nothing but the pin keeps a backup's objects.
    let mut settings = Settings::default();
    settings.lease = Duration::from_millis(300);
    settings.delete_delay = Duration::ZERO;
    settings
}

fn on_disk(folder: &Path, seams: &Seams) -> Stores {
    std::fs::create_dir_all(folder).unwrap();
    let meta = RedbStore::open(folder.join("meta.redb"), Arc::clone(&seams.clock)).unwrap();
    let blobs = FsStore::open(Arc::new(RealDisk), folder, Durability::Relaxed).unwrap();
    // So wrapped it shows no files: objects are copied, which takes longer than links.
    Stores { meta: Arc::new(meta), blobs: Arc::new(FaultBlobs::new(blobs)) }
}

async fn push(engine: &Engine, path: &str, tag: &str, layer: &Bytes) -> Result<Digest, Error> {
    let repository = open(engine, "ann", path, Action::Push).await?;
    let config = Bytes::from_static(b"{}");
    for bytes in [&config, layer] {
        repository.push_blob(&sha256(bytes), None, body(bytes)).await?;
    }
    let manifest = image((&sha256(&config), 2), &[(&sha256(layer), layer.len())], "");
    let repository = open(engine, "ann", path, Action::Push).await?;
    Ok(repository.push_manifest(&push_of(&manifest, None, &[tag, "latest"])).await?.digest)
}

/// Pushes an image after the other, and deletes every second one a little later.
async fn push_on(engine: Engine, told: Arc<Told>, number: u64) {
    let path = format!("acme/main/app-{number}");
    let mut count = 0_u32;
    while !told.over.load(Ordering::SeqCst) {
        count += 1;
        let tag = format!("{number}-{count}");
        let layer = Bytes::from(format!("{tag} ").repeat(20_000));
        match push(&engine, &path, &tag, &layer).await {
            Ok(digest) => {
                told.acknowledged.lock().unwrap().insert(tag, (digest, sha256(&layer)));
            }
            // The lease is short: the collector may have been faster than the manifest.
            Err(Error::References { .. }) => continue,
            Err(error) => panic!("{tag}: {error}"),
        }
        if count.is_multiple_of(2) {
            let tag = format!("{number}-{}", count - 1);
            let there = told.acknowledged.lock().unwrap().get(&tag).copied();
            if let Some((digest, _)) = there {
                told.doomed.lock().unwrap().insert(tag);
                let repository = open(&engine, "ann", &path, Action::Delete).await.unwrap();
                repository.delete_manifest(&digest).await.unwrap();
                told.deleted.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

async fn collect_on(engine: Engine, told: Arc<Told>) {
    while !told.over.load(Ordering::SeqCst) {
        let report = support::gc::collect(&engine).await.unwrap();
        told.collected.fetch_add(report.deleted.count + report.orphans.count, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Requires that each of `wanted` is served, whole.
async fn serves(engine: &Engine, wanted: &BTreeMap<String, (Digest, Digest)>) {
    for (tag, (manifest, layer)) in wanted {
        let number = tag.split('-').next().unwrap();
        let path = format!("acme/main/app-{number}");
        let repository = open(engine, "ann", &path, Action::Pull).await.unwrap();
        let found = repository.manifest(&tag.parse().unwrap()).await;
        assert_eq!(found.map(|found| found.digest).ok(), Some(*manifest), "{tag}");
        let bytes = read_blob(&repository, layer).await.unwrap();
        assert_eq!(sha256(&bytes), *layer, "{tag}");
    }
    assert_eq!(support::gc::fsck(engine).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_before_a_backup_is_in_it() {
    let (home, seams) = (tempfile::tempdir().unwrap(), Seams::default());
    let source = on_disk(&home.path().join("data"), &seams);
    let (meta, blobs) = (Arc::clone(&source.meta), Arc::clone(&source.blobs));
    let serving = engine(meta, blobs, &seams, settings()).await.unwrap();
    found(&serving, "acme", "ann", "vic").await.unwrap();

    let told = Arc::new(Told::default());
    let mut load: Vec<_> = (0..PUSHERS)
        .map(|number| tokio::spawn(push_on(serving.clone(), Arc::clone(&told), number)))
        .collect();
    load.push(tokio::spawn(collect_on(serving.clone(), Arc::clone(&told))));

    let folder = BackupFolder::open_or_make(&home.path().join("backups")).unwrap();
    let mut made = Vec::new();
    for _ in 0..BACKUPS {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let before = told.acknowledged.lock().unwrap().clone();
        let options = BackupOptions::default();
        // As to a slow disk: what was deleted meanwhile is long collected where nothing keeps it.
        let slow = |_: &Progress| std::thread::sleep(Duration::from_millis(10));
        let report = serving.backup(&folder, &options, &slow).await.unwrap();
        assert_eq!(report.wrong, 0, "{:?}", report.problems);
        let doomed = told.doomed.lock().unwrap().clone();
        let wanted: BTreeMap<_, _> =
            before.into_iter().filter(|(tag, _)| !doomed.contains(tag)).collect();
        made.push((report.id, wanted));
    }
    told.over.store(true, Ordering::SeqCst);
    for task in load {
        task.await.unwrap();
    }
    let (deleted, collected) =
        (told.deleted.load(Ordering::SeqCst), told.collected.load(Ordering::SeqCst));
    assert!(deleted > 3 && collected > 3, "too quiet: {deleted} deleted, {collected} collected");
    assert!(made.iter().all(|(_, wanted)| !wanted.is_empty()), "too quiet: {made:?}");

    for (id, wanted) in &made {
        assert_eq!(folder.verify(Some(*id), &|_| {}).await.unwrap().wrong, 0);
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        let stores = Stores { meta: Arc::new(MemoryStore::new(&seams)), blobs };
        let mut options = RestoreOptions::default();
        options.backup = Some(*id);
        let report = restore(&folder, &stores, &seams, &options, &|_| {}).await.unwrap();
        assert!(report.fsck.is_clean(), "{:?}", report.fsck.findings);
        let restored = engine(stores.meta, stores.blobs, &seams, settings()).await.unwrap();
        serves(&restored, wanted).await;
    }

    // And what is left after all of it moves on, whole.
    serving.close().await.unwrap();
    drop(serving);
    let target = on_disk(&home.path().join("moved"), &seams);
    let report = copy_storage(&source, &target, &seams, &settings(), &|_| {}).await.unwrap();
    assert!(report.fsck.is_clean(), "{:?}", report.fsck.findings);
    let moved = engine(target.meta, target.blobs, &seams, settings()).await.unwrap();
    let doomed = told.doomed.lock().unwrap().clone();
    let mut wanted = told.acknowledged.lock().unwrap().clone();
    wanted.retain(|tag, _| !doomed.contains(tag));
    serves(&moved, &wanted).await;
}
