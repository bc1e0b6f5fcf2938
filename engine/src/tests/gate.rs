//! A metadata store that stops one read, or the reply to one commit, until a test lets it go on,
//! and that remembers what was committed.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::meta::{
    Commit, CommitId, Committed, Key, MemoryStore, MetaError, MetaRead, MetaStore, Row,
};
use crate::seam::Timestamp;

/// Stops the first read of a manifest's row once it is armed, or the first reply to a commit.
/// Remembers all commits that happened.
#[derive(Debug)]
pub(crate) struct Gate {
    inner: MemoryStore,
    armed: AtomicBool,
    armed_commit: AtomicBool,
    reached: Notify,
    open: Notify,
    committed: Mutex<Vec<Commit>>,
    before: Mutex<Option<Commit>>,
    shared: AtomicBool,
    panics: AtomicBool,
    asked: Mutex<Vec<Asked>>,
}

/// One call, and how many rows it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Get(usize),
    Scan(usize),
    Commit(usize),
}

impl Gate {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        let (armed, armed_commit) = (false.into(), false.into());
        let (reached, open) = (Notify::new(), Notify::new());
        let (committed, before) = (Mutex::default(), Mutex::default());
        let (shared, panics, asked) = (false.into(), false.into(), Mutex::default());
        Self { inner, armed, armed_commit, reached, open, committed, before, shared, panics, asked }
    }

    /// Says from now on that other processes may use it too.
    pub(crate) fn share(&self) {
        self.shared.store(true, Ordering::SeqCst);
    }

    /// From now on the next question for the time panics.
    pub(crate) fn panic_at_the_next_look_at_the_clock(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    /// From now on the next read of a manifest's row stops.
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// From now on the next commit stops when it is done, before it replies.
    pub(crate) fn arm_commit(&self) {
        self.armed_commit.store(true, Ordering::SeqCst);
    }

    /// What was committed since the last call.
    pub(crate) fn committed(&self) -> Vec<Commit> {
        std::mem::take(&mut self.committed.lock().unwrap())
    }

    /// What was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn note(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
    }

    /// Somebody else's commit, which comes just before the next one.
    pub(crate) fn slip_in(&self, commit: Commit) {
        *self.before.lock().unwrap() = Some(commit);
    }

    /// Waits until something has stopped.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets what has stopped go on.
    pub(crate) fn open(&self) {
        self.open.notify_one();
    }
}

#[async_trait]
impl MetaRead for Gate {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        // `o`, organisation, `r`, repository, and the kind of row.
        let manifest = key.first() == Some(&b'o') && key.get(18) == Some(&b'm');
        if manifest && self.armed.swap(false, Ordering::SeqCst) {
            self.reached.notify_one();
            self.open.notified().await;
        }
        self.note(Asked::Get(1));
        self.inner.get(key).await
    }

    async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError> {
        let rows = self.inner.scan(range, limit).await?;
        self.note(Asked::Scan(rows.len()));
        Ok(rows)
    }
}

#[async_trait]
impl MetaStore for Gate {
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, MetaError> {
        self.note(Asked::Get(keys.len()));
        self.inner.get_many(keys).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, MetaError> {
        let before = self.before.lock().unwrap().take();
        if let Some(before) = before {
            self.inner.commit(before).await.unwrap();
        }
        self.note(Asked::Commit(commit.put.len() + commit.delete.len()));
        let copy = commit.clone();
        let committed = self.inner.commit(commit).await;
        if committed.is_ok() {
            self.committed.lock().unwrap().push(copy);
        }
        if self.armed_commit.swap(false, Ordering::SeqCst) {
            self.reached.notify_one();
            self.open.notified().await;
        }
        committed
    }

    async fn was_committed(&self, id: CommitId) -> Result<Option<bool>, MetaError> {
        self.inner.was_committed(id).await
    }

    async fn snapshot(&self) -> Result<Box<dyn MetaRead>, MetaError> {
        self.inner.snapshot().await
    }

    async fn now(&self) -> Result<Timestamp, MetaError> {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "as the test asked for");
        self.inner.now().await
    }

    async fn compact(&self) -> Result<u64, MetaError> {
        self.inner.compact().await
    }

    fn is_shared(&self) -> bool {
        self.shared.load(Ordering::SeqCst)
    }
}
