//! What redb's errors mean for a caller.

use std::io;

use ::redb::Error;

use crate::meta::MetaError;

/// The one place where redb's errors become ours.
pub(super) fn into_meta(error: impl Into<Error>) -> MetaError {
    let error = error.into();
    match &error {
        Error::Io(io) => from_io(io),
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => MetaError::Unavailable(
            "another process has it open; stop that one, or reach it through its socket".into(),
        ),
        Error::ValueTooLarge(bytes) => MetaError::TooLarge(format!("a value of {bytes} bytes")),
        Error::TransactionInProgress => MetaError::Unavailable(
            "a snapshot of it is open; try again when that has been dropped".into(),
        ),
        Error::Corrupted(_)
        | Error::UpgradeRequired(_)
        | Error::TableTypeMismatch { .. }
        | Error::TableIsMultimap(_)
        | Error::TypeDefinitionChanged { .. }
        | Error::TableDoesNotExist(_) => MetaError::Corrupted(error.to_string()),
        // Whatever else there is says that redb can't go on now, not that data is wrong.
        _ => MetaError::Unavailable(error.to_string()),
    }
}

/// What an error of the file system means.
pub(super) fn from_io(error: &io::Error) -> MetaError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            MetaError::Full(error.to_string())
        }
        io::ErrorKind::InvalidData => MetaError::Corrupted(error.to_string()),
        _ => MetaError::Unavailable(error.to_string()),
    }
}

/// The database could not be opened again.
pub(super) fn away() -> MetaError {
    MetaError::Unavailable("it could not be opened again after an I/O error".into())
}

/// Whether opening the database anew may help: redb refuses all work after an I/O error.
pub(super) fn is_healed_by_opening(error: &Error) -> bool {
    matches!(error, Error::PreviousIo | Error::DatabaseClosed)
}
