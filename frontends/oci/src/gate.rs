//! The gate: who asks, may they, and what are they told if not.
//!
//! Three answers to a refusal (DESIGN D12; token specification, "Requesting a Token"):
//! - 401 with a challenge, where signing in may help: to whoever has not signed in, and to whoever's
//!   token was not asked for this, since its bearer gets the right one with the challenge. A token
//!   that was asked for this and could not have it is not sent for another: that would be the same;
//! - 404, to whoever may not know;
//! - 403, to whoever may know but not do it.
//!
//! None of them depends on whether what is hidden exists.

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use strongroom_engine::access::{Action, Caller, Principal};
use strongroom_engine::name::RepositoryPath;
use strongroom_engine::{Error, Repository};
use strongroom_http::RequestContext;
use strongroom_identity::challenge::Refusal;
use strongroom_identity::gate::{self, GateError};
use strongroom_identity::{Access, IdentityError, Sought, Vouched};

use crate::error::{Code, Failure};
use crate::query::Query;
use crate::reply::{API_VERSION, API_VERSION_2};
use crate::routes::Operation;
use crate::{Input, Oci};

/// Somebody who asks for something.
pub(crate) struct Asked<'a> {
    pub(crate) caller: Caller,
    /// What the credentials are for.
    sought: Sought,
    question: Question<'a>,
}

/// What was asked, as far as a 401 repeats it.
#[derive(Clone, Copy)]
struct Question<'a> {
    operation: &'a Operation,
    query: &'a Query,
    context: &'a RequestContext,
}

impl Oci {
    /// Turns the credentials of a request into a caller.
    pub(crate) async fn authenticate<'a>(
        &self,
        operation: &'a Operation,
        input: &'a Input,
        context: &'a RequestContext,
    ) -> Result<Asked<'a>, Failure> {
        let question = Question { operation, query: &input.query, context };
        let admitted = match gate::admit(&*self.identity, &input.headers, context).await {
            Ok(admitted) => admitted,
            Err(
                error @ (GateError::Credentials(_)
                | GateError::Identity(IdentityError::Wrong | IdentityError::ActFirst(_))),
            ) => {
                let refusal = Refusal::InvalidToken;
                return Err(self.unauthorized(question, refusal, error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let (shown, anonymous) = (admitted.shown, admitted.is_anonymous());
        let Vouched { caller, sought } = admitted.vouched;
        let must_sign_in = match operation.access() {
            // Of what is in a repository, `open` decides.
            Access::Open | Access::Allowed(_) => false,
            Access::Shown => !shown,
            Access::SignedIn => anonymous,
            Access::Operator => !caller.operator,
        };
        if must_sign_in {
            let message = "sign in first".to_owned();
            return Err(self.unauthorized(question, Refusal::Absent, message));
        }
        if *operation == Operation::Catalog && !sought.covers_catalog() {
            self.engine.note_refusal(&caller, Action::List, None, "the catalog");
            let message = "this token is not for the catalog".to_owned();
            return Err(self.unauthorized(question, Refusal::InsufficientScope, message));
        }
        Ok(Asked { caller, sought, question })
    }

    /// Opens the repository, or says why not.
    pub(crate) async fn open(
        &self,
        asked: &Asked<'_>,
        path: &RepositoryPath,
        action: Action,
    ) -> Result<Repository, Failure> {
        let sign_in = |refusal| {
            let message = "sign in, with rights to this repository".to_owned();
            self.unauthorized(asked.question, refusal, message)
        };
        // Before anything is looked at: whatever is there, this token is not for it.
        if !asked.sought.covers(action, path) {
            self.note_scope(asked, action, path);
            return Err(sign_in(Refusal::InsufficientScope));
        }
        match self.engine.repository(&asked.caller, path, action).await {
            Ok(repository) => Ok(repository),
            Err(Error::NameUnknown { .. } | Error::Denied { .. })
                if asked.caller.principal == Principal::Anonymous =>
            {
                Err(sign_in(Refusal::Absent))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Fails where the caller's token was issued before the client knew the source of its mount: it is
    /// sent for another. A mount that leaves its source open finds it as far as the token reaches.
    pub(crate) fn allow_source(
        &self,
        asked: &Asked<'_>,
        from: &RepositoryPath,
    ) -> Result<(), Failure> {
        if asked.sought.covers(Action::Pull, from) {
            return Ok(());
        }
        self.note_scope(asked, Action::Pull, from);
        let message = "this token does not reach the source of the mount".to_owned();
        Err(self.unauthorized(asked.question, Refusal::InsufficientScope, message))
    }

    /// What a token is not for is refused before the engine hears of it.
    fn note_scope(&self, asked: &Asked<'_>, action: Action, path: &RepositoryPath) {
        let organisation = Some(path.organisation());
        self.engine.note_refusal(&asked.caller, action, organisation, &path.to_string());
    }

    fn unauthorized(&self, question: Question<'_>, refusal: Refusal, message: String) -> Failure {
        let base_url = question.context.origin().base_url();
        let scope = scope(question.operation, question.query);
        let challenges = self.identity.challenge(base_url.as_deref(), scope.as_deref(), refusal);
        let failure = Failure::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
            .with(API_VERSION, API_VERSION_2);
        challenges.into_iter().fold(failure, |failure, value| failure.with(WWW_AUTHENTICATE, value))
    }
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
