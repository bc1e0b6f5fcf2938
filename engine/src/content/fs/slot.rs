//! What this process knows about each unfinished object it works on.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::super::{ObjectKey, StoreError};
use super::failure;

/// One unfinished object: whoever works on its file holds the lock, inside the blocking task, so
/// that a dropped future can't leave two at work.
#[derive(Debug, Default)]
pub(super) struct Slot {
    unfinished: Arc<tokio::sync::Mutex<Unfinished>>,
    spoiled: Mutex<Option<String>>,
}

/// What is known of the file.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// Counts the writers: only the last one may write.
    pub(super) writer: u64,
    /// The length at which the bytes are known to be durable.
    pub(super) durable: Option<u64>,
    /// Whether the name is known to be durable.
    pub(super) named: bool,
}

impl Unfinished {
    /// The same object begun anew: nothing is known, and no writer of before may write.
    pub(super) fn next(&self) -> Self {
        Self { writer: self.writer + 1, ..Self::default() }
    }
}

impl Slot {
    pub(super) async fn lock(&self) -> OwnedMutexGuard<Unfinished> {
        Arc::clone(&self.unfinished).lock_owned().await
    }

    fn spoiled(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.spoiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An fsync failed: the file is garbage from here on.
    pub(super) fn spoil(&self, key: &ObjectKey, error: &io::Error) -> StoreError {
        let reason = format!("fsync failed ({error}); this upload can't go on");
        self.spoiled().get_or_insert(reason);
        match failure(key, error) {
            full @ StoreError::Full { .. } => full,
            _ => self.refusal(key),
        }
    }

    fn refusal(&self, key: &ObjectKey) -> StoreError {
        let reason = self.spoiled().clone().unwrap_or_default();
        StoreError::Failed { key: key.clone(), reason, temporary: false }
    }

    pub(super) fn refuse_spoiled(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let spoiled = self.spoiled().is_some();
        if spoiled { Err(self.refusal(key)) } else { Ok(()) }
    }

    /// The spoiled file is gone.
    pub(super) fn forgive(&self) {
        *self.spoiled() = None;
    }
}

/// The objects that somebody works on, and the spoiled ones that nobody aborted yet.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<ObjectKey, Arc<Slot>>,
    sweep_at: usize,
}

impl Slots {
    /// The slot of `key`. What nobody holds any more is forgotten now and then: it only costs an
    /// fsync that was not needed.
    pub(super) fn of(&self, key: &ObjectKey) -> Arc<Slot> {
        /// The table is not swept below this size.
        const SMALL: usize = 256;

        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.slots.len() >= table.sweep_at.max(SMALL) {
            table.slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.spoiled().is_some());
            table.sweep_at = table.slots.len() * 2;
        }
        Arc::clone(table.slots.entry(key.clone()).or_default())
    }
}
