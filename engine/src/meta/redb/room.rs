//! What is kept back on the database's disk, and for which commits.

use std::io;
use std::path::Path;

use crate::disk::{Disk, RealDisk};
use crate::meta::{MetaError, Reserve};

/// How much is kept back, and how to ask what is left.
pub(super) struct Room {
    pub(super) reserve_bytes: u64,
    pub(super) free_bytes: Box<dyn Fn() -> io::Result<u64> + Send>,
}

impl Room {
    /// The room beside the file at `path`.
    pub(super) fn on_disk(path: &Path, reserve_bytes: u64) -> Self {
        let path = path.to_owned();
        Self { reserve_bytes, free_bytes: Box::new(move || RealDisk.free_bytes(&path)) }
    }

    /// Looks once for a whole group of commits.
    pub(super) fn look(&self) -> Left {
        let free = if self.reserve_bytes == 0 { Ok(u64::MAX) } else { (self.free_bytes)() };
        Left { reserve_bytes: self.reserve_bytes, free }
    }
}

/// What was left when a group began.
pub(super) struct Left {
    reserve_bytes: u64,
    free: io::Result<u64>,
}

impl Left {
    /// Refuses a commit that would use more of the reserve than it may. Where nobody knows what is
    /// left, nothing is added to it.
    pub(super) fn admit(&self, reserve: Reserve) -> Result<(), MetaError> {
        let kept = match reserve {
            Reserve::Kept => self.reserve_bytes,
            Reserve::Half => self.reserve_bytes / 2,
            Reserve::Whole => return Ok(()),
        };
        match &self.free {
            Ok(free) if *free >= kept => Ok(()),
            Ok(free) => Err(MetaError::Full(format!(
                "{free} bytes are free, {kept} are kept for deletes and collection; delete \
                 something, run a collection and compact the database, or give the disk more room"
            ))),
            Err(error) => Err(MetaError::Unavailable(format!("its room can't be told: {error}"))),
        }
    }
}
