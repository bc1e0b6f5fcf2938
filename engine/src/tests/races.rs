//! Requests that meet.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::gate::Gate;
use super::support::{World, body, image, sha256};
use crate::access::{Action, Caller, PrincipalId};
use crate::audit::EventKind;
use crate::change::{Attempt, retry};
use crate::content::opendal::OpendalStore;
use crate::id::OrganisationId;
use crate::meta::fault::{Fault, FaultMeta, FaultPlan};
use crate::meta::{Commit, CommitId, MemoryStore, MetaRead, MetaStore};
use crate::name::Tag;
use crate::records::{FormatRecord, Record};
use crate::seam::Timestamp;
use crate::{Chunk, Engine, Error, FORMAT_VERSION, keys};

#[tokio::test]
async fn a_tag_that_moves_on_is_never_absent() {
    let world = Arc::new(World::new().await);
    let old = world.push_image("api", b"layer 0", "latest").await;
    world.gate.arm();
    // A pull has read the tag, and is about to read what it points at …
    let pull = tokio::spawn({
        let world = Arc::clone(&world);
        async move {
            // Past the cache, which would ask again by itself.
            let repository = world.open("api", Action::Pull).await.unwrap();
            let (organisation, id) = (repository.scope.organisation, repository.id().unwrap());
            let latest = "latest".parse().unwrap();
            world.engine.core.load_manifest(organisation, id, &latest).await
        }
    });
    world.gate.reached().await;
    // … when the tag moves on and what it pointed at is deleted.
    let new = world.push_image("api", b"layer 1", "latest").await;
    let repository = world.open("api", Action::Delete).await.unwrap();
    repository.delete_manifest(&old).await.unwrap();
    world.gate.open();
    assert_eq!(pull.await.unwrap().unwrap().digest, new);
}

#[tokio::test]
async fn what_a_request_changed_shows_although_the_request_was_given_up() {
    let world = Arc::new(World::new().await);
    world.push_image("api", b"layer 0", "latest").await;
    let new = world.push_image("api", b"layer 1", "v1").await;
    // The tag is read, and cached.
    assert_ne!(world.digest_of("api", "latest").await.unwrap(), new);
    let mut events = world.engine.subscribe();
    world.gate.arm_commit();
    let moving = tokio::spawn({
        let world = Arc::clone(&world);
        let manifest = image(&sha256(b"{}"), 2, &sha256(b"layer 1"), 7);
        async move { world.push_manifest("api", &manifest, &["latest"]).await }
    });
    world.gate.reached().await;
    // The tag has moved, but nobody was told yet when the client goes away.
    moving.abort();
    moving.await.unwrap_err();
    world.gate.open();
    let event = events.recv().await.unwrap();
    assert!(matches!(event.kind, EventKind::ManifestPushed { .. }), "{event:?}");
    assert_eq!(world.digest_of("api", "latest").await.unwrap(), new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_finish_one_upload_all_are_told_or_turned_away_and_it_counts_once() {
    let world = Arc::new(World::new().await);
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    repository.append(upload.id, Chunk::default(), body(b"hello")).await.unwrap();
    let racers = (0..50).map(|_| {
        let repository = repository.clone();
        tokio::spawn(async move { repository.finish_upload(upload.id, &sha256(b"hello")).await })
    });
    let mut finished = 0;
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            Ok(info) => {
                assert_eq!(info.size, 5);
                finished += 1;
            }
            Err(Error::UploadBusy { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(finished >= 1);
    assert_eq!(world.used_bytes().await, 5);
}

#[tokio::test]
async fn of_two_writers_to_one_upload_the_second_is_turned_away() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let slow = futures::stream::once(async {
        let _ = receiver.await;
        Ok::<_, Error>(bytes::Bytes::from_static(b"slow"))
    });
    let first = repository.append(upload.id, Chunk::default(), slow);
    let second = async {
        let second = repository.append(upload.id, Chunk::default(), body(b"fast")).await;
        assert!(matches!(second, Err(Error::UploadBusy { .. })), "{second:?}");
        sender.send(()).unwrap();
    };
    let (first, ()) = tokio::join!(first, second);
    assert_eq!(first.unwrap().offset, 4);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_what_came() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    let broken = body(b"hello").chain(futures::stream::iter([Err(Error::Invalid("gone".into()))]));
    let failed = repository.append(upload.id, Chunk::default(), broken).await;
    assert!(matches!(failed, Err(Error::Source(_))), "{failed:?}");
    assert_eq!(repository.upload(upload.id).await.unwrap().offset, 5);
}

#[tokio::test]
async fn nobody_else_can_see_or_touch_an_upload() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    world.push_blob("other", b"x").await;
    let elsewhere = world.open("other", Action::Push).await.unwrap();
    let stranger = Caller::known(PrincipalId::new("user:stranger").unwrap());
    let path = "acme/main/api".parse().unwrap();
    let stranger = world.engine.repository(&stranger, &path, Action::Push).await.unwrap();
    for other in [elsewhere, stranger] {
        let unknown = |error| matches!(error, Error::UploadUnknown { .. });
        assert!(unknown(other.upload(upload.id).await.unwrap_err()));
        let appended = other.append(upload.id, Chunk::default(), body(b"x")).await;
        assert!(unknown(appended.unwrap_err()));
        assert!(unknown(other.finish_upload(upload.id, &sha256(b"")).await.unwrap_err()));
        assert!(unknown(other.cancel_upload(upload.id).await.unwrap_err()));
    }
    assert_eq!(repository.upload(upload.id).await.unwrap().offset, 0);
}

#[tokio::test]
async fn bytes_that_the_quota_has_no_room_for_are_refused_and_given_back() {
    let world = World::new().await;
    world.set_quota(100).await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let refused = repository.start_upload(None, Some(101)).await;
    assert!(matches!(refused, Err(Error::QuotaExceeded { .. })), "{refused:?}");
    let digest = sha256(&[7; 101]);
    let refused = repository.push_blob(&digest, None, body(&[7; 101])).await;
    assert!(matches!(refused, Err(Error::QuotaExceeded { .. })), "{refused:?}");
    assert_eq!(world.used_bytes().await, 0);
    let digest = sha256(&[7; 100]);
    repository.push_blob(&digest, None, body(&[7; 100])).await.unwrap();
    // Once more is no more.
    repository.push_blob(&digest, None, body(&[7; 100])).await.unwrap_err();
    assert_eq!(world.used_bytes().await, 100);
}

#[tokio::test]
async fn pushing_to_one_tag_from_many_sides_leaves_the_last_acknowledged() {
    let world = Arc::new(World::new().await);
    let config = world.push_blob("api", b"{}").await;
    let pushes = (0..20).map(|number| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let layer = format!("layer {number}").into_bytes();
            let digest = world.push_blob("api", &layer).await;
            let manifest = image(&config, 2, &digest, layer.len());
            world.push_manifest("api", &manifest, &["latest"]).await.unwrap()
        })
    });
    let mut digests = Vec::new();
    for push in pushes.collect::<Vec<_>>() {
        digests.push(push.await.unwrap());
    }
    assert!(digests.contains(&world.digest_of("api", "latest").await.unwrap()));
    let repository = world.open("api", Action::Pull).await.unwrap();
    let tags = repository.tags(None, 10).await.unwrap();
    assert_eq!(tags.items, ["latest".parse::<Tag>().unwrap()]);
}

