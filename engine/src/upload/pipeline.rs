//! Hashing and writing side by side: a batch of bytes is hashed on one thread as soon as it is gathered,
//! and written on another one batch behind, so that neither waits for the other between two batches.
//! Nothing is held but three batches.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::content::{ObjectWriter, StoreError, Then, WriteState};
use crate::digest::Hasher;
use crate::disk::{BLOCK_BYTES, aligned_buffer};
use crate::error::Error;
use crate::upload::hashing::Hashing;
use crate::upload::writers::Writing;

/// How large the pieces are that a batch is passed on in, where it is no smaller. What comes is copied into
/// them: a piece that was read from a socket lies in a buffer that may be many times its size, and holds
/// all of it; a body may also come byte by byte, and a disk takes whole blocks with least work.
const PIECE_BYTES: usize = 256 << 10;

/// Where bytes go: a hash and an object.
pub(super) struct Pipeline {
    /// Absent where an older program's state could not be read: the bytes are read again at the
    /// end.
    hashing: Option<Hashing>,
    /// Absent while a batch is written, and for good after a failure.
    idle: Option<Lane>,
    busy: Option<JoinHandle<Result<Lane, Error>>>,
    /// A batch that is hashed while the one before it is written.
    behind: Option<Batch>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    /// The piece that still grows, until it has so many bytes.
    piece: BytesMut,
    piece_bytes: usize,
    /// How many bytes were taken, gathered ones included.
    taken: u64,
}

struct Batch {
    pieces: Vec<Bytes>,
    length: usize,
    /// The hash state after it.
    hashed: Option<oneshot::Receiver<Hasher>>,
}

struct Lane {
    writer: Box<dyn ObjectWriter>,
    /// The offset after all bytes that are with the writer.
    written: u64,
    /// The hash state at that offset.
    hasher: Option<Hasher>,
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
        let hashing = hasher.clone().map(Hashing::new);
        let edges = VecDeque::new();
        let idle = Some(Lane { writer, written: offset, hasher, edges, _writing: writing });
        Self {
            hashing,
            idle,
            busy: None,
            behind: None,
            gathered: Vec::new(),
            gathered_bytes: 0,
            piece: BytesMut::new(),
            piece_bytes: 0,
            taken: offset,
        }
    }

    /// The offset after all bytes taken so far; not all of them are durable.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes bytes; starts hashing and writing once `batch_bytes` are gathered.
    pub(super) async fn take(&mut self, mut bytes: Bytes, batch_bytes: usize) -> Result<(), Error> {
        self.taken += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        while !bytes.is_empty() {
            if self.piece.is_empty() {
                self.begin_piece(batch_bytes);
            }
            let free = self.piece_bytes - self.piece.len();
            self.piece.extend_from_slice(&bytes.split_to(free.min(bytes.len())));
            if self.piece.len() == self.piece_bytes {
                self.gather_piece();
            }
        }
        if self.gathered_bytes >= batch_bytes { self.dispatch().await } else { Ok(()) }
    }

    fn begin_piece(&mut self, batch_bytes: usize) {
        let first = self.piece_bytes == 0;
        let blocks = PIECE_BYTES.min(batch_bytes) / BLOCK_BYTES;
        self.piece_bytes = blocks.max(1) * BLOCK_BYTES;
        // The first one grows with what comes, since most blobs are small.
        if !first {
            self.piece = aligned_buffer(self.piece_bytes);
        }
    }

    fn gather_piece(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if !piece.is_empty() {
            self.gathered_bytes += piece.len();
            self.gathered.push(piece.freeze());
        }
    }

    /// Has what is gathered hashed, and written after what came before it.
    async fn dispatch(&mut self) -> Result<(), Error> {
        let pieces = std::mem::take(&mut self.gathered);
        let length = std::mem::take(&mut self.gathered_bytes);
        let hashed = self.hashing.as_ref().map(|hashing| hashing.push(pieces.clone()));
        let batch = Batch { pieces, length, hashed };
        if self.behind.is_some() {
            self.write_behind().await?;
        }
        self.behind = Some(batch);
        if self.busy.as_ref().is_none_or(JoinHandle::is_finished) {
            self.write_behind().await?;
        }
        Ok(())
    }

    /// Begins to write the batch behind, once the one before it is written.
    async fn write_behind(&mut self) -> Result<(), Error> {
        let lane = self.settle().await?;
        self.go_on(lane);
        Ok(())
    }

    /// Has the lane write the batch behind, or rest where there is none. It is written to its end, and
    /// nobody else writes meanwhile, even where this pipeline is dropped.
    fn go_on(&mut self, lane: Lane) {
        match self.behind.take() {
            Some(batch) => self.busy = Some(tokio::spawn(lane.write(batch))),
            None => self.idle = Some(lane),
        }
    }

    /// Waits for the batch that is being written.
    async fn settle(&mut self) -> Result<Lane, Error> {
        if let Some(busy) = self.busy.take() {
            let lane = busy.await.map_err(|e| Error::Unavailable(e.to_string()))?;
            return lane;
        }
        self.idle.take().ok_or_else(|| Error::Unavailable("the upload failed before".to_owned()))
    }

    /// Makes all bytes taken so far durable.
    pub(super) async fn checkpoint(&mut self, then: Then) -> Result<Checkpoint, CheckpointError> {
        let mut lane = self.drain().await.map_err(CheckpointError::Write)?;
        let write = lane.writer.checkpoint(then).await.map_err(CheckpointError::of)?;
        let hasher = lane.hasher.clone();
        lane.edges.clear();
        self.idle = Some(lane);
        Ok(Checkpoint { hasher, write })
    }

    /// What is durable already of the bytes taken so far, where the writer can tell while others are on
    /// their way; waits until that is `least` bytes of the object, or nothing is on its way any more.
    pub(super) async fn advance(
        &mut self,
        least: u64,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        let mut lane = self.settle().await.map_err(CheckpointError::Write)?;
        let advanced = lane.writer.advance(least).await.map_err(CheckpointError::of)?;
        let checkpoint = match advanced {
            None => None,
            Some(write) => Some(lane.at_edge(write).map_err(CheckpointError::Write)?),
        };
        self.go_on(lane);
        Ok(checkpoint)
    }

    /// Waits until all bytes taken so far are hashed and with the writer.
    async fn drain(&mut self) -> Result<Lane, Error> {
        self.gather_piece();
        if self.gathered_bytes > 0 {
            self.dispatch().await?;
        }
        if self.behind.is_some() {
            self.write_behind().await?;
        }
        self.settle().await
    }
}

