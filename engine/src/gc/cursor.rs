//! Where a collection stands, so that after a kill the next one goes on there.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::change::{Attempt, Change};
use crate::core::Core;
use crate::error::Error;
use crate::keys;
use crate::meta::Key;
use crate::records::Record;

/// What a collection walks, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Rows of uploads.
    Uploads,
    /// Rows of content and links.
    Contents,
    /// Links and the copies of small manifests, side by side.
    Copies,
    /// Objects in the bucket.
    Objects,
}

impl Phase {
    pub(super) const ALL: [Self; 4] = [Self::Uploads, Self::Contents, Self::Copies, Self::Objects];
}

/// The row [`keys::COLLECTION`]. A hint only: a run that begins elsewhere is as right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CursorRecord {
    /// What is being walked.
    pub(crate) phase: Phase,
    /// The first key of it not looked at yet; of objects, the last key looked at.
    pub(crate) next: Key,
}

impl Record for CursorRecord {
    const KIND: &'static str = "collection";
    const VERSION: u8 = 3;
}

impl CursorRecord {
    /// Where a run begins that finds no cursor.
    pub(super) fn start() -> Self {
        Self { phase: Phase::Uploads, next: Key::default() }
    }

    /// What of `phase` lies behind here (`late`), or before: from a key on, and up to one.
    pub(super) fn part(&self, phase: Phase, late: bool) -> Option<(Key, Option<Key>)> {
        match (phase.cmp(&self.phase), late) {
            (Ordering::Less, true) | (Ordering::Greater, false) => None,
            (Ordering::Equal, true) => Some((self.next.clone(), None)),
            (Ordering::Equal, false) => Some((Key::default(), Some(self.next.clone()))),
            (Ordering::Greater, true) | (Ordering::Less, false) => Some((Key::default(), None)),
        }
    }
}

/// Where the last run was stopped; the start of all where it came to its end.
pub(super) async fn load(core: &Core) -> Result<Option<CursorRecord>, Error> {
    let row = core.meta.get(keys::COLLECTION).await?;
    // A hint that can't be read is no hint.
    Ok(row.and_then(|row| CursorRecord::decode(&row).ok()))
}

/// Makes `change` say where the run stands.
pub(super) fn save(change: &mut Change<'_>, phase: Phase, next: Key) {
    change.put(keys::COLLECTION.to_vec(), &CursorRecord { phase, next });
}

/// The run came to its end.
pub(super) async fn clear(core: &Core) -> Result<(), Error> {
    let mut change = Change::freeing(core);
    change.delete(keys::COLLECTION.to_vec());
    match change.commit().await {
        Ok(()) | Err(Attempt::Lost) => Ok(()),
        Err(Attempt::Failed(error)) => Err(error),
    }
}
