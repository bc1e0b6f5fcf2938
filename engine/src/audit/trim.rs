//! Cutting old lines off the trail, so that it does not grow for ever.
//!
//! Only lines that a seal covers go, from the beginning of their chain, and never a chain's last one.
//! What the rest of a chain follows from stays in a row; and since whoever could delete lines could
//! write that row too, a line of the trail tells of each cut: of all that are gone, so that the cuts
//! before can be cut off themselves. Verifying demands both.

use std::collections::BTreeMap;

use crate::Engine;
use crate::access::Caller;
use crate::audit::chains::{chain_in, chains, length};
use crate::audit::seal::HEADS_PER_LINE;
use crate::audit::trail::of_deleted;
use crate::audit::{Event, EventKind, SYSTEM, decode_event};
use crate::change::{Attempt, Change, Seen};
use crate::core::Core;
use crate::error::Error;
use crate::id::{ChainId, OrganisationId};
use crate::keys;
use crate::meta::{MAX_SCAN_ROWS, MetaRead, log, prefix_range};
use crate::name::OrganisationName;
use crate::records::{Record, SealedRecord, TrimmedRecord};
use crate::seam::Timestamp;
use crate::tenancy::{Tenant, demand_operator};

/// The most lines one call cuts off.
const LINES_PER_CALL: u64 = 100_000;
/// How many lines one commit deletes.
const LINES_PER_COMMIT: usize = 256;

/// What was cut off a trail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TrimReport {
    /// How many lines.
    pub lines: u64,
    /// Of how many chains.
    pub chains: u64,
    /// Whether nothing is left to cut off; else the call is to be made again.
    pub complete: bool,
}

impl Engine {
    /// Cuts off the trail what was written before `before`, as far as seals cover it; of what belongs
    /// to no organisation where `organisation` is absent. What is left verifies as it did.
    ///
    /// For operators alone, with a token of all: an admin of an organisation who could do it would
    /// take away what tells of them. A call cuts off a bounded number of lines. Dropping the future
    /// is as a kill: the next call goes on.
    pub async fn trim_trail(
        &self,
        caller: &Caller,
        organisation: Option<&OrganisationName>,
        before: Timestamp,
    ) -> Result<TrimReport, Error> {
        let core = &*self.core;
        demand_operator(core, caller)?;
        let organisation = match organisation {
            None => SYSTEM,
            Some(name) => match Tenant::read(core, name).await {
                Ok(tenant) => tenant.id,
                Err(error) => of_deleted(core, caller, name, error).await?,
            },
        };
        let before = before.min(core.now().await?);
        let (mut budget, mut cuts, mut complete) = (LINES_PER_CALL, BTreeMap::new(), true);
        for chain in chains(core, organisation).await? {
            let old: Seen<TrimmedRecord> = core.read(keys::trimmed(organisation, chain)).await?;
            // What an earlier call cut off and did not come to delete.
            delete_lines(core, organisation, chain, old.value.as_ref()).await?;
            if budget == 0 {
                complete = false;
                break;
            }
            let cut = find_cut(core, organisation, chain, &old, before, budget).await?;
            if let Some((lines, record)) = cut {
                budget -= lines.min(budget);
                cuts.insert(chain, (old, record));
            }
        }
        let mut report = TrimReport { complete: complete && budget > 0, ..TrimReport::default() };
        if cuts.is_empty() {
            return Ok(report);
        }
        tell(core, caller, organisation, &cuts).await?;
        for (chain, (old, record)) in &cuts {
            delete_lines(core, organisation, *chain, Some(record)).await?;
            report.lines += record.length - old.value.as_ref().map_or(0, |old| old.length);
            report.chains += 1;
        }
        Ok(report)
    }
}

type Cuts = BTreeMap<ChainId, (Seen<TrimmedRecord>, TrimmedRecord)>;

