//! The question every frontend asks before anything else: who is this?
//!
//! A provider turns [`Credentials`] into a [`Caller`]: a principal, and the most its token lets it do.
//! What the caller may do where is no question for a provider, but for the engine's authorizer.
//! Uncertain means no (DESIGN D12): where what a decision depends on is away, the answer is
//! [`IdentityError::Unavailable`], never a pass and never anonymous.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use strongroom_engine::access::{Caller, Origin};
use strongroom_http::auth::Credentials;

/// Vouches for callers.
#[async_trait]
pub trait IdentityProvider: Send + Sync + fmt::Debug {
    /// Who sends `credentials` from `origin`, which becomes the caller's.
    ///
    /// [`Credentials::None`] is [`Caller::anonymous`]; anything else is somebody known, or an error:
    /// who says a name and fails to prove it is never served as nobody.
    async fn authenticate(
        &self,
        credentials: &Credentials,
        origin: Origin,
    ) -> Result<Caller, IdentityError>;

    /// The values of `WWW-Authenticate` for a 401, the preferred one first; at least one.
    ///
    /// `base_url` is what the client calls this server (`https://host:port`, without a slash at the
    /// end), as far as it is known. `scope` is what a token must be for, in the words of the token
    /// specification (`repository:acme/main/api:pull,push`).
    fn challenge(&self, base_url: Option<&str>, scope: Option<&str>) -> Vec<HeaderValue>;

    /// The value of `WWW-Authenticate` that asks for a name and a password in the request itself:
    /// for what no token can be asked for. `None` where the provider takes none.
    ///
    /// Not a part of [`Self::challenge`]: of two challenges some clients answer the wrong one.
    fn basic_challenge(&self) -> Option<HeaderValue> {
        None
    }
}

/// Why nobody is vouched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The credentials are wrong, expired or revoked; which of them is not told. Answer 401.
    #[error("the credentials are not valid")]
    Wrong,
    /// Too many attempts failed. Answer 429.
    #[error("too many attempts; try again in {} s", .retry_after.as_secs())]
    TooMany {
        /// How long to wait.
        retry_after: Duration,
    },
    /// What the answer depends on is away. Answer 503. The text is for the log.
    #[error("nobody can be vouched for now: {0}")]
    Unavailable(String),
}
