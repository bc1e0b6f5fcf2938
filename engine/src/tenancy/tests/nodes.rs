//! Giving tenants up from several nodes at once, each stopped between its steps.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Town, caller, organisation, push, registry};
use crate::access::Action;
use crate::digest::Digest;
use crate::meta::{
    Commit, CommitId, Committed, Key, MemoryStore, MetaError, MetaRead, MetaStore, RedbStore, Row,
};
use crate::seam::{Seams, Timestamp};
use crate::tenancy::purge::{Bounds, purge};
use crate::{Engine, Error, keys};

/// One node's way to the store that all share: it stops before a commit that a test names.
#[derive(Debug)]
struct Node {
    inner: Arc<dyn MetaStore>,
    /// Stops before the commit that writes this key, once so many of them went by.
    stop: Mutex<Option<(Key, usize)>>,
    stopped: Notify,
    go_on: Notify,
}

impl Node {
    fn new(inner: &Arc<dyn MetaStore>) -> Arc<Self> {
        let (stop, stopped, go_on) = (Mutex::default(), Notify::new(), Notify::new());
        Arc::new(Self { inner: inner.clone(), stop, stopped, go_on })
    }

    /// From now on it stops before the `n`th commit, from 0, that writes `key`.
    fn stop_before(&self, key: Key, n: usize) {
        *self.stop.lock().unwrap() = Some((key, n));
    }

    fn stops_at(&self, commit: &Commit) -> bool {
        let mut stop = self.stop.lock().unwrap();
        let Some((key, left)) = &mut *stop else { return false };
        if !commit.put.iter().any(|(put, _)| put == key) && !commit.delete.contains(key) {
            return false;
        }
        if *left > 0 {
            *left -= 1;
            return false;
        }
        *stop = None;
        true
    }
}

#[async_trait]
impl MetaRead for Node {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        self.inner.get(key).await
    }

    async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError> {
        self.inner.scan(range, limit).await
    }
}

