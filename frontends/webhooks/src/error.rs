//! Why a hook could not be looked after.

use strongroom_engine::Error;
use strongroom_identity::seal::SealError;
use strongroom_outbound::{ConnectError, TargetError};

/// A failed call. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The engine says no, or is away; also where the caller may not see or manage the registry.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The registry has no such hook.
    #[error("webhook {id} is not known here")]
    Unknown {
        /// As asked.
        id: String,
    },
    /// The address is none that a hook may have.
    #[error("url: {0}")]
    Target(#[from] TargetError),
    /// An event that a hook can't ask for.
    #[error("events: there is no event {name:?}; there are {}", crate::event::KINDS.join(", "))]
    Kind {
        /// As asked.
        name: String,
    },
    /// The registry has as many hooks as it may.
    #[error("a registry has at most {max} webhooks; delete one first")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// A secret could not be sealed or opened.
    #[error("the webhook's secret: {0}")]
    Secret(#[from] SealError),
    /// A record can't be read.
    #[error("a record of the webhooks can't be read: {reason}")]
    Damaged {
        /// Why not.
        reason: String,
    },
    /// No receiver could be connected to.
    #[error("connections to webhooks' receivers: {0}")]
    Connect(#[from] ConnectError),
}
