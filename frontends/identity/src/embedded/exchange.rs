//! Credentials for access tokens: what the token endpoint does, without its HTTP.
//!
//! An access token carries the scopes that were asked for, as far as the credentials reach: a
//! ceiling, never a grant (DESIGN D12). What its owner may really do is asked of the authorizer
//! with each request.

use std::sync::Arc;

use strongroom_engine::access::{self, Action, Caller, Ceiling, Origin, Target};
use strongroom_engine::id::OrganisationId;
use strongroom_engine::name::RepositoryPath;
use strongroom_http::auth::{Credentials, Secret};

use super::records::Use;
use super::sign_in::{ANONYMOUS, BY_TOKEN, SignedIn};
use super::tokens::NewToken;
use super::{AccountsError, Embedded};
use crate::account::Reach;
use crate::provider::IdentityError;
use crate::scope::{Actions, Resource, Scope};
use crate::secret::MachineToken;
use crate::token::Issued;

/// What is shown for an access token.
#[derive(Debug, Clone)]
pub enum Grant {
    /// A password, a machine token, or nothing at all.
    Credentials(Credentials),
    /// A refresh token.
    Refresh(Secret),
}

/// What was given.
#[derive(Debug)]
pub struct Exchanged {
    /// The access token.
    pub issued: Issued,
    /// A refresh token, where one was asked for; the same one where one was shown.
    pub refresh: Option<Secret>,
    /// What the access token is for.
    pub scopes: Vec<Scope>,
}

/// Why nothing was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// Nobody is vouched for.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The tokens could not be made.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
}

impl Embedded {
    /// Gives an access token for `scopes`; where `offline` is set, a refresh token labelled so, too.
    pub async fn exchange(
        &self,
        grant: &Grant,
        scopes: &[Scope],
        offline: Option<&str>,
        origin: &Origin,
    ) -> Result<Exchanged, ExchangeError> {
        let signed_in = match grant {
            Grant::Credentials(Credentials::None) => {
                let issued = self.0.access.issue(ANONYMOUS, scopes).map_err(AccountsError::from)?;
                return Ok(Exchanged { issued, refresh: None, scopes: scopes.to_vec() });
            }
            Grant::Credentials(credentials) => self.sign_in(credentials, origin).await?,
            Grant::Refresh(token) => {
                self.by_machine_token(None, token, Use::Refresh, origin).await?
            }
        };
        let scopes = within(&signed_in.ceiling(), scopes);
        let subject = match &signed_in.token {
            Some((id, _)) => format!("{}{BY_TOKEN}{id}", signed_in.account),
            None => signed_in.account.to_string(),
        };
        let issued = self.0.access.issue(&subject, &scopes).map_err(AccountsError::from)?;
        let refresh = match (grant, offline) {
            (Grant::Refresh(token), _) => Some(token.clone()),
            (Grant::Credentials(_), Some(label)) => {
                let token = self.refresh_token(&signed_in, label, origin).await?;
                Some(Secret::new(token.expose()))
            }
            (Grant::Credentials(_), None) => None,
        };
        Ok(Exchanged { issued, refresh, scopes })
    }

    async fn refresh_token(
        &self,
        signed_in: &SignedIn,
        label: &str,
        origin: &Origin,
    ) -> Result<MachineToken, AccountsError> {
        let (parent, reach) = match &signed_in.token {
            Some((id, record)) => (Some(id.clone()), record.reach.clone()),
            None => (None, Reach::Everything),
        };
        let new = NewToken {
            owner: signed_in.account.clone(),
            label: label.chars().filter(|c| !c.is_control()).take(64).collect(),
            reach,
            lifetime: Some(self.0.options.refresh_lifetime),
        };
        let by: Caller = signed_in.caller(origin.clone());
        Ok(self.make(&by, new, Use::Refresh, parent).await?.1)
    }
}

/// Each action of a scope with what the engine calls it.
const ACTIONS: [(Actions, Action); 3] = [
    (Actions { pull: true, push: false, delete: false }, Action::Pull),
    (Actions { pull: false, push: true, delete: false }, Action::Push),
    (Actions { pull: false, push: false, delete: true }, Action::Delete),
];

/// What of `scopes` lies under the ceiling.
fn within(ceiling: &Ceiling, scopes: &[Scope]) -> Vec<Scope> {
    if *ceiling == Ceiling::Unlimited {
        return scopes.to_vec();
    }
    let mut kept = Vec::new();
    for scope in scopes {
        let Resource::Repository(name) = &scope.resource else {
            // The catalog is of all registries, so only who reaches all of them is given it.
            if reaches_everything(ceiling) {
                kept.push(scope.clone());
            }
            continue;
        };
        let Ok(path) = name.parse::<RepositoryPath>() else { continue };
        let target = Target {
            // A ceiling speaks of names alone.
            organisation: OrganisationId(0),
            organisation_name: path.organisation(),
            registry: None,
            registry_name: Some(path.registry()),
            public: false,
            repository: Some(path.repository()),
        };
        let actions = ACTIONS
            .into_iter()
            .filter(|(_, action)| ceiling.allows(*action, &target))
            .fold(Actions::default(), |sum, (one, _)| sum.or(one))
            .and(scope.actions);
        kept.push(Scope { resource: scope.resource.clone(), actions });
    }
    kept
}

fn reaches_everything(ceiling: &Ceiling) -> bool {
    match ceiling {
        Ceiling::Unlimited => true,
        Ceiling::Grants(grants) => grants.iter().any(|grant| {
            grant.organisation.is_none()
                && grant.registry.is_none()
                && grant.repository.is_none()
                && grant.actions.contains(&Action::List)
        }),
    }
}

/// The ceiling that the scopes of an access token are.
pub(super) fn ceiling_of(scopes: &[Scope]) -> Ceiling {
    let grants = scopes.iter().filter_map(|scope| match &scope.resource {
        Resource::Catalog if scope.actions.is_empty() => None,
        Resource::Catalog => Some(access::Grant {
            organisation: None,
            registry: None,
            repository: None,
            actions: vec![Action::List],
        }),
        Resource::Repository(name) => {
            let path: RepositoryPath = name.parse().ok()?;
            let named = ACTIONS.into_iter().filter(|(one, _)| scope.actions.and(*one) == *one);
            let mut actions: Vec<_> = named.map(|(_, action)| action).collect();
            if scope.actions.pull {
                actions.push(Action::List);
            }
            Some(access::Grant {
                organisation: Some(path.organisation().clone()),
                registry: Some(path.registry().clone()),
                repository: Some(path.repository().clone()),
                actions,
            })
        }
    });
    Ceiling::Grants(grants.collect::<Arc<[_]>>())
}
