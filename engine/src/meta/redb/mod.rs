//! The embedded store: one redb file, one process.
//!
//! Reads share the read transaction of the last commit (see `latest`) and run where they are
//! called: a row costs a microsecond. Writes go to one thread (see `committer`), which joins whatever waits
//! into one durable transaction, so that the two fsyncs of a two-phase commit are paid once per
//! group. `Durability::None` is never used.
//!
//! redb refuses all further work after an I/O error, since it can't know what the disk holds. Then
//! the committer opens the database anew, looks which side of the error the last group is on, and
//! answers its callers truthfully; only where that fails too they hear
//! [`MetaError::Unavailable`], and the next call tries again.
//!
//! The row [`COMMITS`] is the store's own: it names the commits of the last group.
//!
//! redb is named in this folder only: its interface changes with its next major version.

mod committer;
mod error;
mod latest;
mod open;
mod room;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use ::redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTableMetadata as _,
    StorageBackend, TableDefinition,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, mpsc, oneshot};

use self::committer::{Committer, Request};
use self::error::{away, into_meta};
use self::latest::Opened;
use self::open::Opener;
use self::room::Room;
use super::plan;
use super::{Commit, CommitId, Committed, Key, MAX_SCAN_ROWS, MetaError, MetaRead, MetaStore, Row};
use crate::seam::{Clock, Timestamp};

/// Everything is in this one table.
const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
/// Where the ids of the last group stand; hidden from readers, and refused to writers.
const COMMITS: &[u8] = b"!commits";
/// How many calls may wait for the committer; more wait before they are queued.
const QUEUED: usize = 1024;
/// Longer scans leave the caller's thread, which has others to serve.
const INLINE_SCAN_ROWS: usize = 256;

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;
/// `None` while the database could not be opened again after an I/O error.
type Slot = RwLock<Option<Opened>>;

/// Settings of a [`RedbStore`].
#[derive(Debug, Clone, Copy)]
pub struct RedbOptions {
    /// The most bytes of pages kept in memory; used as they are read and written, never before.
    pub cache_bytes: usize,
    /// The bytes on the file's disk that only deletes and collection may use (see [`super::Reserve`]): a
    /// database that can't grow can't delete either, since it writes beside what it had.
    pub reserve_bytes: u64,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, reserve_bytes: 64 * 1024 * 1024 }
    }
}

/// The facts in one redb file.
///
/// Dropping it waits for the commits already queued, and closes the database.
pub struct RedbStore {
    database: Arc<Slot>,
    /// Taken when the store is dropped, which ends the committer.
    requests: Option<mpsc::Sender<Request>>,
    committer: Option<JoinHandle<()>>,
    revision: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the database at `path`, or makes a new one there, durably. Blocks.
    ///
    /// # Errors
    /// [`MetaError::Unavailable`] where another process has it open, or the disk fails;
    /// [`MetaError::Corrupted`] where the file is no database.
    pub fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, MetaError> {
        Self::open_with(RedbOptions::default(), path, clock)
    }

