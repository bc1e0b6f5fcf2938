//! The engine over a store that does what a bucket does: it finishes objects where they were
//! uploaded, takes claims, shows writes under way, and makes URLs.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::support::{World, body, sha256};
use crate::access::Action;
use crate::audit::EventKind;
use crate::content::opendal::OpendalStore;
use crate::content::{
    BlobStore, ObjectEntry, ObjectKey, ObjectRead, ObjectWriter, Presigner, StoreError, WriteState,
};
use crate::gc::CollectOptions;
use crate::id::{OrganisationId, SessionId};
use crate::keys::object;
use crate::{Chunk, Engine, Error};

const ACME: OrganisationId = OrganisationId(1);
const LISTED: &[u8] = b"listed";

#[derive(Debug)]
struct Bucket {
    objects: OpendalStore,
    under_way: Mutex<Vec<ObjectKey>>,
}

impl Bucket {
    fn new() -> Arc<Self> {
        let objects = OpendalStore::memory().unwrap();
        Arc::new(Self { objects, under_way: Mutex::default() })
    }

    async fn keys(&self) -> Vec<ObjectKey> {
        let entries = self.list("", None, 100).await.unwrap();
        let keys = entries.into_iter().map(|entry| entry.key);
        // But for what says the epoch.
        keys.filter(|key| crate::keys::object::parse_epoch(key).is_none()).collect()
    }
}

#[async_trait]
impl BlobStore for Bucket {
    async fn start(&self, unfinished: &ObjectKey) -> Result<WriteState, StoreError> {
        self.objects.start(unfinished).await
    }

    fn claim(&self, state: &WriteState, _nonce: u64) -> Result<Option<WriteState>, StoreError> {
        Ok(Some(state.clone()))
    }

    async fn resume(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
    ) -> Result<Box<dyn ObjectWriter>, StoreError> {
        self.objects.resume(unfinished, state).await
    }

    async fn finish(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
        _finished: &ObjectKey,
    ) -> Result<ObjectKey, StoreError> {
        self.objects.finish(unfinished, state, unfinished).await
    }

    async fn abort(&self, unfinished: &ObjectKey, state: &WriteState) -> Result<(), StoreError> {
        self.under_way.lock().unwrap().retain(|key| key != unfinished);
        if state.state == LISTED {
            return Ok(());
        }
        self.objects.abort(unfinished, state).await
    }

