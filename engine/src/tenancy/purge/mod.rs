//! What is left of deleted organisations, registries and repositories, taken away behind.
//!
//! The collector calls [`purge`] before it walks, and goes on with it behind the walk; `pass` tells how it
//! is bounded. Whatever is [`Life::Deleting`] gets no new rows
//! (whatever brings one leans on its record), so each step can be repeated: a kill in the middle costs
//! nothing, and the record goes last. Rows go before their objects: a crash between the two leaves
//! garbage that the sweep of orphans finds, never a fact without its bytes.

mod organisations;
mod pass;
mod registries;
mod repositories;
mod rows;

use std::time::Duration;

use tokio::time::Instant;

use self::organisations::purge_organisation;
pub(crate) use self::pass::Bounds;
use self::pass::{Pass, place, set_turn, turn};
#[cfg(test)]
pub(crate) use self::pass::{PurgeRecord, Stage, Thing, TurnRecord};
use self::registries::purge_registries;
use self::repositories::{purge_repositories, purge_thing};
use crate::change::{Attempt, Change, Seen};
use crate::content::{ObjectKey, StoreError};
use crate::core::Core;
use crate::error::Error;
use crate::gc::walk::{self, next_organisation};
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
    /// Whether the bounds ended it before all was removed: another call goes on.
    pub(crate) left: bool,
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

    /// This and what `more` did behind it.
    fn and(self, more: Self) -> Self {
        Self {
            rows: self.rows + more.rows,
            objects: self.objects + more.objects,
            bytes: self.bytes + more.bytes,
            unreadable: more.unreadable,
            failed: self.failed + more.failed,
            left: more.left,
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

/// Removes what is left of deleted organisations, registries and repositories within `bounds`, a turn
/// for each organisation, and makes live again what a crash left half way into a deletion. Dropping
/// the future leaves the rest for the next call.
pub(crate) async fn purge(core: &Core, bounds: Bounds) -> Result<Purged, Error> {
    let mut pass = Pass::new(core, bounds);
    let first = turn(core).await?;
    // From whose turn it is to the last, and then those before.
    let mut after = first.and_then(|first| first.0.checked_sub(1)).map(OrganisationId);
    let (mut again, mut turns) = (after.is_none(), 0_u64);
    loop {
        let Some(id) = next_organisation(&*core.meta, after).await? else {
            if again {
                break;
            }
            (again, after) = (true, None);
            continue;
        };
        if again && turns > 0 && first.is_some_and(|first| id >= first) {
            break;
        }
        if turns > 0 && pass.is_over() {
            pass.purged.left = true;
            set_turn(core, Some(id)).await?;
            return Ok(pass.purged);
        }
        after = Some(id);
        turns += 1;
        pass.begin_turn();
        if !purge_one(&mut pass, id).await? {
            pass.purged.left = true;
        }
    }
    if first.is_some() {
        set_turn(core, None).await?;
    }
    Ok(pass.purged)
}

/// As [`purge`], turn by turn, until nothing is left or so much time has passed.
pub(crate) async fn purge_on(core: &Core, time: Duration) -> Result<Purged, Error> {
    let until = Instant::now() + time;
    let mut all = Purged::default();
    loop {
        let time = until.saturating_duration_since(Instant::now());
        let round = purge(core, Bounds { time, ..Bounds::default() }).await?;
        all = all.and(round);
        if !all.left || Instant::now() >= until {
            return Ok(all);
        }
    }
}

/// One organisation's turn; false where something is left.
async fn purge_one(pass: &mut Pass<'_>, id: OrganisationId) -> Result<bool, Error> {
    let key = keys::organisation(id);
    let Some(value) = pass.core.meta.get(&key).await? else { return Ok(true) };
    let Some(row) = pass.purged.read::<OrganisationRecord>(&key, value) else { return Ok(true) };
    let Some(record) = &row.value else { return Ok(true) };
    match record.life {
        Life::Live => {
            // What was begun first: its walk stands in the middle.
            if let Some(at) = place(pass.core, id).await?
                && !purge_thing(pass, id, at).await?
            {
                return Ok(false);
            }
            Ok(purge_repositories(pass, id).await? && purge_registries(pass, id).await?)
        }
        Life::Closing { .. } => {
            let live = OrganisationRecord { life: Life::Live, ..record.clone() };
            reopen(pass.core, id, &row, &live).await?;
            Ok(true)
        }
        Life::Deleting => purge_organisation(pass, id, &row).await,
    }
}

/// Makes live again what a crash left half way into a deletion: until then it would answer as
/// absent, with all that is in it. Called when a process starts; whoever is closing something in
/// another process just then tries again.
pub(crate) async fn reopen_all(core: &Core) -> Result<(), Error> {
    let mut after = None;
    // One that can't be read is not reopened, and keeps nobody else from starting.
    let mut seen = Purged::default();
    while let Some(id) = next_organisation(&*core.meta, after).await? {
        after = Some(id);
        let key = keys::organisation(id);
        let Some(value) = core.meta.get(&key).await? else { continue };
        let Some(row) = seen.read::<OrganisationRecord>(&key, value) else { continue };
        match &row.value {
            Some(record) if matches!(record.life, Life::Closing { .. }) => {
                let live = OrganisationRecord { life: Life::Live, ..record.clone() };
                reopen(core, id, &row, &live).await?;
            }
            Some(record) if record.life == Life::Live => {}
            _ => continue,
        }
        let mut pages = walk::Pages::new(&*core.meta, prefix_range(&keys::registries(id)));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                break;
            }
            for (key, value) in rows {
                let Some(row) = seen.read::<RegistryRecord>(&key, value) else { continue };
                let Some(record) = &row.value else { continue };
                if matches!(record.life, Life::Closing { .. }) {
                    let live = RegistryRecord { life: Life::Live, ..record.clone() };
                    reopen(core, id, &row, &live).await?;
                }
            }
        }
    }
    Ok(())
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
