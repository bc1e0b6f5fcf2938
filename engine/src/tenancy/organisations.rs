//! Organisations: created, found, listed, renamed, bounded and given up.

use crate::Engine;
use crate::access::{Action, Caller, Decision, Principal, PrincipalId, Role};
use crate::audit::{Event, EventKind};
use crate::change::{Attempt, Change, Seen, retry};
use crate::core::Core;
use crate::error::Error;
use crate::graph::{Page, stripe_of_organisation};
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::prefix_range;
use crate::name::OrganisationName;
use crate::records::{Life, MemberRecord, NameRecord, OrganisationRecord, Record, RegistryRecord};
use crate::seam::Timestamp;
use crate::tenancy::{
    Meant, Tenant, closing, demand, demand_operator, demand_or_operate, denied, operates,
    organisation_target, page_rows, stored_name, unknown,
};

/// A tenant: members, registries and content of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// What never changes about it.
    pub id: OrganisationId,
    /// What it is called now.
    pub name: OrganisationName,
    /// The most bytes it may store; no bound where absent.
    pub quota_bytes: Option<u64>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Organisation {
    fn new(id: OrganisationId, record: &OrganisationRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            name: stored_name(&record.name)?,
            quota_bytes: record.quota_bytes,
            created_at: record.created_at,
        })
    }
}

impl Engine {
    /// Creates an organisation. Its first admin is `admin`, or the caller where absent (nobody
    /// where the caller is anonymous).
    ///
    /// For operators, and for whoever the authorizer lets manage what is not there yet (an
    /// embedder's [`crate::access::AllowAll`] does, roles never do). [`Error::NameTaken`] also
    /// where the name was somebody else's before.
    pub async fn create_organisation(
        &self,
        caller: &Caller,
        name: &OrganisationName,
        quota_bytes: Option<u64>,
        admin: Option<&PrincipalId>,
    ) -> Result<Organisation, Error> {
        let core = &*self.core;
        let admin = match (&caller.principal, admin) {
            (_, Some(admin)) | (Principal::Known(admin), None) => Some(admin),
            (Principal::Anonymous, None) => None,
        };
        retry!("the organisation", _attempt => {
            // Zero is the system's own chain.
            let id = OrganisationId(core.seams.random_u64().max(1));
            let target = organisation_target(id, name);
            let allowed = operates(caller, &target)
                || core.authorizer.decide(caller, Action::Manage, &target).await?
                    == Decision::Allowed;
            if !allowed {
                let refused = Err(denied(caller, Action::Manage, &target));
                return core.noting(caller, Action::Manage, name, refused).map_err(Into::into);
            }
            let name_row: Seen<NameRecord> =
                core.read(keys::organisation_name(name.as_str())).await?;
            if name_row.value.is_some() {
                return Err(taken(name).into());
            }
            let now = core.now().await?;
            let record = OrganisationRecord {
                name: name.to_string(),
                life: Life::Live,
                created_at: now,
                quota_bytes,
                admins: u32::from(admin.is_some()),
            };
            let mut change = Change::new(core);
            change.replace(&name_row, &NameRecord::Live(id.0));
            change.absent(keys::organisation(id));
            change.put(keys::organisation(id), &record);
            if let Some(admin) = admin {
                let member = MemberRecord {
                    role: Some(Role::Admin),
                    registries: std::collections::BTreeMap::new(),
                    added_at: now,
                };
                change.put(keys::member(id, admin.as_str()), &member);
                change.put_raw(keys::membership(admin.as_str(), id), bytes::Bytes::new());
            }
            change.event(Event::by(
                caller,
                id,
                now,
                EventKind::OrganisationCreated { name: name.to_string() },
            ));
            change.touches(stripe_of_organisation(id));
            change.commit().await?;
            Ok(Organisation::new(id, &record)?)
        })
    }

    /// The organisation of this name, for its members and for operators.
    pub async fn organisation(
        &self,
        caller: &Caller,
        name: &OrganisationName,
    ) -> Result<Organisation, Error> {
        let tenant = Tenant::read(&self.core, name).await?;
        demand_or_operate(&self.core, caller, Action::List, &tenant.target()).await?;
        Organisation::new(tenant.id, &tenant.record)
    }

    /// The organisation of this name, for whoever may do `action` in all of it: the question of a
    /// frontend that keeps records of its own for organisations.
    pub async fn organisation_for(
        &self,
        caller: &Caller,
        name: &OrganisationName,
        action: Action,
    ) -> Result<Organisation, Error> {
        let tenant = Tenant::read(&self.core, name).await?;
        demand(&self.core, caller, action, &tenant.target()).await?;
        Organisation::new(tenant.id, &tenant.record)
    }

