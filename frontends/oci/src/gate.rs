//! The gate: who asks, may they, and what are they told if not.
//!
//! Three answers to a refusal (DESIGN D12; token specification, "Requesting a Token"):
//! - 401 with a challenge, where signing in may help: to whoever has not signed in, and to whoever's
//!   token was not issued for this, since its bearer gets the right one with the challenge;
//! - 404, to whoever may not know;
//! - 403, to whoever may know but not do it.
//!
//! None of them depends on whether what is hidden exists.

use http::header::{HeaderName, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use strongroom_engine::access::{Action, Caller, Ceiling, Origin, Principal};
use strongroom_engine::name::RepositoryPath;
use strongroom_engine::{Error, Repository};
use strongroom_http::RequestContext;
use strongroom_http::auth::Credentials;
use strongroom_identity::{Access, IdentityError};

use crate::error::{Code, Failure};
use crate::query::Query;
use crate::reply::{API_VERSION, API_VERSION_2};
use crate::routes::Operation;
use crate::{Input, Oci};

/// The most of a client's name that is kept for the audit trail, in bytes.
const MAX_USER_AGENT: usize = 256;

/// Somebody who asks for something.
pub(crate) struct Asked {
    pub(crate) caller: Caller,
    bearer: bool,
    /// What a client without the right to this is told.
    challenge: Challenge,
}

/// What a 401 needs.
struct Challenge {
    base_url: Option<String>,
    scope: Option<String>,
}

impl Oci {
    /// Turns the credentials of a request into a caller.
    pub(crate) async fn authenticate(
        &self,
        operation: &Operation,
        input: &Input,
        context: &RequestContext,
    ) -> Result<Asked, Failure> {
        let challenge = Challenge {
            base_url: context.origin().base_url(),
            scope: scope(operation, &input.query),
        };
        let headers = &input.headers;
        let credentials = match Credentials::from_headers(headers) {
            Ok(credentials) => credentials,
            Err(error) => return Err(self.unauthorized(&challenge, error.to_string())),
        };
        let caller = match self.identity.authenticate(&credentials, origin(headers, context)).await
        {
            Ok(caller) => caller,
            Err(error @ IdentityError::Wrong) => {
                return Err(self.unauthorized(&challenge, error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        context.set_principal(caller.principal.as_str());
        let anonymous = caller.principal == Principal::Anonymous;
        let must_sign_in = match operation.access() {
            // Of what is in a repository, `open` decides.
            Access::Open | Access::Allowed(_) => false,
            Access::Shown => matches!(credentials, Credentials::None),
            Access::SignedIn => anonymous,
        };
        if must_sign_in {
            return Err(self.unauthorized(&challenge, "sign in first".to_owned()));
        }
        let bearer = matches!(credentials, Credentials::Bearer(_));
        Ok(Asked { caller, bearer, challenge })
    }

    /// Opens the repository, or says why not.
    pub(crate) async fn open(
        &self,
        asked: &Asked,
        path: &RepositoryPath,
        action: Action,
    ) -> Result<Repository, Failure> {
        match self.engine.repository(&asked.caller, path, action).await {
            Ok(repository) => Ok(repository),
            Err(error @ (Error::NameUnknown { .. } | Error::Denied { .. })) => {
                let anonymous = asked.caller.principal == Principal::Anonymous;
                let narrow = asked.bearer && !asked.caller.ceiling.covers(action, path);
                if anonymous || narrow {
                    let message = "sign in, with rights to this repository";
                    Err(self.unauthorized(&asked.challenge, message.to_owned()))
                } else {
                    Err(error.into())
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the caller's token can speak for the source of a mount; `None` is "wherever it is".
    ///
    /// A token that was issued before the client knew its source is sent for another. One that names
    /// repositories can't be for all of them: where the source is left open the client is asked to
    /// sign the request with its own name and password, if the provider takes such.
    pub(crate) fn allow_source(
        &self,
        asked: &Asked,
        from: Option<&RepositoryPath>,
    ) -> Result<(), Failure> {
        let ceiling = &asked.caller.ceiling;
        let enough = match from {
            Some(from) => ceiling.covers(Action::Pull, from),
            None => *ceiling == Ceiling::Unlimited,
        };
        if enough || !asked.bearer {
            return Ok(());
        }
        let challenges = match from {
            Some(_) => self.challenges(&asked.challenge),
            None => match self.identity.basic_challenge() {
                Some(basic) => vec![basic],
                None => return Ok(()),
            },
        };
        Err(unauthorized(
            challenges,
            "this token does not reach the source of the mount".to_owned(),
        ))
    }

    fn challenges(&self, challenge: &Challenge) -> Vec<HeaderValue> {
        let Challenge { base_url, scope } = challenge;
        self.identity.challenge(base_url.as_deref(), scope.as_deref())
    }

    fn unauthorized(&self, challenge: &Challenge, message: String) -> Failure {
        unauthorized(self.challenges(challenge), message)
    }
}

fn unauthorized(challenges: Vec<HeaderValue>, message: String) -> Failure {
    let failure = Failure::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
        .with(API_VERSION, API_VERSION_2);
    challenges.into_iter().fold(failure, |failure, value| failure.with(WWW_AUTHENTICATE, value))
}

/// What a token must be for, in the words of the token specification.
fn scope(operation: &Operation, query: &Query) -> Option<String> {
    match operation {
        Operation::Ping => None,
        Operation::Catalog => Some("registry:catalog:*".to_owned()),
        Operation::In(path, task) => {
            let actions = match task.action() {
                Action::List | Action::Pull => "pull",
                Action::Push => "pull,push",
                Action::Delete | Action::Manage => "delete",
            };
            let scope = format!("repository:{path}:{actions}");
            let from = query.get("mount").and_then(|_| query.get("from"));
            Some(match from.and_then(|from| from.parse::<RepositoryPath>().ok()) {
                Some(from) => format!("{scope} repository:{from}:pull"),
                None => scope,
            })
        }
    }
}

/// Where a request came from, for the audit trail.
fn origin(headers: &HeaderMap, context: &RequestContext) -> Origin {
    Origin {
        address: Some(context.origin().client()),
        request_id: Some(context.id().as_str().to_owned()),
        user_agent: text(headers, &USER_AGENT)
            .map(|agent| agent.chars().take(MAX_USER_AGENT).collect()),
    }
}

/// A header's text, where it is visible ASCII.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
