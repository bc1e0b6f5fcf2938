//! What may still be unpacked.

use super::{ArchiveError, Limits};

/// Counts unpacked bytes against the limits, before they are used.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    /// The size of the file.
    packed: u64,
    unpacked: u64,
    entries: u64,
}

impl Budget {
    pub(super) fn new(limits: &Limits, packed: u64) -> Self {
        Self { limits: *limits, packed, unpacked: 0, entries: 0 }
    }

    /// Another entry.
    pub(super) fn entry(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ArchiveError::TooManyEntries { max: self.limits.entries });
        }
        Ok(())
    }

    /// So many bytes more.
    pub(super) fn bytes(&mut self, count: u64) -> Result<(), ArchiveError> {
        self.unpacked = self.unpacked.saturating_add(count);
        if self.unpacked > self.limits.unpacked_bytes {
            return Err(ArchiveError::TooLarge { max: self.limits.unpacked_bytes });
        }
        let allowed = self.packed.saturating_mul(self.limits.ratio);
        if self.unpacked > self.limits.ratio_from_bytes && self.unpacked > allowed {
            return Err(ArchiveError::Bomb { ratio: self.limits.ratio });
        }
        Ok(())
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn unpacked(&self) -> u64 {
        self.unpacked
    }
}
