//! A store in memory: for tests, simulations and embedders who keep nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use bytes::Bytes;

use super::log::{self, Head};
use super::plan::{self, View};
use super::recent::Recent;
use super::{Commit, CommitId, Committed, Key, MAX_SCAN_ROWS, MetaError, MetaRead, MetaStore, Row};
use crate::seam::{Clock, Seams, Timestamp};

type Rows = BTreeMap<Key, Bytes>;

/// Keeps every promise of [`MetaStore`] but one: nothing outlives the process.
#[derive(Debug)]
pub struct MemoryStore {
    state: RwLock<State>,
    revision: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// The rows are shared with the snapshots: a commit copies them once where a snapshot still looks.
#[derive(Debug, Default)]
struct State {
    rows: Arc<Rows>,
    recent: Recent,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(&Seams::default())
    }
}

impl MemoryStore {
    /// An empty store whose time is that of `seams`.
    pub fn new(seams: &Seams) -> Self {
        let revision = AtomicU64::default();
        Self { state: RwLock::default(), revision, clock: seams.clock.clone() }
    }

    /// Nothing in here stops half way, so a panic elsewhere leaves the rows whole.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View for &Rows {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn head(&mut self, log: &[u8]) -> Result<Head, MetaError> {
        let last = self
            .range(log::entry_key(log, 0)..=log::entry_key(log, u64::MAX))
            .rev()
            .find(|(key, _)| log::entry_sequence(log, key).is_some());
        let Some((key, value)) = last else {
            return Ok(Head::empty(log));
        };
        Head::after(log, key, value).ok_or_else(|| log::damaged(log))
    }
}

fn scan(rows: &Rows, range: Range<Key>, limit: usize) -> Vec<Row> {
    if range.is_empty() {
        return Vec::new();
    }
    let limit = limit.min(MAX_SCAN_ROWS);
    rows.range(range).take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[async_trait]
impl MetaRead for MemoryStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        Ok(self.read().rows.get(key).cloned())
    }

    async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError> {
        Ok(scan(&self.read().rows, range, limit))
    }

    async fn about_rows(&self) -> Result<Option<u64>, MetaError> {
        Ok(Some(self.read().rows.len() as u64))
    }
}

#[async_trait]
impl MetaStore for MemoryStore {
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, MetaError> {
        let state = self.read();
        Ok(keys.iter().map(|key| state.rows.get(key).cloned()).collect())
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, MetaError> {
        plan::measure(&commit)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let id = commit.id;
        if let Some(committed) = state.recent.get(id) {
            return Ok(committed);
        }
        let plan = plan::plan(commit, &mut &*state.rows)?;
        let rows = Arc::make_mut(&mut state.rows);
        for (key, value) in plan.writes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        let committed = Committed { sequences: plan.sequences };
        state.recent.insert(id, &committed);
        self.revision.fetch_add(1, Ordering::SeqCst);
        Ok(committed)
    }

    async fn was_committed(&self, id: CommitId) -> Result<Option<bool>, MetaError> {
        Ok(self.read().recent.contains(id))
    }

    async fn snapshot(&self) -> Result<Box<dyn MetaRead>, MetaError> {
        Ok(Box::new(Snapshot(self.read().rows.clone())))
    }

    async fn now(&self) -> Result<Timestamp, MetaError> {
        Ok(self.clock.now())
    }

    async fn compact(&self) -> Result<u64, MetaError> {
        Ok(0)
    }

    fn revision(&self) -> Option<u64> {
        Some(self.revision.load(Ordering::SeqCst))
    }
}

struct Snapshot(Arc<Rows>);

#[async_trait]
impl MetaRead for Snapshot {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        Ok(self.0.get(key).cloned())
    }

    async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError> {
        Ok(scan(&self.0, range, limit))
    }

    async fn about_rows(&self) -> Result<Option<u64>, MetaError> {
        Ok(Some(self.0.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::suite;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn memory_keeps_the_promises() {
        suite::run(async || Arc::new(MemoryStore::default())).await;
    }
}