    /// As [`Self::open`], with other settings.
    pub fn open_with(
        options: RedbOptions,
        path: impl AsRef<Path>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, MetaError> {
        let path = path.as_ref().to_owned();
        open::create_durably(&path)?;
        let room = Room::on_disk(&path, options.reserve_bytes);
        Self::start(open::at_path(path, options), Some(room), clock)
    }

    /// A database on a storage of the caller's. `backend` is called now, and again after each I/O
    /// error, when the backend it gave before has been closed: each time it gives the storage as
    /// it is then.
    ///
    /// redb can't open a storage on which its very first opening was cut short. A file's is
    /// therefore made aside and linked to its place ([`Self::open`]); a backend's is the caller's.
    ///
    /// No reserve is kept back: see [`Self::with_backend_in`].
    pub fn with_backend<B: StorageBackend>(
        backend: impl Fn() -> io::Result<B> + Send + 'static,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, MetaError> {
        Self::start(open::on_backend(backend, RedbOptions::default()), None, clock)
    }

    /// As [`Self::with_backend`], with other settings, and with a reserve: `free_bytes` tells how
    /// many bytes the storage can still grow by.
    pub fn with_backend_in<B: StorageBackend>(
        options: RedbOptions,
        backend: impl Fn() -> io::Result<B> + Send + 'static,
        free_bytes: impl Fn() -> io::Result<u64> + Send + 'static,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, MetaError> {
        let room = Room { reserve_bytes: options.reserve_bytes, free_bytes: Box::new(free_bytes) };
        Self::start(open::on_backend(backend, options), Some(room), clock)
    }

    fn start(opener: Opener, room: Option<Room>, clock: Arc<dyn Clock>) -> Result<Self, MetaError> {
        let revision = Arc::new(AtomicU64::default());
        let opened = Opened::new(opener.open()?, Arc::clone(&revision));
        let database = Arc::new(RwLock::new(Some(opened)));
        let (requests, queue) = mpsc::channel(QUEUED);
        let committer =
            Committer::new(database.clone(), Arc::clone(&revision), opener, room, queue);
        let committer = std::thread::Builder::new()
            .name("meta-committer".into())
            .spawn(move || committer.run())
            .map_err(|error| MetaError::Unavailable(format!("no thread to commit: {error}")))?;
        Ok(Self { database, requests: Some(requests), committer: Some(committer), revision, clock })
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, MetaError>>) -> Request,
    ) -> Result<T, MetaError> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(ended)?;
        requests.send(request(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// What `look` sees; where the database has to be opened anew for it, once more.
    async fn read<T>(
        &self,
        look: impl Fn(&Rows) -> Result<T, ::redb::Error> + Send + Sync,
    ) -> Result<T, MetaError> {
        let look = |opened: &Opened| look(&*opened.rows()?);
        if let Some(opened) = &*self.database.read().await {
            match look(opened) {
                Err(error) if error::is_healed_by_opening(&error) => {}
                answer => return answer.map_err(into_meta),
            }
        }
        self.ask(Request::Heal).await?;
        match &*self.database.read().await {
            Some(opened) => look(opened).map_err(into_meta),
            None => Err(away()),
        }
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(committer) = self.committer.take() {
            // A panic there has been printed; callers heard that the store is away.
            let _ = committer.join();
        }
    }
}

fn ended() -> MetaError {
    MetaError::Unavailable("its committer has ended".into())
}

fn rows(database: &Database) -> Result<(ReadTransaction, Rows), ::redb::Error> {
    let transaction = database.begin_read()?;
    let rows = transaction.open_table(ROWS)?;
    Ok((transaction, rows))
}

fn get(rows: &Rows, key: &[u8]) -> Result<Option<Bytes>, ::redb::Error> {
    if key == COMMITS {
        return Ok(None);
    }
    Ok(rows.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
}

fn scan(rows: &Rows, range: Range<Key>, limit: usize) -> Result<Vec<Row>, ::redb::Error> {
    let mut found = Vec::new();
    if range.is_empty() || limit == 0 {
        return Ok(found);
    }
    for row in rows.range(range.start.as_slice()..range.end.as_slice())? {
        let (key, value) = row?;
        if key.value() == COMMITS {
            continue;
        }
        found.push((key.value().to_vec(), Bytes::copy_from_slice(value.value())));
        if found.len() == limit {
            break;
        }
    }
    Ok(found)
}

/// How many rows there are, which the table knows: less the one that is hidden.
fn count(rows: &Rows) -> Result<u64, ::redb::Error> {
    let hidden = u64::from(rows.get(COMMITS)?.is_some());
    Ok(rows.len()? - hidden)
}

/// Runs a scan of `limit` rows where it does not hold up the caller's thread.
async fn off_the_thread<T: Send + 'static>(
    limit: usize,
    scan: impl FnOnce() -> Result<T, MetaError> + Send + 'static,
) -> Result<T, MetaError> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) if limit > INLINE_SCAN_ROWS => runtime
            .spawn_blocking(scan)
            .await
            .map_err(|error| MetaError::Unavailable(format!("a scan was stopped: {error}")))?,
        _ => scan(),
    }
}

