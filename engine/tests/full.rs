//! The disk fills up, and it can still be cleaned up: what is kept back for that is really there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use strongroom_engine::access::Action;
use strongroom_engine::audit::{Event, EventKind, SYSTEM};
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::digest::Digest;
use strongroom_engine::disk::Disk;
use strongroom_engine::disk::sim::{Fault, FaultPlan, SimBackend, SimDisk};
use strongroom_engine::extension::Batch;
use strongroom_engine::gc::{CollectOptions, FsckOptions};
use strongroom_engine::meta::{MemoryStore, MetaStore, RedbOptions, RedbStore};
use strongroom_engine::seam::{Clock, ManualClock, Seams};
use strongroom_engine::{Engine, Error, Settings};

use support::{body, caller, image, operator, push_of, sha256};

const MIB: u64 = 1 << 20;
const RESERVE: u64 = 12 * MIB;
const META_RESERVE: u64 = 6 * MIB;
/// The size of one blob.
const BLOB: usize = 256 << 10;

struct World {
    engine: Engine,
    seams: Seams,
    clock: Arc<ManualClock>,
    /// Where the objects lie, and where the database.
    objects: SimDisk,
    database: SimDisk,
}

fn free(disk: &SimDisk) -> u64 {
    disk.free_bytes(Path::new("/")).unwrap()
}

fn redb(disk: &SimDisk, clock: Arc<ManualClock>) -> RedbStore {
    let options = RedbOptions { reserve_bytes: META_RESERVE, ..RedbOptions::default() };
    let (backend, room) = (disk.clone(), disk.clone());
    RedbStore::with_backend_in(
        options,
        move || SimBackend::open(&backend, Path::new("/meta.redb")),
        move || room.free_bytes(Path::new("/")),
        clock,
    )
    .unwrap()
}

async fn open(meta: Arc<dyn MetaStore>, objects: &SimDisk, seams: &Seams) -> Engine {
    let disk = Arc::new(objects.clone());
    let blobs = FsStore::open(disk, "/objects", Durability::Full).unwrap();
    let mut settings = Settings::default();
    settings.reserve_bytes = RESERVE;
    support::engine(meta, Arc::new(blobs), seams, settings).await.unwrap()
}

impl World {
    async fn new(objects: SimDisk, database: SimDisk) -> Self {
        let (seams, clock) = support::seams(3);
        let meta = Arc::new(redb(&database, clock.clone()));
        let engine = open(meta, &objects, &seams).await;
        support::found(&engine, "acme", "ann", "vic").await.unwrap();
        Self { engine, seams, clock, objects, database }
    }

