//! How much of a purge is done at once, and where the next one goes on.
//!
//! A pass gives each organisation one turn, bounded in rows and in time, so that one with millions of
//! rows keeps nobody else waiting. Most steps need no memory of where they stood: what they removed is
//! gone. Walks that remove some of what they meet do; their place is a row of the organisation, as is,
//! for all of them, whose turn is next where a pass was ended by its own bounds. Both are hints: a walk
//! from the beginning is as right.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Purged;
use super::rows::{committed, maintained};
use crate::change::Change;
use crate::core::Core;
use crate::error::Error;
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::Key;
use crate::records::Record;

/// What one pass may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The rows that one organisation may have removed or looked at in its turn …
    pub(crate) turn_rows: u64,
    /// … and how long it may take.
    pub(crate) turn_time: Duration,
    /// The rows of the whole pass …
    pub(crate) rows: u64,
    /// … and how long it may take.
    pub(crate) time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            turn_rows: 1 << 16,
            turn_time: Duration::from_secs(5),
            rows: u64::MAX,
            time: Duration::from_mins(1),
        }
    }
}

/// A pass under way.
pub(super) struct Pass<'a> {
    pub(super) core: &'a Core,
    pub(super) purged: Purged,
    bounds: Bounds,
    rows_left: u64,
    until: Instant,
    turn_left: u64,
    turn_until: Instant,
}

impl<'a> Pass<'a> {
    pub(super) fn new(core: &'a Core, bounds: Bounds) -> Self {
        let (purged, now) = (Purged::default(), Instant::now());
        let (rows_left, until) = (bounds.rows, now + bounds.time);
        Self { core, purged, bounds, rows_left, until, turn_left: 0, turn_until: now }
    }

    /// The next organisation's turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.turn_left = self.bounds.turn_rows;
        self.turn_until = Instant::now() + self.bounds.turn_time;
    }

    /// How many rows to read next, `most` where the turn allows them.
    pub(super) fn page(&self, most: usize) -> usize {
        let left = usize::try_from(self.turn_left.min(self.rows_left)).unwrap_or(usize::MAX);
        most.min(left.max(1))
    }

    /// So many rows were looked at that stay.
    pub(super) fn looked_at(&mut self, rows: usize) {
        self.turn_left = self.turn_left.saturating_sub(rows as u64);
        self.rows_left = self.rows_left.saturating_sub(rows as u64);
    }

    /// So many rows were removed.
    pub(super) fn removed(&mut self, rows: usize) {
        self.purged.rows += rows as u64;
        self.looked_at(rows);
    }

    /// Whether the whole pass is over.
    pub(super) fn is_over(&self) -> bool {
        self.rows_left == 0 || Instant::now() >= self.until
    }

    /// Whether this turn is.
    pub(super) fn is_spent(&self) -> bool {
        self.turn_left == 0 || Instant::now() >= self.turn_until || self.is_over()
    }
}

/// What is being removed of an organisation that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Thing {
    Registry(RegistryId),
    /// Those that were given up when the walk began: later ones are not among them, as the walk may be
    /// past their links.
    Repositories(Vec<RepositoryId>),
}

/// What is removed of it, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Roles in a registry.
    Members,
    /// Links to content.
    Links,
    /// Uploads under way.
    Uploads,
    /// All rows of the repositories, and their names.
    Rows,
}

impl Stage {
    pub(super) fn next(self) -> Option<Self> {
        match self {
            Self::Members => Some(Self::Links),
            Self::Links => Some(Self::Uploads),
            Self::Uploads => Some(Self::Rows),
            Self::Rows => None,
        }
    }
}

/// `!purge <o>`: where the removal of something stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PurgeRecord {
    pub(crate) thing: Thing,
    pub(crate) stage: Stage,
    /// The first key of the stage that was not looked at.
    pub(crate) next: Key,
}

impl Record for PurgeRecord {
    const KIND: &'static str = "purge";
}

/// `!purge`: whose turn is next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TurnRecord {
    pub(crate) next: OrganisationId,
}

impl Record for TurnRecord {
    const KIND: &'static str = "purge-turn";
}

/// Where the removal in an organisation stands; a hint that can't be read is none.
pub(super) async fn place(
    core: &Core,
    organisation: OrganisationId,
) -> Result<Option<PurgeRecord>, Error> {
    let row = core.meta.get(&keys::purge(organisation)).await?;
    Ok(row.and_then(|row| PurgeRecord::decode(&row).ok()))
}

/// Ends a turn in the middle of `at`, with a line for what went since `before`.
pub(super) async fn rest(
    pass: &Pass<'_>,
    organisation: OrganisationId,
    at: Option<&PurgeRecord>,
    what: &str,
    before: Purged,
) -> Result<(), Error> {
    let mut change = Change::freeing(pass.core);
    if let Some(at) = at {
        change.put(keys::purge(organisation), at);
    }
    if pass.purged.rows > before.rows {
        change.event(maintained(pass.core, organisation, what, before, &pass.purged).await?);
    }
    committed(change).await
}

/// Whose turn is next; the first's where no pass was ended by its bounds.
pub(super) async fn turn(core: &Core) -> Result<Option<OrganisationId>, Error> {
    let row = core.meta.get(keys::PURGE).await?;
    Ok(row.and_then(|row| TurnRecord::decode(&row).ok()).map(|turn| turn.next))
}

pub(super) async fn set_turn(core: &Core, next: Option<OrganisationId>) -> Result<(), Error> {
    let mut change = Change::freeing(core);
    match next {
        Some(next) => change.put(keys::PURGE.to_vec(), &TurnRecord { next }),
        None => change.delete(keys::PURGE.to_vec()),
    }
    committed(change).await
}
