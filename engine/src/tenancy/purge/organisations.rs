//! A deleted organisation: all of it, its objects too.

use super::pass::{Pass, rest};
use super::rows::{Pages, committed, maintained, remove, remove_sessions};
use crate::change::{Change, Seen};
use crate::error::Error;
use crate::gc::pins::Pins;
use crate::graph::stripe_of_organisation;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::prefix_range;
use crate::records::{BlobRecord, OrganisationRecord};

const WHAT: &str = "rows of the deleted organisation";

/// Removes it; false where the turn ended before.
pub(super) async fn purge_organisation(
    pass: &mut Pass<'_>,
    id: OrganisationId,
    row: &Seen<OrganisationRecord>,
) -> Result<bool, Error> {
    let (core, before) = (pass.core, pass.purged);
    if !remove_all(pass, id).await? {
        rest(pass, id, None, WHAT, before).await?;
        return Ok(false);
    }
    let mut change = Change::freeing(core);
    change.remove(row);
    change.delete(keys::purge(id));
    change.event(maintained(core, id, WHAT, before, &pass.purged).await?);
    change.touches(stripe_of_organisation(id));
    committed(change).await?;
    pass.removed(1);
    Ok(true)
}

/// All but the record; false where the turn ended before.
async fn remove_all(pass: &mut Pass<'_>, id: OrganisationId) -> Result<bool, Error> {
    let core = pass.core;
    // Members' own lists first, while the members' rows still say whose they are.
    let members = keys::members(id);
    let mut pages = Pages::new(prefix_range(&members));
    while let Some(rows) = pages.next(pass).await? {
        let mut change = Change::freeing(core);
        for (key, _) in &rows {
            let principal = key.get(members.len()..).unwrap_or_default();
            change.delete(keys::membership(&String::from_utf8_lossy(principal), id));
            change.delete(key.clone());
        }
        committed(change).await?;
        pass.removed(2 * rows.len());
        if pass.is_spent() {
            return Ok(false);
        }
    }
    let mut pages = Pages::new(prefix_range(&keys::sessions(id)));
    while let Some(rows) = pages.next(pass).await? {
        remove_sessions(pass, id, &rows).await?;
        if pass.is_spent() {
            return Ok(false);
        }
    }
    let mut pages = Pages::new(prefix_range(&keys::contents(id)));
    while let Some(rows) = pages.next(pass).await? {
        let mut objects = Vec::new();
        for (key, value) in &rows {
            if let Some((digest, None)) = keys::parse_content(key) {
                // Without the row of one that can't be read, its object is an orphan.
                let row = pass.purged.read::<BlobRecord>(key, value.clone());
                let Some(record) = row.and_then(|row| row.value) else { continue };
                objects.push((record.object(id, &digest), record.size));
            }
        }
        remove(pass, rows).await?;
        // Else the sweep of orphans takes them when no backup needs them any more.
        if !Pins::load(core).await?.any() {
            for (object, size) in objects {
                let deleted = core.blobs.delete(&object).await;
                pass.purged.deleted(&object, size, deleted);
            }
        }
        if pass.is_spent() {
            return Ok(false);
        }
    }
    // The record is the first row: all behind it, and then itself with the counter. What gives
    // bytes back requires a blob or a session, so nothing counts any more.
    let mut rest = prefix_range(&keys::organisation_rows(id));
    rest.start = keys::organisation(id);
    rest.start.push(0);
    let mut pages = Pages::new(rest);
    while let Some(rows) = pages.next(pass).await? {
        remove(pass, rows).await?;
        if pass.is_spent() {
            return Ok(false);
        }
    }
    Ok(true)
}
