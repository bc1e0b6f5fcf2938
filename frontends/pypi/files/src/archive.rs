//! Wheels and sdists: interim signatures, filled in next.

use std::io::{Read, Seek};

use crate::file_name::FileName;
use crate::metadata::{CoreMetadata, MetadataError};

/// What an archive may cost to look at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// The most entries.
    pub entries: u64,
    /// The most bytes, unpacked, of all entries.
    pub unpacked_bytes: u64,
    /// The most bytes that one packed byte may become, once an entry passes a megabyte.
    pub ratio: u64,
    /// The most bytes of a metadata file (`METADATA`, `PKG-INFO`).
    pub metadata_bytes: u64,
    /// The most bytes of `RECORD`.
    pub record_bytes: u64,
}

/// What was found in a file that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspected {
    /// The metadata file, byte for byte.
    pub metadata_bytes: Vec<u8>,
    /// What it says.
    pub metadata: CoreMetadata,
    /// How many entries the archive has.
    pub entries: u64,
    /// How many bytes they have unpacked.
    pub unpacked_bytes: u64,
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Reading failed: nothing is said about the file. The only one that is not the uploader's fault.
    #[error("reading the file failed: {0}")]
    Io(#[from] std::io::Error),
    /// Its metadata.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
}

/// Looks through a whole file. Blocks; reads it twice.
pub fn inspect(
    _name: &FileName,
    _file: impl Read + Seek,
    _limits: &Limits,
) -> Result<Inspected, ArchiveError> {
    Err(ArchiveError::Metadata(MetadataError::Unread))
}