    async fn settle(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        self.objects.settle(from, to).await
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        self.objects.put(key, bytes).await
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<ObjectRead, StoreError> {
        self.objects.read(key, range).await
    }

    async fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.objects.stat(key).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.objects.delete(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectEntry>, StoreError> {
        let mut entries = self.objects.list(prefix, after, limit).await?;
        for key in self.under_way.lock().unwrap().iter().filter(|key| Some(*key) > after) {
            let write = WriteState { offset: 0, state: LISTED.to_vec() };
            entries.push(ObjectEntry { key: key.clone(), size: 0, unfinished: Some(write) });
        }
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(entries)
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    fn presigner(&self) -> Option<&dyn Presigner> {
        Some(self)
    }
}

#[async_trait]
impl Presigner for Bucket {
    async fn presign(
        &self,
        key: &ObjectKey,
        expires: Duration,
        content_type: &str,
    ) -> Result<String, StoreError> {
        Ok(format!("{key}?{}&{content_type}", expires.as_secs()))
    }
}

async fn push_chunked(engine: &World, bytes: &[u8]) -> SessionId {
    let repository = engine.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    repository.append(upload.id, Chunk::default(), body(bytes)).await.unwrap();
    repository.finish_upload(upload.id, &sha256(bytes)).await.unwrap();
    upload.id
}

async fn read(world: &World, bytes: &[u8]) -> Vec<u8> {
    let repository = world.open("api", Action::Pull).await.unwrap();
    let blob = repository.blob(&sha256(bytes)).await.unwrap();
    let ObjectRead::Stream(stream) = blob.read(0..bytes.len() as u64).await.unwrap() else {
        panic!("no file here")
    };
    stream.map(|chunk| chunk.unwrap()).collect::<Vec<_>>().await.concat()
}

async fn collect(world: &World) -> crate::gc::CollectReport {
    world.engine.collect(&CollectOptions::default(), &|_| {}).await.unwrap()
}

#[tokio::test]
async fn a_chunked_upload_gets_to_its_place_behind_the_request() {
    let store = Bucket::new();
    let world = World::over(store.clone()).await;
    let id = push_chunked(&world, b"a layer").await;
    world.engine.core.moves.idle().await;

    let place = object::settled(ACME, &sha256(b"a layer"), id);
    let flying = object::in_flight(ACME, id);
    assert_eq!(store.keys().await, [flying, place.clone()]);
    assert_eq!(read(&world, b"a layer").await, b"a layer");
    // Where it lay it stays until nobody can be reading it there any more.
    assert_eq!(collect(&world).await.orphans.count, 0);
    world.clock.advance(world.engine.core.settings.delete_delay);
    assert_eq!(collect(&world).await.orphans.count, 1);
    assert_eq!(store.keys().await, [place]);
    assert_eq!(read(&world, b"a layer").await, b"a layer");
}

#[tokio::test]
async fn what_was_not_moved_when_the_process_ended_a_collection_moves() {
    let store = Bucket::new();
    let world = World::over(store.clone()).await;
    world.engine.close().await.unwrap();
    let id = push_chunked(&world, b"a layer").await;
    assert_eq!(store.keys().await, [object::in_flight(ACME, id)]);
    // Long after it was pushed, and just after somebody was sent there.
    world.clock.advance(2 * world.engine.core.settings.delete_delay);

    let report = collect(&world).await;

    assert_eq!((report.settled.count, report.orphans.count), (1, 0));
    assert_eq!(store.keys().await.len(), 2);
    assert_eq!(read(&world, b"a layer").await, b"a layer");
}

#[tokio::test]
async fn a_node_that_stalled_can_not_go_on_after_another_took_over() {
    let store = Bucket::new();
    let world = World::over(store.clone()).await;
    let meta = Arc::clone(&world.engine.core.meta);
    let other = Engine::builder(meta, store).build().await.unwrap();
    let path = "acme/main/api".parse().unwrap();
    let here = world.open("api", Action::Push).await.unwrap();
    let there = other.repository(&world.caller, &path, Action::Push).await.unwrap();
    let upload = here.start_upload(None, None).await.unwrap();
    here.append(upload.id, Chunk::default(), body(b"begun, ")).await.unwrap();

    let (wake, stalled) = tokio::sync::oneshot::channel();
    let slow = stream::once(async move {
        stalled.await.unwrap();
        Ok::<_, Error>(Bytes::from_static(b"stalled"))
    });
    let id = upload.id;
    let stalled = tokio::spawn(async move { here.append(id, Chunk::default(), slow).await });
    tokio::task::yield_now().await;
    let taken = there.append(id, Chunk::default(), body(b"taken over")).await.unwrap();
    assert_eq!(taken.offset, 17);
    wake.send(()).unwrap();

    assert!(matches!(stalled.await.unwrap(), Err(Error::UploadBusy { .. })));
    there.finish_upload(id, &sha256(b"begun, taken over")).await.unwrap();
    assert_eq!(read(&world, b"begun, taken over").await, b"begun, taken over");
}

#[tokio::test]
async fn a_write_under_way_is_given_up_once_its_session_is_gone_and_its_object_stays() {
    let store = Bucket::new();
    let world = World::over(store.clone()).await;
    let digest = world.push_blob("api", b"a layer").await;
    let place = store.keys().await.remove(0);
    let repository = world.open("api", Action::Push).await.unwrap();
    let going_on = object::in_flight(ACME, repository.start_upload(None, None).await.unwrap().id);
    // What a node that lost the race for a session began too, and one of a session of old.
    let lost = object::in_flight(ACME, SessionId([7; 16]));
    store.under_way.lock().unwrap().extend([place.clone(), lost, going_on.clone()]);

    let report = collect(&world).await;

    assert_eq!(report.orphans.count, 2);
    assert_eq!(*store.under_way.lock().unwrap(), [going_on]);
    assert_eq!(store.stat(&place).await.unwrap(), Some(7));
    assert_eq!(read(&world, b"a layer").await, b"a layer", "{digest}");
}

#[tokio::test]
async fn a_url_is_a_pull_of_the_trail_and_lives_no_longer_than_its_object() {
    let store = Bucket::new();
    let world = World::over(store.clone()).await;
    let digest = world.push_blob("api", b"a layer").await;
    let repository = world.open("api", Action::Pull).await.unwrap();
    let blob = repository.blob(&digest).await.unwrap();
    let mut events = world.engine.subscribe();

    let url = blob.url(Duration::from_mins(1), "text/plain").await.unwrap().unwrap();
    let long = blob.url(Duration::from_hours(99), "text/plain").await.unwrap().unwrap();

    let place = store.keys().await.remove(0);
    assert_eq!(url, format!("{place}?60&text/plain"));
    assert_eq!(long, format!("{place}?3600&text/plain"));
    world.engine.flush().await.unwrap();
    let line = events.recv().await.unwrap();
    assert!(
        matches!(line.kind, EventKind::Pulled { digest: pulled, count: 2, .. } if pulled == digest)
    );
}

#[tokio::test]
async fn a_store_without_urls_has_none() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"a layer").await;
    let repository = world.open("api", Action::Pull).await.unwrap();
    let blob = repository.blob(&digest).await.unwrap();
    assert_eq!(blob.url(Duration::from_mins(1), "text/plain").await.unwrap(), None);
}
