//! What is left of deleted organisations and registries, taken away behind.
//!
//! The collector calls [`purge`] before it walks. Whatever is [`Life::Deleting`] gets no new rows
//! (whatever brings one leans on its record), so each step can be repeated: a kill in the middle costs
//! nothing, and the record goes last. Rows go before their objects: a crash between the two leaves
//! garbage that the sweep of orphans finds, never a fact without its bytes.

use std::ops::Range;

use crate::audit::{Event, EventKind, UploadEnd};
use crate::change::{Attempt, Change, Seen, retry};
use crate::content::{ObjectKey, StoreError};
use crate::core::Core;
use crate::error::Error;
use crate::graph::stripe_of_organisation;
use crate::id::{OrganisationId, RegistryId, RepositoryId, SessionId};
use crate::keys;
use crate::meta::{Key, MAX_SCAN_ROWS, Row, prefix_range};
use crate::records::{
    BlobRecord, Body, Life, ManifestRecord, MemberRecord, NameRecord, OrganisationRecord, Record,
    RegistryRecord, SessionRecord,
};
use crate::tenancy::usage::Homes;

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
            Life::Live => purge_registries(core, id, &mut purged).await?,
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

async fn purge_organisation(
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

async fn purge_registries(
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
    let mut range = prefix_range(&keys::contents(organisation));
    loop {
        let rows = core.meta.scan(range.clone(), MAX_SCAN_ROWS).await?;
        let Some((last, _)) = rows.last() else { break };
        range.start.clone_from(last);
        range.start.push(0);
        let repository = |key: &Key| keys::parse_content(key).and_then(|(_, link)| link);
        let linking = rows.iter().filter_map(|(key, _)| repository(key));
        homes.learn(core, organisation, linking).await?;
        let mut links: Vec<_> = rows
            .into_iter()
            .filter(|(key, _)| repository(key).is_some_and(|link| homes.is_in(link, id)))
            .collect();
        while !links.is_empty() {
            let rest = links.split_off(links.len().min(ROWS_PER_COMMIT));
            remove(core, links, purged).await?;
            links = rest;
        }
    }
    let mut range = prefix_range(&keys::sessions(organisation));
    loop {
        let rows = core.meta.scan(range.clone(), ROWS_PER_COMMIT).await?;
        let Some((last, _)) = rows.last() else { break };
        range.start.clone_from(last);
        range.start.push(0);
        let mut uploads = Vec::new();
        for (key, value) in rows {
            // One that can't be read expires with nobody, and is told by `fsck`.
            let row = purged.read::<SessionRecord>(&key, value.clone());
            let Some(record) = row.and_then(|row| row.value) else { continue };
            let repository = record.repository;
            homes.learn(core, organisation, std::iter::once(repository)).await?;
            if homes.is_in(repository, id) {
                uploads.push((key, value));
            }
        }
        remove_sessions(core, organisation, &uploads, purged).await?;
    }
    // A name leads to its repository, so it goes after all of that one's rows.
    let mut pages = Pages::new(prefix_range(&keys::repository_names(organisation, id)));
    while let Some(rows) = pages.next(core).await? {
        for (key, value) in &rows {
            // What a name that can't be read leads to stays, with nobody to reach it.
            let row = purged.read::<NameRecord>(key, value.clone());
            if let Some(NameRecord::Live(repository)) = row.and_then(|row| row.value) {
                let repository = RepositoryId(repository);
                let rows = keys::repository_rows(organisation, repository);
                let mut pages = Pages::new(prefix_range(&rows));
                while let Some(rows) = pages.next(core).await? {
                    remove_graph(core, organisation, &rows, purged).await?;
                }
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

/// Removes the rows of uploads, gives back what they reserved, and then gives up their objects.
async fn remove_sessions(
    core: &Core,
    organisation: OrganisationId,
    rows: &[Row],
    purged: &mut Purged,
) -> Result<(), Error> {
    let prefix = keys::sessions(organisation).len();
    for (key, value) in rows {
        let Some(row) = purged.read::<SessionRecord>(key, value.clone()) else { continue };
        let session = key.get(prefix..).and_then(|id| id.try_into().ok()).map(SessionId);
        let (Some(record), Some(session)) = (&row.value, session) else { continue };
        let mut change = Change::freeing(core);
        change.remove(&row);
        let reserved = i64::try_from(record.reserved_bytes).unwrap_or(i64::MAX);
        change.use_bytes(organisation, -reserved, None);
        let repository = core.reference_to(organisation, record.repository).await?;
        let kind = EventKind::UploadEnded { repository, session, reason: UploadEnd::Purged };
        change.event(Event::by_system(organisation, core.now().await?, kind));
        match change.commit().await {
            Ok(()) => {}
            // It ended by itself meanwhile.
            Err(Attempt::Lost) => continue,
            Err(Attempt::Failed(error)) => return Err(error),
        }
        purged.rows += 1;
        let object = record.object(organisation, session);
        let aborted = core.blobs.abort(&object, &record.write).await;
        purged.deleted(&object, 0, aborted);
    }
    Ok(())
}

/// Removes rows of a repository, and gives back what its manifests counted for. They are required
/// as they were read: of two purges at once only one gives back.
async fn remove_graph(
    core: &Core,
    organisation: OrganisationId,
    rows: &[Row],
    purged: &mut Purged,
) -> Result<(), Error> {
    let mut change = Change::freeing(core);
    let mut bytes = 0;
    for (key, value) in rows {
        if keys::is_manifest(key) {
            // What one counted for that can't be read is told by `fsck`: the counter's sum is off.
            let Some(seen) = purged.read::<ManifestRecord>(key, value.clone()) else {
                change.delete(key.clone());
                continue;
            };
            if let Some(record) = &seen.value
                && matches!(record.body, Body::Inline(_))
            {
                bytes += i64::try_from(record.size).unwrap_or(i64::MAX);
            }
            change.remove(&seen);
        } else {
            change.delete(key.clone());
        }
    }
    change.use_bytes(organisation, -bytes, None);
    committed(change).await?;
    purged.rows += rows.len() as u64;
    Ok(())
}

/// Removes rows that nobody writes any more.
async fn remove(core: &Core, rows: Vec<Row>, purged: &mut Purged) -> Result<(), Error> {
    let count = rows.len() as u64;
    let mut change = Change::freeing(core);
    for (key, _) in rows {
        change.delete(key);
    }
    committed(change).await?;
    purged.rows += count;
    Ok(())
}

async fn committed(change: Change<'_>) -> Result<(), Error> {
    match change.commit().await {
        Ok(()) => Ok(()),
        Err(Attempt::Lost) => Err(Error::Contended { what: "what is being deleted" }),
        Err(Attempt::Failed(error)) => Err(error),
    }
}

/// The line for what went since `before`.
async fn maintained(
    core: &Core,
    organisation: OrganisationId,
    what: &str,
    before: Purged,
    now: &Purged,
) -> Result<Event, Error> {
    let kind = EventKind::Maintained {
        what: format!("removed {} {what}", now.rows - before.rows),
        objects: now.objects - before.objects,
        bytes: now.bytes - before.bytes,
    };
    Ok(Event::by_system(organisation, core.now().await?, kind))
}

/// Rows that are removed page by page: each page is the first of what is left behind the last.
struct Pages {
    range: Range<Key>,
}

impl Pages {
    fn new(range: Range<Key>) -> Self {
        Self { range }
    }

    async fn next(&mut self, core: &Core) -> Result<Option<Vec<Row>>, Error> {
        let rows = core.meta.scan(self.range.clone(), ROWS_PER_COMMIT).await?;
        let Some((last, _)) = rows.last() else { return Ok(None) };
        self.range.start.clone_from(last);
        self.range.start.push(0);
        Ok(Some(rows))
    }
}
