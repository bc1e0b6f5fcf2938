//! Seals: lines that name the heads of all chains, so that a chain whose end was cut off shows.

use bytes::Bytes;

use crate::Engine;
use crate::audit::chains::{chains, head};
use crate::audit::{Event, EventKind, SYSTEM, decode_event};
use crate::change::{Attempt, Change};
use crate::core::Core;
use crate::error::Error;
use crate::gc::walk::next_organisation;
use crate::id::{ChainId, OrganisationId};
use crate::keys;
use crate::meta::log;
use crate::records::{Record, SealedRecord};

/// The most heads one line names: an entry of a log has a bound.
pub(super) const HEADS_PER_LINE: usize = 4096;
/// How many chains are looked at in one read.
const CHAINS_AT_ONCE: usize = 512;

impl Engine {
    /// Seals the trail of each organisation in which this process wrote since its last seal, and
    /// the system's; returns how many. To be called every few minutes and before the process
    /// ends: what is cut off behind the last seal does not show.
    ///
    /// A seal names the chains that have grown since they were sealed, by whichever process: those
    /// that ended long ago cost nothing any more, and stay sealed by the line that named them.
    /// Fails with the first error, after all the others were tried.
    pub async fn seal(&self) -> Result<u64, Error> {
        let core = &*self.core;
        let (mut sealed, mut failed) = (0, None);
        let mut next = Some(SYSTEM);
        let mut after = None;
        while let Some(id) = next {
            match seal_if_due(core, id).await {
                Ok(done) => sealed += u64::from(done),
                // A trail that is damaged keeps no other from being sealed.
                Err(error) => {
                    tracing::warn!(organisation = %id, %error, "a trail could not be sealed");
                    failed.get_or_insert(error);
                }
            }
            next = next_organisation(&*core.meta, after).await?;
            after = next;
        }
        failed.map_or(Ok(sealed), Err)
    }
}

async fn seal_if_due(core: &Core, organisation: OrganisationId) -> Result<bool, Error> {
    // Only who wrote seals: else processes would answer each other's seals for ever.
    let own = keys::audit_chain(organisation, core.chain);
    let Some((length, _)) = head(core, organisation, core.chain).await? else { return Ok(false) };
    let last = core.meta.get(&log::entry_key(&own, length - 1)).await?;
    if let Some((_, entry)) = last.as_ref().and_then(log::decode)
        && matches!(decode_event(&entry)?.kind, EventKind::Sealed { .. })
    {
        return Ok(false);
    }
    seal(core, organisation).await?;
    Ok(true)
}

/// Appends lines that name the heads of the chains which have grown since they were sealed.
pub(super) async fn seal(core: &Core, organisation: OrganisationId) -> Result<(), Error> {
    let mut heads: Vec<(ChainId, u64, [u8; log::HASH_BYTES])> = Vec::new();
    for chain in grown(core, organisation).await? {
        if let Some((length, hash)) = head(core, organisation, chain).await? {
            heads.push((chain, length, hash));
        }
    }
    for heads in heads.chunks(HEADS_PER_LINE) {
        let mut change = Change::of_lines(core);
        for (chain, length, _) in heads {
            change.put(keys::sealed(organisation, *chain), &SealedRecord { length: *length });
        }
        let kind = EventKind::Sealed { heads: heads.to_vec() };
        change.event(Event::by_system(organisation, core.now().await?, kind));
        match change.commit().await {
            Ok(()) => {}
            Err(Attempt::Lost) => return Err(Error::Contended { what: "the audit trail" }),
            Err(Attempt::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}

/// The chains that have lines which no seal covers.
async fn grown(core: &Core, organisation: OrganisationId) -> Result<Vec<ChainId>, Error> {
    let mut grown = Vec::new();
    for chains in chains(core, organisation).await?.chunks(CHAINS_AT_ONCE) {
        let rows: Vec<_> = chains.iter().map(|chain| keys::sealed(organisation, *chain)).collect();
        let rows = core.meta.get_many(&rows).await?;
        // The line behind the sealed ones, where there is one. A row that can't be read seals none.
        let length = |row: Option<Bytes>| {
            row.and_then(|row| SealedRecord::decode(&row).ok()).map_or(0, |row| row.length)
        };
        let behind: Vec<_> = chains
            .iter()
            .zip(rows)
            .map(|(chain, row)| {
                log::entry_key(&keys::audit_chain(organisation, *chain), length(row))
            })
            .collect();
        let behind = core.meta.get_many(&behind).await?;
        let lines = chains.iter().zip(behind).filter(|(_, line)| line.is_some());
        grown.extend(lines.map(|(chain, _)| *chain));
    }
    Ok(grown)
}
