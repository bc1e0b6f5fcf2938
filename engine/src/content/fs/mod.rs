//! Objects as files: the durable publish on a file system.
//!
//! An unfinished object is a file under its own key; finishing it gives it a second name under
//! the finished key and makes that name durable. [`FsStore`] promises, beyond [`BlobStore`]:
//!
//! - **the order that a crash can't break**: bytes (`fdatasync`), then each new directory from
//!   the root down, then the name (hard link, fsync of its directory), and only then `Ok`;
//! - **repeatable**: every step may be done again after a crash between any two of them;
//! - **a failed fsync is final**: the object it happened on answers with the same error until it
//!   is aborted, and is never fsynced again, for a second fsync would lie;
//! - **a dropped future does not pull the file away from under its write**: the write goes on in
//!   the blocking pool to its end, and the next call on that key waits for it.
//!
//! What it never does: open a file by a name that came from outside (keys have a grammar), follow
//! what a crash left behind (it is garbage until the metadata names it), or make a deletion
//! durable: an object that comes back after a crash is an orphan and is swept.
//!
//! One key may not be a directory of another; the engine's layout has no such two.

mod durable;
mod publish;
mod read;
mod slot;
mod walk;
mod writer;

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedMutexGuard, Semaphore};

use self::durable::Directories;
use self::read::stream_file;
use self::slot::{Slot, Slots, Unfinished};
use self::writer::{FsWriter, PAST_CACHE_AT_ONCE};
use super::{
    BlobStore, LocalFiles, ObjectEntry, ObjectKey, ObjectRead, ObjectWriter, StoreError, WriteState,
};
use crate::disk::{Disk, DiskFile};

/// What [`BlobStore`]'s promise of durability is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// What was acknowledged survives power loss.
    #[default]
    Full,
    /// Nothing is fsynced: a killed process loses nothing, but power loss can lose or tear
    /// objects that were acknowledged in the last minute or so. For scratch stores and tests.
    Relaxed,
}

/// A [`BlobStore`] on a file system.
#[derive(Debug, Clone)]
pub struct FsStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    objects: PathBuf,
    incoming: PathBuf,
    durability: Durability,
    directories: Directories,
    slots: Slots,
    puts: AtomicU64,
    /// Who writes past the system's cache.
    past_cache: Semaphore,
    /// Names whose fsync failed and that could not be taken back: they have to be made anew.
    doubtful: Mutex<HashSet<ObjectKey>>,
}

impl FsStore {
    /// Opens the store below `root`, creating it where it is not there. Blocks.
    ///
    /// One process has a root open at a time: what an earlier one left half `put` is removed.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: impl Into<PathBuf>,
        durability: Durability,
    ) -> io::Result<Self> {
        let root = root.into();
        let directories = Directories::below(&*disk, &root, durability)?;
        let (objects, incoming) = (root.join("objects"), root.join("incoming"));
        directories.ensure(&*disk, &objects)?;
        directories.ensure(&*disk, &incoming)?;
        for left in disk.read_dir(&incoming)? {
            disk.remove(&incoming.join(left.name))?;
        }
        Ok(Self(Arc::new(Inner {
            disk,
            objects,
            incoming,
            durability,
            directories,
            slots: Slots::default(),
            puts: AtomicU64::new(0),
            past_cache: Semaphore::new(PAST_CACHE_AT_ONCE),
            doubtful: Mutex::default(),
        })))
    }

    /// Runs `work` in the blocking pool; it goes on to its end where this future is dropped.
    async fn blocking<T: Send + 'static>(
        &self,
        key: &ObjectKey,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        run_blocking(key, move || work(&inner)).await
    }

    /// Like [`Self::blocking`], alone on the unfinished object `key`.
    async fn alone<T: Send + 'static>(
        &self,
        key: &ObjectKey,
        work: impl FnOnce(&Inner, &Arc<Slot>, OwnedMutexGuard<Unfinished>) -> Result<T, StoreError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let slot = self.0.slots.of(key);
        let guard = slot.lock().await;
        self.blocking(key, move |inner| work(inner, &slot, guard)).await
    }
}

async fn run_blocking<T: Send + 'static>(
    key: &ObjectKey,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let reason = format!("the task that worked on it did not end: {error}");
        Err(StoreError::Failed { key: key.clone(), reason, temporary: true })
    })
}

/// What an error of the system means for the object `key`.
fn failure(key: &ObjectKey, error: &io::Error) -> StoreError {
    use io::ErrorKind as Kind;

    let (key, reason) = (key.clone(), error.to_string());
    match error.kind() {
        Kind::NotFound => StoreError::NotFound(key),
        Kind::StorageFull | Kind::QuotaExceeded => StoreError::Full { key, reason },
        kind => {
            let exhausted = matches!(
                error.raw_os_error(),
                Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
            );
            let temporary = exhausted || matches!(kind, Kind::Interrupted | Kind::TimedOut);
            StoreError::Failed { key, reason, temporary }
        }
    }
}

fn expect_size(key: &ObjectKey, expected: u64, found: u64) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    Err(StoreError::WrongSize { key: key.clone(), expected, found })
}

