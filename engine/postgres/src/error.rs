//! What PostgreSQL says, as what a caller of a store can do about it.

use deadpool_postgres::PoolError;
use strongroom_engine::meta::MetaError;
use tokio_postgres::error::SqlState;

/// How a call on the database failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database undid it since others were in the way: the same again may go through.
    Again(String),
    /// The connection is gone: what was asked may have happened.
    Lost(String),
    /// Nothing more to try here.
    Final(MetaError),
}

impl Failure {
    /// What the caller of the store is told when nothing is tried any more.
    pub(crate) fn into_meta(self) -> MetaError {
        match self {
            Self::Again(reason) | Self::Lost(reason) => MetaError::Unavailable(reason),
            Self::Final(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            // Either the connection ended, or it can't be made.
            return Self::Lost(text(&error));
        };
        let reason = format!("{} ({})", said.message(), said.code().code());
        let code = said.code();
        let class = code.code().get(..2).unwrap_or_default();
        if *code == SqlState::T_R_SERIALIZATION_FAILURE
            || *code == SqlState::T_R_DEADLOCK_DETECTED
            || *code == SqlState::LOCK_NOT_AVAILABLE
            // The table of locks is full: others are about to leave it.
            || *code == SqlState::OUT_OF_MEMORY
        {
            Self::Again(reason)
        } else if *code == SqlState::DISK_FULL {
            Self::Final(MetaError::Full(reason))
        } else if class == "XX" && *code != SqlState::INTERNAL_ERROR {
            Self::Final(MetaError::Corrupted(reason))
        } else if class == "57" && *code != SqlState::QUERY_CANCELED {
            // It stops, crashed or starts: another connection may find it up again.
            Self::Lost(reason)
        } else {
            Self::Final(MetaError::Unavailable(reason))
        }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => match Self::from(error) {
                // Not even connected: nothing was sent, and the next try would find the same.
                Self::Lost(reason) | Self::Again(reason) => {
                    Self::Final(MetaError::Unavailable(reason))
                }
                other @ Self::Final(_) => other,
            },
            PoolError::Timeout(_) => Self::Final(MetaError::Unavailable(
                "all connections to the database are busy, or it takes no new ones".to_owned(),
            )),
            other => Self::Final(MetaError::Unavailable(text(&other))),
        }
    }
}

/// An error with its causes: the outermost text alone says "error connecting to server".
pub(crate) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