    /// The organisations that `principal` is a member of, in the order of their ids; for the
    /// principal itself and for operators. A page may have fewer items than `limit` and not be
    /// the last.
    pub async fn organisations_of(
        &self,
        caller: &Caller,
        principal: &PrincipalId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Organisation>, Error> {
        if !caller.operator && caller.principal.as_str() != principal.as_str() {
            return Err(unknown(principal));
        }
        let core = &*self.core;
        let mut range = prefix_range(&keys::memberships(principal.as_str()));
        if let Some(after) = after {
            let id = u64::from_str_radix(after, 16).ok().and_then(|id| id.checked_add(1));
            let id = id.ok_or_else(|| bad_cursor(after))?;
            range.start = keys::membership(principal.as_str(), OrganisationId(id));
        }
        let limit = page_rows(limit);
        let rows = core.meta.scan(range, limit).await?;
        let ids: Vec<_> =
            rows.iter().filter_map(|(key, _)| keys::last_number(key).map(OrganisationId)).collect();
        let next = ids.last().filter(|_| rows.len() == limit).map(ToString::to_string);
        let mut items = Vec::new();
        for organisation in live(core, &ids).await? {
            let target = organisation_target(organisation.id, &organisation.name);
            let decision = core.authorizer.decide(caller, Action::List, &target).await?;
            if decision == Decision::Allowed || operates(caller, &target) {
                items.push(organisation);
            }
        }
        Ok(Page { items, next })
    }

    /// All organisations, in the order of their names; for operators. A page may have fewer items
    /// than `limit` and not be the last.
    pub async fn organisations(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Organisation>, Error> {
        let core = &*self.core;
        demand_operator(core, caller)?;
        let mut range = prefix_range(&keys::organisation_names());
        if let Some(after) = after {
            range.start = keys::organisation_name(after);
            // The first key behind `after`.
            range.start.push(0);
        }
        let limit = page_rows(limit);
        let rows = core.meta.scan(range, limit).await?;
        let mut ids = Vec::new();
        for (_, value) in &rows {
            if let NameRecord::Live(id) = NameRecord::decode(value)? {
                ids.push(OrganisationId(id));
            }
        }
        let next = rows.last().filter(|_| rows.len() == limit).map(|(key, _)| name_in(key, 1));
        Ok(Page { items: live(core, &ids).await?, next })
    }

    /// Those of these organisations that are there still, whatever they are called now; for operators.
    pub async fn organisations_by_id(
        &self,
        caller: &Caller,
        ids: &[OrganisationId],
    ) -> Result<Vec<Organisation>, Error> {
        demand_operator(&self.core, caller)?;
        live(&self.core, ids).await
    }

    /// Gives an organisation another name; the old one stays reserved for it. For its admins.
    ///
    /// An organisation may take back a name that was its own.
    pub async fn rename_organisation(
        &self,
        caller: &Caller,
        name: &OrganisationName,
        new: &OrganisationName,
    ) -> Result<Organisation, Error> {
        let core = &*self.core;
        retry!("the organisation", _attempt => {
            let tenant = Tenant::read(core, name).await?;
            demand(core, caller, Action::Manage, &tenant.target()).await?;
            if name == new {
                return Ok(Organisation::new(tenant.id, &tenant.record)?);
            }
            let new_row: Seen<NameRecord> =
                core.read(keys::organisation_name(new.as_str())).await?;
            match new_row.value {
                None => {}
                Some(NameRecord::Reserved { former, .. }) if former == tenant.id.0 => {}
                Some(_) => return Err(taken(new).into()),
            }
            let record = OrganisationRecord { name: new.to_string(), ..tenant.record.clone() };
            let since = core.now().await?;
            let change = format!("renamed from {name} to {new}");
            let kind = EventKind::OrganisationChanged { change };
            let mut rows = settings_change(core, caller, &tenant, &record, since, kind);
            rows.replace(&tenant.name_row, &NameRecord::Reserved { former: tenant.id.0, since });
            rows.replace(&new_row, &NameRecord::Live(tenant.id.0));
            rows.commit().await?;
            Ok(Organisation::new(tenant.id, &record)?)
        })
    }

    /// Sets the most bytes an organisation may store (no bound where `None`); for operators. What
    /// is stored beyond it stays; nothing more is taken.
    pub async fn set_quota(
        &self,
        caller: &Caller,
        name: &OrganisationName,
        quota_bytes: Option<u64>,
    ) -> Result<Organisation, Error> {
        let core = &*self.core;
        retry!("the organisation", _attempt => {
            let tenant = Tenant::read(core, name).await?;
            if !operates(caller, &tenant.target()) {
                // Whoever may not see it learns nothing else.
                demand(core, caller, Action::List, &tenant.target()).await?;
                return Err(denied(caller, Action::Manage, &tenant.target()).into());
            }
            let record = OrganisationRecord { quota_bytes, ..tenant.record.clone() };
            if record != tenant.record {
                let now = core.now().await?;
                let from_bytes = tenant.record.quota_bytes;
                let kind = EventKind::QuotaChanged { from_bytes, to_bytes: quota_bytes };
                settings_change(core, caller, &tenant, &record, now, kind).commit().await?;
            }
            Ok(Organisation::new(tenant.id, &record)?)
        })
    }

    /// Gives an organisation up: from here on it answers as absent, and its rows and bytes go away
    /// behind. Its name stays reserved. For its admins and for operators.
    ///
    /// Unless `force`, [`Error::NotEmpty`] where it has registries, content or uploads (what was
    /// deleted from it counts until a collection has taken it away). Nothing that is pushed
    /// meanwhile is lost: either it makes this fail, or the push does.
    pub async fn delete_organisation(
        &self,
        caller: &Caller,
        name: &OrganisationName,
        force: bool,
    ) -> Result<(), Error> {
        let core = &*self.core;
        let mut meant = Meant::default();
        retry!("the organisation", _attempt => {
            let tenant = Tenant::read_any(core, name).await?;
            meant.is(tenant.id.0).ok_or_else(|| unknown(name))?;
            demand_or_operate(core, caller, Action::Manage, &tenant.target()).await?;
            if !force && tenant.record.life == Life::Live {
                refuse_unless_empty(core, &tenant).await?;
                // Every write leans on this row: once it is closed nothing comes in, and what a
                // second look finds is all there is.
                set_life(core, &tenant, closing(core)).await?;
                return Err(Attempt::Lost);
            }
            if !force && let Err(not_empty) = refuse_unless_empty(core, &tenant).await {
                set_life(core, &tenant, Life::Live).await?;
                return Err(not_empty.into());
            }
            let now = core.now().await?;
            let mut change = Change::freeing(core);
            let deleting = OrganisationRecord { life: Life::Deleting, ..tenant.record.clone() };
            change.replace(&tenant.row, &deleting);
            let reserved = NameRecord::Reserved { former: tenant.id.0, since: now };
            change.replace(&tenant.name_row, &reserved);
            change.event(Event::by(
                caller,
                tenant.id,
                now,
                EventKind::OrganisationDeleted { name: name.to_string() },
            ));
            change.touches(stripe_of_organisation(tenant.id));
            change.commit().await
        })
    }
}

/// The organisations of these ids that are live.
async fn live(core: &Core, ids: &[OrganisationId]) -> Result<Vec<Organisation>, Error> {
    let keys = ids.iter().map(|id| keys::organisation(*id)).collect();
    let rows = core.read_many::<OrganisationRecord>(keys).await?;
    ids.iter()
        .zip(rows)
        .filter_map(|(id, row)| row.value.map(|record| (id, record)))
        .filter(|(_, record)| record.life == Life::Live)
        .map(|(id, record)| Organisation::new(*id, &record))
        .collect()
}

/// A change of an organisation's record with its line.
fn settings_change<'a>(
    core: &'a Core,
    caller: &Caller,
    tenant: &Tenant,
    record: &OrganisationRecord,
    now: Timestamp,
    kind: EventKind,
) -> Change<'a> {
    let mut change = Change::new(core);
    change.replace(&tenant.row, record);
    change.event(Event::by(caller, tenant.id, now, kind));
    change.touches(stripe_of_organisation(tenant.id));
    change
}

