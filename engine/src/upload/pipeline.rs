//! Hashing and writing side by side: while one batch of bytes is hashed on one thread and written
//! on another, the next is gathered. Nothing is held but two batches.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use crate::content::{ObjectWriter, StoreError, Then, WriteState};
use crate::digest::Hasher;
use crate::error::Error;
use crate::upload::writers::Writing;

/// Pieces of up to this are joined before they are passed on. One that was read from a socket lies in a
/// buffer that may be many times its size, and holds all of it; a body may also come byte by byte. To
/// copy them is cheaper than memory that is new to the processor for each read.
const SMALL_BYTES: usize = 64 << 10;
/// How large what is joined becomes, where a batch is no smaller.
const JOINED_BYTES: usize = 256 << 10;

/// Where bytes go: a hash and an object.
pub(super) struct Pipeline {
    /// Absent while a batch is under way, and for good after a failure.
    idle: Option<Lanes>,
    busy: Option<JoinHandle<Result<Lanes, Error>>>,
    gathered: Vec<Bytes>,
    /// Small pieces that came last, joined.
    joined: BytesMut,
    /// How many bytes are gathered, joined ones included.
    gathered_bytes: usize,
    /// How many bytes were taken, gathered ones included.
    taken: u64,
}

struct Lanes {
    writer: Box<dyn ObjectWriter>,
    /// Absent where an older program's state could not be read: the bytes are read again at the
    /// end.
    hasher: Option<Hasher>,
    /// The offset after all bytes that are with the writer.
    written: u64,
    /// The hash states at those offsets that the writer may yet come to say are durable.
    edges: VecDeque<(u64, Option<Hasher>)>,
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
            idle: Some(Lanes {
                writer,
                hasher,
                written: offset,
                edges: VecDeque::new(),
                _writing: writing,
            }),
            busy: None,
            gathered: Vec::new(),
            joined: BytesMut::new(),
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
        let whole = JOINED_BYTES.min(batch_bytes);
        if bytes.len() <= SMALL_BYTES {
            if self.joined.capacity() - self.joined.len() < bytes.len()
                && self.taken > JOINED_BYTES as u64
            {
                // There will be more: it is not grown, and so copied, step by step.
                self.gather_joined();
                self.joined.reserve(whole.max(bytes.len()));
            }
            self.joined.extend_from_slice(&bytes);
            if self.joined.len() >= whole {
                self.gather_joined();
            }
        } else {
            self.gather_joined();
            self.gathered.push(bytes);
        }
        if self.gathered_bytes >= batch_bytes { self.dispatch().await } else { Ok(()) }
    }

    fn gather_joined(&mut self) {
        if !self.joined.is_empty() {
            self.gathered.push(self.joined.split().freeze());
        }
    }

    async fn dispatch(&mut self) -> Result<(), Error> {
        let mut lanes = self.settle().await?;
        self.gather_joined();
        let batch = std::mem::take(&mut self.gathered);
        let length = std::mem::take(&mut self.gathered_bytes);
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
            lanes.written += u64::try_from(length).unwrap_or(u64::MAX);
            if lanes.writer.is_edge() {
                lanes.edges.push_back((lanes.written, lanes.hasher.clone()));
            }
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
    pub(super) async fn checkpoint(&mut self, then: Then) -> Result<Checkpoint, CheckpointError> {
        let mut lanes = self.drain().await?;
        let write = lanes.writer.checkpoint(then).await.map_err(CheckpointError::of)?;
        let hasher = lanes.hasher.clone();
        lanes.edges.clear();
        self.idle = Some(lanes);
        Ok(Checkpoint { hasher, write })
    }

    /// What is durable already of the bytes taken so far, where the writer can tell while others are on
    /// their way; waits until that is `least` bytes of the object, or nothing is on its way any more.
    pub(super) async fn advance(
        &mut self,
        least: u64,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        let mut lanes = self.settle().await.map_err(CheckpointError::Write)?;
        let advanced = lanes.writer.advance(least).await.map_err(CheckpointError::of)?;
        let checkpoint = match advanced {
            None => None,
            Some(write) => Some(lanes.at_edge(write).map_err(CheckpointError::Write)?),
        };
        self.idle = Some(lanes);
        Ok(checkpoint)
    }

    /// Waits until all bytes taken so far are hashed and with the writer.
    async fn drain(&mut self) -> Result<Lanes, CheckpointError> {
        if self.gathered_bytes > 0 {
            self.dispatch().await.map_err(CheckpointError::Write)?;
        }
        self.settle().await.map_err(CheckpointError::Write)
    }
}

impl Lanes {
    /// What the writer says is durable, with the hash state of the same offset.
    fn at_edge(&mut self, write: WriteState) -> Result<Checkpoint, Error> {
        while let Some((offset, hasher)) = self.edges.pop_front() {
            if offset == write.offset {
                return Ok(Checkpoint { hasher, write });
            }
        }
        let offset = write.offset;
        Err(Error::Unavailable(format!(
            "the blob store tells of an edge at {offset}, where none was"
        )))
    }
}