#[tokio::test]
async fn a_store_that_somebody_makes_at_the_same_time_in_another_format_is_refused() {
    for (version, fits) in [(FORMAT_VERSION, true), (FORMAT_VERSION + 1, false)] {
        let meta = Arc::new(Gate::new(MemoryStore::default()));
        let mut other = Commit::new(CommitId([1; 16]));
        let format = FormatRecord { version, created_at: Timestamp(0) };
        other.put.push((keys::FORMAT.to_vec(), format.encode()));
        meta.slip_in(other);
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        let built = Engine::builder(meta, blobs).build().await;
        assert_eq!(built.is_ok(), fits, "{built:?}");
        assert!(fits || matches!(built, Err(Error::Invalid(_))));
    }
}

#[tokio::test]
async fn a_blob_that_everybody_pushes_keeps_its_link_so_that_manifests_can_lean_on_it() {
    let world = World::new().await;
    let config = world.push_blob("api", b"{}").await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let id = repository.id().unwrap();
    let link = async || {
        let key = keys::link(OrganisationId(1), &config, id);
        world.engine.core.meta.get(&key).await.unwrap().unwrap()
    };
    let first = link().await;
    world.clock.advance(Duration::from_secs(10));
    world.push_blob("api", b"{}").await;
    assert!(repository.mount_from_any(&config).await.unwrap());
    assert_eq!(link().await, first);
    world.clock.advance(Duration::from_mins(1));
    world.push_blob("api", b"{}").await;
    assert_ne!(link().await, first, "the promise is a whole lease again");
}

#[tokio::test]
async fn whoever_loses_all_the_time_pauses_and_gives_up_in_the_end() {
    let begin = tokio::time::Instant::now();
    let mut attempts = 0;
    let lost: Result<(), Error> = retry!("a thing", attempt => {
        attempts = attempt + 1;
        Err(Attempt::Lost)
    });
    assert!(matches!(lost, Err(Error::Contended { what: "a thing" })), "{lost:?}");
    let took = begin.elapsed();
    assert_eq!(attempts, 64);
    assert!((100..10_000).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn a_commit_that_was_lost_on_the_way_is_sent_again() {
    let meta = Arc::new(FaultMeta::new(MemoryStore::default(), FaultPlan::None));
    let blobs = Arc::new(OpendalStore::memory().unwrap());
    // It reads the format, whether a restore is under way, and the time; then its commit is lost.
    meta.set_plan(FaultPlan::Script([(3, Fault::Before)].into()));
    let store: Arc<dyn MetaStore> = Arc::clone(&meta) as _;
    Engine::builder(store, blobs).build().await.unwrap();
    assert!(meta.inner().get(keys::FORMAT).await.unwrap().is_some());
}
