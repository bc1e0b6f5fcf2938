//! What all rooms of the engine share: the two stores, the seams, the settings and the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::access::{Action, Authorizer, Caller};
use crate::audit::{Event, PullLog, RefusalLog};
use crate::change::Seen;
use crate::content::BlobStore;
use crate::copies::Copies;
use crate::error::Error;
use crate::graph::{Cache, Known};
use crate::id::{ChainId, Number};
use crate::manifest;
use crate::meta::{Key, MetaStore};
use crate::name::OrganisationName;
use crate::presence::Presence;
use crate::records::Record;
use crate::room::Room;
use crate::seam::{Seams, Timestamp};
use crate::tasks::Tasks;
use crate::upload::{Moves, Writers};

/// What an embedder may set; the defaults are a registry's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// How long a promise ("uploaded", "exists", "mounted") stands against collection.
    pub lease: Duration,
    /// How long an upload may rest before it expires.
    pub upload_idle: Duration,
    /// How long an object stays after its content was given up: longer than a slow pull and than
    /// a presigned URL may live.
    pub delete_delay: Duration,
    /// The largest blob in bytes.
    pub max_blob_bytes: u64,
    /// Manifests up to this size are kept in the metadata; larger ones in the blob store.
    pub inline_manifest_bytes: usize,
    /// Bounds on manifests.
    pub manifest: manifest::Limits,
    /// An append makes what came durable, and its state, at least each so many bytes …
    pub checkpoint_bytes: u64,
    /// … and at least each so often.
    pub checkpoint_interval: Duration,
    /// The bytes on the blob store's disk that only collection and deletes may use. Nothing is
    /// accepted that would not leave them, what other uploads were promised counted. The metadata
    /// store keeps its own ([`crate::meta::Reserve`]).
    pub reserve_bytes: u64,
    /// Whether blobs that are read whole are hashed on their way out, so that a read of rotten bytes
    /// breaks off before its last chunk. Costs what hashing costs, and URLs are no longer given out,
    /// for what goes past this process can't be verified. Off by default: clients compare digests.
    pub verify_reads: bool,
    /// The memory the cache of tags and manifests may use, in bytes.
    pub cache_bytes: u64,
    /// How long small manifests may wait to be copied to the blob store together; what a kill keeps
    /// from it the next collection copies.
    pub copy_group: Duration,
    /// How long pulls may wait to be written to the audit trail together: what a kill loses.
    pub pull_group: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_hours(1);
        Self {
            lease: 24 * HOUR,
            upload_idle: 24 * HOUR,
            delete_delay: HOUR,
            max_blob_bytes: 5 << 40,
            inline_manifest_bytes: 64 << 10,
            manifest: manifest::Limits::default(),
            checkpoint_bytes: 64 << 20,
            checkpoint_interval: Duration::from_secs(5),
            reserve_bytes: 256 << 20,
            verify_reads: false,
            cache_bytes: 32 << 20,
            copy_group: Duration::from_secs(1),
            pull_group: Duration::from_secs(1),
        }
    }
}

/// The engine's inside.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) seams: Seams,
    pub(crate) settings: Settings,
    /// The audit chain of this process.
    pub(crate) chain: ChainId,
    pub(crate) cache: Arc<Cache>,
    /// What the cache is where other processes write to the same store.
    pub(crate) known: Known,
    pub(crate) writers: Writers,
    pub(crate) moves: Moves,
    pub(crate) room: Room,
    pub(crate) pulls: PullLog,
    pub(crate) refusals: RefusalLog,
    pub(crate) copies: Copies,
    pub(crate) presence: Presence,
    pub(crate) tasks: Tasks,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) last_number: AtomicU64,
}

impl Core {
    /// Reads one row.
    pub(crate) async fn read<T: Record>(&self, key: Key) -> Result<Seen<T>, Error> {
        let raw = self.meta.get(&key).await?;
        Seen::new(key, raw)
    }

    /// Whether a row still says what it said.
    pub(crate) async fn is_unchanged<T>(&self, seen: &Seen<T>) -> Result<bool, Error> {
        Ok(seen.says(self.meta.get(&seen.key).await?.as_deref()))
    }

    /// Reads several rows of one kind, all of one moment.
    pub(crate) async fn read_many<T: Record>(&self, keys: Vec<Key>) -> Result<Vec<Seen<T>>, Error> {
        let raws = self.meta.get_many(&keys).await?;
        keys.into_iter().zip(raws).map(|(key, raw)| Seen::new(key, raw)).collect()
    }

    /// What was decided about something in `organisation`; where it is no, that waits to be a line in the
    /// trail, whether what was asked for is hidden, may not be done, or is not there.
    pub(crate) fn noting<T>(
        &self,
        caller: &Caller,
        action: Action,
        organisation: &OrganisationName,
        decided: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(Error::NameUnknown { name } | Error::Denied { name, .. }) = &decided {
            self.note_refusal(caller, action, Some(organisation), name);
        }
        decided
    }

    /// What was refused, in an organisation or in the whole installation, waits to be a line in the trail.
    pub(crate) fn note_refusal(
        &self,
        caller: &Caller,
        action: Action,
        organisation: Option<&OrganisationName>,
        name: &str,
    ) {
        self.refusals.add(caller, action, organisation, name, self.seams.clock.now());
    }

    /// The time that leases are counted by.
    pub(crate) async fn now(&self) -> Result<Timestamp, Error> {
        Ok(self.meta.now().await?)
    }

    /// A number for a new link: later ones are larger, also where the clock jumps back.
    ///
    /// The upper 44 bits are milliseconds, so that what belongs together lies together; the lower
    /// 20 start at random, so that two processes seldom meet (the commit requires that it is free).
    pub(crate) fn next_number(&self, now: Timestamp) -> Number {
        let fresh = (now.0 << 20) | (self.seams.random_u64() & 0xF_FFFF);
        let mut next = fresh;
        let _ = self.last_number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            next = if fresh >> 20 > last >> 20 { fresh } else { last + 1 };
            Some(next)
        });
        Number(next)
    }
}
