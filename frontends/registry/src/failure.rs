//! Why the program did not do what it was asked, and the exit code that says so:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; nothing is wrong |
//! | 1 | done, and something is wrong with what was looked at: `fsck`, `scrub`, `adopt` or `audit verify` found it |
//! | 2 | the command line or the settings are no good |
//! | 3 | refused or failed; the message tells why |
//! | 4 | the data, the server or the system does not answer now; trying again may help |

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use strongroom_engine::Error;
use strongroom_engine::backup::BackupError;
use strongroom_identity::embedded::AccountsError;
use strongroom_identity::workload::WorkloadError;
use strongroom_pypi::upstream::UpstreamError;
use strongroom_webhooks::WebhookError;

/// What kind of failure: an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Usage,
    Failed,
    Away,
}

/// Something the program could not do. The message is for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

/// Something is wrong with what was looked at.
pub(crate) const FINDINGS: u8 = 1;

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, message: message.into() }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into() }
    }

    pub(crate) fn away(message: impl Into<String>) -> Self {
        Self { kind: Kind::Away, message: message.into() }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Usage => 2,
            Kind::Failed => 3,
            Kind::Away => 4,
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_)
            | Error::Contended { .. }
            | Error::Collecting { .. }
            | Error::StorageFull(_) => Self::away(error.to_string()),
            error => Self::failed(error.to_string()),
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Engine(error) => error.into(),
            BackupError::FolderBusy { .. } | BackupError::Open { .. } => {
                Self::away(error.to_string())
            }
            error => Self::failed(error.to_string()),
        }
    }
}

impl From<WorkloadError> for Failure {
    fn from(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Engine(error) => error.into(),
            WorkloadError::Accounts(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}

impl From<WebhookError> for Failure {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Engine(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Engine(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}

impl From<AccountsError> for Failure {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::Engine(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}
