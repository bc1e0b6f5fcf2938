//! The blocks of a file, read as the socket takes them.
//!
//! What the kernel has in its memory is copied at once, or sent by it where the connection can
//! (`stretch.rs`). From the first block on that it has not, each
//! read is a short task of the blocking pool, one ahead of the socket: the disk is waited for there, and
//! no thread is held while the client is slow. The blocks' buffers go round: getting fresh memory for
//! each costs more than filling it.
//!
//! A block waits in memory for its client. So a client that was slow to take one gets small ones, and
//! where the blocks of all clients together take a lot, everybody does: it costs them speed, never an
//! answer.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::stretch::Stretch;

/// How much is read at once: measured, smaller ones cost throughput, larger ones memory and the
/// processor's caches.
pub(super) const BLOCK: usize = 256 * 1024;

/// How much is read at once for who is slow, or where memory is short.
const SMALL_BLOCK: usize = 16 * 1024;

/// Who takes longer for a block is slow.
const SLOW: Duration = Duration::from_secs(1);

/// How much memory the large blocks of all bodies may take together.
const MAX_MEMORY: usize = 256 << 20;

/// How much they take now.
static MEMORY: AtomicUsize = AtomicUsize::new(0);

/// The most buffers kept: one on its way out, one behind it, one being filled.
const SPARE: usize = 3;

/// The rest of a range of a file.
#[derive(Debug)]
pub(super) struct FileBlocks {
    file: Arc<File>,
    /// Where the next read begins.
    offset: u64,
    /// What no read was begun for yet.
    unread: u64,
    /// Whether the kernel had all so far in its memory.
    cached: bool,
    /// The read ahead, and how many bytes it is for.
    ahead: Option<(JoinHandle<io::Result<Bytes>>, u64)>,
    spare: Spare,
    /// When the last block was handed out, and whether it took long to be asked for the next.
    handed: Option<Instant>,
    slow: bool,
}

/// The buffers that are not in use.
type Spare = Arc<Mutex<Vec<Buffer>>>;

/// Memory for a block, counted as long as it lives.
#[derive(Debug)]
struct Buffer(Vec<u8>);

