//! redb on a simulated disk, so that the database's effects are in the same log.

use std::io::{self, IoSlice};
use std::path::Path;

use super::super::{Disk, DiskFile, write_all_at};
use super::SimDisk;

/// A file of a [`SimDisk`] that redb keeps its database in.
#[derive(Debug)]
pub struct SimBackend(Box<dyn DiskFile>);

impl SimBackend {
    /// Opens the file at `path`, creating it, and its name durably, where it is not there.
    ///
    /// # Errors
    /// What the disk said.
    pub fn open(disk: &SimDisk, path: &Path) -> io::Result<Self> {
        match disk.create_new(path) {
            Ok(file) => {
                disk.sync_dir(path.parent().unwrap_or(Path::new("/")))?;
                Ok(Self(file))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(path).map(Self),
            Err(error) => Err(error),
        }
    }
}

impl redb::StorageBackend for SimBackend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.0.read_at(out, offset)?;
        if read == out.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        write_all_at(&*self.0, &mut [IoSlice::new(data)], offset)
    }
}
