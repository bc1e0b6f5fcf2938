//! Verifying the trail: is every line what was written, where it was written, and still there?
//!
//! The chains' hashes show a line that was altered, removed or moved ([`crate::meta::log`]); the
//! seals show a chain that lost its end, or all of it, as long as any other chain or a later line
//! names it. What they can't show: an end cut off behind the last seal, and a whole history
//! written anew by somebody who could write all chains. Who fears that keeps the heads that
//! [`Verification::heads`] returns somewhere else.
//!
//! Where old lines were cut off on purpose, what is left follows from the hash that the cut kept, and
//! the cut itself must be told by a line that is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use crate::Engine;
use crate::access::{Action, Caller};
use crate::audit::chains::chain_in;
use crate::audit::trail::of_deleted;
use crate::audit::{EventKind, SYSTEM, decode_event};
use crate::core::Core;
use crate::error::Error;
use crate::id::{ChainId, OrganisationId};
use crate::keys;
use crate::meta::{Key, MAX_SCAN_ROWS, MetaRead, log, prefix_range};
use crate::name::OrganisationName;
use crate::records::{Record, TrimmedRecord};
use crate::tenancy::{Tenant, demand_operator, demand_or_operate};

type Hash = [u8; log::HASH_BYTES];

/// The most doubtful lines of one chain that are looked at together, to tell moved from altered.
const DOUBTFUL: usize = 64;
/// The most problems a report names.
const PROBLEMS: usize = 1000;

/// Where a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// Which.
    pub chain: ChainId,
    /// How many lines it has, those that were cut off its beginning counted.
    pub length: u64,
    /// The hash of its last line.
    pub hash: Hash,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Problem {
    /// Lines are missing inside a chain.
    Removed {
        /// The chain.
        chain: ChainId,
        /// The first that is missing.
        sequence: u64,
        /// How many.
        count: u64,
    },
    /// A line was altered; or the one before it was, together with its hash.
    Altered {
        /// The chain.
        chain: ChainId,
        /// The line.
        sequence: u64,
    },
    /// A line stands in another place than it was written to.
    Moved {
        /// The chain.
        chain: ChainId,
        /// Where it stands.
        sequence: u64,
        /// Where it belongs.
        belongs: u64,
    },
    /// A line has no form that this program reads.
    Unreadable {
        /// The chain.
        chain: ChainId,
        /// The line.
        sequence: u64,
    },
    /// A seal names more lines than the chain has: its end was cut off.
    CutOff {
        /// The chain.
        chain: ChainId,
        /// How many lines it has.
        found: u64,
        /// How many it had at least.
        sealed: u64,
    },
    /// The beginning of a chain is missing and no line of the trail tells that it was cut off there.
    Untold {
        /// The chain.
        chain: ChainId,
        /// How many lines are missing.
        count: u64,
    },
    /// A seal names another hash for a line: the chain was written anew up to there.
    Rewritten {
        /// The chain.
        chain: ChainId,
        /// The last line that the seal covers.
        sequence: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed { chain, sequence, count } => {
                write!(f, "chain {chain}: {count} lines from {sequence} on were removed")
            }
            Self::Altered { chain, sequence } => {
                write!(f, "chain {chain}: line {sequence}, or the one before it, was altered")
            }
            Self::Moved { chain, sequence, belongs } => {
                write!(f, "chain {chain}: line {sequence} was moved; it belongs at {belongs}")
            }
            Self::Unreadable { chain, sequence } => {
                write!(f, "chain {chain}: line {sequence} can't be read")
            }
            Self::CutOff { chain, found, sealed } => write!(
                f,
                "chain {chain}: its end was cut off; it has {found} lines and had at least {sealed}"
            ),
            Self::Untold { chain, count } => write!(
                f,
                "chain {chain}: its first {count} lines were cut off, and no line tells of it"
            ),
            Self::Rewritten { chain, sequence } => write!(
                f,
                "chain {chain}: the lines up to {sequence} are not those that a seal names"
            ),
        }
    }
}

/// What verifying an organisation's trail found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// Where each chain stands.
    pub heads: Vec<ChainHead>,
    /// How many lines were read.
    pub lines: u64,
    /// How many different seals of chains were checked.
    pub seals: u64,
    /// What is wrong, chain by chain; at most 1000.
    pub problems: Vec<Problem>,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    fn report(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(problem);
        }
    }
}

