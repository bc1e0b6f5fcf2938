//! What organisations and registries store.

use std::collections::HashMap;

use crate::Engine;
use crate::access::{Action, Caller};
use crate::core::Core;
use crate::error::Error;
use crate::graph::Repository;
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::{MAX_SCAN_ROWS, MetaRead, prefix_range};
use crate::name::{OrganisationName, RegistryName};
use crate::records::{LinkRecord, Record, RepositoryRecord};
use crate::tenancy::registries::seen_registry;
use crate::tenancy::{Tenant, demand_or_operate};

/// What an organisation stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The bytes stored, each content once, and those reserved by uploads under way.
    pub used_bytes: u64,
    /// The most it may store; no bound where absent.
    pub quota_bytes: Option<u64>,
}

impl Repository {
    /// What the organisation of this repository stores, and may: for who pushes here, so that they
    /// hear of it before a push fails. Needs [`Action::Push`].
    pub async fn usage(&self) -> Result<Usage, Error> {
        self.demand(Action::Push)?;
        let used_bytes = used_bytes(&*self.core.meta, self.scope.organisation).await?;
        Ok(Usage { used_bytes, quota_bytes: self.scope.quota_bytes })
    }
}

/// What the repositories of a registry link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegistryUsage {
    /// The bytes of all that is linked, each content once. The organisation stores less where its
    /// registries share content.
    pub linked_bytes: u64,
    /// How many different contents are linked.
    pub contents: u64,
}

impl Engine {
    /// What an organisation stores, exactly; for its members and for operators.
    pub async fn usage(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
    ) -> Result<Usage, Error> {
        let core = &*self.core;
        let tenant = Tenant::read(core, organisation).await?;
        demand_or_operate(core, caller, Action::List, &tenant.target()).await?;
        let used_bytes = used_bytes(&*core.meta, tenant.id).await?;
        Ok(Usage { used_bytes, quota_bytes: tenant.record.quota_bytes })
    }

    /// What a registry links; for whoever may list it. One walk over the organisation's content,
    /// in pages: what changes meanwhile may count or not. Dropping the future ends the walk.
    pub async fn registry_usage(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
    ) -> Result<RegistryUsage, Error> {
        let core = &*self.core;
        let (tenant, registry) =
            seen_registry(core, caller, organisation, registry, Action::List).await?;
        let mut homes = Homes::default();
        let mut usage = RegistryUsage::default();
        let mut counted = None;
        let mut range = prefix_range(&keys::contents(tenant.id));
        loop {
            let rows = core.meta.scan(range.clone(), MAX_SCAN_ROWS).await?;
            let Some((last, _)) = rows.last() else { return Ok(usage) };
            range.start.clone_from(last);
            range.start.push(0);
            let links: Vec<_> = rows
                .iter()
                .filter_map(|(key, value)| match keys::parse_content(key) {
                    Some((digest, Some(repository))) => Some((digest, repository, value)),
                    _ => None,
                })
                .collect();
            homes
                .learn(core, tenant.id, links.iter().map(|(_, repository, _)| *repository))
                .await?;
            for (digest, repository, value) in links {
                // The links to one digest are neighbours.
                if homes.is_in(repository, registry.id) && counted != Some(digest) {
                    usage.linked_bytes += LinkRecord::decode(value)?.size;
                    usage.contents += 1;
                    counted = Some(digest);
                }
            }
        }
    }
}

/// The counter of an organisation's stored and reserved bytes.
pub(crate) async fn used_bytes(
    read: &dyn MetaRead,
    organisation: OrganisationId,
) -> Result<u64, Error> {
    let Some(value) = read.get(&keys::usage(organisation)).await? else { return Ok(0) };
    let value: [u8; 8] = value.as_ref().try_into().map_err(|_| {
        Error::Corrupted(format!("the counter of organisation {organisation} is no number"))
    })?;
    // Below zero it is damaged; fsck says so, a reader has no use for it.
    Ok(u64::try_from(i64::from_be_bytes(value)).unwrap_or(0))
}

/// Which registries repositories are in, read once each: eight bytes and a few for each
/// repository of the organisation that links anything.
#[derive(Debug, Default)]
pub(super) struct Homes(HashMap<RepositoryId, Option<RegistryId>>);

impl Homes {
    /// Reads what is not known yet of `repositories`.
    pub(super) async fn learn(
        &mut self,
        core: &Core,
        organisation: OrganisationId,
        repositories: impl Iterator<Item = RepositoryId>,
    ) -> Result<(), Error> {
        let mut new: Vec<_> = repositories.filter(|id| !self.0.contains_key(id)).collect();
        new.sort_unstable();
        new.dedup();
        let keys = new.iter().map(|id| keys::repository(organisation, *id)).collect();
        let rows = core.read_many::<RepositoryRecord>(keys).await?;
        let homes = rows.into_iter().map(|row| row.value.map(|record| record.registry));
        self.0.extend(new.into_iter().zip(homes));
        Ok(())
    }

    /// Whether a repository that was learnt is in `registry`.
    pub(super) fn is_in(&self, repository: RepositoryId, registry: RegistryId) -> bool {
        self.0.get(&repository) == Some(&Some(registry))
    }
}