/// Moves an organisation between [`Life::Live`] and [`Life::Closing`].
async fn set_life(core: &Core, tenant: &Tenant, life: Life) -> Result<(), Attempt> {
    let mut change = Change::freeing(core);
    change.replace(&tenant.row, &OrganisationRecord { life, ..tenant.record.clone() });
    change.touches(stripe_of_organisation(tenant.id));
    change.commit().await
}

/// Fails with [`Error::NotEmpty`] where anything of worth is in there.
async fn refuse_unless_empty(core: &Core, tenant: &Tenant) -> Result<(), Error> {
    let mut holds = None;
    let mut range = prefix_range(&keys::registries(tenant.id));
    while holds.is_none() {
        let rows = core.meta.scan(range.clone(), page_rows(usize::MAX)).await?;
        let Some((last, _)) = rows.last() else { break };
        range.start.clone_from(last);
        range.start.push(0);
        for (_, value) in &rows {
            if RegistryRecord::decode(value)?.life != Life::Deleting {
                holds = Some("registries");
            }
        }
    }
    for (prefix, what) in
        [(keys::contents(tenant.id), "content"), (keys::sessions(tenant.id), "uploads")]
    {
        if holds.is_none() && !core.meta.scan(prefix_range(&prefix), 1).await?.is_empty() {
            holds = Some(what);
        }
    }
    match holds {
        Some(what) => {
            Err(Error::NotEmpty { name: tenant.name.to_string(), holds: what.to_owned() })
        }
        None => Ok(()),
    }
}

fn taken(name: &OrganisationName) -> Error {
    Error::NameTaken { what: "organisation", name: name.to_string() }
}

/// The error for a cursor that no page gave out.
pub(super) fn bad_cursor(cursor: &str) -> Error {
    Error::Invalid(format!("{cursor:?} is no cursor of this listing"))
}

/// The name at the end of a key, behind `before` bytes.
pub(super) fn name_in(key: &[u8], before: usize) -> String {
    String::from_utf8_lossy(key.get(before..).unwrap_or_default()).into_owned()
}
