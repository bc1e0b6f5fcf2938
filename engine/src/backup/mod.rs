//! Carrying an installation elsewhere: backup, restore, and moving between stores.
//!
//! - [`Engine::backup`](crate::Engine::backup) writes the rows of one moment into a
//!   [`BackupFolder`], and the objects they need beside them; or it pins the objects where they are
//!   (for a bucket), until [`Engine::drop_pin`](crate::Engine::drop_pin).
//! - [`restore`] makes an installation of it in stores that are empty.
//! - [`copy_storage`] makes one of another pair of stores, which nobody serves.
//!
//! **Promises.** A backup is of one moment, while everybody works: all that was acknowledged before
//! it began is in it (I1–I3, I7), and its counters are the sums of its rows (I5). An archive that was
//! cut off or altered is refused before anything is written. A restore or copy that ends has been
//! checked by `fsck`; one that does not end leaves stores that nothing opens, and running it again
//! goes on where it stood: objects are durable before the row that names them, and `!format` comes last.
//!
//! **Never.** It writes over an installation, takes bytes for content that it has not hashed (a hard
//! link of the same file is not read: it is the same bytes), or carries what is outside the stores: the
//! master key that seals the identity's secrets is whoever calls to see to.
//!
//! **What is left out.** Rows that begin with `!` belong to a store, not to the installation in it.
//! Uploads under way are given up: their state is the blob store's own (parts of a multipart upload,
//! the length of a file), their objects change while they are copied, and nobody was promised more of
//! them than of a connection: a client whose upload is unknown begins it again. What they had reserved
//! is taken off the counter.

mod archive;
mod copy;
mod create;
mod error;
mod fill;
mod folder;
mod objects;
mod pins;
mod restore;
mod rows;
#[cfg(test)]
mod tests;
mod verify;
mod work;

use std::sync::Arc;

pub use archive::{
    ArchiveEntry, ArchiveError, ArchiveHeader, ArchiveObject, ArchiveReader, ArchiveWriter,
};
pub use copy::{CopyReport, copy_storage};
pub use create::{BackupOptions, BackupReport};
pub use error::BackupError;
pub use folder::{BackupFolder, BackupInfo};
pub use pins::Pin;
pub use restore::{RestoreOptions, RestoreReport, restore};
pub use verify::VerifyReport;

use crate::content::BlobStore;
use crate::meta::MetaStore;
use crate::presence::anybody_since;
use crate::seam::Timestamp;

/// The two stores of an installation.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The facts.
    pub meta: Arc<dyn MetaStore>,
    /// The bytes.
    pub blobs: Arc<dyn BlobStore>,
}

/// Fails where a process had the installation in `stores` open at `since` or later.
async fn nobody_since(
    stores: &Stores,
    since: Timestamp,
    what: &'static str,
) -> Result<(), BackupError> {
    match anybody_since(&*stores.meta, since).await? {
        Some(present) => Err(BackupError::Open { what, holder: present.chain }),
        None => Ok(()),
    }
}

/// The most problems a report names.
const PROBLEMS: usize = 1000;

/// Notes a problem, as far as there is room.
fn note(problems: &mut Vec<String>, problem: String) {
    if problems.len() < PROBLEMS {
        problems.push(problem);
    }
}
