//! From a request's header to its caller: what the gates of all frontends do first, in one way.
//!
//! **Promises.** What says who sends a request but can't be read is refused, never served as nobody.
//! Whoever is known holds one of their places until the request is over, and stands in its log line.
//!
//! **Never.** It decides what a route demands of its caller, or how a refusal looks: each frontend has
//! an [`Access`](crate::Access) for each of its routes, and its protocol's errors.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use http::header::USER_AGENT;
use strongroom_engine::access::{Origin, Principal};
use strongroom_http::RequestContext;
use strongroom_http::auth::{Credentials, CredentialsError};
use strongroom_http::limits::ShareError;

use crate::provider::{IdentityError, IdentityProvider, Vouched};

/// The most of a client's name that is kept for the audit trail, in characters.
const MAX_USER_AGENT: usize = 256;

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// The Authorization header can't be read. Answer 401, with a challenge.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Nobody is vouched for. [`IdentityError::Wrong`] is a 401 with a challenge.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// They have too many requests under way. Answer 429.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// Somebody who came through the gate, be it as nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Who, and what their credentials are for.
    pub vouched: Vouched,
    /// Whether they showed any credentials; a token may be that of nobody.
    pub shown: bool,
}

impl Admitted {
    /// Whether nobody is signed in.
    pub fn is_anonymous(&self) -> bool {
        self.vouched.caller.principal == Principal::Anonymous
    }
}

/// Who sends a request with these headers.
pub async fn admit(
    identity: &dyn IdentityProvider,
    headers: &HeaderMap,
    context: &RequestContext,
) -> Result<Admitted, GateError> {
    let credentials = Credentials::from_headers(headers)?;
    let vouched = identity.authenticate(&credentials, origin(headers, context)).await?;
    let admitted = Admitted { vouched, shown: credentials != Credentials::None };
    let principal = Arc::<str>::from(&admitted.vouched.caller.principal);
    context.set_principal(Arc::clone(&principal));
    if !admitted.is_anonymous() {
        // Nobody's requests are bounded by their address alone.
        context.hold_share(principal)?;
    }
    Ok(admitted)
}

/// Where a request came from, for the audit trail.
pub fn origin(headers: &HeaderMap, context: &RequestContext) -> Origin {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    let clipped = |agent: &str| match strongroom_http::log::clean(agent) {
        Cow::Borrowed(clean) if clean.len() <= MAX_USER_AGENT => clean.to_owned(),
        clean => clean.chars().take(MAX_USER_AGENT).collect(),
    };
    Origin {
        address: Some(context.origin().client()),
        request_id: Some(context.id().as_str().to_owned()),
        user_agent: agent.map(clipped),
    }
}

#[cfg(test)]
mod tests;
