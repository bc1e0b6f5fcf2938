//! Credentials for access tokens: what the token endpoint does, without its HTTP.
//!
//! An access token carries the scopes that were asked for, as far as the credentials reach: a
//! ceiling, never a grant (DESIGN D12). What its owner may really do is asked of the authorizer
//! with each request. What was asked for beyond the credentials' reach stands in it, too, so that
//! nobody is sent for another token that would be the same.

use strongroom_engine::access::{Caller, Ceiling, Origin, Target};
use strongroom_engine::id::OrganisationId;
use strongroom_engine::name::RepositoryPath;
use strongroom_http::auth::{Credentials, Secret};

use super::sign_in::{ANONYMOUS, SignedIn};
use super::tokens::NewToken;
use super::{AccountsError, Embedded};
use crate::account::{Reach, TokenUse};
use crate::provider::IdentityError;
use crate::scope::{Actions, Resource, Scope};
use crate::secret::MachineToken;
use crate::token::Issued;
use crate::token::ceiling::{ACTIONS, catalog_of};

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

/// What renews an access token.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Renewal<'a> {
    /// Nothing.
    None,
    /// What was shown for it.
    Same(&'a Secret),
    /// A new refresh token, which is good as long as that of another provider is.
    New { label: &'a str, upstream: Option<&'a Secret> },
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
        match grant {
            Grant::Credentials(Credentials::None) => {
                let issued = self.0.access.issue(ANONYMOUS, scopes, &[]);
                let issued = issued.map_err(AccountsError::from)?;
                Ok(Exchanged { issued, refresh: None, scopes: scopes.to_vec() })
            }
            Grant::Credentials(credentials) => {
                let signed_in = self.sign_in(credentials, origin).await?;
                let renewal = match offline {
                    Some(label) => Renewal::New { label, upstream: None },
                    None => Renewal::None,
                };
                self.give(&signed_in, scopes, renewal, origin).await
            }
            Grant::Refresh(token) => {
                let signed_in = self.by_refresh_token(token, origin).await?;
                if signed_in.needs_upstream() {
                    // Its provider is none of this process, and so nobody can ask it.
                    return Err(IdentityError::Wrong.into());
                }
                self.give(&signed_in, scopes, Renewal::Same(token), origin).await
            }
        }
    }

    /// Who shows a refresh token of ours.
    pub(crate) async fn by_refresh_token(
        &self,
        token: &Secret,
        origin: &Origin,
    ) -> Result<SignedIn, IdentityError> {
        self.by_machine_token(None, token, TokenUse::Refresh, origin).await
    }

    /// Gives somebody who signed in an access token for as much of `asked` as their credentials reach.
    pub(crate) async fn give(
        &self,
        signed_in: &SignedIn,
        asked: &[Scope],
        renewal: Renewal<'_>,
        origin: &Origin,
    ) -> Result<Exchanged, ExchangeError> {
        let scopes = within(&signed_in.ceiling(), asked);
        let refused = beyond(asked, &scopes);
        let issued = self.0.access.issue(&signed_in.subject(), &scopes, &refused);
        let issued = issued.map_err(AccountsError::from)?;
        let refresh = match renewal {
            Renewal::None => None,
            Renewal::Same(token) => Some(token.clone()),
            Renewal::New { label, upstream } => {
                match self.refresh_token(signed_in, label, upstream, origin).await {
                    Ok(token) => Some(Secret::new(token.expose())),
                    // Who signed in is served all the same; the client signs in again later.
                    Err(error) => {
                        let error = strongroom_http::log::chain(&error);
                        tracing::warn!(error, "no refresh token could be made");
                        None
                    }
                }
            }
        };
        Ok(Exchanged { issued, refresh, scopes })
    }

    async fn refresh_token(
        &self,
        signed_in: &SignedIn,
        label: &str,
        upstream: Option<&Secret>,
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
        self.create_refresh_token(&by, new, parent, upstream).await
    }
}

/// What of `scopes` lies under the ceiling.
fn within(ceiling: &Ceiling, scopes: &[Scope]) -> Vec<Scope> {
    if *ceiling == Ceiling::Unlimited {
        return scopes.to_vec();
    }
    let mut kept = Vec::new();
    for scope in scopes {
        let Resource::Repository(name) = &scope.resource else {
            // It lists no more than the credentials reach: see `catalog_of`.
            if !catalog_of(ceiling).is_empty() {
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

/// What of `asked` is not `granted`.
fn beyond(asked: &[Scope], granted: &[Scope]) -> Vec<Scope> {
    let rest = |scope: &Scope| {
        let given = granted.iter().find(|given| given.resource == scope.resource);
        let given = given.map(|given| given.actions).unwrap_or_default();
        Scope { resource: scope.resource.clone(), actions: scope.actions.without(given) }
    };
    asked.iter().map(rest).filter(|scope| !scope.actions.is_empty()).collect()
}
