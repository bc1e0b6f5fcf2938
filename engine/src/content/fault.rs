//! A blob store whose calls fail where a test wants them to, before or after they had their
//! effect: what comes after looks like a lost reply.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    BlobStore, ObjectEntry, ObjectKey, ObjectRead, ObjectWriter, Presigner, StoreError, Then,
    WriteState,
};

/// When a failing call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before it had any effect.
    Before,
    /// After all of its effect: the reply is lost.
    After,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// [`StoreError::Full`].
    Full,
    /// [`StoreError::Failed`], temporary or not.
    Failed {
        /// Whether it says that trying again may help.
        temporary: bool,
    },
}

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobFault {
    /// The call that fails, as [`FaultBlobs::calls`] counts: the next one is `calls()`.
    pub call: u64,
    /// When in it.
    pub when: When,
    /// With which error.
    pub how: How,
    /// Whether all calls from there on fail so.
    pub lasting: bool,
}

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    fired: u64,
    fault: Option<BlobFault>,
    reads_fail: bool,
}

/// See the page of this module. A clone is the same store.
#[derive(Debug)]
pub struct FaultBlobs<S> {
    store: Arc<S>,
    plan: Arc<Mutex<Plan>>,
}

impl<S> Clone for FaultBlobs<S> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), plan: Arc::clone(&self.plan) }
    }
}

impl<S: BlobStore> FaultBlobs<S> {
    /// Wraps `store`; nothing fails yet.
    pub fn new(store: S) -> Self {
        Self { store: Arc::new(store), plan: Arc::default() }
    }

    /// The store beneath, whose calls do not fail and are not counted.
    pub fn inner(&self) -> &S {
        &self.store
    }

    /// How many calls there were, those on writers and failed ones too.
    pub fn calls(&self) -> u64 {
        lock(&self.plan).calls
    }

    /// How many calls were made to fail.
    pub fn faults(&self) -> u64 {
        lock(&self.plan).fired
    }

    /// Makes calls fail, in the place of what was planned before.
    pub fn fail(&self, fault: BlobFault) {
        lock(&self.plan).fault = Some(fault);
    }

    /// Makes each read fail from now on, or lets it succeed again: sectors that can't be read, of
    /// objects that are there.
    pub fn fail_reads(&self, fail: bool) {
        lock(&self.plan).reads_fail = fail;
    }

    /// Lets all calls succeed again.
    pub fn heal(&self) {
        lock(&self.plan).fault = None;
    }
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a call and runs it, failing as planned.
async fn run<T>(
    plan: &Mutex<Plan>,
    key: &ObjectKey,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let fault = {
        let mut plan = lock(plan);
        let number = plan.calls;
        plan.calls += 1;
        let hit =
            |fault: &BlobFault| number == fault.call || (fault.lasting && number > fault.call);
        let fault = plan.fault.filter(hit);
        plan.fired += u64::from(fault.is_some());
        fault
    };
    let Some(fault) = fault else { return call.await };
    if fault.when == When::After {
        call.await?;
    }
    let (key, reason) = (key.clone(), "a planned fault".to_owned());
    Err(match fault.how {
        How::Full => StoreError::Full { key, reason },
        How::Failed { temporary } => StoreError::Failed { key, reason, temporary },
    })
}

struct FaultWriter {
    writer: Box<dyn ObjectWriter>,
    plan: Arc<Mutex<Plan>>,
    key: ObjectKey,
}

#[async_trait]
impl ObjectWriter for FaultWriter {
    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), StoreError> {
        run(&self.plan, &self.key, self.writer.write(batch)).await
    }

    async fn checkpoint(&mut self, then: Then) -> Result<WriteState, StoreError> {
        run(&self.plan, &self.key, self.writer.checkpoint(then)).await
    }

    async fn advance(&mut self, least: u64) -> Result<Option<WriteState>, StoreError> {
        run(&self.plan, &self.key, self.writer.advance(least)).await
    }

