//! Seals: lines that name the heads of all chains, so that a chain whose end was cut off shows.

use crate::Engine;
use crate::access::Origin;
use crate::audit::chains::{chains, head};
use crate::audit::{Event, EventKind, SYSTEM, decode_event};
use crate::change::{Attempt, Change};
use crate::core::Core;
use crate::error::Error;
use crate::id::{ChainId, OrganisationId};
use crate::keys;
use crate::meta::log;
use crate::tenancy::purge::next_organisation;

impl Engine {
    /// Seals the trail of each organisation in which this process wrote since its last seal, and
    /// the system's; returns how many. To be called every few minutes and before the process
    /// ends: what is cut off behind the last seal does not show.
    pub async fn seal(&self) -> Result<u64, Error> {
        let core = &*self.core;
        let mut sealed = u64::from(seal_if_due(core, SYSTEM).await?);
        let mut after = None;
        while let Some((id, _)) = next_organisation(core, after).await? {
            sealed += u64::from(seal_if_due(core, id).await?);
            after = Some(id);
        }
        Ok(sealed)
    }
}

async fn seal_if_due(core: &Core, organisation: OrganisationId) -> Result<bool, Error> {
    // Only who wrote seals: else processes would answer each other's seals for ever.
    let own = keys::audit_chain(organisation, core.chain);
    if core.meta.get(&log::entry_key(&own, 0)).await?.is_none() {
        return Ok(false);
    }
    if let Some((length, _)) = head(core, organisation, core.chain).await? {
        let last = core.meta.get(&log::entry_key(&own, length - 1)).await?;
        if let Some((_, entry)) = last.as_ref().and_then(log::decode)
            && matches!(decode_event(&entry)?.kind, EventKind::Sealed { .. })
        {
            return Ok(false);
        }
    }
    seal(core, organisation).await?;
    Ok(true)
}

/// Appends a line that names the heads of all chains of the organisation.
pub(super) async fn seal(core: &Core, organisation: OrganisationId) -> Result<(), Error> {
    let mut heads: Vec<(ChainId, u64, [u8; log::HASH_BYTES])> = Vec::new();
    for chain in chains(core, organisation).await? {
        if let Some((length, hash)) = head(core, organisation, chain).await? {
            heads.push((chain, length, hash));
        }
    }
    let mut change = Change::of_lines(core);
    change.event(Event {
        organisation,
        at: core.now().await?,
        principal: "system".to_owned(),
        origin: Origin::default(),
        kind: EventKind::Sealed { heads },
    });
    match change.commit().await {
        Ok(()) => Ok(()),
        Err(Attempt::Lost) => Err(Error::Contended { what: "the audit trail" }),
        Err(Attempt::Failed(error)) => Err(error),
    }
}
