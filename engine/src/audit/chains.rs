//! Where the chains of an organisation's trail are, and how long.

use crate::change::Seen;
use crate::core::Core;
use crate::error::Error;
use crate::id::{ChainId, OrganisationId};
use crate::keys;
use crate::meta::log;
use crate::meta::prefix_range;
use crate::records::TrimmedRecord;

/// The chains of an organisation, in the order of their ids: one small read each.
pub(super) async fn chains(
    core: &Core,
    organisation: OrganisationId,
) -> Result<Vec<ChainId>, Error> {
    let prefix = keys::audit_chains(organisation);
    let mut range = prefix_range(&prefix);
    let mut chains = Vec::new();
    loop {
        let rows = core.meta.scan(range.clone(), 1).await?;
        let Some((key, _)) = rows.first() else { return Ok(chains) };
        let chain = chain_in(&prefix, key)?;
        chains.push(chain);
        range.start = prefix_range(&keys::audit_chain(organisation, chain)).end;
    }
}

/// The chain that the row at `key` is of.
pub(super) fn chain_in(prefix: &[u8], key: &[u8]) -> Result<ChainId, Error> {
    let id = key.get(prefix.len()..).and_then(|rest| rest.first_chunk::<8>());
    let id = id.ok_or_else(|| Error::Corrupted("a key of the audit trail is short".to_owned()))?;
    Ok(ChainId(u64::from_be_bytes(*id)))
}

/// How many lines a chain has, those that were cut off counted, from a few reads whatever its length: a chain has no gaps, so the
/// first sequence that is not there is its length. (Where somebody removed a line it may be any
/// gap; [`super::verify()`] reads all.)
pub(super) async fn length(
    core: &Core,
    organisation: OrganisationId,
    chain: ChainId,
) -> Result<u64, Error> {
    /// Sequences asked for at once.
    const PROBES: u64 = 16;
    let log = keys::audit_chain(organisation, chain);
    let gone = gone(core, organisation, chain).await?;
    // Lines up to `low` are there, the line `high` is not. First its order of magnitude …
    let (mut low, mut high) = (gone, u64::MAX);
    let mut probes: Vec<u64> = (0..48).map(|bits| gone + ((1_u64 << bits) - 1)).collect();
    loop {
        let keys: Vec<_> = probes.iter().map(|sequence| log::entry_key(&log, *sequence)).collect();
        let rows = core.meta.get_many(&keys).await?;
        for (sequence, row) in probes.iter().zip(rows) {
            if row.is_none() {
                high = *sequence;
                break;
            }
            low = sequence + 1;
        }
        if low >= high {
            return Ok(low);
        }
        // … then within that ever finer.
        let step = ((high - low) / PROBES).max(1);
        probes = (0..=PROBES).map(|n| low + n * step).take_while(|probe| *probe < high).collect();
    }
}

/// How many of a chain's first lines were cut off.
pub(super) async fn gone(
    core: &Core,
    organisation: OrganisationId,
    chain: ChainId,
) -> Result<u64, Error> {
    let row: Seen<TrimmedRecord> = core.read(keys::trimmed(organisation, chain)).await?;
    Ok(row.value.map_or(0, |row| row.length))
}

/// The length of a chain and the hash of its last line; `None` where it has none.
pub(super) async fn head(
    core: &Core,
    organisation: OrganisationId,
    chain: ChainId,
) -> Result<Option<(u64, [u8; log::HASH_BYTES])>, Error> {
    let length = length(core, organisation, chain).await?;
    let Some(last) = length.checked_sub(1) else { return Ok(None) };
    let key = log::entry_key(&keys::audit_chain(organisation, chain), last);
    let row = core.meta.get(&key).await?;
    let entry = row.as_ref().and_then(log::decode);
    let (hash, _) = entry.ok_or_else(|| {
        Error::Corrupted(format!("line {last} of audit chain {chain} can't be read"))
    })?;
    Ok(Some((length, hash)))
}
