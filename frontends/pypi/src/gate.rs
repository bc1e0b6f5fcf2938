//! The gate: who asks, may they, and what are they told if not.
//!
//! - 401 with a challenge of the Basic kind, to whoever has not signed in or can't be vouched for, and to
//!   whoever has a token that was not asked for this;
//! - 404, to whoever may not know;
//! - 403, to whoever may know but not do it.
//!
//! None of them depends on whether what is hidden exists.

use strongroom_engine::access::{Action, Caller, Principal};
use strongroom_engine::name::RepositoryPath;
use strongroom_engine::{Error, Listing, Repository};
use strongroom_http::RequestContext;
use strongroom_identity::{Access, Sought, Vouched, gate};
use strongroom_python::ProjectName;

use crate::error::Failure;
use crate::routes::{Operation, Place, Task};
use crate::{Inner, Input};

const SIGN_IN: &str = "sign in, with rights to this: a user and password, or __token__ and a token";

/// Somebody who asks for something.
pub(crate) struct Asked {
    pub(crate) caller: Caller,
    /// What the credentials are for.
    sought: Sought,
}

impl Asked {
    fn is_anonymous(&self) -> bool {
        self.caller.principal == Principal::Anonymous
    }

    fn refused(&self, error: Error) -> Failure {
        match error {
            Error::NameUnknown { .. } | Error::Denied { .. } if self.is_anonymous() => {
                Failure::sign_in(SIGN_IN)
            }
            error => error.into(),
        }
    }
}

impl Inner {
    /// Turns the credentials of a request into a caller.
    pub(crate) async fn authenticate(
        &self,
        operation: &Operation,
        input: &Input,
        context: &RequestContext,
    ) -> Result<Asked, Failure> {
        let admitted = gate::admit(&*self.identity, &input.headers, context).await?;
        let (shown, anonymous) = (admitted.shown, admitted.is_anonymous());
        let Vouched { caller, sought } = admitted.vouched;
        let must_sign_in = match operation.access() {
            // Nobody at all uploads; and before the right to it can be looked at, the body is read.
            Access::Allowed(_) => anonymous && matches!(operation, Operation::In(_, Task::Upload)),
            Access::Open => false,
            Access::Shown => !shown,
            Access::SignedIn | Access::Operator => anonymous,
        };
        if must_sign_in {
            return Err(Failure::sign_in(SIGN_IN));
        }
        Ok(Asked { caller, sought })
    }

    /// Opens the repository of a project, or says why not.
    pub(crate) async fn open(
        &self,
        asked: &Asked,
        place: &Place,
        project: &ProjectName,
        action: Action,
    ) -> Result<Repository, Failure> {
        let path: RepositoryPath =
            place.repository(project).map_err(|error| Failure::bad(error.to_string()))?;
        // Before anything is looked at: whatever is there, this token is not for it.
        if !asked.sought.covers(action, &path) {
            let (organisation, name) = (Some(path.organisation()), path.to_string());
            self.engine.note_refusal(&asked.caller, action, organisation, &name);
            return Err(Failure::sign_in(SIGN_IN));
        }
        let opened = self.engine.repository(&asked.caller, &path, action).await;
        opened.map_err(|error| asked.refused(error))
    }

    /// Opens the list of a registry's repositories, or says why not.
    pub(crate) async fn list(&self, asked: &Asked, place: &Place) -> Result<Listing, Failure> {
        if !asked.sought.covers_catalog() {
            let (organisation, registry) = (&place.organisation, &place.registry);
            let name = format!("{organisation}/{registry}");
            self.engine.note_refusal(&asked.caller, Action::List, Some(organisation), &name);
            return Err(Failure::sign_in(SIGN_IN));
        }
        let (organisation, registry) = (&place.organisation, &place.registry);
        let listing = self.engine.listing(&asked.caller, organisation, registry).await;
        listing.map_err(|error| asked.refused(error))
    }
}