/// Why bytes could not be made durable.
pub(super) enum CheckpointError {
    /// They could not be written; what was durable before still is.
    Write(Error),
    /// They could not be synced: what was written is garbage, and so is the object (DESIGN D1).
    Sync(StoreError),
}

impl CheckpointError {
    fn of(error: StoreError) -> Self {
        match error {
            StoreError::Failed { temporary: true, .. } => Self::Write(error.into()),
            _ => Self::Sync(error),
        }
    }
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Write(error) => error,
            CheckpointError::Sync(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::id::SessionId;
    use crate::upload::Writers;

    /// Remembers the batches it was given.
    #[derive(Clone, Default)]
    struct Batches(Arc<Mutex<Vec<Vec<Bytes>>>>);

    #[async_trait]
    impl ObjectWriter for Batches {
        async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), StoreError> {
            self.0.lock().unwrap().push(batch);
            Ok(())
        }

        async fn checkpoint(&mut self, _then: Then) -> Result<WriteState, StoreError> {
            let batches = self.0.lock().unwrap();
            let offset = batches.iter().flatten().map(|bytes| bytes.len() as u64).sum();
            Ok(WriteState { offset, state: Vec::new() })
        }
    }

    /// Makes parts of 100 bytes or more, of which all but the last two are durable.
    #[derive(Default)]
    struct Parts {
        ends: Vec<u64>,
        open: u64,
        told: u64,
    }

    #[async_trait]
    impl ObjectWriter for Parts {
        async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), StoreError> {
            self.open += batch.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
            if self.open >= 100 {
                self.ends.push(self.ends.last().unwrap_or(&0) + self.open);
                self.open = 0;
            }
            Ok(())
        }

        async fn checkpoint(&mut self, _then: Then) -> Result<WriteState, StoreError> {
            let offset = self.ends.last().unwrap_or(&0) + self.open;
            Ok(WriteState { offset, state: Vec::new() })
        }

        async fn advance(&mut self, least: u64) -> Result<Option<WriteState>, StoreError> {
            let durable = self.ends.iter().rev().nth(2).copied().unwrap_or(0);
            if durable < least || std::mem::replace(&mut self.told, durable) == durable {
                return Ok(None);
            }
            Ok(Some(WriteState { offset: durable, state: Vec::new() }))
        }

        fn is_edge(&self) -> bool {
            self.open == 0
        }
    }

    #[tokio::test]
    async fn what_is_durable_midway_comes_with_the_hash_of_exactly_that() {
        let content: Vec<u8> = (0..2_000_u32).map(|n| (n % 251) as u8).collect();
        let writing = Writers::default().begin(SessionId([1; 16])).unwrap();
        let hasher = Some(Hasher::new(Algorithm::Sha256));
        let mut pipeline = Pipeline::new(Box::new(Parts::default()), hasher, writing, 0);
        let mut told = Vec::new();
        for piece in content.chunks(70) {
            pipeline.take(Bytes::copy_from_slice(piece), 70).await.unwrap();
            let Ok(advanced) = pipeline.advance(0).await else { panic!("it can't fail") };
            let Some(Checkpoint { hasher, write }) = advanced else { continue };
            let durable = usize::try_from(write.offset).unwrap();
            assert!(write.offset < pipeline.taken());
            let hashed = hasher.unwrap().finish();
            assert_eq!(hashed, Digest::of(Algorithm::Sha256, &content[..durable]));
            told.push(write.offset);
        }
        assert!(told.is_sorted() && told.len() > 5, "{told:?}");
        let Ok(checkpoint) = pipeline.checkpoint(Then::Finishes).await else {
            panic!("it can't fail")
        };
        assert_eq!(checkpoint.write.offset, 2_000);
        let hashed = checkpoint.hasher.unwrap().finish();
        assert_eq!(hashed, Digest::of(Algorithm::Sha256, &content));
    }

    #[tokio::test]
    async fn a_body_that_comes_byte_by_byte_is_passed_on_in_few_pieces_and_in_order() {
        let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let batches = Batches::default();
        let writing = Writers::default().begin(SessionId([1; 16])).unwrap();
        let hasher = Some(Hasher::new(Algorithm::Sha256));
        let mut pipeline = Pipeline::new(Box::new(batches.clone()), hasher, writing, 0);
        let mut rest = &content[..];
        // Single bytes, and now and then a piece of some size between them.
        while !rest.is_empty() {
            let size = if rest.len().is_multiple_of(50_000) { 10_000 } else { 1 };
            let (piece, left) = rest.split_at(size);
            pipeline.take(Bytes::copy_from_slice(piece), 128 << 10).await.unwrap();
            rest = left;
        }
        let Ok(checkpoint) = pipeline.checkpoint(Then::Finishes).await else {
            panic!("it can't fail")
        };
        assert_eq!(checkpoint.write.offset, 300_000);
        let hashed = checkpoint.hasher.unwrap().finish();
        assert_eq!(hashed, Digest::of(Algorithm::Sha256, &content));
        let batches = batches.0.lock().unwrap();
        let pieces: usize = batches.iter().map(Vec::len).sum();
        assert!(pieces < 30, "{pieces} pieces");
        let written: Vec<u8> = batches.iter().flatten().flatten().copied().collect();
        assert!(written == content);
    }
}
