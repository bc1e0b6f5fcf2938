//! A store whose calls fail as told: before they do anything, or after, when the reply is lost.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Commit, CommitId, Committed, Key, MetaError, MetaRead, MetaStore, Row};
use crate::seam::Timestamp;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// With [`MetaError::Unavailable`], and nothing happened.
    Before,
    /// With [`MetaError::Unavailable`], though it happened: the reply is lost. What only reads
    /// fails likewise.
    After,
    /// With [`MetaError::Full`], and nothing happened.
    Full,
}

/// Which calls fail.
#[derive(Debug, Default)]
pub enum FaultPlan {
    /// None: calls are only counted.
    #[default]
    None,
    /// None, and before each call others run: what two read at once, both read before either writes.
    Yielding,
    /// The calls with these numbers, counted from 0 over all kinds of call.
    Script(BTreeMap<u64, Fault>),
    /// Each call with a probability, before or after its effect; repeats from its seed.
    Seeded(Box<Seeded>),
}

impl FaultPlan {
    /// Of a thousand calls about `per_mille` fail, half of them after their effect.
    pub fn seeded(seed: u64, per_mille: u32) -> Self {
        Self::Seeded(Box::new(Seeded { chance: StdRng::seed_from_u64(seed), per_mille }))
    }

    fn next(&mut self, call: u64) -> Option<Fault> {
        match self {
            Self::None | Self::Yielding => None,
            Self::Script(faults) => faults.remove(&call),
            Self::Seeded(seeded) => {
                let fails = seeded.chance.random_range(0..1000) < seeded.per_mille;
                let after = seeded.chance.random::<bool>();
                fails.then_some(if after { Fault::After } else { Fault::Before })
            }
        }
    }
}

/// The chance of a [`FaultPlan::Seeded`].
#[derive(Debug)]
pub struct Seeded {
    chance: StdRng,
    per_mille: u32,
}

/// A [`MetaStore`] around another whose calls fail by a [`FaultPlan`]. What has been asked of a
/// snapshot is not a call: only taking it is.
#[derive(Debug)]
pub struct FaultMeta<S> {
    inner: S,
    plan: Mutex<FaultPlan>,
    calls: AtomicU64,
}

impl<S> FaultMeta<S> {
    /// A store around `inner` whose calls fail by `plan`.
    pub fn new(inner: S, plan: FaultPlan) -> Self {
        Self { inner, plan: Mutex::new(plan), calls: AtomicU64::new(0) }
    }

    /// Fails by `plan` from now on. The count of calls goes on.
    pub fn set_plan(&self, plan: FaultPlan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The store inside, which does not fail.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    async fn call<T>(
        &self,
        inner: impl Future<Output = Result<T, MetaError>>,
    ) -> Result<T, MetaError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let (fault, yields) = {
            let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
            (plan.next(call), matches!(*plan, FaultPlan::Yielding))
        };
        if yields {
            tokio::task::yield_now().await;
        }
        let away = |when| MetaError::Unavailable(format!("call {call} fails {when} its effect"));
        match fault {
            None => inner.await,
            Some(Fault::Before) => Err(away("before")),
            Some(Fault::Full) => Err(MetaError::Full(format!("call {call} finds no room"))),
            Some(Fault::After) => inner.await.and_then(|_| Err(away("after"))),
        }
    }
}

#[async_trait]
impl<S: MetaStore> MetaRead for FaultMeta<S> {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        self.call(self.inner.get(key)).await
    }

    async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError> {
        self.call(self.inner.scan(range, limit)).await
    }

    async fn about_rows(&self) -> Result<Option<u64>, MetaError> {
        self.call(self.inner.about_rows()).await
    }
}

#[async_trait]
impl<S: MetaStore> MetaStore for FaultMeta<S> {
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, MetaError> {
        self.call(self.inner.get_many(keys)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, MetaError> {
        self.call(self.inner.commit(commit)).await
    }

    async fn was_committed(&self, id: CommitId) -> Result<Option<bool>, MetaError> {
        self.call(self.inner.was_committed(id)).await
    }

    async fn snapshot(&self) -> Result<Box<dyn MetaRead>, MetaError> {
        self.call(self.inner.snapshot()).await
    }

    async fn now(&self) -> Result<Timestamp, MetaError> {
        self.call(self.inner.now()).await
    }

    async fn compact(&self) -> Result<u64, MetaError> {
        self.call(self.inner.compact()).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{Append, MemoryStore, commit_surely, prefix_range};

    fn append(number: u8) -> Commit {
        let mut commit = Commit::new(CommitId([number; 16]));
        commit.append.push(Append { log: b"log".to_vec(), entry: Bytes::from(vec![number]) });
        commit
    }

    fn failing(faults: impl IntoIterator<Item = (u64, Fault)>) -> FaultMeta<MemoryStore> {
        let script = FaultPlan::Script(faults.into_iter().collect());
        FaultMeta::new(MemoryStore::default(), script)
    }

    #[tokio::test]
    async fn a_scripted_call_fails_on_the_wanted_side_of_its_effect() {
        let store = failing([(0, Fault::Before), (1, Fault::After), (3, Fault::Full)]);
        assert!(matches!(store.commit(append(1)).await, Err(MetaError::Unavailable(_))));
        assert!(matches!(store.commit(append(2)).await, Err(MetaError::Unavailable(_))));
        assert_eq!(store.was_committed(CommitId([1; 16])).await.unwrap(), Some(false));
        assert!(matches!(store.commit(append(3)).await, Err(MetaError::Full(_))));
        assert_eq!(store.was_committed(CommitId([2; 16])).await.unwrap(), Some(true));
        assert_eq!(store.calls(), 5);
    }

    #[tokio::test]
    async fn a_commit_made_sure_happens_once_whichever_call_is_lost() {
        for fault in [Fault::Before, Fault::After] {
            for call in 0..4 {
                let store = failing([(0, fault), (call, fault)]);
                let told = commit_surely(&store, append(1)).await.unwrap();
                assert_eq!(told.sequences, [0], "{fault:?} at {call}");
                let entries = store.inner().scan(prefix_range(b"log"), 10).await.unwrap();
                assert_eq!(entries.len(), 1, "{fault:?} at {call}");
            }
        }
    }

    #[tokio::test]
    async fn seeded_faults_repeat_and_leave_no_commit_twice() {
        let mut told = Vec::new();
        for _ in 0..2 {
            let store = FaultMeta::new(MemoryStore::default(), FaultPlan::seeded(7, 300));
            let mut answers = Vec::new();
            for number in 0..100 {
                answers.push(commit_surely(&store, append(number)).await.ok());
            }
            let acknowledged = answers.iter().flatten().count();
            let entries = store.inner().scan(prefix_range(b"log"), 1000).await.unwrap();
            assert!(acknowledged <= entries.len() && entries.len() <= 100);
            assert!(acknowledged > 80, "three tries outlast most faults: {acknowledged}");
            told.push((answers, store.calls()));
        }
        assert_eq!(told[0], told[1]);
    }
}
