//! The blocks of a file, one read ahead of the socket.
//!
//! Each read is a short task of the blocking pool, which holds no thread while the client is slow.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use tokio::task::JoinHandle;

/// How much is read at once: measured, smaller ones cost throughput and larger ones memory.
pub(super) const BLOCK: usize = 512 * 1024;

/// The rest of a range of a file.
#[derive(Debug)]
pub(super) struct FileBlocks {
    file: Arc<File>,
    /// Where the next read begins.
    offset: u64,
    /// What no read was begun for yet.
    unread: u64,
    /// The read ahead, and how many bytes it is for.
    ahead: Option<(JoinHandle<io::Result<Bytes>>, u64)>,
}

impl FileBlocks {
    pub(super) fn new(file: File, offset: u64, length: u64) -> Self {
        Self { file: Arc::new(file), offset, unread: length, ahead: None }
    }

    /// How many bytes were not handed out yet.
    pub(super) fn left(&self) -> u64 {
        self.unread + self.ahead.as_ref().map_or(0, |(_, size)| *size)
    }

    pub(super) fn poll_block(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
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

    fn read_ahead(&mut self) {
        let size = self.unread.min(BLOCK as u64);
        if size > 0 {
            let (file, offset) = (Arc::clone(&self.file), self.offset);
            let read = tokio::task::spawn_blocking(move || read_exactly(&file, offset, size));
            self.ahead = Some((read, size));
            self.offset += size;
            self.unread -= size;
        }
    }
}

/// Reads `size` bytes at `offset`, leaving the file's own position alone: others may share it.
fn read_exactly(file: &File, offset: u64, size: u64) -> io::Result<Bytes> {
    let size = usize::try_from(size).map_err(io::Error::other)?;
    let mut block = Vec::with_capacity(size);
    while block.len() < size {
        let at = offset + block.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut block), at) {
            Ok(0) => {
                let missing = size - block.len();
                let why = format!("the file ended {missing} bytes before the end of its body");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    block.truncate(size);
    Ok(block.into())
}
