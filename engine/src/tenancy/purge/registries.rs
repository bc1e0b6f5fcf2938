//! Deleted registries of an organisation that stays.

use super::repositories::{Of, remove_links, remove_rows, remove_uploads};
use super::rows::{Pages, committed, maintained, remove};
use super::{Purged, ROWS_PER_COMMIT, reopen};
use crate::audit::{Event, EventKind};
use crate::change::{Change, Seen, retry};
use crate::core::Core;
use crate::error::Error;
use crate::graph::stripe_of_organisation;
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::prefix_range;
use crate::records::{Life, MemberRecord, NameRecord, RegistryRecord};
use crate::tenancy::usage::Homes;

pub(super) async fn purge_registries(
    core: &Core,
    organisation: OrganisationId,
    purged: &mut Purged,
) -> Result<(), Error> {
    let mut range = prefix_range(&keys::registries(organisation));
    loop {
        let rows = core.meta.scan(range.clone(), ROWS_PER_COMMIT).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range.start.clone_from(last);
        range.start.push(0);
        for (key, value) in rows {
            let Some(id) = keys::last_number(&key).map(RegistryId) else { continue };
            let Some(row) = purged.read::<RegistryRecord>(&key, value) else { continue };
            let Some(record) = &row.value else { continue };
            match record.life {
                Life::Live => {}
                Life::Closing => {
                    let live = RegistryRecord { life: Life::Live, ..record.clone() };
                    reopen(core, organisation, &row, &live).await?;
                }
                Life::Deleting => {
                    purge_registry(core, organisation, id, &row, purged).await?;
                }
            }
        }
    }
}

async fn purge_registry(
    core: &Core,
    organisation: OrganisationId,
    id: RegistryId,
    row: &Seen<RegistryRecord>,
    purged: &mut Purged,
) -> Result<(), Error> {
    let before = *purged;
    strip_members(core, organisation, id).await?;
    // Links and uploads are found by their repository's record, so they go before it. The content
    // itself stays for the collection: other registries may link it.
    let mut homes = Homes::default();
    remove_links(core, organisation, &mut Of::Registry(id, &mut homes), purged).await?;
    remove_uploads(core, organisation, &mut Of::Registry(id, &mut homes), purged).await?;
    // A name leads to its repository, so it goes after all of that one's rows.
    let mut pages = Pages::new(prefix_range(&keys::repository_names(organisation, id)));
    while let Some(rows) = pages.next(core).await? {
        for (key, value) in &rows {
            // What a name that can't be read leads to stays, with nobody to reach it.
            let row = purged.read::<NameRecord>(key, value.clone());
            if let Some(NameRecord::Live(repository)) = row.and_then(|row| row.value) {
                remove_rows(core, organisation, RepositoryId(repository), purged).await?;
            }
        }
        remove(core, rows, purged).await?;
    }
    let mut change = Change::freeing(core);
    change.remove(row);
    let event = maintained(core, organisation, "rows of a deleted registry", before, purged);
    change.event(event.await?);
    change.touches(stripe_of_organisation(organisation));
    committed(change).await?;
    purged.rows += 1;
    Ok(())
}

/// Takes the roles in a registry from all members; who has no other is no member any more.
async fn strip_members(
    core: &Core,
    organisation: OrganisationId,
    registry: RegistryId,
) -> Result<(), Error> {
    let members = keys::members(organisation);
    let mut range = prefix_range(&members);
    loop {
        let rows = core.meta.scan(range.clone(), ROWS_PER_COMMIT).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range.start.clone_from(last);
        range.start.push(0);
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
    }
}
