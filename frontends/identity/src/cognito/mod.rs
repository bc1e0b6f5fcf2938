//! People of an AWS Cognito user pool: their tokens, and their passwords for tokens.
//!
//! **Promises.** A token passes only if this pool signed it for one of our app clients, and it is what it
//! is used as: an access token names the client in `client_id`, an id token in `aud`, and neither has the
//! other's (THREATS A8). Who operates the installation is read from the pool's groups, which only
//! the pool's administrators change, and from nothing that a person may write. A password goes to
//! the configured endpoint and nowhere else (A16).
//!
//! **Never.** It keeps a password or a token, or decides what somebody may do where.

mod session;
mod settings;
#[cfg(test)]
pub(crate) mod stand_in;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use strongroom_engine::seam::Seams;

pub use session::Session;
pub use settings::{Settings, SettingsError};

use crate::account::AccountName;
use crate::jwks::{Claims, JwtError, KeysAt, Policy, Signing, Trusted, Verifier};
use crate::profiles::NewUser;
use crate::provider::IdentityError;
use crate::web::Web;

/// The most groups of somebody that are read: Cognito gives no more than 100.
const MAX_GROUPS: usize = 100;

/// Somebody of the pool, as a token that it signed tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// What never changes: `sub`.
    pub sub: AccountName,
    /// The name in the pool.
    pub username: String,
    /// Their address, which id tokens tell.
    pub email: Option<String>,
    /// Whether the pool has verified it.
    pub email_verified: bool,
    /// Whether they are in the group of operators.
    pub operator: bool,
}

impl Person {
    /// What a profile is made of.
    pub fn new_user(&self) -> NewUser {
        NewUser {
            sub: self.sub.as_str().to_owned(),
            username: self.username.clone(),
            email: self.email.clone(),
            email_verified: self.email_verified,
        }
    }
}

/// One user pool. Clones share it.
#[derive(Clone)]
pub struct Cognito(Arc<Inner>);

struct Inner {
    settings: Settings,
    verifier: Verifier,
    web: Arc<dyn Web>,
}

impl Cognito {
    /// The pool of these settings, which are checked here. Asks nobody yet.
    pub fn new(
        settings: Settings,
        policy: Policy,
        seams: Seams,
        web: Arc<dyn Web>,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let trusted = Trusted {
            issuer: settings.issuer.clone(),
            keys: KeysAt::Url(settings.jwks_url()),
            signing: &[Signing::Rs256],
        };
        let verifier = Verifier::new(vec![trusted], policy, seams, Arc::clone(&web))?;
        Ok(Self(Arc::new(Inner { settings, verifier, web })))
    }

    /// Who shows this access or id token.
    pub async fn verify(&self, token: &str) -> Result<Person, IdentityError> {
        let claims = self.0.verifier.verify(token).await.map_err(|error| match error {
            JwtError::Away { .. } => IdentityError::Unavailable(error.to_string()),
            error => {
                tracing::debug!(%error, "a token of the user pool is refused");
                IdentityError::Wrong
            }
        })?;
        self.person(&claims).ok_or_else(|| {
            tracing::debug!("a token of the user pool is for another client or of another use");
            IdentityError::Wrong
        })
    }

    fn person(&self, claims: &Claims) -> Option<Person> {
        let ours = |client: &str| self.0.settings.client_ids.iter().any(|id| id == client);
        let client = claims.others.get("client_id");
        let username = match claims.text("token_use")? {
            "access" => {
                // A token of the client alone, of no person, has no name.
                let named = ours(client?.as_str()?) && claims.audience.is_empty();
                named.then(|| claims.text("username"))??
            }
            "id" => {
                let [audience] = claims.audience.as_slice() else { return None };
                let named = ours(audience) && client.is_none();
                named.then(|| claims.text("cognito:username"))??
            }
            _ => return None,
        };
        let groups = groups(claims.others.get("cognito:groups"))?;
        let operators = self.0.settings.operator_group.as_deref();
        Some(Person {
            sub: claims.subject.parse().ok()?,
            username: username.to_owned(),
            email: claims.text("email").map(str::to_owned),
            email_verified: claims.others.get("email_verified") == Some(&Value::Bool(true)),
            operator: operators.is_some_and(|operators| groups.contains(&operators)),
        })
    }
}

/// The groups of a token; none where it has none, an error where they are no list of names.
fn groups(claim: Option<&Value>) -> Option<Vec<&str>> {
    match claim {
        None => Some(Vec::new()),
        Some(Value::Array(groups)) if groups.len() <= MAX_GROUPS => {
            groups.iter().map(Value::as_str).collect()
        }
        Some(_) => None,
    }
}

impl fmt::Debug for Cognito {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cognito").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
