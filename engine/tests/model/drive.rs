//! Does operations with the real engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use strongroom_engine::access::Action;
use strongroom_engine::content::BlobStore;
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::digest::Digest;
use strongroom_engine::disk::sim::{SimBackend, SimDisk};
use strongroom_engine::id::SessionId;
use strongroom_engine::meta::{MemoryStore, MetaStore, RedbStore};
use strongroom_engine::seam::{Clock as _, ManualClock, Seams, Timestamp};
use strongroom_engine::{Chunk, Engine, Error, Repository, Settings};

use super::ops::{At, Collecting, Op};
use super::pool::{INLINE, Thing};
use super::reference::{DELAY, IDLE, LEASE, Told, cut};
use crate::support::shuffle::Shuffled;
use crate::support::{self, sha256};

pub const PATHS: [&str; 4] = ["acme/main/api", "acme/main/api-web", "beta/main/api", "beta/main/z"];
/// Who may do everything in each organisation, and who may only look.
pub const ADMINS: [&str; 2] = ["ann", "bob"];
pub const VIEWERS: [&str; 2] = ["vic", "wim"];
/// Who is a member now and then, of either.
pub const OTHERS: [&str; 2] = ["xan", "yve"];
pub const ORGANISATIONS: [&str; 2] = ["acme", "beta"];

/// Where the stores lie.
pub enum Ground {
    Memory(Arc<MemoryStore>, Arc<OpendalStore>),
    Disk(SimDisk),
}

/// The engine, and all that it stands on.
pub struct World {
    pub things: Arc<Vec<Thing>>,
    pub engine: Option<Engine>,
    pub ground: Ground,
    pub clock: Arc<ManualClock>,
    seams: Seams,
    seed: u64,
    /// What was started last in each slot: the upload, its repository and its thing.
    pub slots: Mutex<BTreeMap<usize, (SessionId, usize, usize)>>,
    /// All uploads that were started by themselves: some may be under way.
    pub started: Mutex<Vec<SessionId>>,
}

impl World {
    pub async fn new(things: Arc<Vec<Thing>>, seed: u64, disk: bool) -> Self {
        let (seams, clock) = support::seams(seed);
        let ground = if disk {
            Ground::Disk(SimDisk::new())
        } else {
            let blobs = OpendalStore::memory().unwrap().with_entropy(seams.entropy.clone());
            Ground::Memory(Arc::new(MemoryStore::new(&seams)), Arc::new(blobs))
        };
        let (slots, started) = (Mutex::default(), Mutex::default());
        let mut world = Self { things, engine: None, ground, clock, seams, seed, slots, started };
        world.start().await.unwrap();
        for at in 0..2 {
            let (name, admin, viewer) = (ORGANISATIONS[at], ADMINS[at], VIEWERS[at]);
            support::found(world.engine(), name, admin, viewer).await.unwrap();
        }
        world
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine was started")
    }

    /// The blob store, past all that shuffles it.
    pub fn blobs(&self) -> Arc<dyn BlobStore> {
        match &self.ground {
            Ground::Memory(_, blobs) => blobs.clone(),
            Ground::Disk(disk) => Arc::new(fs(disk)),
        }
    }

    async fn start(&mut self) -> Result<(), Error> {
        let (meta, blobs): (Arc<dyn MetaStore>, Arc<dyn BlobStore>) = match &self.ground {
            Ground::Memory(meta, blobs) => (meta.clone(), blobs.clone()),
            Ground::Disk(disk) => {
                let file = disk.clone();
                let open = move || SimBackend::open(&file, "/meta.redb".as_ref());
                let meta = RedbStore::with_backend(open, self.clock.clone())?;
                (Arc::new(meta), Arc::new(fs(disk)))
            }
        };
        self.seed += 1;
        let mut settings = Settings::default();
        settings.lease = Duration::from_millis(LEASE);
        settings.upload_idle = Duration::from_millis(IDLE);
        settings.delete_delay = Duration::from_millis(DELAY);
        settings.inline_manifest_bytes = INLINE;
        // Copies are made by collections alone, so that each run is the same.
        settings.copy_group = Duration::from_hours(1);
        let meta = Arc::new(Shuffled::new(meta, self.seed));
        let blobs = Arc::new(Shuffled::new(blobs, self.seed));
        self.engine = Some(support::engine(meta, blobs, &self.seams, settings).await?);
        Ok(())
    }

