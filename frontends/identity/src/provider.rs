//! The question every frontend asks before anything else: who is this?
//!
//! A provider turns [`Credentials`] into a [`Caller`]: a principal, and the most its token lets it do;
//! and says whether another token could do more ([`Sought`]), so that a client is sent for one
//! where that helps, and only there. What the caller may do where is no question for a provider, but for the engine's authorizer.
//! Uncertain means no (DESIGN D12): where what a decision depends on is away, the answer is
//! [`IdentityError::Unavailable`], never a pass and never anonymous.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use strongroom_engine::access::{Action, Caller, Origin, PrincipalId};
use strongroom_engine::name::RepositoryPath;
use strongroom_http::auth::Credentials;

use crate::challenge::Refusal;
use crate::scope::{Resource, Scope};

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
    ) -> Result<Vouched, IdentityError>;

    /// The principals that `text` names: a user's name, an e-mail address that was verified, or a
    /// principal as [`Caller`] has it. Nobody where the provider knows nobody of the kind, or keeps
    /// no list; several where they have one name, to be told apart by whoever asked.
    ///
    /// It tells who has an account, so a frontend asks it only for somebody who may invite people.
    async fn find(&self, text: &str) -> Result<Vec<PrincipalId>, IdentityError> {
        let _no_list = text;
        Ok(Vec::new())
    }

    /// The values of `WWW-Authenticate` for a 401, the preferred one first; at least one. `refusal`
    /// is why.
    ///
    /// `base_url` is what the client calls this server (`https://host:port`, without a slash at the
    /// end), as far as it is known. `scope` is what a token must be for, in the words of the token
    /// specification (`repository:acme/main/api:pull,push`).
    fn challenge(
        &self,
        base_url: Option<&str>,
        scope: Option<&str>,
        refusal: Refusal,
    ) -> Vec<HeaderValue>;
}

/// Somebody who is vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// Who.
    pub caller: Caller,
    /// What the credentials are for.
    pub sought: Sought,
}

impl From<Caller> for Vouched {
    /// Somebody for whom no other credentials would do more.
    fn from(caller: Caller) -> Self {
        Self { caller, sought: Sought::Everything }
    }
}

/// What credentials are for: not what they grant (that is the caller's ceiling), but what was asked
/// for. What was asked for and not granted, no other token of the same owner will grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// For all that their owner may do.
    Everything,
    /// A token, for these.
    Only(Arc<[Scope]>),
}

impl Sought {
    /// Whether they are for `action` in a repository.
    pub fn covers(&self, action: Action, path: &RepositoryPath) -> bool {
        let Self::Only(scopes) = self else { return true };
        scopes.iter().any(|scope| {
            let here = match &scope.resource {
                Resource::Repository(name) => name == path.as_str(),
                Resource::Catalog => false,
            };
            here && match action {
                Action::List | Action::Pull => scope.actions.pull,
                Action::Push => scope.actions.push,
                Action::Delete | Action::Manage => scope.actions.delete,
            }
        })
    }

    /// Whether they are for the list of all repositories.
    pub fn covers_catalog(&self) -> bool {
        let Self::Only(scopes) = self else { return true };
        scopes.iter().any(|scope| scope.resource == Resource::Catalog && !scope.actions.is_empty())
    }
}

/// Why nobody is vouched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The credentials are wrong, expired or revoked; which of them is not told. Answer 401.
    #[error("the credentials are not valid")]
    Wrong,
    /// The credentials are right, and something has to be done before they are good: the text says
    /// what, to whoever sent them. Answer 401 with it.
    #[error("{0}")]
    ActFirst(&'static str),
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