#[async_trait]
impl MetaRead for RedbStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        self.read(|rows| get(rows, key)).await
    }

    async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError> {
        let limit = limit.min(MAX_SCAN_ROWS);
        // The guard goes along: a compaction waits for it.
        let (guard, rows) = self.open_rows().await?;
        off_the_thread(limit, move || {
            let found = scan(&rows, range, limit).map_err(into_meta);
            drop((rows, guard));
            found
        })
        .await
    }

    async fn about_rows(&self) -> Result<Option<u64>, MetaError> {
        self.read(count).await.map(Some)
    }
}

impl RedbStore {
    async fn open_rows(
        &self,
    ) -> Result<(OwnedRwLockReadGuard<Option<Opened>>, Arc<Rows>), MetaError> {
        let guard = self.database.clone().read_owned().await;
        match guard.as_ref().map(Opened::rows) {
            Some(Ok(rows)) => return Ok((guard, rows)),
            Some(Err(error)) if !error::is_healed_by_opening(&error) => {
                return Err(into_meta(error));
            }
            _ => drop(guard),
        }
        self.ask(Request::Heal).await?;
        let guard = self.database.clone().read_owned().await;
        let rows = guard.as_ref().map(Opened::rows).ok_or_else(away)?.map_err(into_meta)?;
        Ok((guard, rows))
    }
}

#[async_trait]
impl MetaStore for RedbStore {
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, MetaError> {
        self.read(|rows| keys.iter().map(|key| get(rows, key)).collect()).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, MetaError> {
        let bytes = plan::measure(&commit)?;
        if writes_to(&commit, COMMITS) {
            return Err(MetaError::TooLarge("the key !commits is the store's own".into()));
        }
        self.ask(|reply| Request::Commit(committer::Pending { commit, bytes, reply })).await
    }

    /// Answered behind every commit that was queued before.
    async fn was_committed(&self, id: CommitId) -> Result<Option<bool>, MetaError> {
        self.ask(|reply| Request::WasCommitted(id, reply)).await
    }

    /// Holds the pages of its moment until it is dropped, and compaction off. After an I/O error
    /// it answers [`MetaError::Unavailable`] for good: take another.
    async fn snapshot(&self) -> Result<Box<dyn MetaRead>, MetaError> {
        let (_, rows) = self.open_rows().await?;
        Ok(Box::new(Snapshot(rows)))
    }

    async fn now(&self) -> Result<Timestamp, MetaError> {
        Ok(self.clock.now())
    }

    /// Stops all commits and reads while it runs: for a quiet hour. Refused
    /// ([`MetaError::Unavailable`]) while a snapshot is open.
    async fn compact(&self) -> Result<u64, MetaError> {
        self.ask(Request::Compact).await
    }

    fn is_serving(&self) -> Result<(), MetaError> {
        match &self.committer {
            Some(committer) if !committer.is_finished() => Ok(()),
            _ => Err(ended()),
        }
    }

    fn revision(&self) -> Option<u64> {
        Some(self.revision.load(Ordering::SeqCst)).filter(|revision| revision % 2 == 0)
    }
}

fn writes_to(commit: &Commit, reserved: &[u8]) -> bool {
    commit.put.iter().any(|(key, _)| key == reserved)
        || commit.delete.iter().any(|key| key == reserved)
        || commit.add.iter().any(|add| add.key == reserved)
}

struct Snapshot(Arc<Rows>);

#[async_trait]
impl MetaRead for Snapshot {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        get(&self.0, key).map_err(into_meta)
    }

    async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError> {
        let limit = limit.min(MAX_SCAN_ROWS);
        let rows = self.0.clone();
        off_the_thread(limit, move || scan(&rows, range, limit).map_err(into_meta)).await
    }

    async fn about_rows(&self) -> Result<Option<u64>, MetaError> {
        count(&self.0).map(Some).map_err(into_meta)
    }
}