impl Lane {
    async fn write(mut self, batch: Batch) -> Result<Self, Error> {
        self.writer.write(batch.pieces).await?;
        if let Some(hashed) = batch.hashed {
            let broke_off = |_| Error::Unavailable("the hashing of an upload broke off".to_owned());
            self.hasher = Some(hashed.await.map_err(broke_off)?);
        }
        self.written += u64::try_from(batch.length).unwrap_or(u64::MAX);
        if self.writer.is_edge() {
            self.edges.push_back((self.written, self.hasher.clone()));
        }
        Ok(self)
    }

    /// What the writer says is durable, with the hash state of the same offset.
    fn at_edge(&mut self, write: WriteState) -> Result<Checkpoint, Error> {
        if write.offset == self.written {
            self.edges.clear();
            return Ok(Checkpoint { hasher: self.hasher.clone(), write });
        }
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
    use std::pin::pin;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::content::ObjectKey;
    use crate::digest::{Algorithm, Digest};
    use crate::id::SessionId;
    use crate::upload::Writers;

    /// Remembers the batches it was given; all are durable when it is asked.
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

        async fn advance(&mut self, _least: u64) -> Result<Option<WriteState>, StoreError> {
            self.checkpoint(Then::Writes).await.map(Some)
        }
    }

    /// Makes parts of 10,000 bytes or more, of which all but the last two are durable.
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
            if self.open >= 10_000 {
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
        midway(Box::new(Parts::default())).await;
        midway(Box::new(Batches::default())).await;
    }

