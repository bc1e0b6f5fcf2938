//! The machine's file system.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::{BLOCK_BYTES, DirEntry, Disk, DiskFile};

/// The machine's file system. What it creates only its owner can read: whoever may read the
/// directory could read every tenant's content.
///
/// The file system must know hard links.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

impl RealFile {
    fn boxed(file: File) -> Box<dyn DiskFile> {
        Box::new(Self(file))
    }
}

impl Disk for RealDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(path).map(RealFile::boxed)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        OpenOptions::new().read(true).write(true).open(path).map(RealFile::boxed)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::open(path)?;
        // A directory opens for reading too, and would only fail at the first read.
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(RealFile::boxed(file))
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        let metadata = std::fs::metadata(path)?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(metadata.len())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let is_dir = match entry.file_type() {
                Ok(kind) => kind.is_dir(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir });
            }
        }
        Ok(entries)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let facts = rustix::fs::statvfs(path)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
}

impl DiskFile for RealFile {
    #[cfg(target_os = "linux")]
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        /// What the kernel takes in one call (`UIO_MAXIOV`); more is an error.
        const MOST_BUFFERS: usize = 1024;
        let buffers = buffers.get(..MOST_BUFFERS).unwrap_or(buffers);
        Ok(rustix::io::pwritev(&self.0, buffers, offset)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match buffers.iter().find(|buffer| !buffer.is_empty()) {
            Some(buffer) => self.0.write_at(buffer, offset),
            None => Ok(0),
        }
    }

    #[cfg(target_os = "linux")]
    fn write_vectored_past_cache(
        &mut self,
        buffers: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        use rustix::fs::{OFlags, fcntl_setfl};

        let whole = |number: usize| number.is_multiple_of(BLOCK_BYTES);
        let fits = |buffer: &&IoSlice<'_>| whole(buffer.as_ptr().addr()) && whole(buffer.len());
        let fitting = buffers.iter().take_while(fits).count();
        // These are all flags that can be set so: a file of ours has no other.
        if fitting == 0
            || !offset.is_multiple_of(BLOCK_BYTES as u64)
            || fcntl_setfl(&self.0, OFlags::DIRECT).is_err()
        {
            return self.write_vectored_at(buffers, offset);
        }
        let written = self.write_vectored_at(buffers.get(..fitting).unwrap_or(buffers), offset);
        fcntl_setfl(&self.0, OFlags::empty())?;
        match written {
            // Its blocks are larger than those of any disk we know.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.write_vectored_at(buffers, offset)
            }
            written => written,
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn start_writeback(&self, offset: u64, length: u64) {
        start_writeback(&self.0, offset, length);
    }

    fn into_std(self: Box<Self>) -> Result<File, Box<dyn DiskFile>> {
        Ok(self.0)
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no crate we use wraps this call, and it touches no memory of ours")]
fn start_writeback(file: &File, offset: u64, length: u64) {
    use std::os::fd::AsRawFd;

    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: plain integers, and a descriptor that is open as long as `file` is borrowed.
    // The answer is dropped because only `sync_data` decides what is durable.
    let _ = unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE)
    };
}

#[cfg(not(target_os = "linux"))]
fn start_writeback(_file: &File, _offset: u64, _length: u64) {}

/// Whether the file system of this file can write past the system's cache.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn goes_past_cache(path: &Path) -> bool {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).is_ok()
}

