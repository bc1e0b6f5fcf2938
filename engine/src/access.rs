//! Who may do what: the one question every path to content asks.
//!
//! A frontend turns whoever calls into a [`Caller`]; the engine asks its [`Authorizer`] before it
//! hands out a handle to anything ([`crate::Engine::repository`]). The handle is the proof: no
//! operation on content exists but on a handle. What the answer hides looks exactly like what does
//! not exist.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::id::{OrganisationId, RegistryId};
use crate::name::{OrganisationName, RegistryName, RepositoryName, RepositoryPath};

/// Who calls: the name its identity provider vouches for, such as `user:admin` or `robot:ci`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrincipalId(Arc<str>);

/// The longest principal: it is part of keys.
const MAX_PRINCIPAL_BYTES: usize = 256;

impl PrincipalId {
    /// Takes the provider's name for somebody: `kind:name`, printable ASCII without spaces, at
    /// most 256 bytes.
    pub fn new(id: impl Into<Arc<str>>) -> Result<Self, Error> {
        let id = id.into();
        let good = id.bytes().all(|b| b.is_ascii_graphic());
        if !good || id.is_empty() || id.len() > MAX_PRINCIPAL_BYTES {
            return Err(Error::Invalid(
                "a principal is 1 to 256 printable ASCII characters without spaces".to_owned(),
            ));
        }
        Ok(Self(id))
    }

    /// The principal's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whoever stands behind a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody signed in.
    Anonymous,
    /// Somebody an identity provider vouches for.
    Known(PrincipalId),
}

impl Principal {
    /// The name for records and logs.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Known(id) => id.as_str(),
        }
    }
}

impl From<&Principal> for Arc<str> {
    fn from(principal: &Principal) -> Self {
        match principal {
            Principal::Known(PrincipalId(id)) => Self::clone(id),
            Principal::Anonymous => principal.as_str().into(),
        }
    }
}

/// What may be done; each action that follows in a role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// See that it exists, list what is in it.
    List,
    /// Read content.
    Pull,
    /// Write content.
    Push,
    /// Remove content.
    Delete,
    /// Change members and settings.
    Manage,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Pull => "pull from",
            Self::Push => "push to",
            Self::Delete => "delete from",
            Self::Manage => "manage",
        })
    }
}

/// What a member may do (DESIGN D7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// List and pull.
    Viewer,
    /// And push and delete.
    Writer,
    /// And manage.
    Admin,
}

impl Role {
    /// Whether the role includes `action`.
    pub fn allows(self, action: Action) -> bool {
        match action {
            Action::List | Action::Pull => true,
            Action::Push | Action::Delete => self >= Self::Writer,
            Action::Manage => self >= Self::Admin,
        }
    }
}

/// A part of what a token was issued for. An absent name means all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The organisation.
    pub organisation: Option<OrganisationName>,
    /// The registry in it.
    pub registry: Option<RegistryName>,
    /// The repository in it.
    pub repository: Option<RepositoryName>,
    /// Whether the repositories below that one are meant, too: `api` and `api/worker`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub below: bool,
    /// What may be done there, as far as the principal itself may.
    pub actions: Vec<Action>,
}

impl Grant {
    fn names(&self, repository: Option<&RepositoryName>) -> bool {
        let Some(named) = &self.repository else { return true };
        let Some(asked) = repository else { return false };
        let below =
            || asked.as_str().strip_prefix(named.as_str()).is_some_and(|r| r.starts_with('/'));
        named == asked || (self.below && below())
    }
}

/// The most a caller may do by its token, whatever its roles: a ceiling, never a grant (D12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ceiling {
    /// All that the principal may.
    Unlimited,
    /// Only what one of these covers.
    Grants(Arc<[Grant]>),
}

impl Ceiling {
    /// Whether `action` on `target` lies under the ceiling.
    pub fn allows(&self, action: Action, target: &Target<'_>) -> bool {
        let (organisation, registry) = (target.organisation_name, target.registry_name);
        self.reaches(action, organisation, registry, target.repository)
    }

    /// The same for a repository that may not be there: whether the token was issued for it.
    pub fn covers(&self, action: Action, path: &RepositoryPath) -> bool {
        let (registry, repository) = (path.registry(), path.repository());
        self.reaches(action, path.organisation(), Some(registry), Some(repository))
    }

    fn reaches(
        &self,
        action: Action,
        organisation: &OrganisationName,
        registry: Option<&RegistryName>,
        repository: Option<&RepositoryName>,
    ) -> bool {
        let Self::Grants(grants) = self else { return true };
        grants.iter().any(|grant| {
            grant.organisation.as_ref().is_none_or(|name| name == organisation)
                && grant.registry.as_ref().is_none_or(|name| Some(name) == registry)
                && grant.names(repository)
                && grant.actions.contains(&action)
        })
    }
}

/// Where a request came from, for the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The client's address, as far as a trusted proxy or the connection tells.
    pub address: Option<IpAddr>,
    /// The request's id.
    pub request_id: Option<String>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
}

/// Whoever asks for something, with what they may do at most and where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// What their token allows at most.
    pub ceiling: Ceiling,
    /// From where.
    pub origin: Origin,
    /// Whether they operate the installation (DESIGN D7): users, collection, scrub, the system's
    /// audit. It gives no access to content.
    pub operator: bool,
}

impl Caller {
    /// Somebody without a token's bounds, from nowhere in particular.
    pub fn known(id: PrincipalId) -> Self {
        Self {
            operator: false,
            principal: Principal::Known(id),
            ceiling: Ceiling::Unlimited,
            origin: Origin::default(),
        }
    }

    /// Nobody.
    pub fn anonymous() -> Self {
        Self {
            operator: false,
            principal: Principal::Anonymous,
            ceiling: Ceiling::Unlimited,
            origin: Origin::default(),
        }
    }
}

/// What is asked for. Ids decide; the names are for ceilings and messages.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The organisation.
    pub organisation: OrganisationId,
    /// The organisation's name.
    pub organisation_name: &'a OrganisationName,
    /// The registry, where it is about one.
    pub registry: Option<RegistryId>,
    /// The registry's name.
    pub registry_name: Option<&'a RegistryName>,
    /// Whether the registry lets anybody pull.
    pub public: bool,
    /// The repository, where it is about one (it may not exist yet).
    pub repository: Option<&'a RepositoryName>,
}

/// An authorizer's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allowed,
    /// The caller may know that it exists, but not do this.
    Denied,
    /// The caller may not know that it exists.
    Hidden,
}

/// Decides. Uncertain means no: where what it depends on is away, it returns an error, never a
/// pass (DESIGN D12).
#[async_trait]
pub trait Authorizer: Send + Sync + fmt::Debug {
    /// Whether `caller` may do `action` on `target`. Must itself apply `caller.ceiling`.
    async fn decide(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target<'_>,
    ) -> Result<Decision, Error>;
}

/// Lets everybody do everything: for an embedder that is its own only user.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

#[async_trait]
impl Authorizer for AllowAll {
    async fn decide(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target<'_>,
    ) -> Result<Decision, Error> {
        Ok(if caller.ceiling.allows(action, target) { Decision::Allowed } else { Decision::Hidden })
    }
}