/// Where to cut a chain: behind the last line before `before` that a seal covers and that is not the
/// chain's last; and how many lines go.
async fn find_cut(
    core: &Core,
    organisation: OrganisationId,
    chain: ChainId,
    old: &Seen<TrimmedRecord>,
    before: Timestamp,
    budget: u64,
) -> Result<Option<(u64, TrimmedRecord)>, Error> {
    let log = keys::audit_chain(organisation, chain);
    let sealed: Seen<SealedRecord> = core.read(keys::sealed(organisation, chain)).await?;
    let Some(sealed) = sealed.value else { return Ok(None) };
    let length = length(core, organisation, chain).await?;
    let gone = old.value.as_ref().map_or(0, |old| old.length);
    let end = sealed.length.min(length.saturating_sub(1)).min(gone.saturating_add(budget));
    let mut cut = None;
    let mut at = gone;
    while at < end {
        let to = end.min(at.saturating_add(MAX_SCAN_ROWS as u64));
        let range = log::entry_key(&log, at)..log::entry_key(&log, to);
        let rows = core.meta.scan(range, MAX_SCAN_ROWS).await?;
        if rows.is_empty() {
            break;
        }
        for (key, value) in rows {
            let (sequence, line) = (log::entry_sequence(&log, &key), log::decode(&value));
            let (Some(sequence), Some((hash, entry))) = (sequence, line) else {
                return Err(damaged(chain, at));
            };
            // A gap, or a line that does not follow, is evidence: nothing is cut off there.
            let before_it = cut.as_ref().map(|cut: &TrimmedRecord| cut.hash);
            let before_it = before_it.or(old.value.as_ref().map(|old| old.hash));
            let follows =
                log::link(&before_it.unwrap_or_else(|| log::genesis(&log)), sequence, &entry);
            if sequence != at || follows != hash {
                return Err(damaged(chain, at));
            }
            if decode_event(&entry)?.at >= before {
                return Ok(cut.map(|cut| (cut.length - gone, cut)));
            }
            at = sequence.saturating_add(1);
            cut = Some(TrimmedRecord { length: at, hash, before });
        }
    }
    Ok(cut.map(|cut| (cut.length - gone, cut)))
}

fn damaged(chain: ChainId, sequence: u64) -> Error {
    Error::Corrupted(format!(
        "line {sequence} of audit chain {chain} is not what was written; `verify` tells more, and \
         nothing is cut off a trail that is damaged"
    ))
}

/// Commits what is gone of each chain, with the lines that tell of it: of the other chains' too, whose
/// own lines about it may be among those that go.
async fn tell(
    core: &Core,
    caller: &Caller,
    organisation: OrganisationId,
    cuts: &Cuts,
) -> Result<(), Error> {
    let mut gone = all_gone(&*core.meta, organisation).await?;
    let mut change = Change::freeing(core);
    for (chain, (old, record)) in cuts {
        change.replace(old, record);
        gone.insert(*chain, record.clone());
    }
    let now = core.now().await?;
    let gone: Vec<_> =
        gone.into_iter().map(|(chain, record)| (chain, record.length, record.hash)).collect();
    for gone in gone.chunks(HEADS_PER_LINE) {
        let kind = EventKind::TrailTrimmed { gone: gone.to_vec() };
        change.event(Event::by(caller, organisation, now, kind));
    }
    match change.commit().await {
        Ok(()) => Ok(()),
        Err(Attempt::Lost) => Err(Error::Contended { what: "the audit trail" }),
        Err(Attempt::Failed(error)) => Err(error),
    }
}

/// Deletes the lines of a chain that are cut off.
async fn delete_lines(
    core: &Core,
    organisation: OrganisationId,
    chain: ChainId,
    gone: Option<&TrimmedRecord>,
) -> Result<(), Error> {
    let Some(gone) = gone else { return Ok(()) };
    let log = keys::audit_chain(organisation, chain);
    let mut range = log::entry_key(&log, 0)..log::entry_key(&log, gone.length);
    loop {
        let rows = core.meta.scan(range.clone(), LINES_PER_COMMIT).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range.start = [last.as_slice(), &[0]].concat();
        let mut change = Change::freeing(core);
        for (key, _) in rows {
            change.delete(key);
        }
        match change.commit().await {
            Ok(()) | Err(Attempt::Lost) => {}
            Err(Attempt::Failed(error)) => return Err(error),
        }
    }
}

/// What is gone of each chain.
async fn all_gone(
    read: &dyn MetaRead,
    organisation: OrganisationId,
) -> Result<BTreeMap<ChainId, TrimmedRecord>, Error> {
    let prefix = keys::all_trimmed(organisation);
    let mut range = prefix_range(&prefix);
    let mut gone = BTreeMap::new();
    loop {
        let rows = read.scan(range.clone(), MAX_SCAN_ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(gone) };
        range.start = [last.as_slice(), &[0]].concat();
        for (key, value) in &rows {
            gone.insert(chain_in(&prefix, key)?, TrimmedRecord::decode(value)?);
        }
    }
}

/// Before when lines of the trail may be gone.
pub(crate) async fn trimmed_before(
    read: &dyn MetaRead,
    organisation: OrganisationId,
) -> Result<Timestamp, Error> {
    let gone = all_gone(read, organisation).await?;
    Ok(gone.values().map(|record| record.before).max().unwrap_or_default())
}
