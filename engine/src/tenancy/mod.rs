//! Tenants: organisations, their registries, who is a member of them, and what they use.
//!
//! Promises: a name is one row, and a freed name stays reserved, so that nothing granted to it
//! passes to its next owner (DESIGN D3); every change is one commit with its audit line (I7) and
//! takes effect at the next request; an organisation that had an admin keeps one. What the caller
//! may not see answers [`Error::NameUnknown`], exactly as what is not there; what they may see but
//! not do answers [`Error::Denied`].
//!
//! Authorisation is asked in one place, `demand`. Operators (DESIGN D7) create, list and delete
//! organisations and set quotas; that opens no content to them.
//!
//! Deleting is one commit that makes the thing answer as absent; `purge` removes the rows behind,
//! when the collector calls it. The audit chains of a deleted organisation stay.
//!
//! What it never does: read or write content.

mod listing;
mod members;
mod organisations;
pub(crate) mod purge;
mod registries;
mod repositories;
mod roles;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod usage;

pub use listing::{Listed, Listing, RepositoryFilter, RepositoryInfo};
pub use members::Member;
pub use organisations::Organisation;
pub(crate) use registries::seen_registry;
pub use registries::{Registry, RegistrySettings};
pub use roles::RoleAuthorizer;
pub use usage::{RegistryUsage, Usage};

use std::str::FromStr;

use crate::access::{Action, Caller, Ceiling, Decision, Target};
use crate::change::Seen;
use crate::core::Core;
use crate::error::Error;
use crate::graph::MAX_PAGE;
use crate::id::{OrganisationId, RegistryId};
use crate::keys;
use crate::name::{OrganisationName, RegistryName};
use crate::records::{Life, NameRecord, OrganisationRecord, RegistryRecord};

/// An organisation as its rows say.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) id: OrganisationId,
    pub(crate) name: OrganisationName,
    pub(crate) name_row: Seen<NameRecord>,
    pub(crate) row: Seen<OrganisationRecord>,
    pub(crate) record: OrganisationRecord,
}

/// A registry as its rows say.
#[derive(Debug, Clone)]
pub(crate) struct TenantRegistry {
    pub(crate) id: RegistryId,
    pub(crate) name: RegistryName,
    pub(crate) name_row: Seen<NameRecord>,
    pub(crate) row: Seen<RegistryRecord>,
    pub(crate) record: RegistryRecord,
}

impl Tenant {
    /// Reads what `name` names; [`Error::NameUnknown`] where that is nothing, or being deleted.
    pub(crate) async fn read(core: &Core, name: &OrganisationName) -> Result<Self, Error> {
        let tenant = Self::read_any(core, name).await?;
        if tenant.record.life == Life::Live { Ok(tenant) } else { Err(unknown(name)) }
    }

    /// Which organisation had this name and is deleted. Its rows may be there still, or all gone but
    /// for its trail; a name is never given away, so it tells for ever.
    pub(crate) async fn deleted(
        core: &Core,
        name: &OrganisationName,
    ) -> Result<Option<OrganisationId>, Error> {
        let row: Seen<NameRecord> = core.read(keys::organisation_name(name.as_str())).await?;
        let id = match row.value {
            Some(NameRecord::Reserved { former, .. }) => OrganisationId(former),
            Some(NameRecord::Live(id)) => OrganisationId(id),
            None => return Ok(None),
        };
        // One that was renamed is there, under its new name.
        let record: Seen<OrganisationRecord> = core.read(keys::organisation(id)).await?;
        let gone = record.value.is_none_or(|record| record.life == Life::Deleting);
        Ok(gone.then_some(id))
    }

    /// As [`Self::read`], but also what is [`Life::Closing`].
    async fn read_any(core: &Core, name: &OrganisationName) -> Result<Self, Error> {
        let name_row: Seen<NameRecord> = core.read(keys::organisation_name(name.as_str())).await?;
        let Some(NameRecord::Live(id)) = name_row.value else { return Err(unknown(name)) };
        let id = OrganisationId(id);
        let row: Seen<OrganisationRecord> = core.read(keys::organisation(id)).await?;
        match row.value.clone() {
            Some(record) if record.life != Life::Deleting => {
                Ok(Self { id, name: name.clone(), name_row, row, record })
            }
            _ => Err(unknown(name)),
        }
    }