impl Engine {
    /// Reads an organisation's whole trail, as of one moment, and tells what is wrong with it; for
    /// its admins and for operators, also of one that was deleted. Without `organisation`, the system's own, for operators.
    /// Dropping the future ends the walk.
    pub async fn verify_trail(
        &self,
        caller: &Caller,
        organisation: Option<&OrganisationName>,
    ) -> Result<Verification, Error> {
        let id = if let Some(name) = organisation {
            match Tenant::read(&self.core, name).await {
                Ok(tenant) => {
                    demand_or_operate(&self.core, caller, Action::Manage, &tenant.target()).await?;
                    tenant.id
                }
                Err(error) => of_deleted(&self.core, caller, name, error).await?,
            }
        } else {
            demand_operator(&self.core, caller)?;
            SYSTEM
        };
        verify(&self.core, id).await
    }
}

/// Verifies all chains of an organisation together.
pub(crate) async fn verify(
    core: &Core,
    organisation: OrganisationId,
) -> Result<Verification, Error> {
    let view = core.meta.snapshot().await?;
    let mut found = Verification::default();
    let mut seals = Seals::default();
    let gone = gone(&*view, organisation, &mut found).await?;
    let mut walk: Option<Walk> = None;
    let prefix = keys::audit_chains(organisation);
    let mut range = prefix_range(&prefix);
    loop {
        let rows = view.scan(range.clone(), MAX_SCAN_ROWS).await?;
        let Some((last, _)) = rows.last() else { break };
        range.start.clone_from(last);
        range.start.push(0);
        for (key, value) in &rows {
            let chain = chain_in(&prefix, key)?;
            if walk.as_ref().is_none_or(|walk| walk.chain != chain) {
                if let Some(done) = walk.take() {
                    done.finish(&mut found);
                }
                let log = keys::audit_chain(organisation, chain);
                walk = Some(Walk::new(chain, log, gone.get(&chain)));
            }
            if let Some(walk) = &mut walk {
                walk.line(key, value, &mut seals, &mut found);
            }
        }
    }
    if let Some(done) = walk.take() {
        done.finish(&mut found);
    }
    check_seals(&*view, organisation, &seals, &gone, &mut found).await?;
    found.problems.sort();
    Ok(found)
}

/// What lines say about chains.
#[derive(Default)]
struct Seals {
    /// Seals: chain and length → hash.
    heads: BTreeMap<(ChainId, u64), Vec<Hash>>,
    /// Cuts: chain, how many lines are gone, and the hash of the last of them.
    cuts: BTreeSet<(ChainId, u64, Hash)>,
}

/// What was cut off each chain, by the rows that keep it.
type Gone = BTreeMap<ChainId, TrimmedRecord>;

async fn gone(
    view: &dyn MetaRead,
    organisation: OrganisationId,
    found: &mut Verification,
) -> Result<Gone, Error> {
    let prefix = keys::all_trimmed(organisation);
    let mut range = prefix_range(&prefix);
    let mut gone = Gone::new();
    loop {
        let rows = view.scan(range.clone(), MAX_SCAN_ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(gone) };
        range.start.clone_from(last);
        range.start.push(0);
        for (key, value) in &rows {
            let chain = chain_in(&prefix, key)?;
            match TrimmedRecord::decode(value) {
                Ok(row) => {
                    gone.insert(chain, row);
                }
                Err(_) => found.report(Problem::Unreadable { chain, sequence: 0 }),
            }
        }
    }
}

/// One chain being read from its start.
struct Walk {
    chain: ChainId,
    log: Key,
    expected: u64,
    /// The hash that stands in the line before; unknown behind a gap.
    before: Option<Hash>,
    last: Hash,
    doubtful: Vec<Doubtful>,
}

/// A line that does not follow from the one before it.
struct Doubtful {
    sequence: u64,
    before: Hash,
    hash: Hash,
    entry: Bytes,
}

impl Walk {
    fn new(chain: ChainId, log: Key, gone: Option<&TrimmedRecord>) -> Self {
        let (expected, start) = match gone {
            Some(gone) => (gone.length, gone.hash),
            None => (0, log::genesis(&log)),
        };
        Self { chain, log, expected, before: Some(start), last: start, doubtful: Vec::new() }
    }

