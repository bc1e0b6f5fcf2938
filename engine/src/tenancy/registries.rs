//! Registries of an organisation: created, found, listed, renamed, set and given up.

use crate::Engine;
use crate::access::{Action, Caller, Decision, Target};
use crate::audit::{Event, EventKind};
use crate::change::{Attempt, Change, Seen, retry};
use crate::core::Core;
use crate::digest::{Algorithm, Digest};
use crate::error::Error;
use crate::graph::{Page, stripe_of_organisation};
use crate::id::{OrganisationId, RegistryId};
use crate::keys;
use crate::meta::prefix_range;
use crate::name::{OrganisationName, RegistryName};
use crate::pattern::Pattern;
use crate::records::{Life, NameRecord, OrganisationRecord, Record, RegistryRecord};
use crate::retention::{RetentionRule, check};
use crate::seam::Timestamp;
use crate::tenancy::organisations::name_in;
use crate::tenancy::{Meant, Tenant, TenantRegistry, closing, demand, page_rows, stored_name};

/// A registry: where an organisation's repositories lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// What never changes about it.
    pub id: RegistryId,
    /// What it is called now.
    pub name: RegistryName,
    /// What its admins set.
    pub settings: RegistrySettings,
    /// When it was created.
    pub created_at: Timestamp,
    /// Another text after each change of its name or settings, for [`Engine::set_registry`].
    pub version: String,
}

/// What the admins of a registry set. By default it is private, and an index may only name what
/// is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegistrySettings {
    /// Whether anybody may list and pull.
    pub public: bool,
    /// Whether a manifest may name content that is not there: an index of platforms of which not
    /// all were copied, and an image without some of its layers too (the specification's suite has
    /// both under one setting). I2 does not hold for what is missing there.
    pub sparse_indexes: bool,
    /// Tags of these names, once set, neither move nor go, and what they point at stays; at most
    /// [`crate::retention::MAX_IMMUTABLE`]. To delete the whole repository is not hindered by them:
    /// it takes the right to change them.
    pub immutable_tags: Vec<Pattern>,
    /// What expires, at most [`crate::retention::MAX_RULES`] rules; nothing where there are none.
    pub retention: Vec<RetentionRule>,
}

impl RegistrySettings {
    /// What differs from `record`, in words.
    fn differences(&self, record: &RegistryRecord) -> String {
        let mut words = Vec::new();
        if self.public != record.public {
            words.push(if self.public { "public" } else { "private" }.to_owned());
        }
        if self.sparse_indexes != record.sparse_indexes {
            let sparse = if self.sparse_indexes { "taken" } else { "refused" };
            words.push(format!("sparse indexes {sparse}"));
        }
        if self.immutable_tags != record.immutable_tags {
            let tags: Vec<_> = self.immutable_tags.iter().map(Pattern::as_str).collect();
            let tags = if tags.is_empty() { "none".to_owned() } else { tags.join(" ") };
            words.push(format!("immutable tags {tags}"));
        }
        if self.retention != record.retention {
            words.push(format!("{} retention rules", self.retention.len()));
        }
        words.join(", ")
    }
}

impl Registry {
    fn new(id: RegistryId, record: &RegistryRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            name: stored_name(&record.name)?,
            settings: RegistrySettings {
                public: record.public,
                sparse_indexes: record.sparse_indexes,
                immutable_tags: record.immutable_tags.clone(),
                retention: record.retention.clone(),
            },
            created_at: record.created_at,
            version: version(record),
        })
    }
}

/// What tells one state of a registry from another.
fn version(record: &RegistryRecord) -> String {
    let digest = Digest::of(Algorithm::Sha256, &record.encode());
    digest.hex().chars().take(16).collect()
}

