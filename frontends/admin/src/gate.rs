//! The gate: who asks, and may they? What a route declares is enforced here, before its handler runs;
//! the engine asks its authorizer again for what it does.
//!
//! - 401 with a challenge, where signing in may help;
//! - 404, to whoever may not know that something is there;
//! - 403, to whoever may know but not do it.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use strongroom_engine::Error;
use strongroom_engine::access::{Action, Caller, Ceiling, Principal};
use strongroom_engine::name::{OrganisationName, RegistryName, RepositoryName, RepositoryPath};
use strongroom_http::RequestContext;
use strongroom_identity::challenge::Refusal;
use strongroom_identity::gate::{self, GateError};
use strongroom_identity::{Access, IdentityError};
use strongroom_pypi::routes::Place;
use strongroom_python::ProjectName;

use crate::Admin;
use crate::input::Input;
use crate::problem::{Kind, Problem};
use crate::routes::{Also, Spec};

impl Admin {
    /// Who sends a request for a route that demands what `spec` says, as far as their name goes.
    pub(crate) async fn authenticate(
        &self,
        spec: &Spec,
        headers: &HeaderMap,
        context: &RequestContext,
    ) -> Result<Caller, Problem> {
        if spec.access == Access::Open {
            return Ok(Caller::anonymous());
        }
        let admitted = match gate::admit(&*self.0.identity, headers, context).await {
            Ok(admitted) => admitted,
            Err(
                error @ (GateError::Credentials(_) | GateError::Identity(IdentityError::Wrong)),
            ) => {
                return Err(self.challenge(context, Refusal::InvalidToken, error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let caller = admitted.vouched.caller;
        let anonymous = caller.principal == Principal::Anonymous;
        match spec.access {
            Access::Shown if !admitted.shown => Err(self.sign_in(context)),
            Access::SignedIn | Access::Operator if anonymous => Err(self.sign_in(context)),
            Access::Operator if !operates(&caller) && !self.founds(spec, &caller) => {
                self.0.engine.note_refusal(&caller, Action::Manage, None, spec.path);
                let detail =
                    "this takes an operator of the installation, signed in with the password";
                Err(Problem::new(Kind::PasswordNeeded, detail))
            }
            // Of what is in a place, `demand` decides.
            Access::Open
            | Access::Shown
            | Access::SignedIn
            | Access::Operator
            | Access::Allowed(_) => Ok(caller),
        }
    }

    /// Whether the route is people's, too, and the caller one of those.
    fn founds(&self, spec: &Spec, caller: &Caller) -> bool {
        spec.also == Also::Founders && self.0.founders.may(caller)
    }

    /// Fails unless the caller is allowed in the place that the path names what the route declares.
    pub(crate) async fn demand(
        &self,
        spec: &Spec,
        caller: &Caller,
        input: &Input,
        context: &RequestContext,
    ) -> Result<(), Problem> {
        let Access::Allowed(action) = spec.access else { return Ok(()) };
        let also = match spec.also {
            Also::Nobody | Also::Founders => false,
            Also::Operators => operates(caller),
            Also::Oneself => {
                matches!(&caller.principal, Principal::Known(id) if id.as_str() == input.text("principal"))
            }
        };
        if also {
            // The engine knows how far that reaches.
            return Ok(());
        }
        let engine = &self.0.engine;
        let organisation: OrganisationName = input.place("organisation")?;
        let allowed = if input.has("project") {
            let (place, project) = python(input)?;
            let path = place.repository(&project);
            let path = path.map_err(|error| Problem::new(Kind::BadRequest, error.to_string()))?;
            engine.repository(caller, &path, action).await.map(drop)
        } else if input.has("repository") {
            let path = path(input)?;
            engine.repository(caller, &path, action).await.map(drop)
        } else if input.has("registry") {
            let registry: RegistryName = input.place("registry")?;
            engine.registry_for(caller, &organisation, &registry, action).await.map(drop)
        } else {
            engine.organisation_for(caller, &organisation, action).await.map(drop)
        };
        match allowed {
            Ok(()) => Ok(()),
            Err(Error::NameUnknown { .. } | Error::Denied { .. })
                if caller.principal == Principal::Anonymous =>
            {
                Err(self.sign_in(context))
            }
            // Who has a role in one registry may see that its organisation is there.
            Err(error) => Err(error.into()),
        }
    }

    fn sign_in(&self, context: &RequestContext) -> Problem {
        let detail = "sign in first, with a name and a password or with a token".to_owned();
        self.challenge(context, Refusal::Absent, detail)
    }

    fn challenge(&self, context: &RequestContext, refusal: Refusal, detail: String) -> Problem {
        let base_url = context.origin().base_url();
        let challenges = self.0.identity.challenge(base_url.as_deref(), None, refusal);
        let problem = Problem::new(Kind::Unauthorized, detail);
        challenges.into_iter().fold(problem, |problem, value| problem.with(WWW_AUTHENTICATE, value))
    }
}

/// Whether somebody operates the installation, with credentials that reach that far.
pub(crate) fn operates(caller: &Caller) -> bool {
    caller.operator && caller.ceiling == Ceiling::Unlimited
}

/// The Python project that a path names.
pub(crate) fn python(input: &Input) -> Result<(Place, ProjectName), Problem> {
    Ok((place(input)?, input.place("project")?))
}

/// The registry of Python projects that a path names.
pub(crate) fn place(input: &Input) -> Result<Place, Problem> {
    Ok(Place { organisation: input.place("organisation")?, registry: input.place("registry")? })
}

/// The repository that a path names.
pub(crate) fn path(input: &Input) -> Result<RepositoryPath, Problem> {
    let repository: RepositoryName = input.place("repository")?;
    let path =
        RepositoryPath::new(input.place("organisation")?, input.place("registry")?, repository);
    path.map_err(|error| Problem::new(Kind::BadRequest, error.to_string()))
}