    fn is_edge(&self) -> bool {
        self.writer.is_edge()
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for FaultBlobs<S> {
    async fn start(&self, unfinished: &ObjectKey) -> Result<WriteState, StoreError> {
        run(&self.plan, unfinished, self.store.start(unfinished)).await
    }

    /// Asks nobody, so it never fails and is not counted.
    fn claim(&self, state: &WriteState, nonce: u64) -> Result<Option<WriteState>, StoreError> {
        self.store.claim(state, nonce)
    }

    async fn resume(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
    ) -> Result<Box<dyn ObjectWriter>, StoreError> {
        let writer = run(&self.plan, unfinished, self.store.resume(unfinished, state)).await?;
        let (plan, key) = (Arc::clone(&self.plan), unfinished.clone());
        Ok(Box::new(FaultWriter { writer, plan, key }))
    }

    async fn finish(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
        finished: &ObjectKey,
    ) -> Result<ObjectKey, StoreError> {
        run(&self.plan, unfinished, self.store.finish(unfinished, state, finished)).await
    }

    async fn tidy(&self, finished: &ObjectKey, state: &WriteState) -> Result<(), StoreError> {
        run(&self.plan, finished, self.store.tidy(finished, state)).await
    }

    async fn abort(&self, unfinished: &ObjectKey, state: &WriteState) -> Result<(), StoreError> {
        run(&self.plan, unfinished, self.store.abort(unfinished, state)).await
    }

    async fn settle(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        run(&self.plan, from, self.store.settle(from, to)).await
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        run(&self.plan, key, self.store.put(key, bytes)).await
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<ObjectRead, StoreError> {
        if lock(&self.plan).reads_fail {
            let (key, reason) = (key.clone(), "a sector that can't be read".to_owned());
            return Err(StoreError::Failed { key, reason, temporary: false });
        }
        run(&self.plan, key, self.store.read(key, range)).await
    }

    async fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        run(&self.plan, key, self.store.stat(key)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        run(&self.plan, key, self.store.delete(key)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectEntry>, StoreError> {
        let all = ObjectKey("all-objects".to_owned());
        run(&self.plan, &all, self.store.list(prefix, after, limit)).await
    }

    /// Never fails, and is not counted.
    async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        self.store.free_bytes().await
    }

    /// Never fails, and is not counted.
    fn presigner(&self) -> Option<&dyn Presigner> {
        self.store.presigner()
    }
}

#[cfg(test)]
mod tests {
    use super::super::opendal::OpendalStore;
    use super::super::suite;
    use super::*;

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    #[tokio::test]
    async fn without_a_plan_it_behaves_as_every_store_must() {
        let store = FaultBlobs::new(OpendalStore::memory().unwrap());
        suite::all(|| async { Arc::new(store.clone()) as suite::Shared }).await;
        assert!(store.calls() > 100);
        assert_eq!(store.faults(), 0);
    }

    #[tokio::test]
    async fn a_call_fails_before_or_after_its_effect() {
        let store = FaultBlobs::new(OpendalStore::memory().unwrap());
        let there = async |text| store.inner().stat(&key(text)).await.unwrap().is_some();
        let how = How::Failed { temporary: true };
        for (text, when) in [("before", When::Before), ("after", When::After)] {
            store.fail(BlobFault { call: store.calls(), when, how, lasting: false });
            let result = store.put(&key(text), Bytes::from_static(b"1")).await;
            assert!(matches!(result, Err(StoreError::Failed { temporary: true, .. })));
            assert_eq!(there(text).await, when == When::After);
            store.stat(&key(text)).await.unwrap();
        }
        assert_eq!((store.calls(), store.faults()), (4, 2));
    }

    #[tokio::test]
    async fn a_lasting_fault_hits_writers_too_until_it_is_healed() {
        let store = FaultBlobs::new(OpendalStore::memory().unwrap());
        let state = store.start(&key("a")).await.unwrap();
        let mut writer = store.resume(&key("a"), &state).await.unwrap();
        let call = store.calls() + 1;
        store.fail(BlobFault { call, when: When::Before, how: How::Full, lasting: true });
        writer.write(vec![Bytes::from_static(b"1")]).await.unwrap();
        assert!(matches!(writer.checkpoint(Then::Writes).await, Err(StoreError::Full { .. })));
        assert!(matches!(store.list("", None, 1).await, Err(StoreError::Full { .. })));
        store.heal();
        assert_eq!(writer.checkpoint(Then::Writes).await.unwrap().offset, 1);
    }
}