    async fn midway(writer: Box<dyn ObjectWriter>) {
        let content: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let writing = Writers::default().begin(SessionId([1; 16])).unwrap();
        let hasher = Some(Hasher::new(Algorithm::Sha256));
        let mut pipeline = Pipeline::new(writer, hasher, writing, 0);
        let mut told = Vec::new();
        for piece in content.chunks(5_000) {
            pipeline.take(Bytes::copy_from_slice(piece), BLOCK_BYTES).await.unwrap();
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
        assert_eq!(checkpoint.write.offset, 200_000);
        let hashed = checkpoint.hasher.unwrap().finish();
        assert_eq!(hashed, Digest::of(Algorithm::Sha256, &content));
    }

    /// Writes a batch for each permit; without a permit to be had, it fails.
    struct Slow(Arc<Semaphore>, Batches);

    #[async_trait]
    impl ObjectWriter for Slow {
        async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), StoreError> {
            match self.0.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_closed) => {
                    let key = ObjectKey::new("incoming/one").unwrap();
                    return Err(StoreError::Full { key, reason: "no space".to_owned() });
                }
            }
            self.1.write(batch).await
        }

        async fn checkpoint(&mut self, then: Then) -> Result<WriteState, StoreError> {
            self.1.checkpoint(then).await
        }
    }

    #[tokio::test]
    async fn no_more_than_three_batches_are_held_for_a_slow_writer_and_its_failure_is_told() {
        const BATCH: usize = 4 * BLOCK_BYTES;
        let permits = Arc::new(Semaphore::new(0));
        let batches = Batches::default();
        let writing = Writers::default().begin(SessionId([1; 16])).unwrap();
        let hasher = Some(Hasher::new(Algorithm::Sha256));
        let writer = Box::new(Slow(Arc::clone(&permits), batches.clone()));
        let mut pipeline = Pipeline::new(writer, hasher, writing, 0);
        let batch = || Bytes::from(vec![7; BATCH]);

        // One is written, one waits behind it, and the third is refused until there is room.
        for _ in 0..2 {
            pipeline.take(batch(), BATCH).await.unwrap();
        }
        {
            let mut third = pin!(pipeline.take(batch(), BATCH));
            let wait = Duration::from_millis(50);
            assert!(tokio::time::timeout(wait, &mut third).await.is_err());
            permits.add_permits(1);
            third.await.unwrap();
        }
        assert_eq!(batches.0.lock().unwrap().len(), 1);

        permits.close();
        let told = async {
            loop {
                if let Err(error) = pipeline.take(batch(), BATCH).await {
                    break error;
                }
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
        assert!(told.to_string().contains("no space"), "{told}");
        assert!(pipeline.take(batch(), BATCH).await.is_err());
        assert!(pipeline.checkpoint(Then::Rests).await.is_err());
    }

    #[tokio::test]
    async fn nobody_else_writes_before_the_batch_behind_is_written_even_where_the_end_was_given_up()
    {
        let permits = Arc::new(Semaphore::new(0));
        let (writers, session) = (Writers::default(), SessionId([1; 16]));
        let writing = writers.begin(session).unwrap();
        let writer = Box::new(Slow(Arc::clone(&permits), Batches::default()));
        let mut pipeline = Pipeline::new(writer, None, writing, 0);
        for _ in 0..2 {
            let batch = Bytes::from(vec![7; BLOCK_BYTES]);
            pipeline.take(batch, BLOCK_BYTES).await.unwrap();
        }
        {
            let wait = Duration::from_millis(50);
            let mut end = pin!(pipeline.checkpoint(Then::Rests));
            assert!(tokio::time::timeout(wait, &mut end).await.is_err());
            permits.add_permits(1);
            assert!(tokio::time::timeout(wait, &mut end).await.is_err());
        }
        drop(pipeline);
        assert!(writers.begin(session).is_none());

        permits.add_permits(1);
        let free = async {
            while writers.begin(session).is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), free).await.unwrap();
    }

    #[tokio::test]
    async fn a_large_body_is_passed_on_in_whole_blocks_that_begin_where_those_of_memory_do() {
        let content: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
        let batches = Batches::default();
        let writing = Writers::default().begin(SessionId([1; 16])).unwrap();
        let mut pipeline = Pipeline::new(Box::new(batches.clone()), None, writing, 0);
        for piece in content.chunks(60_123) {
            pipeline.take(Bytes::copy_from_slice(piece), 1 << 20).await.unwrap();
        }
        assert!(pipeline.checkpoint(Then::Finishes).await.is_ok());

        let batches = batches.0.lock().unwrap();
        let pieces: Vec<_> = batches.iter().flatten().collect();
        let (last, whole) = pieces.split_last().unwrap();
        assert_eq!(whole.len() * PIECE_BYTES + last.len(), content.len());
        for (number, piece) in whole.iter().enumerate() {
            assert_eq!(piece.len(), PIECE_BYTES);
            // The first one grew with what came.
            assert!(number == 0 || piece.as_ptr().addr().is_multiple_of(BLOCK_BYTES));
        }
        let written: Vec<u8> = batches.iter().flatten().flatten().copied().collect();
        assert!(written == content);
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