impl Inner {
    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.objects.join(key.as_str())
    }

    /// The length of the file of `key`, where there is one.
    fn len(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        match self.disk.file_len(&self.path(key)) {
            Ok(len) => Ok(Some(len)),
            // A segment of the key's path being a file means the same: no such object.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::IsADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(failure(key, &error)),
        }
    }

    fn ensure_parent(&self, key: &ObjectKey, path: &Path) -> Result<(), StoreError> {
        let parent = path.parent().unwrap_or(&self.objects);
        self.directories.ensure(&*self.disk, parent).map_err(|error| failure(key, &error))
    }

    fn sync_parent(&self, path: &Path) -> io::Result<()> {
        match self.durability {
            Durability::Full => self.disk.sync_dir(path.parent().unwrap_or(&self.objects)),
            Durability::Relaxed => Ok(()),
        }
    }

    fn sync_file(&self, file: &dyn DiskFile) -> io::Result<()> {
        match self.durability {
            Durability::Full => file.sync_data(),
            Durability::Relaxed => Ok(()),
        }
    }

    fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        match self.disk.remove(&self.path(key)) {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Err(failure(key, &error))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl BlobStore for FsStore {
    async fn start(&self, unfinished: &ObjectKey) -> Result<WriteState, StoreError> {
        let key = unfinished.clone();
        self.alone(unfinished, move |inner, slot, mut state| {
            slot.refuse_spoiled(&key)?;
            *state = state.next();
            inner.open_at(&key, 0, &mut state)?;
            Ok(WriteState::default())
        })
        .await
    }

    async fn resume(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
    ) -> Result<Box<dyn ObjectWriter>, StoreError> {
        let (key, offset, store) = (unfinished.clone(), state.offset, self.clone());
        self.alone(unfinished, move |inner, slot, mut state| {
            slot.refuse_spoiled(&key)?;
            let file = inner.open_at(&key, offset, &mut state)?;
            state.writer += 1;
            let slot = Arc::clone(slot);
            Ok(Box::new(FsWriter::new(store, key, slot, state.writer, file, offset)) as _)
        })
        .await
    }

    async fn finish(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
        finished: &ObjectKey,
    ) -> Result<ObjectKey, StoreError> {
        let (key, offset, to) = (unfinished.clone(), state.offset, finished.clone());
        self.alone(unfinished, move |inner, slot, mut state| {
            // Whoever still holds a writer must not write into what is published.
            state.writer += 1;
            inner.finish(&key, offset, &to, slot, &mut state)?;
            Ok(to)
        })
        .await
    }

    async fn abort(&self, unfinished: &ObjectKey, _state: &WriteState) -> Result<(), StoreError> {
        let key = unfinished.clone();
        self.alone(unfinished, move |inner, slot, mut state| {
            *state = state.next();
            inner.remove(&key)?;
            slot.forgive();
            Ok(())
        })
        .await
    }

    async fn settle(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        if from == to {
            return Ok(());
        }
        let (key, to) = (from.clone(), to.clone());
        self.alone(from, move |inner, slot, _state| {
            slot.refuse_spoiled(&key)?;
            let len = inner.len(&key)?.ok_or_else(|| StoreError::NotFound(key.clone()))?;
            // A failed fsync says nothing against `from`, which was durable before.
            inner.publish(&key, len, &to, slot).inspect_err(|_| slot.forgive())
        })
        .await
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let of = key.clone();
        self.blocking(key, move |inner| inner.put(&of, &bytes)).await
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<ObjectRead, StoreError> {
        let of = key.clone();
        self.blocking(key, move |inner| {
            let file = inner.disk.open_read(&inner.path(&of)).map_err(|e| match e.kind() {
                io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
                    StoreError::NotFound(of.clone())
                }
                _ => failure(&of, &e),
            })?;
            let found = file.len().map_err(|error| failure(&of, &error))?;
            if range.end > found {
                return Err(StoreError::WrongSize { key: of, expected: range.end, found });
            }
            Ok(match file.into_std() {
                Ok(file) => {
                    let length = range.end.saturating_sub(range.start);
                    ObjectRead::File { file, offset: range.start, length }
                }
                Err(file) => ObjectRead::Stream(stream_file(of, file, range)),
            })
        })
        .await
    }

    async fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        let of = key.clone();
        self.blocking(key, move |inner| inner.len(&of)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.abort(key, &WriteState::default()).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectEntry>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        let inner = Arc::clone(&self.0);
        let walked = tokio::task::spawn_blocking(move || {
            walk::list(&*inner.disk, &inner.objects, &prefix, after.as_ref(), limit)
        });
        match walked.await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Unlisted { reason: error.to_string() }),
        }
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        let inner = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || inner.disk.free_bytes(&inner.objects));
        match asked.await {
            Ok(Ok(free)) => Ok(Some(free)),
            Ok(Err(error)) => Err(StoreError::Unmeasured { reason: error.to_string() }),
            Err(error) => Err(StoreError::Unmeasured { reason: error.to_string() }),
        }
    }

    fn local_files(&self) -> Option<&dyn LocalFiles> {
        Some(self)
    }
}

#[async_trait]
impl LocalFiles for FsStore {
    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.0.path(key)
    }

    async fn link(&self, file: &Path, size: u64, key: &ObjectKey) -> Result<bool, StoreError> {
        let (file, of) = (file.to_owned(), key.clone());
        self.blocking(key, move |inner| inner.link(&file, size, &of)).await
    }
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
