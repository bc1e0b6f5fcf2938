//! Deleted registries of an organisation that stays.

use super::pass::{Pass, PurgeRecord, Stage, Thing};
use super::repositories::{purge_thing, remove_rows};
use super::rows::{Pages, remove};
use super::{ROWS_PER_COMMIT, reopen};
use crate::audit::{Event, EventKind};
use crate::change::{Change, Seen, retry};
use crate::error::Error;
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::{Key, prefix_range};
use crate::records::{Life, MemberRecord, NameRecord, RegistryRecord};

/// Removes what is left of them; false where the turn ended before.
pub(super) async fn purge_registries(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
) -> Result<bool, Error> {
    let mut range = prefix_range(&keys::registries(organisation));
    loop {
        let rows = pass.core.meta.scan(range.clone(), ROWS_PER_COMMIT).await?;
        let Some((last, _)) = rows.last() else { return Ok(true) };
        range.start.clone_from(last);
        range.start.push(0);
        for (key, value) in rows {
            let Some(id) = keys::last_number(&key).map(RegistryId) else { continue };
            let Some(row) = pass.purged.read::<RegistryRecord>(&key, value) else { continue };
            let Some(record) = &row.value else { continue };
            match record.life {
                Life::Live => {}
                Life::Closing { .. } => {
                    let live = RegistryRecord { life: Life::Live, ..record.clone() };
                    reopen(pass.core, organisation, &row, &live).await?;
                }
                Life::Deleting => {
                    let (thing, stage) = (Thing::Registry(id), Stage::Members);
                    let at = PurgeRecord { thing, stage, next: Key::default() };
                    if !purge_thing(pass, organisation, at).await? {
                        return Ok(false);
                    }
                }
            }
        }
    }
}

/// The repositories of a registry with their names; false where the turn ended before.
pub(super) async fn remove_repositories(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
    id: RegistryId,
) -> Result<bool, Error> {
    // A name leads to its repository, so it goes after all of that one's rows.
    let mut pages = Pages::new(prefix_range(&keys::repository_names(organisation, id)));
    while let Some(rows) = pages.next(pass).await? {
        for (key, value) in &rows {
            // What a name that can't be read leads to stays, with nobody to reach it.
            let row = pass.purged.read::<NameRecord>(key, value.clone());
            if let Some(NameRecord::Live(repository)) = row.and_then(|row| row.value)
                && !remove_rows(pass, organisation, RepositoryId(repository)).await?
            {
                return Ok(false);
            }
        }
        remove(pass, rows).await?;
        if pass.is_spent() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes the roles in a registry from all members from `next` on; who has no other is no member any
/// more. False where the turn ended before, at `next`.
pub(super) async fn strip_members(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
    registry: RegistryId,
    next: &mut Key,
) -> Result<bool, Error> {
    let core = pass.core;
    let members = keys::members(organisation);
    let mut range = prefix_range(&members);
    range.start = range.start.max(std::mem::take(next));
    loop {
        let rows = core.meta.scan(range.clone(), pass.page(ROWS_PER_COMMIT)).await?;
        let Some((last, _)) = rows.last() else { return Ok(true) };
        range.start.clone_from(last);
        range.start.push(0);
        pass.looked_at(rows.len());
        for (key, _) in rows {
            retry!("the member", _attempt => {
                let row: Seen<MemberRecord> = match core.read(key.clone()).await {
                    Ok(row) => row,
                    // Roles that can't be read give no right either.
                    Err(Error::Corrupted(_)) => return Ok(()),
                    Err(error) => return Err(error.into()),
                };
                let Some(mut record) = row.value.clone() else { return Ok(()) };
                if record.registries.remove(&registry).is_none() {
                    return Ok(());
                }
                let principal = key.get(members.len()..).unwrap_or_default();
                let principal = String::from_utf8_lossy(principal).into_owned();
                let mut change = Change::freeing(core);
                if record.role.is_none() && record.registries.is_empty() {
                    change.delete(keys::membership(&principal, organisation));
                    change.remove(&row);
                } else {
                    change.replace(&row, &record);
                }
                let kind = EventKind::MemberSet { principal, registry: Some(registry), role: None };
                change.event(Event::by_system(organisation, core.now().await?, kind));
                change.commit().await
            })?;
        }
        if pass.is_spent() {
            *next = range.start;
            return Ok(false);
        }
    }
}
