//! How far a backup, a restore or a copy is: rows and the bytes of objects in one measure.

use crate::error::Error;
use crate::gc::course::known_bytes;
use crate::gc::walk::next_organisation;
use crate::gc::{Extent, Progress};
use crate::meta::MetaRead;

/// A row is on its way as long as about so many bytes of an object.
const ROW_BYTES: u64 = 4096;

/// What is carried, and how much of it was.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// Nothing where it is not known.
    total: u64,
    done: u64,
}

impl Work {
    /// So many rows, and objects of so many bytes.
    pub(super) fn of(rows: u64, bytes: u64) -> Self {
        Self { total: rows.saturating_mul(ROW_BYTES).saturating_add(bytes), done: 0 }
    }

    /// All of a store, by its own count of rows and the counters of its organisations: about, since small
    /// manifests are in both, and uploads, which stay behind, in the latter.
    pub(super) async fn of_store(view: &dyn MetaRead) -> Result<Self, Error> {
        let Some(rows) = view.about_rows().await? else { return Ok(Self::default()) };
        let (mut bytes, mut after) = (0_u64, None);
        while let Some(id) = next_organisation(view, after).await? {
            bytes = bytes.saturating_add(known_bytes(view, id).await?);
            after = Some(id);
        }
        Ok(Self::of(rows, bytes))
    }

    /// Notes rows that were carried.
    pub(super) fn rows(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.done = self.done.saturating_add(count.saturating_mul(ROW_BYTES));
    }

    /// Notes an object that was carried, was there, or can't be had.
    pub(super) fn object(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
    }

    /// What is told of it.
    pub(super) fn progress(&self, phase: &'static str, done: u64, bytes: u64) -> Progress {
        Progress { phase, done, bytes, extent: Extent::of(self.done, self.total) }
    }
}