    /// The program starts anew.
    async fn restart(self) -> Self {
        let Self { engine, seams, clock, objects, database } = self;
        drop(engine);
        // The task that writes pulls holds the engine while it does.
        let meta = loop {
            let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                redb(&database, clock.clone())
            }));
            if let Ok(meta) = opened {
                break Arc::new(meta);
            }
            tokio::task::yield_now().await;
        };
        let engine = open(meta, &objects, &seams).await;
        Self { engine, seams, clock, objects, database }
    }

    /// Pushes an image of one layer that nobody else has.
    async fn push(&self, number: usize) -> Result<Digest, Error> {
        let name = format!("acme/main/api-{}", number % 4);
        let repository = support::open(&self.engine, "ann", &name, Action::Push).await?;
        let mut layer = vec![7; BLOB];
        layer[..8].copy_from_slice(&number.to_be_bytes());
        let (config, layer) = (Bytes::from_static(b"{}"), Bytes::from(layer));
        for bytes in [&config, &layer] {
            repository.push_blob(&sha256(bytes), Some(bytes.len() as u64), body(bytes)).await?;
        }
        let layers = [(&sha256(&layer), layer.len())];
        let bytes = image((&sha256(&config), config.len()), &layers, "");
        let tag = format!("v{number}");
        let pushed = repository.push_manifest(&push_of(&bytes, None, &[tag.as_str()])).await?;
        Ok(pushed.digest)
    }

    /// Pushes from several sides until there is no room; what was acknowledged.
    async fn fill(&self) -> Vec<(usize, Digest)> {
        let sides = (0..8).map(async |side| {
            let mut pushed = Vec::new();
            for round in 0.. {
                let number = round * 8 + side;
                match self.push(number).await {
                    Ok(digest) => pushed.push((number, digest)),
                    Err(Error::StorageFull(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            pushed
        });
        join_all(sides).await.concat()
    }

    /// Writes other facts until there is no room for those either.
    async fn fill_facts(&self) -> usize {
        let records = self.engine.extension("filler");
        for number in 0_usize.. {
            let batch = self.batch().put(number.to_be_bytes(), vec![1; 64 << 10]);
            match records.commit(batch).await {
                Ok(()) => {}
                Err(Error::StorageFull(_)) => return number,
                Err(error) => panic!("{error}"),
            }
        }
        unreachable!("the disk is bounded")
    }

    /// Removes them again.
    async fn remove_facts(&self, count: usize) {
        let records = self.engine.extension("filler");
        for number in 0..count {
            records.commit(self.batch().delete(number.to_be_bytes())).await.unwrap();
        }
    }

    fn batch(&self) -> Batch {
        let kind = EventKind::Identity { change: "filled".into(), subject: "user:ann".into() };
        Batch::new().event(Event::by(&caller("ann"), SYSTEM, self.clock.now(), kind))
    }

    async fn delete(&self, (number, digest): (usize, Digest)) {
        let name = format!("acme/main/api-{}", number % 4);
        let repository = support::open(&self.engine, "ann", &name, Action::Delete).await.unwrap();
        repository.delete_manifest(&digest).await.unwrap();
    }

    /// Past all leases and delays, twice. What has no room yet (the copy of the manifest that is kept)
    /// waits.
    async fn collect(&self) {
        for _ in 0..3 {
            assert!(self.collect_once().await <= 1, "only the copy may wait");
        }
    }

    /// How many steps failed.
    async fn collect_once(&self) -> u64 {
        self.clock.advance(Duration::from_hours(25));
        let report = self.engine.collect(&CollectOptions::default(), &|_| {}).await.unwrap();
        assert_eq!(report.unreadable, 0, "{report:?}");
        report.failed
    }

    async fn is_clean(&self) {
        let deep = FsckOptions::default().deep();
        let report = self.engine.fsck(&deep, &|_| {}).await.unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
    }

    /// What a full store must still do: be read, be cleaned up, and then take pushes again.
    async fn recovers(self, pushed: Vec<(usize, Digest)>, facts: usize) {
        let refused = self.push(1_000_000).await;
        assert!(matches!(refused, Err(Error::StorageFull(_))), "{refused:?}");
        // Reads go on, with their lines.
        let (number, digest) = pushed[0];
        let name = format!("acme/main/api-{}", number % 4);
        let repository = support::open(&self.engine, "vic", &name, Action::Pull).await.unwrap();
        let reference = digest.to_string().parse().unwrap();
        repository.manifest(&reference).await.unwrap();
        self.engine.flush().await.unwrap();
        self.is_clean().await;

        let world = self.restart().await;
        let kept = pushed[0];
        for manifest in &pushed[1..] {
            world.delete(*manifest).await;
        }
        world.collect().await;
        world.is_clean().await;
        let left = world.engine.usage(&operator(), &"acme".parse().unwrap()).await.unwrap();
        assert!(left.used_bytes < 2 * BLOB as u64, "{} bytes are left", left.used_bytes);
        world.remove_facts(facts).await;
        // What the database has free inside becomes room for others too.
        world.engine.compact().await.unwrap();
        world.push(1_000_001).await.unwrap();
        assert_eq!(world.collect_once().await, 0, "nothing waits where there is room");
        world.delete(kept).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_cleaned_up_by_deletes_and_collection() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(48 * MIB));
    let world = World::new(disk.clone(), disk).await;
    let pushed = world.fill().await;
    assert!(pushed.len() > 40, "{} images fit", pushed.len());
    assert!(free(&world.objects) > META_RESERVE, "{} bytes are free", free(&world.objects));
    let facts = world.fill_facts().await;
    assert!(facts > 0, "uploads stop before facts do");
    let objects = world.objects.clone();
    world.recovers(pushed, facts).await;
    assert!(free(&objects) > RESERVE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_database_alone_is_cleaned_up_too() {
    let (objects, database) = (SimDisk::new(), SimDisk::new());
    database.set_capacity(Some(24 * MIB));
    let world = World::new(objects, database).await;
    let mut pushed = Vec::new();
    for number in 0..40 {
        pushed.push((number, world.push(number).await.unwrap()));
    }
    let facts = world.fill_facts().await;
    assert!((META_RESERVE - 4 * MIB..META_RESERVE).contains(&free(&world.database)));
    world.recovers(pushed, facts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_at_once_are_not_promised_the_same_bytes() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(RESERVE + 20 * MIB));
    let (seams, _clock) = support::seams(3);
    let engine = open(Arc::new(MemoryStore::new(&seams)), &disk, &seams).await;
    support::found(&engine, "acme", "ann", "vic").await.unwrap();
    for announced in [true, false] {
        let uploads = (0..12_u8).map(async |number| {
            let repository = support::open(&engine, "ann", "acme/main/api", Action::Push).await?;
            let content = vec![number + if announced { 100 } else { 0 }; 4 << 20];
            let digest = sha256(&content);
            let pieces: Vec<_> =
                content.chunks(64 << 10).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let pieces = futures::stream::iter(pieces).then(async |piece: Result<_, Error>| {
                // So that all are under way at once.
                tokio::task::yield_now().await;
                piece
            });
            let length = announced.then_some(content.len() as u64);
            repository.push_blob(&digest, length, Box::pin(pieces)).await
        });
        let mut stored = 0;
        for pushed in join_all(uploads).await {
            match pushed {
                Ok(_) => stored += 1,
                Err(Error::StorageFull(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(free(&disk) >= RESERVE, "{} bytes are free", free(&disk));
        if announced {
            assert_eq!(stored, 5, "what fits is taken");
        } else {
            assert_eq!(stored, 0, "there is no room left");
        }
    }
}

#[tokio::test]
async fn a_disk_that_can_not_tell_its_room_takes_nothing() {
    let disk = SimDisk::new();
    let (seams, _clock) = support::seams(3);
    let engine = open(Arc::new(MemoryStore::new(&seams)), &disk, &seams).await;
    support::found(&engine, "acme", "ann", "vic").await.unwrap();
    let repository = support::open(&engine, "ann", "acme/main/api", Action::Push).await.unwrap();
    disk.fail(FaultPlan { call: disk.calls(), fault: Fault::Broken, lasting: false });
    let refused = repository.start_upload(None, None).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    repository.start_upload(None, None).await.unwrap();
}
