//! A deleted organisation: all of it, its objects too.

use super::Purged;
use super::rows::{Pages, committed, maintained, remove, remove_sessions};
use crate::change::{Change, Seen};
use crate::core::Core;
use crate::error::Error;
use crate::gc::pins::Pins;
use crate::graph::stripe_of_organisation;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::prefix_range;
use crate::records::{BlobRecord, OrganisationRecord};

pub(super) async fn purge_organisation(
    core: &Core,
    id: OrganisationId,
    row: &Seen<OrganisationRecord>,
    purged: &mut Purged,
) -> Result<(), Error> {
    let before = *purged;
    // Members' own lists first, while the members' rows still say whose they are.
    let members = keys::members(id);
    let mut pages = Pages::new(prefix_range(&members));
    while let Some(rows) = pages.next(core).await? {
        let mut change = Change::freeing(core);
        for (key, _) in &rows {
            let principal = key.get(members.len()..).unwrap_or_default();
            change.delete(keys::membership(&String::from_utf8_lossy(principal), id));
            change.delete(key.clone());
        }
        committed(change).await?;
        purged.rows += 2 * rows.len() as u64;
    }
    let mut pages = Pages::new(prefix_range(&keys::sessions(id)));
    while let Some(rows) = pages.next(core).await? {
        remove_sessions(core, id, &rows, purged).await?;
    }
    let mut pages = Pages::new(prefix_range(&keys::contents(id)));
    while let Some(rows) = pages.next(core).await? {
        let mut objects = Vec::new();
        for (key, value) in &rows {
            if let Some((digest, None)) = keys::parse_content(key) {
                // Without the row of one that can't be read, its object is an orphan.
                let Some(row) = purged.read::<BlobRecord>(key, value.clone()) else { continue };
                let Some(record) = row.value else { continue };
                objects.push((record.object(id, &digest), record.size));
            }
        }
        remove(core, rows, purged).await?;
        if Pins::load(core).await?.any() {
            // The sweep of orphans takes them when no backup needs them any more.
            continue;
        }
        for (object, size) in objects {
            let deleted = core.blobs.delete(&object).await;
            purged.deleted(&object, size, deleted);
        }
    }
    // The record is the first row: all behind it, and then itself with the counter. What gives
    // bytes back requires a blob or a session, so nothing counts any more.
    let record = keys::organisation(id);
    let mut rest = prefix_range(&keys::organisation_rows(id));
    rest.start.clone_from(&record);
    rest.start.push(0);
    let mut pages = Pages::new(rest);
    while let Some(rows) = pages.next(core).await? {
        remove(core, rows, purged).await?;
    }
    let mut change = Change::freeing(core);
    change.remove(row);
    change.event(maintained(core, id, "rows of the deleted organisation", before, purged).await?);
    change.touches(stripe_of_organisation(id));
    committed(change).await?;
    purged.rows += 1;
    Ok(())
}
