//! Hashing and writing side by side: while one batch of bytes is hashed on one thread and written
//! on another, the next is gathered. Nothing is copied, and nothing is held but two batches.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::content::{ObjectWriter, StoreError, WriteState};
use crate::digest::Hasher;
use crate::error::Error;
use crate::upload::writers::Writing;

/// Where bytes go: a hash and an object.
pub(super) struct Pipeline {
    /// Absent while a batch is under way, and for good after a failure.
    idle: Option<Lanes>,
    busy: Option<JoinHandle<Result<Lanes, Error>>>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    /// How many bytes were taken, gathered ones included.
    taken: u64,
}

struct Lanes {
    writer: Box<dyn ObjectWriter>,
    /// Absent where an older program's state could not be read: the bytes are read again at the
    /// end.
    hasher: Option<Hasher>,
    /// Held by the work under way, so that nobody else writes while it lasts even where the
    /// request was given up.
    _writing: Arc<Writing>,
}

/// A hash state and a write state of the same offset.
pub(super) struct Checkpoint {
    pub(super) hasher: Option<Hasher>,
    pub(super) write: WriteState,
}

impl Pipeline {
    pub(super) fn new(
        writer: Box<dyn ObjectWriter>,
        hasher: Option<Hasher>,
        writing: Arc<Writing>,
        offset: u64,
    ) -> Self {
        Self {
            idle: Some(Lanes { writer, hasher, _writing: writing }),
            busy: None,
            gathered: Vec::new(),
            gathered_bytes: 0,
            taken: offset,
        }
    }

    /// The offset after all bytes taken so far; not all of them are durable.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes bytes; starts hashing and writing once `batch_bytes` are gathered.
    pub(super) async fn take(&mut self, bytes: Bytes, batch_bytes: usize) -> Result<(), Error> {
        self.taken += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= batch_bytes { self.dispatch().await } else { Ok(()) }
    }

    async fn dispatch(&mut self) -> Result<(), Error> {
        let mut lanes = self.settle().await?;
        let batch = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        self.busy = Some(tokio::spawn(async move {
            let hashing = lanes.hasher.take().map(|mut hasher| {
                let batch = batch.clone();
                tokio::task::spawn_blocking(move || {
                    for bytes in &batch {
                        hasher.update(bytes);
                    }
                    hasher
                })
            });
            let written = lanes.writer.write(batch).await;
            if let Some(hashing) = hashing {
                let hashed = hashing.await;
                lanes.hasher = Some(hashed.map_err(|e| Error::Unavailable(e.to_string()))?);
            }
            written?;
            Ok(lanes)
        }));
        Ok(())
    }

    /// Waits for the batch under way.
    async fn settle(&mut self) -> Result<Lanes, Error> {
        if let Some(busy) = self.busy.take() {
            let lanes = busy.await.map_err(|e| Error::Unavailable(e.to_string()))?;
            return lanes;
        }
        self.idle.take().ok_or_else(|| Error::Unavailable("the upload failed before".to_owned()))
    }

    /// Makes all bytes taken so far durable.
    pub(super) async fn checkpoint(&mut self) -> Result<Checkpoint, CheckpointError> {
        if !self.gathered.is_empty() {
            self.dispatch().await.map_err(CheckpointError::Write)?;
        }
        let mut lanes = self.settle().await.map_err(CheckpointError::Write)?;
        let write = lanes.writer.checkpoint().await.map_err(CheckpointError::Sync)?;
        let hasher = lanes.hasher.clone();
        self.idle = Some(lanes);
        Ok(Checkpoint { hasher, write })
    }
}

/// Why bytes could not be made durable.
pub(super) enum CheckpointError {
    /// They could not be written; what was durable before still is.
    Write(Error),
    /// They could not be synced: what was written is garbage, and so is the object (DESIGN D1).
    Sync(StoreError),
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Write(error) => error,
            CheckpointError::Sync(error) => error.into(),
        }
    }
}
