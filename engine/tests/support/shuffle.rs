//! Stores that let others run before they answer, as a seed decides: what a real disk does to the
//! order of things, but repeatable.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_engine::content::{
    BlobStore, ObjectEntry, ObjectKey, ObjectRead, ObjectWriter, StoreError, WriteState,
};
use strongroom_engine::meta::{
    Commit, CommitId, Committed, Key, MetaError, MetaRead, MetaStore, Row,
};
use strongroom_engine::seam::Timestamp;

/// How many times a call may let others run.
const MOST: u32 = 4;

/// A store around another.
#[derive(Debug, Clone)]
pub struct Shuffled<S: ?Sized> {
    chance: Arc<Mutex<StdRng>>,
    inner: Arc<S>,
}

impl<S: ?Sized> Shuffled<S> {
    pub fn new(inner: Arc<S>, seed: u64) -> Self {
        Self { inner, chance: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    async fn pause(&self) {
        let times = self.chance.lock().unwrap().random_range(0..MOST);
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl<S: MetaStore + ?Sized> MetaRead for Shuffled<S> {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        self.pause().await;
        self.inner.get(key).await
    }

    async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError> {
        self.pause().await;
        self.inner.scan(range, limit).await
    }
}

#[async_trait]
impl<S: MetaStore + ?Sized> MetaStore for Shuffled<S> {
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, MetaError> {
        self.pause().await;
        self.inner.get_many(keys).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, MetaError> {
        self.pause().await;
        let answer = self.inner.commit(commit).await;
        self.pause().await;
        answer
    }

    async fn was_committed(&self, id: CommitId) -> Result<Option<bool>, MetaError> {
        self.inner.was_committed(id).await
    }

    async fn snapshot(&self) -> Result<Box<dyn MetaRead>, MetaError> {
        self.inner.snapshot().await
    }

    async fn now(&self) -> Result<Timestamp, MetaError> {
        self.inner.now().await
    }

    async fn compact(&self) -> Result<u64, MetaError> {
        self.inner.compact().await
    }

    fn is_serving(&self) -> Result<(), MetaError> {
        self.inner.is_serving()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn revision(&self) -> Option<u64> {
        self.inner.revision()
    }
}

#[async_trait]
impl<S: BlobStore + ?Sized> BlobStore for Shuffled<S> {
    async fn start(&self, unfinished: &ObjectKey) -> Result<WriteState, StoreError> {
        self.pause().await;
        self.inner.start(unfinished).await
    }

    fn claim(&self, state: &WriteState, nonce: u64) -> Result<Option<WriteState>, StoreError> {
        self.inner.claim(state, nonce)
    }

    async fn resume(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
    ) -> Result<Box<dyn ObjectWriter>, StoreError> {
        self.pause().await;
        self.inner.resume(unfinished, state).await
    }

    async fn finish(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
        finished: &ObjectKey,
    ) -> Result<ObjectKey, StoreError> {
        self.pause().await;
        let answer = self.inner.finish(unfinished, state, finished).await;
        self.pause().await;
        answer
    }

    async fn tidy(&self, finished: &ObjectKey, state: &WriteState) -> Result<(), StoreError> {
        self.pause().await;
        self.inner.tidy(finished, state).await
    }

    async fn abort(&self, unfinished: &ObjectKey, state: &WriteState) -> Result<(), StoreError> {
        self.pause().await;
        self.inner.abort(unfinished, state).await
    }

    async fn settle(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        self.pause().await;
        self.inner.settle(from, to).await
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        self.pause().await;
        let answer = self.inner.put(key, bytes).await;
        self.pause().await;
        answer
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<ObjectRead, StoreError> {
        self.pause().await;
        self.inner.read(key, range).await
    }

    async fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.pause().await;
        self.inner.stat(key).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.pause().await;
        let answer = self.inner.delete(key).await;
        self.pause().await;
        answer
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectEntry>, StoreError> {
        self.pause().await;
        self.inner.list(prefix, after, limit).await
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        self.inner.free_bytes().await
    }
}
