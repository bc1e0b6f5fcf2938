//! Whether metadata and blob store are of one history, so that it is known what nobody names.
//!
//! An object that no row names is garbage, by rows that saw all that was done to the bucket. Rows of a
//! backup did not: to them whatever was pushed since is garbage. So both stores carry the *epoch*, the
//! row `!epoch` and an object `epoch/…`, and it advances now and then: a collection advances it before
//! its sweep, and so does what copies manifests, at most each minute. Where the bucket's is not the
//! metadata's, one of the two was put in place of another, and collection sweeps nothing
//! until [`crate::Engine::adopt`] took up what is wanted, or somebody says that it may.
//!
//! Advancing takes three steps: the row gets the next epoch beside its own; the next one's object is
//! put; the row gets it as its own. So at each moment, and after a kill at each, the bucket's newest
//! is one of the row's two. An epoch's object is never written again and older ones go later, so a
//! late write can't turn the bucket back. Who looks reads the row before and after the listing.
//!
//! What it can't show: metadata restored from a moment after the last advance. That is a minute while
//! manifests are pushed, and nothing where a backup advances the epoch behind its snapshot.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::change::{Attempt, Change, Seen};
use crate::content::ObjectKey;
use crate::core::Core;
use crate::error::Error;
use crate::keys;
use crate::records::Record;
use crate::seam::Timestamp;

/// How often the epoch advances while manifests are pushed.
const OFTEN: Duration = Duration::from_mins(1);
/// How many of the bucket's epochs are listed at a time. There are more than two only where
/// deleting old ones failed.
const LISTED: usize = 100;
/// What the object of an epoch holds, for who looks into the bucket.
const CONTENT: &[u8] = b"the epoch of a Strongroom store: its name says which\n";
/// How often a look is begun anew because the epoch advanced meanwhile.
const LOOKS: usize = 16;

/// One epoch. The number orders them; the nonce tells two histories' apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(crate) struct Epoch {
    pub(crate) number: u64,
    pub(crate) nonce: u64,
}

/// `!epoch`; absent, it is as if it said the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct EpochRecord {
    pub(crate) current: Epoch,
    /// The one whose object is on its way.
    pub(crate) next: Option<Epoch>,
    /// Since when `current` is so.
    pub(crate) at: Timestamp,
}

impl Record for EpochRecord {
    const KIND: &'static str = "epoch";
}

/// What a look at both stores says.
pub(crate) struct Look {
    seen: Seen<EpochRecord>,
    newest: Option<Epoch>,
}

impl Look {
    /// Looks at both stores, as of one moment.
    pub(crate) async fn take(core: &Core) -> Result<Self, Error> {
        for _ in 0..LOOKS {
            let seen: Seen<EpochRecord> = core.read(keys::EPOCH.to_vec()).await?;
            let newest = newest(core).await?;
            if core.is_unchanged(&seen).await? {
                return Ok(Self { seen, newest });
            }
        }
        Err(Error::Contended { what: "the epoch" })
    }

    /// Whether the bucket is the one that the metadata speak of, and no older or younger.
    pub(crate) fn agrees(&self) -> bool {
        let record = self.seen.value.clone().unwrap_or_default();
        // A bucket without any is that of a store whose first epoch was not put yet.
        let newest = self.newest.unwrap_or_default();
        newest == record.current || (self.newest.is_some() && self.newest == record.next)
    }
}

/// The newest epoch in the bucket.
async fn newest(core: &Core) -> Result<Option<Epoch>, Error> {
    let mut newest = None;
    let mut after: Option<ObjectKey> = None;
    loop {
        let listed = core.blobs.list(keys::object::EPOCHS, after.as_ref(), LISTED).await?;
        let Some(last) = listed.last() else { return Ok(newest) };
        newest = newest.max(listed.iter().filter_map(|e| keys::object::parse_epoch(&e.key)).max());
        after = Some(last.key.clone());
    }
}

/// Advances the epoch where both stores agree; false where they do not.
pub(crate) async fn advance(core: &Core) -> Result<bool, Error> {
    let look = Look::take(core).await?;
    if !look.agrees() {
        return Ok(false);
    }
    step(core, look).await?;
    Ok(true)
}

/// The same, unless that was done just now; true where there is nothing left to do.
pub(crate) async fn advance_now_and_then(core: &Core) -> Result<bool, Error> {
    let seen: Seen<EpochRecord> = core.read(keys::EPOCH.to_vec()).await?;
    let (now, since) = (core.now().await?, seen.value.map(|record| record.at));
    if since.is_some_and(|since| now < since.plus(OFTEN)) {
        return Ok(false);
    }
    // Where they disagree, nothing here changes that.
    advance(core).await.map(|_| true)
}

/// Makes both stores agree from here on, whatever they said.
pub(crate) async fn unite(core: &Core) -> Result<(), Error> {
    loop {
        let look = Look::take(core).await?;
        if look.agrees() {
            return Ok(());
        }
        step(core, look).await?;
    }
}

/// Advances the epoch past all that either store says. Where somebody else does, that is as good.
async fn step(core: &Core, look: Look) -> Result<(), Error> {
    let record = look.seen.value.clone().unwrap_or_default();
    let (next, seen) = if let Some(next) = record.next.filter(|_| look.agrees()) {
        // Under way in another process, or left by a kill.
        (next, look.seen)
    } else {
        let ends = [Some(record.current), record.next, look.newest];
        let last = ends.into_iter().flatten().max().unwrap_or_default();
        let number = last.number.saturating_add(1);
        let next = Epoch { number, nonce: core.seams.random_u64() };
        let record = EpochRecord { next: Some(next), ..record };
        if !write(core, &look.seen, &record).await? {
            return Ok(());
        }
        (next, Seen::of(keys::EPOCH.to_vec(), record))
    };
    core.blobs.put(&keys::object::epoch(next), Bytes::from_static(CONTENT)).await?;
    let at = core.now().await?;
    if write(core, &seen, &EpochRecord { current: next, next: None, at }).await? {
        remove_before(core, next).await;
    }
    Ok(())
}

async fn write(core: &Core, seen: &Seen<EpochRecord>, record: &EpochRecord) -> Result<bool, Error> {
    // The sweep that makes room comes behind it.
    let mut change = Change::freeing(core);
    change.replace(seen, record);
    match change.commit().await {
        Ok(()) => Ok(true),
        Err(Attempt::Lost) => Ok(false),
        Err(Attempt::Failed(error)) => Err(error),
    }
}

/// Removes what stands for epochs that are over. What stays does no harm.
async fn remove_before(core: &Core, current: Epoch) {
    let listed = core.blobs.list(keys::object::EPOCHS, None, LISTED).await;
    for entry in listed.unwrap_or_default() {
        let over = keys::object::parse_epoch(&entry.key).is_some_and(|epoch| epoch < current);
        if over && let Err(error) = core.blobs.delete(&entry.key).await {
            tracing::debug!(%error, "an old epoch stays in the bucket");
        }
    }
}

#[cfg(test)]
mod tests;
