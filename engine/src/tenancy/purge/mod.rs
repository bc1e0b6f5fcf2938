//! What is left of deleted organisations, registries and repositories, taken away behind.
//!
//! The collector calls [`purge`] before it walks. Whatever is [`Life::Deleting`] gets no new rows
//! (whatever brings one leans on its record), so each step can be repeated: a kill in the middle costs
//! nothing, and the record goes last. Rows go before their objects: a crash between the two leaves
//! garbage that the sweep of orphans finds, never a fact without its bytes.

mod organisations;
mod registries;
mod repositories;
mod rows;

use self::organisations::purge_organisation;
use self::registries::purge_registries;
use self::repositories::purge_repositories;
use self::rows::Pages;
use crate::change::{Attempt, Change, Seen};
use crate::content::{ObjectKey, StoreError};
use crate::core::Core;
use crate::error::Error;
use crate::graph::stripe_of_organisation;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::{Key, prefix_range};
use crate::records::{Life, OrganisationRecord, Record, RegistryRecord};

/// The most rows one commit removes: small enough that others' commits do not wait behind it.
const ROWS_PER_COMMIT: usize = 256;

/// What a purge took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Purged {
    /// Rows of the metadata.
    pub(crate) rows: u64,
    /// Objects of the blob store, finished or not.
    pub(crate) objects: u64,
    /// The bytes of the finished ones.
    pub(crate) bytes: u64,
    /// Rows that can't be read: what they may lead to was left, and everything else was done.
    pub(crate) unreadable: u64,
    /// Objects that the store did not delete: they are orphans now, and swept as those.
    pub(crate) failed: u64,
}

impl Purged {
    /// What the row at `key` says; one that can't be read is counted.
    fn read<T: Record>(&mut self, key: &Key, value: bytes::Bytes) -> Option<Seen<T>> {
        match Seen::new(key.clone(), Some(value)) {
            Ok(seen) => Some(seen),
            Err(error) => {
                tracing::error!(key = const_hex::encode(key), %error, "a row can't be read");
                self.unreadable += 1;
                None
            }
        }
    }

    fn deleted(&mut self, object: &ObjectKey, size: u64, result: Result<(), StoreError>) {
        match result {
            Ok(()) => {
                self.objects += 1;
                self.bytes += size;
            }
            Err(error) => {
                tracing::warn!(%object, %error, "an object stays for the orphan sweep");
                self.failed += 1;
            }
        }
    }
}

/// Removes what is left of all deleted organisations and registries, and makes live again what a
/// crash left half way into a deletion. Dropping the future leaves the rest for the next call.
pub(crate) async fn purge(core: &Core) -> Result<Purged, Error> {
    let mut purged = Purged::default();
    let mut after = None;
    while let Some(id) = next_organisation(core, after).await? {
        after = Some(id);
        let key = keys::organisation(id);
        let Some(value) = core.meta.get(&key).await? else { continue };
        let Some(row) = purged.read::<OrganisationRecord>(&key, value) else { continue };
        let Some(record) = &row.value else { continue };
        match record.life {
            Life::Live => {
                purge_repositories(core, id, &mut purged).await?;
                purge_registries(core, id, &mut purged).await?;
            }
            Life::Closing => {
                let live = OrganisationRecord { life: Life::Live, ..record.clone() };
                reopen(core, id, &row, &live).await?;
            }
            Life::Deleting => purge_organisation(core, id, &row, &mut purged).await?,
        }
    }
    Ok(purged)
}

/// Makes live again what a crash left half way into a deletion: until then it would answer as
/// absent, with all that is in it. Called when a process starts; whoever is closing something in
/// another process just then tries again.
pub(crate) async fn reopen_all(core: &Core) -> Result<(), Error> {
    let mut after = None;
    // One that can't be read is not reopened, and keeps nobody else from starting.
    let mut seen = Purged::default();
    while let Some(id) = next_organisation(core, after).await? {
        after = Some(id);
        let key = keys::organisation(id);
        let Some(value) = core.meta.get(&key).await? else { continue };
        let Some(row) = seen.read::<OrganisationRecord>(&key, value) else { continue };
        match &row.value {
            Some(record) if record.life == Life::Closing => {
                let live = OrganisationRecord { life: Life::Live, ..record.clone() };
                reopen(core, id, &row, &live).await?;
            }
            Some(record) if record.life == Life::Live => {}
            _ => continue,
        }
        let mut pages = Pages::new(prefix_range(&keys::registries(id)));
        while let Some(rows) = pages.next(core).await? {
            for (key, value) in rows {
                let Some(row) = seen.read::<RegistryRecord>(&key, value) else { continue };
                let Some(record) = &row.value else { continue };
                if record.life == Life::Closing {
                    let live = RegistryRecord { life: Life::Live, ..record.clone() };
                    reopen(core, id, &row, &live).await?;
                }
            }
        }
    }
    Ok(())
}

/// The organisation behind `after` in the order of ids; deleted ones too, and those whose record
/// can't be read.
pub(crate) async fn next_organisation(
    core: &Core,
    after: Option<OrganisationId>,
) -> Result<Option<OrganisationId>, Error> {
    let mut range = prefix_range(&keys::organisations());
    if let Some(after) = after {
        range.start = prefix_range(&keys::organisation_rows(after)).end;
    }
    let rows = core.meta.scan(range, 1).await?;
    let Some((key, _)) = rows.first() else { return Ok(None) };
    // `o`, the id, …: the record is the first of an organisation's rows.
    let id = key.get(1..).and_then(|rest| rest.first_chunk::<8>().copied());
    let id = id.map(u64::from_be_bytes).map(OrganisationId);
    let id = id.ok_or_else(|| Error::Corrupted("a key of an organisation is too short".into()))?;
    Ok(Some(id))
}

/// Makes live again what is [`Life::Closing`]. Whoever is closing it just now tries again.
async fn reopen<T: Record>(
    core: &Core,
    organisation: OrganisationId,
    row: &Seen<T>,
    live: &T,
) -> Result<(), Error> {
    let mut change = Change::freeing(core);
    change.replace(row, live);
    change.touches(stripe_of_organisation(organisation));
    match change.commit().await {
        Ok(()) | Err(Attempt::Lost) => Ok(()),
        Err(Attempt::Failed(error)) => Err(error),
    }
}