#[async_trait]
impl MetaStore for Node {
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, MetaError> {
        self.inner.get_many(keys).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, MetaError> {
        if self.stops_at(&commit) {
            self.stopped.notify_one();
            self.go_on.notified().await;
        }
        self.inner.commit(commit).await
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

    fn is_shared(&self) -> bool {
        true
    }
}

/// What several nodes share, with `acme/main` in it, in memory and in a file.
async fn towns() -> Vec<(Town, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let seams = Seams::default();
    let file = RedbStore::open(folder.path().join("meta.redb"), seams.clock.clone()).unwrap();
    vec![
        (Town::over(Arc::new(MemoryStore::new(&seams))).await, None),
        (Town::over(Arc::new(file)).await, Some(folder)),
    ]
}

impl Town {
    /// Another node of the same installation.
    async fn node(&self) -> (Engine, Arc<Node>) {
        let node = Node::new(&self.meta);
        let meta: Arc<dyn MetaStore> = node.clone();
        (super::build(&meta, &self.blobs, &self.seams).await, node)
    }

    async fn is_there(&self, path: &str, digest: &Digest) -> bool {
        let (engine, path) = (self.restarted().await, path.parse().unwrap());
        match engine.repository(&caller("ann"), &path, Action::Pull).await {
            Ok(repository) => repository.stat_blob(digest).await.is_ok(),
            Err(_) => false,
        }
    }
}

/// Two deletions of what has `row`, each at its node, while something comes at a third: `come` pushes it.
async fn looked_too_early(
    town: &Town,
    row: Key,
    deletion: impl Fn(Engine) -> JoinHandle<Result<(), Error>>,
    come: impl AsyncFnOnce(&Engine) -> Digest,
) -> Digest {
    let ((a, a_store), (b, _), (c, c_store)) =
        (town.node().await, town.node().await, town.node().await);
    // One closes it, sees that nothing is in there, and is held up before it says so.
    a_store.stop_before(row.clone(), 1);
    let first = deletion(a);
    a_store.stopped.notified().await;
    // It is made live again, as by a node that starts.
    purge(&b.core, Bounds::default()).await.unwrap();
    // Another is about to close it, and has seen that nothing is in there …
    c_store.stop_before(row.clone(), 0);
    let second = deletion(c);
    c_store.stopped.notified().await;
    // … when something comes.
    let pushed = come(&b).await;
    c_store.stop_before(row, 0);
    c_store.go_on.notify_one();
    c_store.stopped.notified().await;

    a_store.go_on.notify_one();
    let first = first.await.unwrap();
    c_store.go_on.notify_one();
    let second = second.await.unwrap();

    assert!(matches!(first, Err(Error::NotEmpty { .. })), "{first:?}");
    assert!(matches!(second, Err(Error::NotEmpty { .. })), "{second:?}");
    pushed
}

#[tokio::test]
async fn a_look_into_a_registry_counts_only_for_the_closing_it_was_taken_under() {
    for (town, _folder) in towns().await {
        let (acme, main) = (organisation("acme"), registry("main"));
        let organisation = town.engine.organisation(&caller("ann"), &acme).await.unwrap().id;
        let id = town.engine.registry(&caller("ann"), &acme, &main).await.unwrap().id;
        let deletion = |engine: Engine| {
            let (acme, main) = (acme.clone(), main.clone());
            tokio::spawn(async move {
                engine.delete_registry(&caller("ann"), &acme, &main, false).await
            })
        };
        let come = async |b: &Engine| push(b, "acme/main/app", b"acknowledged").await.unwrap();
        let row = keys::registry(organisation, id);
        let pushed = looked_too_early(&town, row, deletion, come).await;
        assert!(town.is_there("acme/main/app", &pushed).await);
    }
}

#[tokio::test]
async fn a_look_into_an_organisation_counts_only_for_the_closing_it_was_taken_under() {
    for (town, _folder) in towns().await {
        let (ann, acme, main) = (caller("ann"), organisation("acme"), registry("main"));
        town.engine.delete_registry(&ann, &acme, &main, false).await.unwrap();
        let id = town.engine.organisation(&ann, &acme).await.unwrap().id;
        let deletion = |engine: Engine| {
            let acme = acme.clone();
            tokio::spawn(
                async move { engine.delete_organisation(&caller("ann"), &acme, false).await },
            )
        };
        let come = async |b: &Engine| {
            let settings = crate::tenancy::RegistrySettings::default();
            b.create_registry(&ann, &acme, &registry("other"), settings).await.unwrap();
            push(b, "acme/other/app", b"acknowledged").await.unwrap()
        };
        let pushed = looked_too_early(&town, keys::organisation(id), deletion, come).await;
        assert!(town.is_there("acme/other/app", &pushed).await);
    }
}

#[tokio::test]
async fn a_deletion_that_was_overtaken_spares_what_has_the_name_now() {
    for (town, _folder) in towns().await {
        let ann = caller("ann");
        let old = town.push("acme/main/app", b"old").await.unwrap();
        let (acme, main) = (organisation("acme"), registry("main"));
        let id = town.engine.organisation(&ann, &acme).await.unwrap().id;
        let main = town.engine.registry(&ann, &acme, &main).await.unwrap().id;
        let name = keys::repository_name(id, main, "app");
        let ((a, a_store), (b, _)) = (town.node().await, town.node().await);
        let path = "acme/main/app".parse().unwrap();
        a_store.stop_before(name, 0);
        let overtaken = tokio::spawn({
            let path = "acme/main/app".parse().unwrap();
            async move { a.delete_repository(&caller("ann"), &path).await }
        });
        a_store.stopped.notified().await;
        b.delete_repository(&ann, &path).await.unwrap();
        let new = push(&b, "acme/main/app", b"new").await.unwrap();

        a_store.go_on.notify_one();
        let overtaken = overtaken.await.unwrap();

        assert!(matches!(overtaken, Err(Error::NameUnknown { .. })), "{overtaken:?}");
        assert!(town.is_there("acme/main/app", &new).await);
        assert!(!town.is_there("acme/main/app", &old).await);
    }
}
