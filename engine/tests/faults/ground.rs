//! An engine over stores that can be made to fail.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_engine::access::Action;
use strongroom_engine::content::BlobStore;
use strongroom_engine::content::fault::FaultBlobs;
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::disk::sim::{SimBackend, SimDisk};
use strongroom_engine::meta::fault::{FaultMeta, FaultPlan};
use strongroom_engine::meta::{MemoryStore, MetaStore, RedbStore};
use strongroom_engine::seam::{ManualClock, Seams};
use strongroom_engine::{Engine, Error, Repository, Settings};

use super::support::{self, body, image, sha256};

/// Where the stores lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Memory,
    Disk,
}

/// What lies beneath the failing stores.
enum Beneath {
    Memory(Arc<MemoryStore>, Arc<OpendalStore>),
    Disk(SimDisk),
}

pub struct Ground {
    pub engine: Engine,
    pub meta: Arc<FaultMeta<Shared<dyn MetaStore>>>,
    pub blobs: FaultBlobs<Shared<dyn BlobStore>>,
    pub clock: Arc<ManualClock>,
    seams: Seams,
    beneath: Beneath,
}

pub use shared::Shared;

pub const LEASE: Duration = Duration::from_hours(24);
pub const INLINE: usize = 64 << 10;

impl Ground {
    /// An organisation with one image in it, `acme/main/kept:v1`.
    pub async fn new(place: Place) -> Self {
        let (seams, clock) = support::seams(7);
        let beneath = match place {
            Place::Memory => {
                let blobs = OpendalStore::memory().unwrap().with_entropy(seams.entropy.clone());
                Beneath::Memory(Arc::new(MemoryStore::new(&seams)), Arc::new(blobs))
            }
            Place::Disk => Beneath::Disk(SimDisk::new()),
        };
        let ground = Self::over(beneath, seams, clock).await;
        support::found(&ground.engine, "acme", "ann", "vic").await.unwrap();
        let repository = ground.open("kept", Action::Push).await.unwrap();
        push_image(&repository, b"a layer that is kept", "v1").await.unwrap();
        ground
    }

    async fn over(beneath: Beneath, seams: Seams, clock: Arc<ManualClock>) -> Self {
        let (meta, blobs): (Arc<dyn MetaStore>, Arc<dyn BlobStore>) = match &beneath {
            Beneath::Memory(meta, blobs) => (meta.clone(), blobs.clone()),
            Beneath::Disk(disk) => {
                let file = disk.clone();
                let open = move || SimBackend::open(&file, "/meta.redb".as_ref());
                let meta = RedbStore::with_backend(open, clock.clone()).unwrap();
                let disk = Arc::new(disk.clone());
                let blobs = FsStore::open(disk, "/objects", Durability::Full).unwrap();
                (Arc::new(meta), Arc::new(blobs))
            }
        };
        let meta = Arc::new(FaultMeta::new(Shared(meta), FaultPlan::None));
        let blobs = FaultBlobs::new(Shared(blobs));
        let mut settings = Settings::default();
        settings.lease = LEASE;
        settings.inline_manifest_bytes = INLINE;
        // Copies are made by collections alone, so that calls are counted alike in each run.
        settings.copy_group = Duration::from_hours(1);
        let engine = support::engine(meta.clone(), Arc::new(blobs.clone()), &seams, settings);
        let engine = engine.await.unwrap();
        Self { engine, meta, blobs, clock, seams, beneath }
    }

    pub fn disk(&self) -> &SimDisk {
        match &self.beneath {
            Beneath::Disk(disk) => disk,
            Beneath::Memory(..) => panic!("memory has no disk"),
        }
    }

    /// Lets all calls succeed again.
    pub fn heal(&self) {
        self.meta.set_plan(FaultPlan::None);
        self.blobs.heal();
        if let Beneath::Disk(disk) = &self.beneath {
            disk.heal();
        }
    }

    /// A new process, over what is durable.
    pub async fn lose_power(self) -> Self {
        let Self { engine, meta, blobs, clock, seams, beneath } = self;
        let beneath = match beneath {
            Beneath::Disk(disk) => Beneath::Disk(disk.image_strict(disk.effects())),
            memory @ Beneath::Memory(..) => memory,
        };
        drop((engine, meta, blobs));
        Self::over(beneath, seams, clock).await
    }

    pub async fn open(&self, name: &str, action: Action) -> Result<Repository, Error> {
        support::open(&self.engine, "ann", &format!("acme/main/{name}"), action).await
    }

    /// As somebody who only looks: looking then changes no lease.
    pub async fn look(&self, name: &str) -> Result<Repository, Error> {
        support::open(&self.engine, "vic", &format!("acme/main/{name}"), Action::Pull).await
    }

    /// Requires the image that no workflow touches.
    pub async fn kept(&self) -> Result<(), Error> {
        let repository = self.look("kept").await?;
        let bytes = support::read_blob(&repository, &sha256(b"a layer that is kept")).await?;
        assert_eq!(&bytes[..], b"a layer that is kept");
        repository.manifest(&"v1".parse().unwrap()).await.map(drop)
    }