    /// Ends the process; what the disk had not synced is lost by `seed`.
    pub async fn restart(&mut self, seed: u64) {
        if let Ground::Disk(disk) = &self.ground {
            let image = disk.image(disk.effects(), seed);
            self.ground = Ground::Disk(image);
        }
        self.engine = None;
        self.start().await.unwrap();
    }

    pub(super) async fn open(&self, repo: usize, action: Action) -> Result<Repository, Error> {
        support::open(self.engine(), ADMINS[repo / 2], PATHS[repo], action).await
    }

    /// Does `op`, and says what its caller was told.
    pub async fn act(&self, op: &Op) -> Told {
        let told = Box::pin(self.attempt(op)).await;
        told.unwrap_or_else(|error| self.told(&error))
    }

    /// How many tasks there are.
    pub fn tasks() -> usize {
        tokio::runtime::Handle::current().metrics().num_alive_tasks()
    }

    /// Waits until what was given up has come to its end: until there are no more tasks than
    /// before.
    pub async fn calm(before: usize) {
        while Self::tasks() > before {
            tokio::task::yield_now().await;
        }
    }

    async fn attempt(&self, op: &Op) -> Result<Told, Error> {
        let things = &self.things;
        let slot = |slot: &usize| self.slots.lock().unwrap().get(slot).copied();
        let unknown = Ok(Told::UploadUnknown);
        match op {
            Op::PushBlob { repo, thing, wrong, known, pieces } => {
                let repository = self.open(*repo, Action::Push).await?;
                let digest = if *wrong { nothing() } else { things[*thing].digest };
                let length = known.then_some(things[*thing].size());
                let body = pieces_of(&things[*thing].bytes, *pieces, false);
                Ok(Told::Size(repository.push_blob(&digest, length, body).await?.size))
            }
            Op::Start { slot, repo, thing, said } => {
                let repository = self.open(*repo, Action::Push).await?;
                let digest = said.then_some(&things[*thing].digest);
                let upload = repository.start_upload(digest, None).await?;
                self.started.lock().unwrap().push(upload.id);
                self.slots.lock().unwrap().insert(*slot, (upload.id, *repo, *thing));
                Ok(Told::Done)
            }
            Op::Append { slot: at_slot, elsewhere, at, length, known, pieces, broken } => {
                let Some((id, repo, thing)) = slot(at_slot) else { return unknown };
                let home = self.open(repo, Action::Push).await?;
                let offset = home.upload(id).await?.offset;
                let repository =
                    if *elsewhere { self.open((repo + 1) % 4, Action::Push).await? } else { home };
                let (begin, end, said) = match at {
                    At::Right => (offset, offset.saturating_add(*length), Some(offset)),
                    At::Unsaid => (offset, offset.saturating_add(*length), None),
                    At::Wrong => (offset, offset.saturating_add(*length), Some(offset + 1)),
                    At::Again => (0, offset, Some(0)),
                };
                let end = end.min(things[thing].size());
                let chunk = things[thing].bytes.slice(size(begin)..size(end));
                let known = *known || *at == At::Again;
                let chunk_is = Chunk { at: said, length: known.then_some(end - begin) };
                let body = pieces_of(&chunk, *pieces, *broken);
                Ok(Told::Offset(repository.append(id, chunk_is, body).await?.offset))
            }
            Op::Finish { slot: at, wrong } => {
                let Some((id, repo, thing)) = slot(at) else { return unknown };
                let repository = self.open(repo, Action::Push).await?;
                let digest = if *wrong { nothing() } else { things[thing].digest };
                Ok(Told::Size(repository.finish_upload(id, &digest).await?.size))
            }
            Op::Cancel { slot: at } => {
                let Some((id, repo, _)) = slot(at) else { return unknown };
                self.open(repo, Action::Push).await?.cancel_upload(id).await?;
                Ok(Told::Done)
            }
            Op::Mount { to, from, thing } => {
                let repository = self.open(*to, Action::Push).await?;
                let digest = &things[*thing].digest;
                let Some(from) = from else {
                    return Ok(Told::Mounted(repository.mount_from_any(digest).await?));
                };
                // Opened by who pushes, who may be a stranger there.
                let (who, path) = (ADMINS[to / 2], PATHS[*from]);
                let from = support::open(self.engine(), who, path, Action::Pull).await?;
                Ok(Told::Mounted(repository.mount(digest, &from).await?))
            }
            Op::Head { repo, thing } => {
                let repository = self.open(*repo, Action::Pull).await?;
                Ok(Told::Size(repository.stat_blob(&things[*thing].digest).await?.size))
            }
            Op::PushManifest { repo, thing, tags } => {
                let repository = self.open(*repo, Action::Push).await?;
                let names: Vec<_> = (0..8).filter(|tag| tags & (1 << tag) != 0).map(tag).collect();
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                let thing = &things[*thing];
                let push = support::push_of(&thing.bytes, Some(thing.digest), &names);
                let pushed = repository.push_manifest(&push).await?;
                assert_eq!(pushed.digest, thing.digest);
                assert_eq!(pushed.subject, thing.subject.map(|subject| things[subject].digest));
                Ok(Told::Done)
            }
            Op::DeleteTag { repo, tag: number } => {
                let repository = self.open(*repo, Action::Delete).await?;
                repository.delete_tag(&tag(*number).parse().unwrap()).await?;
                Ok(Told::Done)
            }
            Op::DeleteManifest { repo, thing } => {
                let repository = self.open(*repo, Action::Delete).await?;
                repository.delete_manifest(&things[*thing].digest).await?;
                Ok(Told::Done)
            }
            Op::DeleteBlob { repo, thing } => {
                let repository = self.open(*repo, Action::Delete).await?;
                repository.delete_blob(&things[*thing].digest).await?;
                Ok(Told::Done)
            }
            Op::Quota { organisation, bytes } => {
                let name = ORGANISATIONS[*organisation].parse().unwrap();
                self.engine().set_quota(&support::operator(), &name, *bytes).await?;
                Ok(Told::Done)
            }
            Op::Role { organisation, roles } => self.set_role(*organisation, *roles).await,
            Op::Rules { organisation, rules } => self.set_rules(*organisation, *rules).await,
            Op::Scrub => Ok(match self.scrub().await? {
                Ok(0) => Told::Done,
                Ok(wrong) => Told::Other(format!("{wrong} pieces are wrong")),
                Err(told) => told,
            }),
            Op::Rot { organisation, thing } => self.rot(*organisation, *thing).await,
            Op::Jump(by) => {
                let now = self.clock.now().0.saturating_add_signed(*by);
                self.clock.set(Timestamp(now));
                Ok(Told::Done)
            }
            Op::Collect(Collecting::Whole) => {
                support::gc::collect(self.engine()).await?;
                Ok(Told::Done)
            }
            Op::Collect(Collecting::Dry) => {
                support::gc::dry_run(self.engine()).await?;
                Ok(Told::Done)
            }
            Op::Restart(_) | Op::Both(..) | Op::GivenUp(..) => unreachable!("done in parts"),
        }
    }