impl Engine {
    /// Creates a registry; for admins of the organisation.
    pub async fn create_registry(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        name: &RegistryName,
        settings: RegistrySettings,
    ) -> Result<Registry, Error> {
        let core = &*self.core;
        check(&settings.immutable_tags, &settings.retention)?;
        retry!("the registry", _attempt => {
            let tenant = Tenant::read(core, organisation).await?;
            demand(core, caller, Action::Manage, &tenant.target()).await?;
            let key = keys::registry_name(tenant.id, name.as_str());
            let name_row: Seen<NameRecord> = core.read(key).await?;
            if name_row.value.is_some() {
                return Err(taken(&tenant, name).into());
            }
            let id = RegistryId(core.seams.random_u64().max(1));
            let now = core.now().await?;
            let record = RegistryRecord {
                name: name.to_string(),
                life: Life::Live,
                created_at: now,
                public: settings.public,
                sparse_indexes: settings.sparse_indexes,
                immutable_tags: settings.immutable_tags.clone(),
                retention: settings.retention.clone(),
            };
            let kind = EventKind::RegistryCreated { registry: id, name: name.to_string() };
            let mut change = registry_change(core, caller, &tenant, now, kind);
            change.replace(&name_row, &NameRecord::Live(id.0));
            change.absent(keys::registry(tenant.id, id));
            change.put(keys::registry(tenant.id, id), &record);
            change.commit().await?;
            Ok(Registry::new(id, &record)?)
        })
    }

    /// The registry of this name, for whoever may list it.
    pub async fn registry(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        name: &RegistryName,
    ) -> Result<Registry, Error> {
        let (_, registry) =
            seen_registry(&self.core, caller, organisation, name, Action::List).await?;
        Registry::new(registry.id, &registry.record)
    }

    /// A registry with the id of its organisation, for whoever may do `action` there: how a frontend
    /// asks before it touches records of its own about the registry.
    pub async fn registry_for(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        name: &RegistryName,
        action: Action,
    ) -> Result<(OrganisationId, Registry), Error> {
        let (tenant, registry) =
            seen_registry(&self.core, caller, organisation, name, action).await?;
        Ok((tenant.id, Registry::new(registry.id, &registry.record)?))
    }

    /// What organisation and registry are called now; nothing where they are not there any more. For a
    /// frontend that keeps records by ids, which decides by itself who is told: nobody is asked.
    pub async fn names_of(
        &self,
        organisation: OrganisationId,
        registry: RegistryId,
    ) -> Result<Option<(OrganisationName, RegistryName)>, Error> {
        let tenant: Seen<OrganisationRecord> =
            self.core.read(keys::organisation(organisation)).await?;
        let found: Seen<RegistryRecord> =
            self.core.read(keys::registry(organisation, registry)).await?;
        let (Some(tenant), Some(found)) = (tenant.value, found.value) else { return Ok(None) };
        if tenant.life != Life::Live || found.life != Life::Live {
            return Ok(None);
        }
        Ok(Some((stored_name(&tenant.name)?, stored_name(&found.name)?)))
    }