    /// Deletes everything, collects it and requires that nothing is left.
    pub async fn leaves_nothing(&self) -> Result<(), String> {
        let told = |error: Error| error.to_string();
        sound(&self.engine).await?;
        for name in ["kept", "new", "source"] {
            let repository = self.open(name, Action::Delete).await.map_err(told)?;
            let listed = self.look(name).await.map_err(told)?;
            loop {
                let tags = match listed.tags(None, 10).await {
                    Ok(tags) => tags.items,
                    Err(Error::NameUnknown { .. }) => break,
                    Err(error) => return Err(error.to_string()),
                };
                let Some(tag) = tags.first() else { break };
                let manifest = listed.stat_manifest(&tag.as_str().parse().unwrap()).await;
                let digest = manifest.map_err(told)?.digest;
                repository.delete_manifest(&digest).await.map_err(told)?;
            }
        }
        for _ in 0..3 {
            self.clock.advance(LEASE + Duration::from_secs(1));
            support::gc::collect(&self.engine).await.map_err(told)?;
        }
        sound(&self.engine).await?;
        let objects = support::gc::objects(&*self.blobs.inner().0).await;
        if !objects.is_empty() {
            return Err(format!("objects are left: {objects:?}"));
        }
        let viewer = support::caller("vic");
        let usage = self.engine.usage(&viewer, &"acme".parse().unwrap()).await.map_err(told)?;
        if usage.used_bytes != 0 {
            return Err(format!("{} bytes are still counted", usage.used_bytes));
        }
        Ok(())
    }
}

async fn sound(engine: &Engine) -> Result<(), String> {
    let found = support::gc::fsck(engine).await.map_err(|error| error.to_string())?;
    if found.is_empty() { Ok(()) } else { Err(format!("fsck: {found:?}")) }
}

/// Pushes an image of one layer.
pub async fn push_image(
    repository: &Repository,
    layer: &'static [u8],
    tag: &str,
) -> Result<(), Error> {
    for bytes in [b"{}", layer] {
        let bytes = Bytes::from_static(bytes);
        repository.push_blob(&sha256(&bytes), Some(bytes.len() as u64), body(&bytes)).await?;
    }
    let bytes = image((&sha256(b"{}"), 2), &[(&sha256(layer), layer.len())], "");
    repository.push_manifest(&support::push_of(&bytes, None, &[tag])).await.map(drop)
}

/// Stores of any kind, where a wrapper wants one kind.
mod shared {
    use std::ops::Range;
    use std::sync::Arc;

    use async_trait::async_trait;
    use bytes::Bytes;
    use strongroom_engine::content::{
        BlobStore, ObjectEntry, ObjectKey, ObjectRead, ObjectWriter, StoreError, WriteState,
    };
    use strongroom_engine::meta::{
        Commit, CommitId, Committed, Key, MetaError, MetaRead, MetaStore, Row,
    };
    use strongroom_engine::seam::Timestamp;

    #[derive(Debug)]
    pub struct Shared<S: ?Sized>(pub Arc<S>);

    #[async_trait]
    impl MetaRead for Shared<dyn MetaStore> {
        async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
            self.0.get(key).await
        }
        async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError> {
            self.0.scan(range, limit).await
        }
    }

    #[async_trait]
    impl MetaStore for Shared<dyn MetaStore> {
        async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, MetaError> {
            self.0.get_many(keys).await
        }
        async fn commit(&self, commit: Commit) -> Result<Committed, MetaError> {
            self.0.commit(commit).await
        }
        async fn was_committed(&self, id: CommitId) -> Result<Option<bool>, MetaError> {
            self.0.was_committed(id).await
        }
        async fn snapshot(&self) -> Result<Box<dyn MetaRead>, MetaError> {
            self.0.snapshot().await
        }
        async fn now(&self) -> Result<Timestamp, MetaError> {
            self.0.now().await
        }
        async fn compact(&self) -> Result<u64, MetaError> {
            self.0.compact().await
        }
        fn is_shared(&self) -> bool {
            self.0.is_shared()
        }
        fn revision(&self) -> Option<u64> {
            self.0.revision()
        }
    }

    #[async_trait]
    impl BlobStore for Shared<dyn BlobStore> {
        async fn start(&self, unfinished: &ObjectKey) -> Result<WriteState, StoreError> {
            self.0.start(unfinished).await
        }
        fn claim(&self, state: &WriteState, nonce: u64) -> Result<Option<WriteState>, StoreError> {
            self.0.claim(state, nonce)
        }
        async fn resume(
            &self,
            unfinished: &ObjectKey,
            state: &WriteState,
        ) -> Result<Box<dyn ObjectWriter>, StoreError> {
            self.0.resume(unfinished, state).await
        }
        async fn finish(
            &self,
            unfinished: &ObjectKey,
            state: &WriteState,
            finished: &ObjectKey,
        ) -> Result<ObjectKey, StoreError> {
            self.0.finish(unfinished, state, finished).await
        }
        async fn tidy(&self, finished: &ObjectKey, state: &WriteState) -> Result<(), StoreError> {
            self.0.tidy(finished, state).await
        }
        async fn abort(
            &self,
            unfinished: &ObjectKey,
            state: &WriteState,
        ) -> Result<(), StoreError> {
            self.0.abort(unfinished, state).await
        }
        async fn settle(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
            self.0.settle(from, to).await
        }
        async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
            self.0.put(key, bytes).await
        }
        async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<ObjectRead, StoreError> {
            self.0.read(key, range).await
        }
        async fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
            self.0.stat(key).await
        }
        async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
            self.0.delete(key).await
        }
        async fn list(
            &self,
            prefix: &str,
            after: Option<&ObjectKey>,
            limit: usize,
        ) -> Result<Vec<ObjectEntry>, StoreError> {
            self.0.list(prefix, after, limit).await
        }
        async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
            self.0.free_bytes().await
        }
    }
}