    fn line(&mut self, key: &[u8], value: &Bytes, seals: &mut Seals, found: &mut Verification) {
        let chain = self.chain;
        found.lines += 1;
        let Some(sequence) = log::entry_sequence(&self.log, key) else {
            return found.report(Problem::Unreadable { chain, sequence: self.expected });
        };
        if sequence < self.expected {
            // Cut off already, and on its way out.
            return;
        }
        if sequence > self.expected {
            let count = sequence - self.expected;
            found.report(Problem::Removed { chain, sequence: self.expected, count });
            self.before = None;
        }
        self.expected = sequence.saturating_add(1);
        let Some((hash, entry)) = log::decode(value) else {
            self.before = None;
            return found.report(Problem::Unreadable { chain, sequence });
        };
        match self.before {
            Some(before) if log::link(&before, sequence, &entry) != hash => {
                if self.doubtful.len() < DOUBTFUL {
                    let entry = entry.clone();
                    self.doubtful.push(Doubtful { sequence, before, hash, entry });
                } else {
                    found.report(Problem::Altered { chain, sequence });
                }
            }
            _ => match decode_event(&entry).map(|event| event.kind) {
                Ok(EventKind::TrailTrimmed { gone }) => seals.cuts.extend(gone),
                Ok(EventKind::Sealed { heads }) => {
                    for (chain, length, hash) in heads {
                        let hashes = seals.heads.entry((chain, length)).or_default();
                        if !hashes.contains(&hash) {
                            hashes.push(hash);
                        }
                    }
                }
                Ok(_) => {}
                Err(_) => found.report(Problem::Unreadable { chain, sequence }),
            },
        }
        self.before = Some(hash);
        self.last = hash;
    }

    /// Tells altered lines from moved ones, and from those that only follow such a line.
    fn finish(self, found: &mut Verification) {
        let chain = self.chain;
        for line in &self.doubtful {
            let fits =
                |before: &Hash, place: u64| log::link(before, place, &line.entry) == line.hash;
            let sequence = line.sequence;
            // Its own predecessor stands elsewhere: nothing is wrong with this line.
            if self.doubtful.iter().any(|other| fits(&other.hash, sequence)) {
                continue;
            }
            let home = self.doubtful.iter().find(|place| {
                fits(&place.before, place.sequence)
                    || self.doubtful.iter().any(|other| fits(&other.hash, place.sequence))
            });
            found.report(match home {
                Some(place) => Problem::Moved { chain, sequence, belongs: place.sequence },
                None => Problem::Altered { chain, sequence },
            });
        }
        found.heads.push(ChainHead { chain, length: self.expected, hash: self.last });
    }
}

async fn check_seals(
    view: &dyn MetaRead,
    organisation: OrganisationId,
    seals: &Seals,
    gone: &Gone,
    found: &mut Verification,
) -> Result<(), Error> {
    for (chain, row) in gone {
        // The row says what the rest follows from: it counts only where a line that is left says so too.
        if !seals.cuts.contains(&(*chain, row.length, row.hash)) {
            found.report(Problem::Untold { chain: *chain, count: row.length });
        }
    }
    let mut cut_off: BTreeMap<ChainId, (u64, u64)> = BTreeMap::new();
    for ((chain, length), hashes) in &seals.heads {
        found.seals += 1;
        let Some(last) = length.checked_sub(1) else { continue };
        if let Some(row) = gone.get(chain).filter(|row| *length <= row.length) {
            if *length == row.length && hashes.iter().any(|sealed| *sealed != row.hash) {
                found.report(Problem::Rewritten { chain: *chain, sequence: last });
            }
            continue;
        }
        let head = found.heads.iter().find(|head| head.chain == *chain);
        let has = head.map_or(0, |head| head.length);
        if has < *length {
            // Lengths of one chain come in order, so the longest stays.
            cut_off.insert(*chain, (has, *length));
            continue;
        }
        let key = log::entry_key(&keys::audit_chain(organisation, *chain), last);
        let row = view.get(&key).await?;
        let hash = row.as_ref().and_then(log::decode).map(|(hash, _)| hash);
        let known = found.problems.iter().any(|problem| problem.is_at(*chain, last));
        if !known && hashes.iter().any(|sealed| Some(*sealed) != hash) {
            found.report(Problem::Rewritten { chain: *chain, sequence: last });
        }
    }
    for (chain, (has, sealed)) in cut_off {
        found.report(Problem::CutOff { chain, found: has, sealed });
    }
    Ok(())
}

impl Problem {
    /// Whether this tells already what is wrong with a line's hash.
    fn is_at(&self, at: ChainId, line: u64) -> bool {
        match self {
            Self::Removed { chain, sequence, count } => {
                *chain == at && (*sequence..sequence.saturating_add(*count)).contains(&line)
            }
            Self::Altered { chain, sequence }
            | Self::Moved { chain, sequence, .. }
            | Self::Unreadable { chain, sequence } => *chain == at && *sequence == line,
            Self::CutOff { .. } | Self::Rewritten { .. } | Self::Untold { .. } => false,
        }
    }
}
