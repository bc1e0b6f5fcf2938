//! The archive: all rows of one moment in one file, which proves that it is whole.
//!
//! **Promises.** What [`ArchiveReader`] returned `None` for after the last entry is, byte for byte,
//! what [`ArchiveWriter`] wrote: a file that was cut off, altered or lengthened anywhere is an error
//! that says so, and where. Rows come in the strict order of their keys, and nothing in a file makes
//! the reader take more memory than one row.
//!
//! **Never.** It interprets a row, or tells what is in the blob store.
//!
//! The format, version 1 (integers big-endian):
//!
//! ```text
//! "SRBACKUP"                                      8 bytes
//! frames: kind (1 byte) · length (u32) · payload
//!   H  version (1 byte, 1) · header in postcard    first, once
//!   R  length of the key (u16) · key · value       in the order of keys, each key once
//!   O  size (u64) · length of the digest (1 byte) · digest · object key
//!                                                  behind the row that names the object
//!   E  rows (u64) · objects (u64) · SHA-256        last: the hash of all bytes before it
//! "COMPLETE"                                      8 bytes, and nothing behind
//! ```

mod read;
#[cfg(test)]
mod tests;
mod write;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use read::ArchiveReader;
pub use write::ArchiveWriter;

use crate::content::ObjectKey;
use crate::digest::Digest;
use crate::id::BackupId;
use crate::meta::{Key, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use crate::seam::Timestamp;

const MAGIC: &[u8; 8] = b"SRBACKUP";
const COMPLETE: &[u8; 8] = b"COMPLETE";
/// The version that is written; one that is not known is refused.
const VERSION: u8 = 1;
/// Kinds of frames.
const HEADER: u8 = b'H';
const ROW: u8 = b'R';
const OBJECT: u8 = b'O';
const END: u8 = b'E';
/// The longest payload of each kind: what a damaged length can make the reader ask for.
const MAX_HEADER_BYTES: usize = 64 * 1024;
const MAX_ROW_BYTES: usize = 2 + MAX_KEY_BYTES + MAX_VALUE_BYTES;
const MAX_OBJECT_BYTES: usize = 1024;
/// The counts of the last frame, and its hash.
const END_COUNTS: usize = 16;
const HASH_BYTES: usize = 32;

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveHeader {
    /// Which backup it is.
    pub id: BackupId,
    /// The moment of its rows, by the store's clock.
    pub created_at: Timestamp,
    /// The row `!format` of the store, as it is: a store of a format that the program does not
    /// know is not restored.
    pub format: Vec<u8>,
    /// Whether its objects are pinned in the blob store they were in, and not in the backup's folder.
    pub pinned: bool,
    /// The program that wrote it, for people.
    pub program: String,
}

/// One entry behind the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveEntry {
    /// A row of the metadata.
    Row(Key, Bytes),
    /// The row before it needs this object.
    Object(ArchiveObject),
}

/// An object that a restored installation needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveObject {
    /// Where it is to lie.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size: u64,
    /// What its bytes hash to.
    pub digest: Digest,
}

/// Why an archive can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It begins as none does.
    #[error("this is no archive of Strongroom")]
    NotAnArchive,
    /// A newer program wrote it.
    #[error(
        "the archive has version {found}, this program reads version {VERSION}: use a newer one"
    )]
    Version {
        /// What it says.
        found: u8,
    },
    /// It ends too early: the backup was cut off, or copying it was.
    #[error("the archive is torn: it ends at byte {at}, in the middle")]
    Torn {
        /// How long it is.
        at: u64,
    },
    /// Its bytes are not those that were written. Take another copy of it.
    #[error("the archive is altered: {what} (at byte {at})")]
    Altered {
        /// What does not fit.
        what: &'static str,
        /// About where.
        at: u64,
    },
    /// The file could not be read or written.
    #[error("the archive's file failed: {0}")]
    Io(#[from] std::io::Error),
}
