//! An engine over one simulated disk: its objects and its database share one log of effects.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_engine::access::{Action, Caller, PrincipalId};
use strongroom_engine::content::BlobStore;
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::disk::Disk;
use strongroom_engine::disk::sim::{SimBackend, SimDisk};
use strongroom_engine::meta::RedbStore;
use strongroom_engine::seam::{Clock, ManualClock, Seams, SeededEntropy, Timestamp};
use strongroom_engine::{Engine, Error, Repository, Settings};

const DATABASE: &str = "/meta.redb";
const ASIDE: &str = "/meta.redb.new";

/// When every history begins.
pub(crate) const DAWN: Timestamp = Timestamp(1_700_000_000_000);
/// An append is made durable each so many bytes.
pub(crate) const CHECKPOINT_BYTES: usize = 8 << 10;
/// Larger manifests have an object of their own.
pub(crate) const INLINE_BYTES: usize = 700;
pub(crate) const LEASE: Duration = Duration::from_hours(24);
pub(crate) const DELETE_DELAY: Duration = Duration::from_hours(1);

pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) engine: Engine,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) meta: Arc<RedbStore>,
    pub(crate) caller: Caller,
}

/// What goes wrong while a store is opened or looked at.
pub(crate) type Told<T> = Result<T, String>;

pub(crate) fn told<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String + '_ {
    move |error| format!("{what}: {error}")
}

impl World {
    /// Starts the program on `disk`, whatever an earlier one left there. Ids are drawn from `seed`,
    /// which no other program on the same disk may have.
    pub(crate) async fn open(disk: &SimDisk, now: Timestamp, seed: u64) -> Told<Self> {
        let clock = Arc::new(ManualClock::at(now));
        let entropy = Arc::new(SeededEntropy::new(seed));
        let seams = Seams { clock: clock.clone(), entropy };
        let meta = Arc::new(open_database(disk, clock.clone())?);
        let store = FsStore::open(Arc::new(disk.clone()), "/data", Durability::Full);
        let blobs: Arc<dyn BlobStore> = Arc::new(store.map_err(told("opening the objects"))?);
        let engine = Engine::builder(meta.clone(), blobs.clone())
            .seams(seams)
            .settings(settings())
            .build()
            .await
            .map_err(told("opening the engine"))?;
        let mut caller = Caller::known(PrincipalId::new("user:tester").unwrap());
        caller.operator = true;
        Ok(Self { disk: disk.clone(), clock, engine, blobs, meta, caller })
    }

    /// Starts another program on the same stores, as if the first had ended.
    pub(crate) async fn start_again(&self, seed: u64) -> Engine {
        let entropy = Arc::new(SeededEntropy::new(seed));
        let seams = Seams { clock: self.clock.clone(), entropy };
        let builder = Engine::builder(self.meta.clone(), self.blobs.clone());
        builder.seams(seams).settings(settings()).build().await.unwrap()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn repository(&self, path: &str, action: Action) -> Result<Repository, Error> {
        self.engine.repository(&self.caller, &path.parse().unwrap(), action).await
    }

    /// Opens a repository to write to.
    pub(crate) async fn writable(&self, path: &str) -> Repository {
        self.repository(path, Action::Push).await.unwrap()
    }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.checkpoint_bytes = CHECKPOINT_BYTES as u64;
    settings.checkpoint_interval = Duration::from_hours(1);
    settings.inline_manifest_bytes = INLINE_BYTES;
    settings.lease = LEASE;
    settings.upload_idle = LEASE;
    settings.delete_delay = DELETE_DELAY;
    settings.reserve_bytes = 0;
    settings.cache_bytes = 1 << 20;
    // Never on its own: what is written has to be the same in each run.
    settings.pull_group = Duration::from_hours(1);
    settings.copy_group = Duration::from_hours(1);
    settings
}

/// Opens the database as [`RedbStore::open`] does a file: made aside, then linked to its place.
fn open_database(disk: &SimDisk, clock: Arc<ManualClock>) -> Told<RedbStore> {
    let at = |path: &'static str| {
        let disk = disk.clone();
        move || SimBackend::open(&disk, Path::new(path))
    };
    if disk.file_len(Path::new(DATABASE)).is_err() {
        let _ = disk.remove(Path::new(ASIDE));
        drop(
            RedbStore::with_backend(at(ASIDE), clock.clone())
                .map_err(told("making the database"))?,
        );
        disk.link(Path::new(ASIDE), Path::new(DATABASE)).map_err(told("naming the database"))?;
        disk.remove(Path::new(ASIDE)).map_err(told("naming the database"))?;
        disk.sync_dir(Path::new("/")).map_err(told("naming the database"))?;
    }
    RedbStore::with_backend(at(DATABASE), clock).map_err(told("opening the database"))
}

/// `bytes` as a body that comes in pieces of `piece` bytes.
pub(crate) fn body(
    bytes: &Bytes,
    piece: usize,
) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send + use<> {
    let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok(bytes.slice_ref(piece))).collect();
    futures::stream::iter(pieces)
}
