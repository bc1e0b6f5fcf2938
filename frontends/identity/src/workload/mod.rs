//! Publishing from CI with no stored secret: the token that an issuer signed for one run becomes a short
//! token of ours, narrow as a rule of the registry says.
//!
//! Which issuers are trusted is the operator's to set; a registry's admin makes rules: whose tokens, for
//! which audience, with which claims, and what they may do there. Each rule has an account of its own
//! (`workload:<id>`), a member of its registry with no more than the rule grants: so the authorizer
//! decides about it as about everybody else, and removing the rule ends its tokens at once.
//!
//! **Promises.** One token is exchanged once, by however many at once and at whichever node (THREATS
//! A10). A rule names who runs, exactly: no rule lets all of an issuer's customers in. A token of ours
//! lives at most [`MAX_LIFETIME`].
//!
//! **Never.** It grants beyond the rule's registry, or takes a token that its issuer did not make for us.

pub mod endpoint;
mod exchange;
mod records;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_engine::access::{Action, Caller, Role};
use strongroom_engine::audit::{Event, EventKind, SYSTEM};
use strongroom_engine::extension::{Batch, Extension};
use strongroom_engine::{Engine, Error};

pub use exchange::{Exchanged, Place};
pub use rules::{NewRule, Rule};

use crate::account::AccountId;
use crate::embedded::{AccountsError, Embedded};
use crate::jwks::Verifier;
use crate::provider::IdentityError;
use crate::record::{self, Damaged};

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
    verifier: Verifier,
}

impl Workloads {
    /// Trusts the issuers of `verifier`.
    pub fn new(engine: Engine, embedded: Embedded, verifier: Verifier) -> Self {
        let records = engine.extension(NAMESPACE);
        Self(Arc::new(Inner { engine, records, embedded, verifier }))
    }

    /// The issuers for whose tokens rules can be made.
    pub fn issuers(&self) -> Vec<&str> {
        self.0.verifier.issuers()
    }

    /// Makes a rule; for whoever may manage its registry.
    pub async fn add(&self, by: &Caller, new: NewRule) -> Result<Rule, WorkloadError> {
        let place = new.place();
        self.demand(by, &place).await?;
        let anchor = new.check()?;
        if !self.0.verifier.trusts(&new.issuer) {
            return Err(WorkloadError::Invalid(format!(
                "the issuer {:?} is not trusted by this installation, which trusts: {}",
                new.issuer,
                self.issuers().join(", ")
            )));
        }
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
        let key = records::rule(&place, &rule.id);
        let batch = Batch::new()
            .absent(key.as_str())
            .put(key.as_str(), record::encode(&rule))
            .put(format!("{anchor}{}", rule.id), key)
            .event(changed(by, now, "rule for workloads made", &account));
        self.0.records.commit(batch).await?;
        let principal = account.principal();
        let Place { organisation, registry } = &place;
        self.0.engine.set_role(by, organisation, &principal, Some(registry), role).await?;
        Ok(rule)
    }

    /// The rules of a registry in the order of their ids; for whoever may manage it.
    pub async fn list(&self, by: &Caller, place: &Place) -> Result<Vec<Rule>, WorkloadError> {
        self.demand(by, place).await?;
        let page = self.0.records.scan(records::rules(place), None, MAX_RULES).await?;
        page.items.iter().map(|entry| Ok(record::decode(&entry.value)?)).collect()
    }

    /// Removes a rule, and ends its tokens; for whoever may manage its registry.
    pub async fn remove(&self, by: &Caller, place: &Place, id: &str) -> Result<(), WorkloadError> {
        self.demand(by, place).await?;
        let unknown = || WorkloadError::Unknown {
            id: id.chars().take(32).collect(),
            registry: place.to_string(),
        };
        let key = records::rule(place, id);
        if id.len() > 32 {
            return Err(unknown());
        }
        let entry = self.0.records.get(&key).await?.ok_or_else(unknown)?;
        let rule: Rule = record::decode(&entry.value)?;
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

    async fn demand(&self, by: &Caller, place: &Place) -> Result<(), Error> {
        let Place { organisation, registry } = place;
        let registry = self.0.engine.registry_for(by, organisation, registry, Action::Manage);
        registry.await.map(drop)
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