    /// What an authorizer is asked about the whole organisation.
    pub(crate) fn target(&self) -> Target<'_> {
        organisation_target(self.id, &self.name)
    }

    /// What an authorizer is asked about one of its registries.
    pub(crate) fn registry_target<'a>(&'a self, registry: &'a TenantRegistry) -> Target<'a> {
        Target {
            registry: Some(registry.id),
            registry_name: Some(&registry.name),
            public: registry.record.public,
            ..self.target()
        }
    }

    /// Reads what `name` names in here; [`Error::NameUnknown`] where that is nothing, or being
    /// deleted.
    pub(crate) async fn registry(
        &self,
        core: &Core,
        name: &RegistryName,
    ) -> Result<TenantRegistry, Error> {
        let registry = self.registry_any(core, name).await?;
        if registry.record.life == Life::Live {
            Ok(registry)
        } else {
            Err(unknown(format_args!("{}/{name}", self.name)))
        }
    }

    /// As [`Self::registry`], but also what is [`Life::Closing`].
    async fn registry_any(
        &self,
        core: &Core,
        name: &RegistryName,
    ) -> Result<TenantRegistry, Error> {
        let unknown = || unknown(format_args!("{}/{name}", self.name));
        let name_row: Seen<NameRecord> =
            core.read(keys::registry_name(self.id, name.as_str())).await?;
        let Some(NameRecord::Live(id)) = name_row.value else { return Err(unknown()) };
        let id = RegistryId(id);
        let row: Seen<RegistryRecord> = core.read(keys::registry(self.id, id)).await?;
        match row.value.clone() {
            Some(record) if record.life != Life::Deleting => {
                Ok(TenantRegistry { id, name: name.clone(), name_row, row, record })
            }
            _ => Err(unknown()),
        }
    }
}

fn organisation_target(id: OrganisationId, name: &OrganisationName) -> Target<'_> {
    Target {
        organisation: id,
        organisation_name: name,
        registry: None,
        registry_name: None,
        public: false,
        repository: None,
    }
}

/// What a deletion means: the thing that had the name when it was asked for. An attempt that was lost
/// to another deletion must not go on with what was made under the same name since.
#[derive(Debug, Default)]
struct Meant(Option<u64>);

impl Meant {
    /// `None` where another thing has the name now than at first.
    fn is(&mut self, id: u64) -> Option<()> {
        (*self.0.get_or_insert(id) == id).then_some(())
    }
}

/// [`Life::Closing`], as nobody closed it before.
fn closing(core: &Core) -> Life {
    Life::Closing { nonce: core.seams.random_u64() }
}
/// How messages name what operators alone may do something to.
const INSTALLATION: &str = "the installation";

fn unknown(name: impl std::fmt::Display) -> Error {
    Error::NameUnknown { name: name.to_string() }
}

/// How messages name a target.
fn shown(target: &Target<'_>) -> String {
    match target.registry_name {
        Some(registry) => format!("{}/{registry}", target.organisation_name),
        None => target.organisation_name.to_string(),
    }
}

fn denied(caller: &Caller, action: Action, target: &Target<'_>) -> Error {
    Error::Denied { principal: caller.principal.as_str().to_owned(), action, name: shown(target) }
}

/// Fails unless the authorizer lets the caller do `action` on `target`.
pub(crate) async fn demand(
    core: &Core,
    caller: &Caller,
    action: Action,
    target: &Target<'_>,
) -> Result<(), Error> {
    let decided = match core.authorizer.decide(caller, action, target).await? {
        Decision::Allowed => Ok(()),
        Decision::Denied => Err(denied(caller, action, target)),
        Decision::Hidden => Err(unknown(shown(target))),
    };
    core.noting(caller, action, target.organisation_name, decided)
}

/// Whether the caller operates the installation, as far as its token reaches to `target`.
pub(crate) fn operates(caller: &Caller, target: &Target<'_>) -> bool {
    caller.operator && caller.ceiling.allows(Action::Manage, target)
}

/// Fails unless the caller operates the installation, with a token that is not bounded to a part
/// of it.
pub(crate) fn demand_operator(core: &Core, caller: &Caller) -> Result<(), Error> {
    if is_operator(caller) {
        return Ok(());
    }
    let (principal, action) = (caller.principal.as_str().to_owned(), Action::Manage);
    core.note_refusal(caller, action, None, INSTALLATION);
    Err(Error::Denied { principal, action, name: INSTALLATION.to_owned() })
}

/// Whether the caller operates the installation, with a token that is not bounded to a part of it.
pub(crate) fn is_operator(caller: &Caller) -> bool {
    caller.operator && caller.ceiling == Ceiling::Unlimited
}

/// As [`demand`], but an operator passes.
pub(crate) async fn demand_or_operate(
    core: &Core,
    caller: &Caller,
    action: Action,
    target: &Target<'_>,
) -> Result<(), Error> {
    if operates(caller, target) { Ok(()) } else { demand(core, caller, action, target).await }
}

/// A name as a record keeps it.
fn stored_name<T: FromStr>(name: &str) -> Result<T, Error> {
    name.parse().map_err(|_| Error::Corrupted(format!("{name:?} stands in a record as a name")))
}

/// The rows a page reads at most.
fn page_rows(limit: usize) -> usize {
    limit.clamp(1, MAX_PAGE)
}
