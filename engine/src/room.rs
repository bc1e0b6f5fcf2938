//! Room on the blob store's disk: who was promised how much of it, and what is kept back.
//!
//! A disk that is full to the last byte can't even be cleaned up: deleting is a commit too. So
//! nothing is accepted that would not leave [`Settings::reserve_bytes`](crate::Settings) free, and
//! since many uploads at once would each find the same bytes free, each holds what it was promised
//! ([`Held`]) until the bytes are on the disk, where the system counts them. What other processes
//! write is seen only once it is there: the reserve is also for that.

use std::sync::{Arc, Mutex, PoisonError};

use crate::core::Core;
use crate::error::Error;

/// What the uploads of this process hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room(Arc<Mutex<Ledger>>);

/// Two sums that only grow: what is held now is their difference, and what was held at any moment
/// since a look at the disk is at most what is promised now less what was given back *before* it.
#[derive(Debug, Default)]
struct Ledger {
    promised: u64,
    given_back: u64,
}

impl Room {
    fn with<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What somebody holds who was promised nothing yet.
    pub(crate) fn hold_nothing(&self) -> Held {
        Held { room: self.clone(), bytes: 0 }
    }
}

/// Bytes of the disk that were promised and are not written yet; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Room,
    bytes: u64,
}

impl Held {
    /// How many bytes it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes what another holds.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back all but `bytes`: the rest is written.
    pub(crate) fn keep(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        self.room.with(|ledger| ledger.given_back += back);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keep(0);
    }
}

impl Core {
    /// Holds `bytes` of the disk, or fails with [`Error::StorageFull`] where that would not leave
    /// the reserve; with [`Error::Unavailable`] where the store can't tell now.
    pub(crate) async fn hold_room(&self, bytes: u64) -> Result<Held, Error> {
        let given_back = self.room.with(|ledger| ledger.given_back);
        let free = self.blobs.free_bytes().await?;
        let reserve = self.settings.reserve_bytes;
        self.room.with(|ledger| {
            // What was given back since may have been on the disk already when it was asked, or
            // not: it counts as not.
            let held = ledger.promised - given_back;
            if let Some(free) = free
                && reserve.saturating_add(held).saturating_add(bytes) > free
            {
                return Err(Error::StorageFull(format!(
                    "{bytes} more bytes do not fit: {free} are free, {held} of them promised to \
                     other uploads and {reserve} kept for collection and deletes; delete something \
                     and run a collection, or give the disk more room"
                )));
            }
            ledger.promised += bytes;
            Ok(Held { room: self.room.clone(), bytes })
        })
    }

    /// Fails where the disk has no more than its reserve.
    pub(crate) async fn require_room(&self) -> Result<(), Error> {
        self.hold_room(0).await.map(drop)
    }
}