/// Whether the system's cache has this byte of the file.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn is_cached(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let mut buffers = [io::IoSliceMut::new(&mut byte)];
    rustix::io::preadv2(file, &mut buffers, offset, rustix::io::ReadWriteFlags::NOWAIT).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::{aligned_buffer, write_all_at, write_all_past_cache};
    use super::*;

    #[test]
    fn many_small_buffers_are_written_whole_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create_new(&dir.path().join("file")).unwrap();
        let numbers: Vec<[u8; 2]> = (0..3000_u16).map(u16::to_be_bytes).collect();
        let mut buffers: Vec<IoSlice<'_>> = numbers.iter().map(|n| IoSlice::new(n)).collect();
        buffers.insert(7, IoSlice::new(&[]));

        write_all_at(&*file, &mut buffers, 3).unwrap();
        file.start_writeback(0, 6003);
        file.sync_data().unwrap();

        let mut found = vec![0xff; 6004];
        assert_eq!(file.read_at(&mut found, 0).unwrap(), 6003);
        assert_eq!(found[..3], [0, 0, 0]);
        assert_eq!(found[3..6003], numbers.concat());
    }

    #[test]
    fn what_is_written_past_the_cache_is_the_same_wherever_it_begins_and_however_long_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = RealDisk.create_new(&dir.path().join("file")).unwrap();
        let mut wanted = Vec::new();
        // (Where in its memory it begins, its length): of whole blocks, of a part, from there on.
        let pieces = [(0, 8192), (0, 4096), (0, 100), (0, 8192), (0, 3996), (7, 4096), (0, 65536)];
        for (number, (before, length)) in (1..).zip(pieces) {
            let mut buffer = aligned_buffer(before + length);
            buffer.resize(before, 0);
            buffer.resize(before + length, number);
            let piece = &buffer[before..];
            let offset = wanted.len() as u64;
            let mut twice = [IoSlice::new(piece), IoSlice::new(piece)];
            write_all_past_cache(&mut *file, &mut twice, offset).unwrap();
            wanted.extend_from_slice(piece);
            wanted.extend_from_slice(piece);
            // Reading needs no blocks, so the file is as it was before.
            let mut last = [0; 3];
            assert_eq!(file.read_at(&mut last, wanted.len() as u64 - 3).unwrap(), 3);
            assert_eq!(last, [number; 3]);
        }
        file.sync_data().unwrap();

        let mut found = vec![0xff; wanted.len() + 1];
        assert_eq!(file.read_at(&mut found, 0).unwrap(), wanted.len());
        assert!(found[..wanted.len()] == wanted);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_written_past_the_cache_takes_none_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut file = RealDisk.create_new(&path).unwrap();
        let knows_how = goes_past_cache(&path);
        let mut buffer = aligned_buffer(1 << 20);
        buffer.resize(1 << 20, 7);
        let cached = || is_cached(&File::open(&path).unwrap(), 500_000);

        write_all_past_cache(&mut *file, &mut [IoSlice::new(&buffer)], 0).unwrap();
        // Where the file system can't, it is written all the same.
        assert_eq!(cached(), !knows_how);
        write_all_at(&*file, &mut [IoSlice::new(&buffer)], 0).unwrap();
        assert!(cached());
    }

    #[test]
    fn names_are_linked_listed_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, at) = (RealDisk, |name: &str| dir.path().join(name));
        disk.create_dir(&at("sub")).unwrap();
        disk.create_new(&at("a")).unwrap();
        let kind = |result: io::Result<()>| result.unwrap_err().kind();

        assert_eq!(kind(disk.create_new(&at("a")).map(|_| ())), io::ErrorKind::AlreadyExists);
        disk.link(&at("a"), &at("sub/b")).unwrap();
        assert_eq!(kind(disk.link(&at("a"), &at("sub/b"))), io::ErrorKind::AlreadyExists);
        disk.rename(&at("sub/b"), &at("sub/c")).unwrap();
        disk.sync_dir(&at("sub")).unwrap();
        assert_eq!(kind(disk.remove_dir(&at("sub"))), io::ErrorKind::DirectoryNotEmpty);
        disk.remove(&at("sub/c")).unwrap();
        disk.remove_dir(&at("sub")).unwrap();

        let names = disk.read_dir(dir.path()).unwrap();
        assert_eq!(names, [DirEntry { name: "a".into(), is_dir: false }]);
        assert!(disk.free_bytes(dir.path()).unwrap() > 0);
        assert_eq!(kind(disk.file_len(dir.path()).map(|_| ())), io::ErrorKind::IsADirectory);
    }
}
