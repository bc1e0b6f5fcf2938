//! What an upload keeps, gives back and reads again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{sleep, timeout};

use crate::access::Action;
use crate::change::{Change, Seen};
use crate::digest::{Algorithm, Hasher};
use crate::id::{OrganisationId, SessionId};
use crate::keys;
use crate::meta::prefix_range;
use crate::records::{Life, OrganisationRecord, SessionRecord};
use crate::tests::support::{World, body, image, sha256};
use crate::{Chunk, Error, Settings};

const ACME: OrganisationId = OrganisationId(1);

async fn session(world: &World, id: SessionId) -> Seen<SessionRecord> {
    world.engine.core.read(keys::session(ACME, id)).await.unwrap()
}

async fn edit(world: &World, id: SessionId, edit: impl FnOnce(&mut SessionRecord)) {
    let seen = session(world, id).await;
    let mut record = seen.value.clone().unwrap();
    edit(&mut record);
    let mut change = Change::new(&world.engine.core);
    change.replace(&seen, &record);
    change.commit().await.unwrap();
}

/// Waits until nothing of any upload is left: row, object or reservation.
async fn nothing_is_left(world: &World, used: i64, objects: usize) {
    let core = &world.engine.core;
    let gone = async {
        loop {
            let rows = core.meta.scan(prefix_range(&keys::sessions(ACME)), 10).await.unwrap();
            let found = core.blobs.list("", None, 10).await.unwrap();
            if rows.is_empty() && found.len() == objects && world.used_bytes().await == used {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn a_saved_hash_of_a_format_that_is_not_known_is_made_up_for_by_reading_again() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    for (wanted, is_right) in [(sha256(b"hello world"), true), (sha256(b"hello moon"), false)] {
        let upload = repository.start_upload(None, None).await.unwrap();
        repository.append(upload.id, Chunk::default(), body(b"hello")).await.unwrap();
        edit(&world, upload.id, |record| record.hash.format = "sha2-9.9".to_owned()).await;
        repository.append(upload.id, Chunk::default(), body(b" world")).await.unwrap();
        let finished = repository.finish_upload(upload.id, &wanted).await;
        match finished {
            Ok(info) => assert!(is_right && info.size == 11),
            Err(Error::DigestMismatch { found, .. }) => {
                assert!(!is_right && found == sha256(b"hello world"));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_hash_that_was_left_behind_the_bytes_is_not_gone_on_with() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    repository.append(upload.id, Chunk::default(), body(b"hello")).await.unwrap();
    let format = session(&world, upload.id).await.value.unwrap().hash.format;
    // Another version of the program can't read the state, goes on, and then this one comes back.
    edit(&world, upload.id, |record| record.hash.format = "sha2-9.9".to_owned()).await;
    repository.append(upload.id, Chunk::default(), body(b" world")).await.unwrap();
    edit(&world, upload.id, |record| record.hash.format = format).await;
    let info = repository.finish_upload(upload.id, &sha256(b"hello world")).await.unwrap();
    assert_eq!(info.size, 11);
    // Nor is one of no bytes at all.
    let upload = repository.start_upload(None, None).await.unwrap();
    repository.append(upload.id, Chunk::default(), body(b"hello")).await.unwrap();
    edit(&world, upload.id, |record| record.hash = Hasher::new(Algorithm::Sha256).save()).await;
    repository.finish_upload(upload.id, &sha256(b"hello")).await.unwrap();
}

#[tokio::test]
async fn what_was_reserved_ahead_of_a_stream_is_given_back_when_it_ends() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    repository.append(upload.id, Chunk::default(), body(b"hello")).await.unwrap();
    assert_eq!(world.used_bytes().await, 5);
    let broken = body(b"more").chain(futures::stream::iter([Err(Error::Invalid("gone".into()))]));
    repository.append(upload.id, Chunk::default(), broken).await.unwrap_err();
    assert_eq!(world.used_bytes().await, 9);
    repository.cancel_upload(upload.id).await.unwrap();
    // What was announced at the start stays reserved until it came.
    let upload = repository.start_upload(None, Some(100)).await.unwrap();
    repository.append(upload.id, Chunk::default(), body(b"hello")).await.unwrap();
    assert_eq!(world.used_bytes().await, 100);
    repository.finish_upload(upload.id, &sha256(b"hello")).await.unwrap();
    assert_eq!(world.used_bytes().await, 5);
}

#[tokio::test]
async fn a_push_given_up_while_its_bytes_come_leaves_nothing() {
    let world = Arc::new(World::new().await);
    let pushing = tokio::spawn({
        let world = Arc::clone(&world);
        async move {
            let repository = world.open("api", Action::Push).await.unwrap();
            let endless = body(b"some bytes").chain(futures::stream::pending());
            repository.push_blob(&sha256(b"never"), Some(1000), endless).await
        }
    });
    while world.used_bytes().await == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    pushing.abort();
    pushing.await.unwrap_err();
    nothing_is_left(&world, 0, 0).await;
}

#[tokio::test]
async fn a_push_given_up_while_it_starts_leaves_nothing() {
    let world = Arc::new(World::new().await);
    let config = world.push_blob("api", b"{}").await;
    let layer = world.push_blob("api", b"a layer").await;
    let large = format!("{}{}", image(&config, 2, &layer, 7), " ".repeat(4096));
    for manifest in [false, true] {
        world.gate.arm_commit();
        let pushing = tokio::spawn({
            let (world, large) = (Arc::clone(&world), large.clone());
            async move {
                if manifest {
                    world.push_manifest("api", &large, &["v1"]).await.unwrap();
                } else {
                    world.push_blob("api", b"never").await;
                }
            }
        });
        world.gate.reached().await;
        pushing.abort();
        assert!(pushing.await.unwrap_err().is_cancelled());
        world.gate.open();
        nothing_is_left(&world, 9, 2).await;
    }
}

#[tokio::test]
async fn a_push_that_can_not_be_finished_leaves_nothing() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    // The organisation goes away while the bytes come.
    let closing = futures::stream::once(async {
        let core = &world.engine.core;
        let key = keys::organisation(ACME);
        let seen: Seen<OrganisationRecord> = core.read(key).await.unwrap();
        let closing =
            OrganisationRecord { life: Life::Closing { nonce: 5 }, ..seen.value.clone().unwrap() };
        let mut change = Change::new(core);
        change.replace(&seen, &closing);
        change.commit().await.unwrap();
        Ok::<_, Error>(Bytes::from_static(b"hello"))
    });
    let pushed = repository.push_blob(&sha256(b"hello"), Some(5), closing).await;
    assert!(matches!(pushed, Err(Error::NameUnknown { .. })), "{pushed:?}");
    nothing_is_left(&world, 0, 0).await;
}

/// A body that sends `first` and then nothing until `done` is told.
fn stalled(
    first: &'static [u8],
    done: tokio::sync::oneshot::Receiver<()>,
) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send {
    let end = futures::stream::once(done).filter_map(async |_| None);
    futures::stream::iter([Ok(Bytes::from_static(first))]).chain(end)
}

#[tokio::test]
async fn bytes_of_a_body_that_stalls_are_durable_after_the_interval() {
    assert_eq!(Settings::default().checkpoint_interval, Duration::from_secs(5));
    let settings =
        Settings { checkpoint_interval: Duration::from_millis(30), ..Settings::default() };
    let world = World::with(settings).await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    let (done, waits) = tokio::sync::oneshot::channel();
    let appending = tokio::spawn({
        let repository = repository.clone();
        let body = stalled(b"hello", waits);
        async move { repository.append(upload.id, Chunk::default(), body).await }
    });
    let durable = async {
        while repository.upload(upload.id).await.unwrap().offset < 5 {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), durable).await.unwrap();
    assert!(!appending.is_finished());
    // A kill now costs nothing: another process goes on from there.
    appending.abort();
    appending.await.unwrap_err();
    drop(done);
    repository.append(upload.id, Chunk { at: Some(5), length: None }, body(b"!")).await.unwrap();
    repository.finish_upload(upload.id, &sha256(b"hello!")).await.unwrap();
}

#[tokio::test]
async fn an_interval_of_nothing_does_not_spin() {
    let settings = Settings { checkpoint_interval: Duration::ZERO, ..Settings::default() };
    let world = World::with(settings).await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    let polls = AtomicU32::new(0);
    let nothing = futures::stream::poll_fn(|_| {
        polls.fetch_add(1, Ordering::Relaxed);
        std::task::Poll::<Option<Result<Bytes, Error>>>::Pending
    });
    let append = repository.append(upload.id, Chunk::default(), nothing);
    timeout(Duration::from_millis(200), append).await.unwrap_err();
    let polls = polls.into_inner();
    assert!((1..100).contains(&polls), "polled {polls} times");
}
