//! What can go wrong with a backup, a restore or a copy.

use std::path::PathBuf;

use super::ArchiveError;
use crate::error::Error;
use crate::id::{BackupId, ChainId};
use crate::meta::MetaError;

/// A failed backup, restore or copy. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The folder can't be used.
    #[error("the backup folder {}: {reason}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, or what the system said.
        reason: String,
    },
    /// Another process works on the folder.
    #[error("another backup or restore is using the folder {}: let it end", path.display())]
    FolderBusy {
        /// Which.
        path: PathBuf,
    },
    /// There is no such backup in the folder.
    #[error("there is no such backup in {}; `backup list` shows those that are there", path.display())]
    Unknown {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The archive can't be read.
    #[error("{}: {source}", path.display())]
    Archive {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ArchiveError,
    },
    /// There is something in the stores that are to be filled.
    #[error("{what}: an installation is made in empty stores only; name others")]
    NotEmpty {
        /// What there is.
        what: &'static str,
    },
    /// Another restore or copy into these stores was begun and did not end.
    #[error(
        "a {kind} of another source ({of:016x}) was begun in these stores and did not end: run that one \
         again, or empty the stores"
    )]
    Unfinished {
        /// What it was.
        kind: &'static str,
        /// From what: a backup's id, or the mark of a source.
        of: u64,
    },
    /// A process has the stores open that are to be copied or filled, or had meanwhile.
    #[error(
        "process {holder} has {what} open: end all nodes and run this again; one that was killed counts \
         for half a minute"
    )]
    Open {
        /// Which stores.
        what: &'static str,
        /// Which process, by its chain in the audit trail.
        holder: ChainId,
    },
    /// The source of a copy is no whole installation.
    #[error("the source {0}")]
    Source(String),
    /// Objects that rows need are not to be had.
    #[error("{count} objects are missing or wrong, the first: {first}; {next}")]
    Objects {
        /// How many.
        count: u64,
        /// One of them.
        first: String,
        /// What to do.
        next: &'static str,
    },
    /// The pin that kept the objects while they were copied is gone.
    #[error("the pin of backup {0} was dropped while the backup ran: run it again")]
    PinLost(BackupId),
    /// There are as many pins as there may be.
    #[error("there are {0} pins already: drop those of backups that are not needed any more")]
    TooManyPins(usize),
    /// The engine's own failure.
    #[error(transparent)]
    Engine(#[from] Error),
}

impl From<MetaError> for BackupError {
    fn from(error: MetaError) -> Self {
        Self::Engine(error.into())
    }
}
