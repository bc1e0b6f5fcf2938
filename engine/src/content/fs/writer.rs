//! Appending to an unfinished object.

use std::io::IoSlice;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::super::{ObjectKey, ObjectWriter, StoreError, Then, WriteState};
use super::slot::{Slot, Unfinished};
use super::{FsStore, Inner, failure, run_blocking};
use crate::disk::{DiskFile, write_all_at, write_all_past_cache};

/// Writing out is begun each time this much has been written, so that the closing fsync finds
/// the disk nearly done: it took 2 to 3 ms instead of 140 to 220 ms after 512 MiB.
const WRITEBACK_STEP: u64 = 8 * 1024 * 1024;

/// From here on an object is written past the system's cache. To copy a large one there costs as much
/// processor time as to hash it, and pushes out what is asked for more often; all of a smaller one stays
/// there for whoever pulls it next.
pub(super) const PAST_CACHE_FROM: u64 = 64 * 1024 * 1024;

/// How many writers may do so at once. Each holds a thread until the disk has taken its bytes.
pub(super) const PAST_CACHE_AT_ONCE: usize = 8;

/// The file and how far it is written. It travels into the blocking task and back, so that a
/// dropped future leaves it with the task.
#[derive(Debug)]
struct Open {
    file: Box<dyn DiskFile>,
    offset: u64,
    written_back: u64,
    /// Up to where this writer made it durable.
    kept: u64,
}

/// Writes an unfinished object on. See [`FsStore`].
#[derive(Debug)]
pub(super) struct FsWriter {
    store: FsStore,
    key: ObjectKey,
    slot: Arc<Slot>,
    /// Which writer of the object this is.
    number: u64,
    open: Option<Open>,
}

impl FsWriter {
    pub(super) fn new(
        store: FsStore,
        key: ObjectKey,
        slot: Arc<Slot>,
        number: u64,
        file: Box<dyn DiskFile>,
        offset: u64,
    ) -> Self {
        let open = Some(Open { file, offset, written_back: offset, kept: offset });
        Self { store, key, slot, number, open }
    }

    /// Does `work` on the file in the blocking pool. After an error, or where the future is
    /// dropped, the writer is spent.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(
            &Inner,
            &ObjectKey,
            &Slot,
            &mut Unfinished,
            &mut Open,
        ) -> Result<T, StoreError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let refuse = |reason: &str| StoreError::Failed {
            key: self.key.clone(),
            reason: reason.to_owned(),
            temporary: false,
        };
        let mut guard = self.slot.lock().await;
        if guard.writer != self.number {
            return Err(refuse("another writer has taken over"));
        }
        let Some(mut open) = self.open.take() else {
            return Err(refuse("an earlier call on this writer failed or was dropped"));
        };
        let (inner, slot) = (Arc::clone(&self.store.0), Arc::clone(&self.slot));
        let key = self.key.clone();
        let (open, result) = run_blocking(&self.key, move || {
            slot.refuse_spoiled(&key)?;
            let result = work(&inner, &key, &slot, &mut guard, &mut open)?;
            Ok((open, result))
        })
        .await?;
        self.open = Some(open);
        Ok(result)
    }
}

#[async_trait]
impl ObjectWriter for FsWriter {
    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), StoreError> {
        self.work(move |inner, key, _slot, unfinished, open| {
            unfinished.durable = None;
            let length: u64 = batch.iter().map(|bytes| bytes.len() as u64).sum();
            let mut buffers: Vec<IoSlice<'_>> =
                batch.iter().map(|bytes| IoSlice::new(bytes)).collect();
            let written = if open.offset >= PAST_CACHE_FROM
                && let Ok(_one_of_few) = inner.past_cache.try_acquire()
            {
                write_all_past_cache(&mut *open.file, &mut buffers, open.offset)
            } else {
                write_all_at(&*open.file, &mut buffers, open.offset)
            };
            written.map_err(|error| failure(key, &error))?;
            open.offset += length;
            let waiting = open.offset - open.written_back;
            if waiting >= WRITEBACK_STEP {
                open.file.start_writeback(open.written_back, waiting);
                open.written_back = open.offset;
            }
            Ok(())
        })
        .await
    }

    async fn checkpoint(&mut self, _then: Then) -> Result<WriteState, StoreError> {
        self.work(|inner, key, slot, unfinished, open| {
            inner.keep_bytes(key, &*open.file, open.offset, slot, unfinished)?;
            inner.keep_name(key, slot, unfinished)?;
            open.written_back = open.offset;
            open.kept = open.offset;
            Ok(WriteState { offset: open.offset, state: Vec::new() })
        })
        .await
    }

    /// All that was written: the caller hashes what comes next meanwhile.
    async fn advance(&mut self, _least: u64) -> Result<Option<WriteState>, StoreError> {
        if self.open.as_ref().is_some_and(|open| open.kept == open.offset) {
            return Ok(None);
        }
        self.checkpoint(Then::Writes).await.map(Some)
    }
}