    fn told(&self, error: &Error) -> Told {
        match error {
            Error::NameUnknown { .. } => Told::NameUnknown,
            Error::BlobUnknown { .. } => Told::BlobUnknown,
            Error::ManifestUnknown { .. } => Told::ManifestUnknown,
            Error::UploadUnknown { .. } => Told::UploadUnknown,
            Error::UploadBusy { .. } => Told::Busy,
            Error::OutOfOrder { offset, .. } => Told::OutOfOrder(*offset),
            Error::DigestMismatch { .. } => Told::Mismatch,
            Error::Source(_) => Told::Broken,
            Error::References { missing } => {
                let at = |digest| self.things.iter().position(|thing| thing.digest == digest);
                Told::Missing(missing.iter().filter_map(|missing| at(missing.digest)).collect())
            }
            Error::InUse { .. } => Told::InUse,
            Error::TagImmutable { .. } => Told::Immutable,
            Error::QuotaExceeded { .. } => Told::Quota,
            other => Told::Other(format!("{other:?}")),
        }
    }
}

fn fs(disk: &SimDisk) -> FsStore {
    FsStore::open(Arc::new(disk.clone()), "/objects", Durability::Full).unwrap()
}

fn nothing() -> Digest {
    sha256(b"no thing has these bytes")
}

pub fn tag(number: u8) -> String {
    ["latest", "v1", "v1.0", "V1", "_", "a-b", "1", "v10"][usize::from(number)].to_owned()
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

/// A body of so many pieces; a broken one ends in an error half way.
fn pieces_of(
    bytes: &Bytes,
    pieces: u64,
    broken: bool,
) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send + use<> {
    let all = bytes.len() as u64;
    let mut left = bytes.slice(..size(if broken { all / 2 } else { all }));
    let mut sent: Vec<Result<Bytes, Error>> = Vec::new();
    for piece in cut(left.len() as u64, pieces) {
        sent.push(Ok(left.split_to(size(piece))));
    }
    if broken {
        sent.push(Err(Error::Invalid("the client went away".to_owned())));
    }
    futures::stream::iter(sent)
}
