//! Members of an organisation and their roles.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::access::{Action, Caller, PrincipalId, Role};
use crate::audit::{Event, EventKind};
use crate::change::{Attempt, Change, Seen, retry};
use crate::error::Error;
use crate::graph::{Page, stripe_of_organisation};
use crate::id::RegistryId;
use crate::keys;
use crate::meta::prefix_range;
use crate::name::{OrganisationName, RegistryName};
use crate::records::{MemberRecord, OrganisationRecord, Record};
use crate::seam::Timestamp;
use crate::tenancy::organisations::name_in;
use crate::tenancy::registries::seen_registry;
use crate::tenancy::{Tenant, TenantRegistry, demand, page_rows};
use crate::{Engine, core::Core};

/// Somebody with a role in an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub principal: PrincipalId,
    /// The role in the whole organisation.
    pub role: Option<Role>,
    /// The roles in single registries; the higher of the two counts.
    pub registries: BTreeMap<RegistryId, Role>,
    /// Since when.
    pub added_at: Timestamp,
}

impl Engine {
    /// Gives somebody a role, instead of the one they had: in one registry (for its admins), or in
    /// the whole organisation (for the organisation's).
    ///
    /// [`Error::LastAdmin`] where it would leave an organisation that has an admin without one.
    pub async fn set_role(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        principal: &PrincipalId,
        registry: Option<&RegistryName>,
        role: Role,
    ) -> Result<(), Error> {
        self.change_member(caller, organisation, principal, registry, Some(role)).await
    }

    /// Takes somebody's role away: the one in a registry (for its admins), or, without a registry,
    /// all of them (for the organisation's, and for the member itself, who leaves). Whoever is left
    /// without a role is no member.
    ///
    /// [`Error::LastAdmin`] where it would leave an organisation that has an admin without one. What
    /// is not there is taken away already.
    pub async fn remove_role(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        principal: &PrincipalId,
        registry: Option<&RegistryName>,
    ) -> Result<(), Error> {
        self.change_member(caller, organisation, principal, registry, None).await
    }

    /// The members of an organisation in the order of their principals; for its admins.
    pub async fn members(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Member>, Error> {
        let core = &*self.core;
        let tenant = Tenant::read(core, organisation).await?;
        demand(core, caller, Action::Manage, &tenant.target()).await?;
        let prefix = keys::members(tenant.id);
        let mut range = prefix_range(&prefix);
        if let Some(after) = after {
            range.start = keys::member(tenant.id, after);
            // The first key behind `after`.
            range.start.push(0);
        }
        let limit = page_rows(limit);
        let rows = core.meta.scan(range, limit).await?;
        let mut items = Vec::with_capacity(rows.len());
        for (key, value) in &rows {
            let MemberRecord { role, registries, added_at } = MemberRecord::decode(value)?;
            let principal = PrincipalId::new(name_in(key, prefix.len()))
                .map_err(|error| Error::Corrupted(format!("a member's row: {error}")))?;
            items.push(Member { principal, role, registries, added_at });
        }
        let next = items
            .last()
            .filter(|_| rows.len() == limit)
            .map(|member| member.principal.as_str().to_owned());
        Ok(Page { items, next })
    }

    /// One member of an organisation, if they are one; for its admins.
    pub async fn member(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        principal: &PrincipalId,
    ) -> Result<Option<Member>, Error> {
        let core = &*self.core;
        let tenant = Tenant::read(core, organisation).await?;
        demand(core, caller, Action::Manage, &tenant.target()).await?;
        let row: Seen<MemberRecord> =
            core.read(keys::member(tenant.id, principal.as_str())).await?;
        Ok(row.value.map(|MemberRecord { role, registries, added_at }| Member {
            principal: principal.clone(),
            role,
            registries,
            added_at,
        }))
    }

    async fn change_member(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        principal: &PrincipalId,
        registry: Option<&RegistryName>,
        role: Option<Role>,
    ) -> Result<(), Error> {
        let core = &*self.core;
        retry!("the member", _attempt => {
            let (tenant, registry) = if let Some(name) = registry {
                let (tenant, registry) =
                    seen_registry(core, caller, organisation, name, Action::Manage).await?;
                (tenant, Some(registry))
            } else {
                let tenant = Tenant::read(core, organisation).await?;
                let action = if role.is_none() && is_self(caller, principal, &tenant) {
                    Action::List
                } else {
                    Action::Manage
                };
                demand(core, caller, action, &tenant.target()).await?;
                (tenant, None)
            };
            let member = core.read(keys::member(tenant.id, principal.as_str())).await?;
            commit_role(core, caller, &tenant, registry.as_ref(), principal, &member, role).await
        })
    }
}

/// Whether a member acts on itself, with a token that is for managing.
fn is_self(caller: &Caller, principal: &PrincipalId, tenant: &Tenant) -> bool {
    caller.principal.as_str() == principal.as_str()
        && caller.ceiling.allows(Action::Manage, &tenant.target())
}

/// Commits the change of one role, or nothing where it is so already.
async fn commit_role(
    core: &Core,
    caller: &Caller,
    tenant: &Tenant,
    registry: Option<&TenantRegistry>,
    principal: &PrincipalId,
    member: &Seen<MemberRecord>,
    role: Option<Role>,
) -> Result<(), Attempt> {
    let now = core.now().await?;
    let before = member.value.clone().unwrap_or_else(|| MemberRecord {
        role: None,
        registries: BTreeMap::new(),
        added_at: now,
    });
    let mut after = before.clone();
    match (registry, role) {
        (Some(registry), Some(role)) => {
            after.registries.insert(registry.id, role);
        }
        (Some(registry), None) => {
            after.registries.remove(&registry.id);
        }
        (None, Some(role)) => after.role = Some(role),
        (None, None) => {
            after.role = None;
            after.registries.clear();
        }
    }
    if after == before {
        return Ok(());
    }
    let mut change = Change::new(core);
    if role.is_none() {
        // Taking a right away must not wait for room.
        change.frees();
    }
    let (was, is) = (before.role == Some(Role::Admin), after.role == Some(Role::Admin));
    if was == is {
        change.lean(&tenant.row);
    } else {
        let admins = if is {
            tenant.record.admins.saturating_add(1)
        } else {
            tenant.record.admins.saturating_sub(1)
        };
        if admins == 0 {
            return Err(Attempt::Failed(Error::LastAdmin {
                principal: principal.to_string(),
                organisation: tenant.name.to_string(),
            }));
        }
        let record = OrganisationRecord { admins, ..tenant.record.clone() };
        change.replace(&tenant.row, &record);
    }
    if let Some(registry) = registry {
        change.lean(&registry.row);
    }
    let membership = keys::membership(principal.as_str(), tenant.id);
    if after.role.is_none() && after.registries.is_empty() {
        change.remove(member);
        change.delete(membership);
    } else {
        change.replace(member, &after);
        change.put_raw(membership, Bytes::new());
    }
    change.event(Event::by(
        caller,
        tenant.id,
        now,
        EventKind::MemberSet {
            principal: principal.to_string(),
            registry: registry.map(|registry| registry.id),
            role,
        },
    ));
    change.touches(stripe_of_organisation(tenant.id));
    change.commit().await
}
