//! Objects that no row names.
//!
//! How that is known, whatever goes on meanwhile: an object's *generation* is named by its session
//! row from before its first byte, until one commit removes that row and makes a blob row name it,
//! or another removes it for good; no generation is ever named again. (The row of a manifest's copy
//! is both in one.) So for an object that a listing showed, one look at these rows, of one moment
//! *after* the listing, decides for ever: named by none, it is garbage, however slow its upload was.
//! Parts of an unfinished object, and writes under way that a store lists, are needed by their
//! session alone: content is never read there.
//!
//! The key of an object in flight does not say its digest, so which blob row may name it is not
//! known. For those whose session row is gone one snapshot is taken, in which that is looked at
//! again and all the organisation's content is walked for what is not settled. That walk is paid
//! only where such objects are there.

use std::collections::HashSet;

use crate::audit::{Event, EventKind, SYSTEM};
use crate::change::{Attempt, Change};
use crate::content::{ObjectEntry, StoreError};
use crate::core::Core;
use crate::error::Error;
use crate::gc::CollectReport;
use crate::gc::walk::Pages;
use crate::id::{OrganisationId, SessionId};
use crate::keys::{self, object};
use crate::meta::prefix_range;
use crate::records::{BlobRecord, CopyRecord, Record};
use crate::seam::Timestamp;

/// How many objects are listed at a time.
pub(super) const PAGE_OBJECTS: usize = 1000;

/// What a listed object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A row names it, or did until just now.
    Named,
    /// Nothing names it, for ever.
    Garbage,
    /// It is none of ours.
    Foreign,
}

/// Deletes the garbage of a page of objects, listed before this is called.
pub(super) async fn sweep(
    core: &Core,
    entries: &[ObjectEntry],
    dry_run: bool,
    report: &mut CollectReport,
) -> Result<(), Error> {
    let mut garbage = Vec::new();
    for (entry, verdict) in entries.iter().zip(judge(core, entries).await?) {
        match verdict {
            Verdict::Named => {}
            Verdict::Foreign => report.foreign.add(entry.size),
            Verdict::Garbage if dry_run => report.orphans.add(entry.size),
            Verdict::Garbage => garbage.push(entry),
        }
    }
    announce(core, &garbage).await?;
    for entry in garbage {
        match remove(core, entry).await {
            Ok(()) => report.orphans.add(entry.size),
            Err(error) => report.failure(None, &error),
        }
    }
    Ok(())
}

/// Writes a line for each object that is about to be deleted, all in one commit: no row is removed
/// with an orphan that could carry it. In the system's chain, since no tenant has it.
async fn announce(core: &Core, garbage: &[&ObjectEntry]) -> Result<(), Error> {
    if garbage.is_empty() {
        return Ok(());
    }
    let now = core.now().await?;
    let mut change = Change::freeing(core);
    for entry in garbage {
        let kind = EventKind::OrphanDeleted { object: entry.key.to_string(), size: entry.size };
        change.event(Event::by_system(SYSTEM, now, kind));
    }
    match change.commit().await {
        Ok(()) => Ok(()),
        Err(Attempt::Lost) => Err(Error::Contended { what: "the audit trail" }),
        Err(Attempt::Failed(error)) => Err(error),
    }
}

async fn remove(core: &Core, entry: &ObjectEntry) -> Result<(), StoreError> {
    match &entry.unfinished {
        Some(write) => core.blobs.abort(&entry.key, write).await,
        None => core.blobs.delete(&entry.key).await,
    }
}

/// What each of the listed objects is; they were listed before this is called.
pub(super) async fn judge(core: &Core, entries: &[ObjectEntry]) -> Result<Vec<Verdict>, Error> {
    let parsed: Vec<_> = entries.iter().map(|entry| object::parse(&entry.key)).collect();
    let mut wanted = Vec::with_capacity(2 * parsed.len());
    for found in parsed.iter().flatten() {
        wanted.push(keys::session(found.organisation, found.generation));
        if let Some(digest) = &found.digest {
            wanted.push(keys::blob(found.organisation, digest));
            wanted.push(keys::copy(found.organisation, digest));
        }
    }
    let now = core.now().await?;
    let mut rows = core.meta.get_many(&wanted).await?.into_iter();
    let mut flying: HashSet<(OrganisationId, SessionId)> = HashSet::new();
    let mut verdicts = Vec::with_capacity(parsed.len());
    for (found, entry) in parsed.iter().zip(entries) {
        let Some(found) = found else {
            let epoch = object::parse_epoch(&entry.key).is_some();
            verdicts.push(if epoch { Verdict::Named } else { Verdict::Foreign });
            continue;
        };
        let session = rows.next().flatten();
        let mut of_digest = || found.digest.and_then(|_| rows.next()).flatten();
        let (blob, copy) = (of_digest(), of_digest());
        let whole = !found.part && entry.unfinished.is_none();
        let read = blob.filter(|_| whole);
        let named = session.is_some()
            || read.is_some_and(|blob| names(core, &blob, found.generation, now))
            || copy.is_some_and(|copy| is_of(&copy, found.generation));
        if !named && whole && found.digest.is_none() {
            flying.insert((found.organisation, found.generation));
        }
        verdicts.push(if named { Verdict::Named } else { Verdict::Garbage });
    }
    if !flying.is_empty() {
        keep_named(core, now, &mut flying).await?;
        for ((found, entry), verdict) in parsed.iter().zip(entries).zip(&mut verdicts) {
            if let Some(found) = found
                && found.digest.is_none()
                && !found.part
                && entry.unfinished.is_none()
                && !flying.contains(&(found.organisation, found.generation))
            {
                *verdict = Verdict::Named;
            }
        }
    }
    Ok(verdicts)
}

/// Whether a blob's row keeps an object of `generation` under its digest. A row that was written
/// just now keeps the generation before it too: somebody may be reading that still.
fn names(core: &Core, blob: &[u8], generation: SessionId, now: Timestamp) -> bool {
    BlobRecord::decode(blob).map_or(true, |blob| {
        blob.generation == generation || now < blob.stored_at.plus(core.settings.delete_delay)
    })
}

/// Whether the row of a copy names `generation`; one that can't be read might.
fn is_of(copy: &[u8], generation: SessionId) -> bool {
    CopyRecord::decode(copy).map_or(true, |copy| copy.generation == generation)
}

/// Leaves in `flying` what neither a session nor unsettled content names, all of one moment.
async fn keep_named(
    core: &Core,
    now: Timestamp,
    flying: &mut HashSet<(OrganisationId, SessionId)>,
) -> Result<(), Error> {
    let view = core.meta.snapshot().await?;
    let mut organisations = HashSet::new();
    for (organisation, generation) in flying.clone() {
        organisations.insert(organisation);
        if view.get(&keys::session(organisation, generation)).await?.is_some() {
            flying.remove(&(organisation, generation));
        }
    }
    for organisation in organisations {
        let mut pages = Pages::new(&*view, prefix_range(&keys::contents(organisation)));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                break;
            }
            for (key, value) in rows {
                if !matches!(keys::parse_content(&key), Some((_, None))) {
                    continue;
                }
                match BlobRecord::decode(&value) {
                    Ok(blob) => {
                        // What was settled just now may be read still where it lay.
                        let young = now < blob.stored_at.plus(core.settings.delete_delay);
                        if !blob.settled || young {
                            flying.remove(&(organisation, blob.generation));
                        }
                    }
                    // It might name any of them.
                    Err(_) => flying.retain(|(other, _)| *other != organisation),
                }
            }
        }
    }
    Ok(())
}