    /// The registries of an organisation that the caller may list, in the order of their names. A
    /// page may have fewer items than `limit` and not be the last.
    ///
    /// [`Error::NameUnknown`] for whoever may not see the organisation itself, also where some of
    /// its registries are public.
    pub async fn registries(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Registry>, Error> {
        let core = &*self.core;
        let tenant = Tenant::read(core, organisation).await?;
        demand(core, caller, Action::List, &tenant.target()).await?;
        let prefix = keys::registry_names(tenant.id);
        let mut range = prefix_range(&prefix);
        if let Some(after) = after {
            range.start = keys::registry_name(tenant.id, after);
            // The first key behind `after`.
            range.start.push(0);
        }
        let limit = page_rows(limit);
        let rows = core.meta.scan(range, limit).await?;
        let next =
            rows.last().filter(|_| rows.len() == limit).map(|(key, _)| name_in(key, prefix.len()));
        let mut ids = Vec::new();
        for (_, value) in &rows {
            if let NameRecord::Live(id) = NameRecord::decode(value)? {
                ids.push(RegistryId(id));
            }
        }
        let keys = ids.iter().map(|id| keys::registry(tenant.id, *id)).collect();
        let mut items = Vec::new();
        for (id, row) in ids.into_iter().zip(core.read_many::<RegistryRecord>(keys).await?) {
            let Some(record) = row.value.filter(|record| record.life == Life::Live) else {
                continue;
            };
            let registry = Registry::new(id, &record)?;
            let target = Target {
                registry: Some(id),
                registry_name: Some(&registry.name),
                public: record.public,
                ..tenant.target()
            };
            let decision = core.authorizer.decide(caller, Action::List, &target).await?;
            if decision == Decision::Allowed {
                items.push(registry);
            }
        }
        Ok(Page { items, next })
    }

    /// Gives a registry another name; the old one stays reserved for it. For its admins.
    pub async fn rename_registry(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        name: &RegistryName,
        new: &RegistryName,
    ) -> Result<Registry, Error> {
        let core = &*self.core;
        retry!("the registry", _attempt => {
            let (tenant, registry) =
                seen_registry(core, caller, organisation, name, Action::Manage).await?;
            if name == new {
                return Ok(Registry::new(registry.id, &registry.record)?);
            }
            let new_row: Seen<NameRecord> =
                core.read(keys::registry_name(tenant.id, new.as_str())).await?;
            match new_row.value {
                None => {}
                Some(NameRecord::Reserved { former, .. }) if former == registry.id.0 => {}
                Some(_) => return Err(taken(&tenant, new).into()),
            }
            let since = core.now().await?;
            let record = RegistryRecord { name: new.to_string(), ..registry.record.clone() };
            let kind = EventKind::RegistryChanged {
                registry: registry.id,
                change: format!("renamed from {name} to {new}"),
            };
            let mut change = registry_change(core, caller, &tenant, since, kind);
            change.replace(&registry.row, &record);
            let reserved = NameRecord::Reserved { former: registry.id.0, since };
            change.replace(&registry.name_row, &reserved);
            change.replace(&new_row, &NameRecord::Live(registry.id.0));
            change.commit().await?;
            Ok(Registry::new(registry.id, &record)?)
        })
    }

    /// Sets all settings of a registry; for its admins. From its commit on every push, deletion
    /// and expiry goes by the new ones.
    ///
    /// Where `expected` is given, [`Error::Changed`] unless it is [`Registry::version`] still: so
    /// that nobody undoes what they have not seen.
    pub async fn set_registry(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        name: &RegistryName,
        settings: &RegistrySettings,
        expected: Option<&str>,
    ) -> Result<Registry, Error> {
        let core = &*self.core;
        check(&settings.immutable_tags, &settings.retention)?;
        retry!("the registry", _attempt => {
            let (tenant, registry) =
                seen_registry(core, caller, organisation, name, Action::Manage).await?;
            let current = version(&registry.record);
            if expected.is_some_and(|expected| expected != current) {
                let name = format!("{organisation}/{name}");
                return Err(Error::Changed { name, version: current }.into());
            }
            let record = RegistryRecord {
                public: settings.public,
                sparse_indexes: settings.sparse_indexes,
                immutable_tags: settings.immutable_tags.clone(),
                retention: settings.retention.clone(),
                ..registry.record.clone()
            };
            if record != registry.record {
                let now = core.now().await?;
                let change = settings.differences(&registry.record);
                let kind = EventKind::RegistryChanged { registry: registry.id, change };
                let mut change = registry_change(core, caller, &tenant, now, kind);
                change.replace(&registry.row, &record);
                change.commit().await?;
            }
            Ok(Registry::new(registry.id, &record)?)
        })
    }

    /// Gives a registry up: from here on it answers as absent, and its rows and bytes go away
    /// behind. Its name stays reserved. For its admins.
    ///
    /// Unless `force`, [`Error::NotEmpty`] where it has repositories. Nothing that is pushed
    /// meanwhile is lost: either it makes this fail, or the push does.
    pub async fn delete_registry(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        name: &RegistryName,
        force: bool,
    ) -> Result<(), Error> {
        let core = &*self.core;
        let mut meant = Meant::default();
        retry!("the registry", _attempt => {
            let tenant = owner(core, organisation, name).await?;
            let registry = tenant.registry_any(core, name).await?;
            let gone = || super::unknown(format_args!("{organisation}/{name}"));
            meant.is(registry.id.0).ok_or_else(gone)?;
            let target = tenant.registry_target(&registry);
            demand(core, caller, Action::Manage, &target).await?;
            if !force && registry.record.life == Life::Live {
                refuse_unless_empty(core, &tenant, &registry).await?;
                // Every push leans on this row: once it is closed nothing comes in, and what a
                // second look finds is all there is.
                set_life(core, &tenant, &registry, closing(core)).await?;
                return Err(Attempt::Lost);
            }
            if !force && let Err(not_empty) = refuse_unless_empty(core, &tenant, &registry).await {
                set_life(core, &tenant, &registry, Life::Live).await?;
                return Err(not_empty.into());
            }
            let now = core.now().await?;
            let kind = EventKind::RegistryDeleted { registry: registry.id, name: name.to_string() };
            let mut change = registry_change(core, caller, &tenant, now, kind);
            change.frees();
            let deleting = RegistryRecord { life: Life::Deleting, ..registry.record.clone() };
            change.replace(&registry.row, &deleting);
            let reserved = NameRecord::Reserved { former: registry.id.0, since: now };
            change.replace(&registry.name_row, &reserved);
            change.commit().await
        })
    }
}

/// An organisation and a registry of it in which the caller may do `action`.
pub(crate) async fn seen_registry(
    core: &Core,
    caller: &Caller,
    organisation: &OrganisationName,
    name: &RegistryName,
    action: Action,
) -> Result<(Tenant, TenantRegistry), Error> {
    let tenant = owner(core, organisation, name).await?;
    let registry = tenant.registry(core, name).await?;
    demand(core, caller, action, &tenant.registry_target(&registry)).await?;
    Ok((tenant, registry))
}

/// The organisation of a registry. Where it is not there, the error is that of a registry which is
/// not there.
async fn owner(
    core: &Core,
    organisation: &OrganisationName,
    name: &RegistryName,
) -> Result<Tenant, Error> {
    Tenant::read(core, organisation).await.map_err(|error| match error {
        Error::NameUnknown { .. } => super::unknown(format_args!("{organisation}/{name}")),
        other => other,
    })
}

/// A change in an organisation, which stays as it is, with its line.
pub(super) fn registry_change<'a>(
    core: &'a Core,
    caller: &Caller,
    tenant: &Tenant,
    now: Timestamp,
    kind: EventKind,
) -> Change<'a> {
    let mut change = Change::new(core);
    change.lean(&tenant.row);
    change.event(Event::by(caller, tenant.id, now, kind));
    change.touches(stripe_of_organisation(tenant.id));
    change
}

/// Moves a registry between [`Life::Live`] and [`Life::Closing`].
async fn set_life(
    core: &Core,
    tenant: &Tenant,
    registry: &TenantRegistry,
    life: Life,
) -> Result<(), Attempt> {
    let mut change = Change::freeing(core);
    change.replace(&registry.row, &RegistryRecord { life, ..registry.record.clone() });
    change.touches(stripe_of_organisation(tenant.id));
    change.commit().await
}

/// Fails with [`Error::NotEmpty`] where the registry has repositories.
async fn refuse_unless_empty(
    core: &Core,
    tenant: &Tenant,
    registry: &TenantRegistry,
) -> Result<(), Error> {
    let names = prefix_range(&keys::repository_names(tenant.id, registry.id));
    if core.meta.scan(names, 1).await?.is_empty() {
        return Ok(());
    }
    let name = format!("{}/{}", tenant.name, registry.name);
    Err(Error::NotEmpty { name, holds: "repositories".to_owned() })
}

fn taken(tenant: &Tenant, name: &RegistryName) -> Error {
    Error::NameTaken { what: "registry", name: format!("{}/{name}", tenant.name) }
}
