//! The few calls that a file system is asked for, so that tests can crash it.
//!
//! [`Disk`] and [`DiskFile`] are the seam between the engine's durable publish
//! ([`crate::content::fs`]) and a file system. They promise no more than POSIX does:
//!
//! - what was written to a file, and its length, survives power loss only after
//!   [`DiskFile::sync_data`] returned `Ok`;
//! - a name (made by creating, linking or renaming, or taken away) survives only after
//!   [`Disk::sync_dir`] of its directory returned `Ok`;
//! - after a sync that failed nobody knows what is on the disk, whatever a later sync says.
//!
//! What they never do: retry, make anything durable on their own, or know what the files mean.
//! All calls block: whoever is on an async task moves them to the blocking pool.
//!
//! [`RealDisk`] is the machine's file system; `sim::SimDisk` (feature `testing`) is one in memory that
//! can be crashed at every effect and made to fail at every call.

pub(crate) mod real;
#[cfg(any(test, feature = "testing"))]
pub mod sim;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;

use bytes::BytesMut;

pub use real::RealDisk;

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name, within the directory. A name that is not UTF-8 is not ours and is left out.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A file system, as far as the engine needs one.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates an empty file, open to read and write; [`io::ErrorKind::AlreadyExists`] where the
    /// name is taken.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to read and write.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to read.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The length of the file at `path`, in bytes.
    fn file_len(&self, path: &Path) -> io::Result<u64>;

    /// Gives a file a second name (a hard link); [`io::ErrorKind::AlreadyExists`] where it is
    /// taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Moves a file to another name, in the place of what stood there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away. The bytes stay for whoever has the file open.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates one directory, whose parent exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes one empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable, as they are now.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// What is in a directory, in no order.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// The bytes that can still be written below `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes from `buffers` in order, at `offset`; returns how many bytes were taken, which may
    /// be fewer than there are.
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// The same, without a copy in the system's cache, where the file system can do so and `offset` and
    /// the buffers fit its blocks ([`BLOCK_BYTES`], [`aligned_buffer`]). It takes as long as the disk
    /// does, and is no more durable for it. Nobody else may use the file meanwhile.
    fn write_vectored_past_cache(
        &mut self,
        buffers: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        self.write_vectored_at(buffers, offset)
    }

    /// Reads into `buffer` from `offset`; returns how many bytes, 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Cuts the file, or lengthens it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The file's length, in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes the file's bytes and length durable (not its name).
    fn sync_data(&self) -> io::Result<()>;

    /// Asks the system to begin writing these bytes out, so that a later
    /// [`sync_data`](Self::sync_data) has little left to do. Only a hint: it proves nothing.
    fn start_writeback(&self, offset: u64, length: u64);

    /// The system's own file, where there is one, to hand out for reading.
    ///
    /// # Errors
    /// Gives the file back where there is none.
    fn into_std(self: Box<Self>) -> Result<std::fs::File, Box<dyn DiskFile>>;
}

/// Writes all of `buffers` at `offset`, however few bytes each call takes.
pub fn write_all_at(
    file: &dyn DiskFile,
    buffers: &mut [IoSlice<'_>],
    offset: u64,
) -> io::Result<()> {
    write_all(|buffers, offset| file.write_vectored_at(buffers, offset), buffers, offset)
}

/// The same by [`DiskFile::write_vectored_past_cache`].
pub fn write_all_past_cache(
    file: &mut dyn DiskFile,
    buffers: &mut [IoSlice<'_>],
    offset: u64,
) -> io::Result<()> {
    write_all(|buffers, offset| file.write_vectored_past_cache(buffers, offset), buffers, offset)
}

fn write_all(
    mut write: impl FnMut(&[IoSlice<'_>], u64) -> io::Result<usize>,
    mut buffers: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut buffers, 0);
    while !buffers.is_empty() {
        match write(buffers, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => {
                offset += taken as u64;
                IoSlice::advance_slices(&mut buffers, taken);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What disks count in, as far as we know: offsets, lengths and addresses that are multiples of it fit all
/// of them.
pub const BLOCK_BYTES: usize = 4096;

/// An empty buffer for `capacity` bytes, or a few more, which begins where a block of memory does.
#[must_use]
pub fn aligned_buffer(capacity: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(capacity + BLOCK_BYTES);
    let before = buffer.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
    buffer.resize(before, 0);
    buffer.split_off(before)
}