impl Buffer {
    fn new(length: usize) -> Self {
        MEMORY.fetch_add(length, Ordering::Relaxed);
        Self(vec![0; length])
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        MEMORY.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

/// The first bytes of a buffer, which goes back when they are sent.
#[derive(Debug)]
struct Block {
    buffer: Option<Buffer>,
    length: usize,
    spare: Spare,
}

impl FileBlocks {
    pub(super) fn new(file: Arc<File>, offset: u64, length: u64) -> Self {
        let spare = Spare::default();
        let (unread, cached, slow) = (length, true, false);
        Self { file, offset, unread, cached, ahead: None, spare, handed: None, slow }
    }

    /// How many bytes were not handed out yet.
    pub(super) fn left(&self) -> u64 {
        self.unread + self.ahead.as_ref().map_or(0, |(_, size)| *size)
    }

    /// What comes next, where the kernel has it in its memory and it is long enough to be sent from
    /// there.
    pub(super) fn stretch(&mut self) -> Option<Stretch> {
        if !self.cached {
            return None;
        }
        let stretch = Stretch::begin(&self.file, self.offset, self.unread)?;
        self.offset += stretch.length() as u64;
        self.unread -= stretch.length() as u64;
        // A client's slowness costs no memory here.
        self.handed = None;
        Some(stretch)
    }

    pub(super) fn poll_block(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        // Measured from a block handed out to the next one asked for: our own reading is not the
        // client's slowness.
        if let Some(handed) = self.handed.take() {
            self.slow = handed.elapsed() > SLOW;
        }
        let block = ready!(self.poll_next(context));
        self.handed = Some(Instant::now());
        Poll::Ready(block)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.cached
            && self.unread > 0
            && let Some(block) = self.read_cached()
        {
            return Poll::Ready(Some(Ok(block)));
        }
        if self.ahead.is_none() {
            self.read_ahead();
        }
        let Some((read, _)) = &mut self.ahead else { return Poll::Ready(None) };
        let block = ready!(Pin::new(read).poll(context));
        self.ahead = None;
        let block = block.map_err(io::Error::other).flatten();
        if block.is_ok() {
            self.read_ahead();
        } else {
            self.unread = 0;
        }
        Poll::Ready(Some(block))
    }

    /// What the kernel has in its memory of the next block; where that is nothing, it is not asked
    /// again.
    fn read_cached(&mut self) -> Option<Bytes> {
        let mut block = self.block();
        let length = read_without_waiting(&self.file, &mut block, self.offset);
        self.cached = length > 0;
        if length == 0 {
            return None;
        }
        block.length = length;
        self.offset += length as u64;
        self.unread -= length as u64;
        Some(Bytes::from_owner(block))
    }

    fn read_ahead(&mut self) {
        if self.unread > 0 {
            let (file, offset, mut block) = (Arc::clone(&self.file), self.offset, self.block());
            let size = block.length as u64;
            let read = tokio::task::spawn_blocking(move || {
                read_exactly(&file, &mut block, offset).map(|()| Bytes::from_owner(block))
            });
            self.ahead = Some((read, size));
            self.offset += size;
            self.unread -= size;
        }
    }

    /// Room for the next block.
    fn block(&self) -> Block {
        let short = MEMORY.load(Ordering::Relaxed) > MAX_MEMORY;
        let most = if self.slow || short { SMALL_BLOCK } else { BLOCK };
        let length = usize::try_from(self.unread).unwrap_or(most).min(most);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if self.slow || short {
            // What is kept for speed goes first.
            spare.retain(|buffer| buffer.0.len() <= SMALL_BLOCK);
        }
        // A smaller one is of no use any more.
        let buffer = spare.pop().filter(|buffer| buffer.0.len() >= length);
        let buffer = Some(buffer.unwrap_or_else(|| Buffer::new(length)));
        Block { buffer, length, spare: Arc::clone(&self.spare) }
    }
}

impl Block {
    fn room(&mut self) -> &mut [u8] {
        let buffer = self.buffer.as_mut();
        buffer.and_then(|buffer| buffer.0.get_mut(..self.length)).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        let buffer = self.buffer.as_ref();
        buffer.and_then(|buffer| buffer.0.get(..self.length)).unwrap_or_default()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.extend(self.buffer.take());
        }
    }
}

/// Reads at `offset` what needs no waiting for a disk, which may be nothing: the file has ended, or
/// can't be read, or the file system does not know how; the read that waits then tells.
#[cfg(target_os = "linux")]
fn read_without_waiting(file: &File, block: &mut Block, offset: u64) -> usize {
    let mut room = [io::IoSliceMut::new(block.room())];
    let flags = rustix::io::ReadWriteFlags::NOWAIT;
    rustix::io::preadv2(file, &mut room, offset, flags).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn read_without_waiting(_: &File, _: &mut Block, _: u64) -> usize {
    0
}

/// Fills `block` from `offset` on, leaving the file's own position alone: others may share it.
fn read_exactly(file: &File, block: &mut Block, offset: u64) -> io::Result<()> {
    let (mut room, mut at) = (block.room(), offset);
    while !room.is_empty() {
        match rustix::io::pread(file, &mut *room, at) {
            Ok(0) => {
                let missing = room.len();
                let why = format!("the file ended {missing} bytes before the end of its body");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
            Ok(read) => {
                room = room.get_mut(read..).unwrap_or_default();
                at += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;

    use super::*;

    /// More than two blocks, and no multiple of one.
    fn long() -> Vec<u8> {
        (0..=250).cycle().take(2 * BLOCK + 4321).collect()
    }

    async fn all(mut blocks: FileBlocks) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(block) = poll_fn(|context| blocks.poll_block(context)).await {
            all.extend_from_slice(&block.unwrap());
            assert_eq!(blocks.left(), (long().len() - all.len()) as u64);
        }
        all
    }

    #[tokio::test]
    async fn what_is_not_in_memory_is_the_same_bytes() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&long()).unwrap();
        for cached in [true, false] {
            let file = Arc::new(file.try_clone().unwrap());
            let mut blocks = FileBlocks::new(file, 0, long().len() as u64);
            blocks.cached = cached;
            assert!(all(blocks).await == long(), "cached: {cached}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_to_take_a_block_gets_small_ones_until_it_hurries() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&long()).unwrap();
        let mut blocks = FileBlocks::new(Arc::new(file), 0, long().len() as u64);
        let mut sent = Vec::new();
        for (pause, slow) in [(0, false), (2, true), (0, false)] {
            tokio::time::advance(Duration::from_secs(pause)).await;
            let block = poll_fn(|context| blocks.poll_block(context)).await.unwrap().unwrap();
            sent.extend_from_slice(&block);
            assert_eq!(blocks.slow, slow, "after {pause} s");
            let most = if slow { SMALL_BLOCK } else { BLOCK };
            assert!(blocks.block().length <= most);
        }
        while let Some(block) = poll_fn(|context| blocks.poll_block(context)).await {
            sent.extend_from_slice(&block.unwrap());
        }
        assert!(sent == long());
    }

    #[tokio::test]
    async fn a_block_that_is_still_held_is_not_written_over() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&long()).unwrap();
        for cached in [true, false] {
            let file = Arc::new(file.try_clone().unwrap());
            let mut blocks = FileBlocks::new(file, 0, long().len() as u64);
            blocks.cached = cached;
            let mut held = Vec::new();
            while let Some(block) = poll_fn(|context| blocks.poll_block(context)).await {
                held.push(block.unwrap());
            }
            assert!(held.concat() == long(), "cached: {cached}");
        }
    }
}
