//! Publishing from CI with no stored secret: the token that an issuer signed for one run becomes a short
//! token of ours, narrow as a rule of the registry says.
//!
//! Which issuers are trusted ([`Issuer`]) is the operator's to set; a registry's admin makes rules: whose tokens, for
//! which audience, with which claims, and what they may do there. Each rule has an account of its own
//! (`workload:<id>`), a member of its registry with no more than the rule grants: so the authorizer
//! decides about it as about everybody else, and removing the rule ends its tokens at once.
//!
//! **Promises.** One token is exchanged once, by however many at once and at whichever node (THREATS
//! A10). A rule stays with its registry, whatever that is called. It names who runs, exactly: no rule lets
//! all of an issuer's customers in. A token of ours lives at most [`MAX_LIFETIME`].
//!
//! **Never.** It grants beyond the rule's registry, or takes a token that its issuer did not make for us.

pub mod endpoint;
mod exchange;
mod issuers;
mod records;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_engine::access::{Action, Caller, Role};
use strongroom_engine::audit::{Event, EventKind, SYSTEM};
use strongroom_engine::extension::{Batch, Entry, Extension};
use strongroom_engine::id::{OrganisationId, RegistryId};
use strongroom_engine::{Engine, Error};

use self::records::RuleRecord;
pub use exchange::{Exchanged, Place};
pub use issuers::{Issuer, IssuerError};
pub use rules::{NewRule, Rule};

use crate::account::AccountId;
use crate::embedded::{AccountsError, Embedded};
use crate::jwks::{Policy, Verifier};
use crate::provider::IdentityError;
use crate::record::{self, Damaged};
use crate::web::Web;

/// The namespace of the engine's records that is ours.
pub const NAMESPACE: &str = "workloads";
/// The longest that a token of ours lives.
pub const MAX_LIFETIME: Duration = Duration::from_mins(15);

/// The most rules of one registry.
const MAX_RULES: usize = 100;

/// Why a rule could not be changed, or a token not be exchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// The token is not good, or its issuer's keys are away.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The token was exchanged before. Answer 401.
    #[error("this token was exchanged already: ask its issuer for a new one")]
    Used,
    /// The token is good, and no rule is for it. Answer 403.
    #[error(
        "no rule is for this token: its issuer is {issuer:?}, its audience {audience:?}, its subject \
         {subject:?}; `strongroom workload add` makes one"
    )]
    NoRule {
        /// `iss`
        issuer: String,
        /// `aud`
        audience: Vec<String>,
        /// `sub`
        subject: String,
    },
    /// The token is good in several registries. Answer 400.
    #[error("rules of several registries are for this token; name one as `registry`: {}", .registries.join(", "))]
    Ambiguous {
        /// Which.
        registries: Vec<String>,
    },
    /// The rule can't be one. Answer 400.
    #[error("this can be no rule: {0}")]
    Invalid(String),
    /// There is no such rule. Answer 404.
    #[error("{registry} has no rule {id}")]
    Unknown {
        /// Which.
        id: String,
        /// Where.
        registry: String,
    },
    /// Its account or token could not be made or removed.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// A record can't be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The engine failed, or the caller may not do this.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// Rules, and tokens by them. Clones share it.
#[derive(Clone)]
pub struct Workloads(Arc<Inner>);

struct Inner {
    engine: Engine,
    records: Extension,
    embedded: Embedded,
    issuers: Vec<Issuer>,
    verifier: Verifier,
}

impl Workloads {
    /// Trusts these issuers, whose keys are looked after by `policy` and had over `web`. Asks nobody
    /// yet.
    pub fn new(
        engine: Engine,
        embedded: Embedded,
        issuers: Vec<Issuer>,
        policy: Policy,
        web: Arc<dyn Web>,
    ) -> Result<Self, IssuerError> {
        Issuer::check(&issuers)?;
        let records = engine.extension(NAMESPACE);
        let trusted = issuers.iter().map(Issuer::trusted).collect();
        let verifier = Verifier::new(trusted, policy, embedded.seams().clone(), web)?;
        Ok(Self(Arc::new(Inner { engine, records, embedded, issuers, verifier })))
    }

    /// The issuers for whose tokens rules can be made.
    pub fn issuers(&self) -> &[Issuer] {
        &self.0.issuers
    }

    /// Makes a rule; for whoever may manage its registry.
    pub async fn add(&self, by: &Caller, new: NewRule) -> Result<Rule, WorkloadError> {
        let place = new.place();
        let tenant = self.demand(by, &place).await?;
        let new = self.resolved(new)?;
        let anchor = new.check()?;
        if self.list(by, &place).await?.len() >= MAX_RULES {
            return Err(WorkloadError::Invalid(format!("{place} has {MAX_RULES} already")));
        }
        let role = if new.actions.iter().all(|action| Role::Viewer.allows(*action)) {
            Role::Viewer
        } else {
            Role::Writer
        };
        let now = self.0.records.now().await?;
        let id = format!("{:016x}", self.0.embedded.seams().random_u64());
        let rule = Rule { id, created_at: now, grants: new };
        let account = rule.account()?;
        // Without its role, which comes last, a rule can do nothing.
        self.0.embedded.admit(by, &account, None).await?;
        let key = records::rule(tenant, &rule.id);
        let (organisation, registry) = tenant;
        let kept = RuleRecord { organisation, registry, rule };
        let batch = Batch::new()
            .absent(key.as_str())
            .put(key.as_str(), record::encode(&kept))
            .put(format!("{anchor}{}", kept.rule.id), key)
            .event(changed(by, now, "rule for workloads made", &account));
        self.0.records.commit(batch).await?;
        let principal = account.principal();
        let Place { organisation, registry } = &place;
        self.0.engine.set_role(by, organisation, &principal, Some(registry), role).await?;
        Ok(kept.rule)
    }

    /// The rules of a registry in the order of their ids; for whoever may manage it.
    pub async fn list(&self, by: &Caller, place: &Place) -> Result<Vec<Rule>, WorkloadError> {
        let tenant = self.demand(by, place).await?;
        let page = self.0.records.scan(records::rules(tenant), None, MAX_RULES).await?;
        let read = |entry: &Entry| {
            let kept: RuleRecord = record::decode(&entry.value)?;
            Ok(kept.rule.at(place.clone()))
        };
        page.items.iter().map(read).collect()
    }

    /// Removes a rule, and ends its tokens; for whoever may manage its registry.
    pub async fn remove(&self, by: &Caller, place: &Place, id: &str) -> Result<(), WorkloadError> {
        let tenant = self.demand(by, place).await?;
        let unknown = || WorkloadError::Unknown {
            id: id.chars().take(32).collect(),
            registry: place.to_string(),
        };
        let key = records::rule(tenant, id);
        if id.len() > 32 {
            return Err(unknown());
        }
        let entry = self.0.records.get(&key).await?.ok_or_else(unknown)?;
        let RuleRecord { rule, .. } = record::decode(&entry.value)?;
        let account = rule.account()?;
        // First what can be done by it; its record last, so that what fails can be done again.
        match self.0.embedded.retire(by, &account).await {
            Ok(()) | Err(AccountsError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let Place { organisation, registry } = place;
        let principal = account.principal();
        self.0.engine.remove_role(by, organisation, &principal, Some(registry)).await?;
        let now = self.0.records.now().await?;
        let batch = Batch::new()
            .delete(key)
            .delete(format!("{}{}", rule.grants.check()?, rule.id))
            .event(changed(by, now, "rule for workloads removed", &account));
        Ok(self.0.records.commit(batch).await?)
    }

    /// The rule with its issuer's own `iss`, and the audience that goes with it.
    fn resolved(&self, new: NewRule) -> Result<NewRule, WorkloadError> {
        let invalid = |why| Err(WorkloadError::Invalid(why));
        let Some(issuer) = self.0.issuers.iter().find(|issuer| issuer.is_called(&new.issuer))
        else {
            let known: Vec<_> = self.0.issuers.iter().map(ToString::to_string).collect();
            let known = if known.is_empty() { "nobody".to_owned() } else { known.join(", ") };
            return invalid(format!(
                "the issuer {:?} is not trusted by this installation, which trusts {known}",
                new.issuer
            ));
        };
        let audience = match (new.audience, &issuer.audience) {
            (None, Some(audience)) => audience.clone(),
            (None, None) => {
                return invalid(format!("say for which audience {issuer} makes the tokens"));
            }
            (Some(asked), Some(audience)) if asked != *audience => {
                return invalid(format!("tokens of {issuer} are good here for {audience:?} alone"));
            }
            (Some(asked), _) => asked,
        };
        Ok(NewRule { issuer: issuer.issuer.clone(), audience: Some(audience), ..new })
    }

    /// The ids of a registry, where `by` may manage it.
    async fn demand(
        &self,
        by: &Caller,
        place: &Place,
    ) -> Result<(OrganisationId, RegistryId), Error> {
        let Place { organisation, registry } = place;
        let found = self.0.engine.registry_for(by, organisation, registry, Action::Manage).await?;
        Ok((found.0, found.1.id))
    }
}

impl fmt::Debug for Workloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workloads").field("verifier", &self.0.verifier).finish_non_exhaustive()
    }
}

fn changed(
    by: &Caller,
    at: strongroom_engine::seam::Timestamp,
    change: &str,
    account: &AccountId,
) -> Event {
    let kind = EventKind::Identity { change: change.to_owned(), subject: account.to_string() };
    Event::by(by, SYSTEM, at, kind)
}
