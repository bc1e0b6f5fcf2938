//! What only a file system does; the rest is in [`crate::content::suite`].

use std::io::Read;
use std::os::unix::fs::FileExt;

use super::super::Then;
use super::super::suite;
use super::writer::PAST_CACHE_FROM;
use super::*;
use crate::disk::RealDisk;
use crate::disk::sim::SimDisk;

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn open(root: &Path) -> FsStore {
    FsStore::open(Arc::new(RealDisk), root, Durability::Full).unwrap()
}

#[tokio::test]
async fn it_behaves_as_every_store_must() {
    for durability in [Durability::Full, Durability::Relaxed] {
        let dir = tempfile::tempdir().unwrap();
        suite::all(|| async {
            let store = FsStore::open(Arc::new(RealDisk), dir.path(), durability).unwrap();
            Arc::new(store) as suite::Shared
        })
        .await;
    }
}

#[tokio::test]
async fn it_behaves_so_on_a_simulated_disk_too() {
    let disk = SimDisk::new();
    suite::all(|| async {
        let store = FsStore::open(Arc::new(disk.clone()), "/data", Durability::Full).unwrap();
        Arc::new(store) as suite::Shared
    })
    .await;
}

#[tokio::test]
async fn a_push_is_resumed_finished_and_handed_out_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("not/there/yet"));
    let (unfinished, finished) = (key("0a/in-flight/01"), key("0a/sha256/ab/abcd.01"));

    let state = store.start(&unfinished).await.unwrap();
    let mut writer = store.resume(&unfinished, &state).await.unwrap();
    writer.write(vec![Bytes::from_static(b"hello, "), Bytes::new()]).await.unwrap();
    let state = writer.checkpoint(Then::Writes).await.unwrap();
    writer.write(vec![Bytes::from_static(b"lost")]).await.unwrap();
    let mut next = store.resume(&unfinished, &state).await.unwrap();
    assert!(writer.write(vec![Bytes::from_static(b"late")]).await.is_err());
    next.write(vec![Bytes::from_static(b"world")]).await.unwrap();
    let state = next.checkpoint(Then::Writes).await.unwrap();
    assert_eq!(store.finish(&unfinished, &state, &finished).await.unwrap(), finished);

    let read = store.read(&finished, 7..12).await.unwrap();
    store.delete(&finished).await.unwrap();
    let ObjectRead::File { file, offset: 7, length: 5 } = read else { panic!("{read:?}") };
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, 7).unwrap();
    assert_eq!(&bytes, b"world");
    store.abort(&unfinished, &state).await.unwrap();
    assert!(store.list("", None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn in_the_middle_of_a_stream_all_that_was_written_is_made_durable_and_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let unfinished = key("0a/in-flight/01");
    let state = store.start(&unfinished).await.unwrap();
    let mut writer = store.resume(&unfinished, &state).await.unwrap();
    assert!(writer.advance(0).await.unwrap().is_none());
    writer.write(vec![Bytes::from_static(b"hello, ")]).await.unwrap();
    let told = writer.advance(0).await.unwrap().unwrap();
    assert_eq!(told.offset, 7);
    assert!(writer.advance(7).await.unwrap().is_none());
    writer.write(vec![Bytes::from_static(b"lost")]).await.unwrap();

    let mut next = store.resume(&unfinished, &told).await.unwrap();
    next.write(vec![Bytes::from_static(b"world")]).await.unwrap();
    let state = next.checkpoint(Then::Finishes).await.unwrap();
    let finished = key("0a/sha256/ab/abcd.01");
    store.finish(&unfinished, &state, &finished).await.unwrap();
    let path = dir.path().join("objects").join(finished.as_str());
    assert_eq!(std::fs::read(path).unwrap(), b"hello, world");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_large_object_does_not_fill_the_system_s_cache_where_the_file_system_can_do_without() {
    use crate::disk::real::{goes_past_cache, is_cached};

    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (unfinished, finished) = (key("0a/in-flight/01"), key("0a/sha256/ab/abcd.01"));
    let state = store.start(&unfinished).await.unwrap();
    let mut writer = store.resume(&unfinished, &state).await.unwrap();
    let mut piece = crate::disk::aligned_buffer(1 << 20);
    piece.resize(1 << 20, 7);
    let piece = piece.freeze();
    let pieces = PAST_CACHE_FROM >> 20;
    for _ in 0..pieces + 2 {
        writer.write(vec![piece.clone()]).await.unwrap();
    }
    writer.write(vec![Bytes::from_static(b"the end")]).await.unwrap();
    let state = writer.checkpoint(Then::Finishes).await.unwrap();
    store.finish(&unfinished, &state, &finished).await.unwrap();

    let length = PAST_CACHE_FROM + (2 << 20) + 7;
    let ObjectRead::File { file, .. } = store.read(&finished, 0..length).await.unwrap() else {
        panic!("a real disk hands out files");
    };
    let path = dir.path().join("objects").join(finished.as_str());
    assert!(is_cached(&file, PAST_CACHE_FROM - 1));
    assert_eq!(is_cached(&file, PAST_CACHE_FROM + (1 << 20)), !goes_past_cache(&path));
    let mut end = [0; 8];
    file.read_exact_at(&mut end, length - 8).unwrap();
    assert_eq!(&end, b"\x07the end");
}

#[tokio::test]
async fn what_a_killed_put_left_is_gone_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).put(&key("a/b"), Bytes::from_static(b"kept")).await.unwrap();
    std::fs::write(dir.path().join("incoming/7"), b"half").unwrap();

    let store = open(dir.path());

    assert_eq!(std::fs::read_dir(dir.path().join("incoming")).unwrap().count(), 0);
    let ObjectRead::File { mut file, .. } = store.read(&key("a/b"), 0..4).await.unwrap() else {
        panic!("a real disk hands out files");
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"kept");
}

#[test]
fn a_dropped_write_ends_before_the_next_writer_begins() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
    runtime.unwrap().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let unfinished = key("in-flight/01");
        let state = store.start(&unfinished).await.unwrap();
        let mut writer = store.resume(&unfinished, &state).await.unwrap();
        // The pool's one thread is held up, so the write can't be over when it is dropped.
        let (let_go, held_up) = std::sync::mpsc::channel::<()>();
        let holding = tokio::task::spawn_blocking(move || held_up.recv());

        let mut write = writer.write(vec![Bytes::from(vec![7; 4 << 20]); 4]);
        assert!(futures::poll!(&mut write).is_pending());
        drop(write);
        let mut resume = store.resume(&unfinished, &state);
        for _ in 0..10 {
            assert!(futures::poll!(&mut resume).is_pending(), "two are at work on one file");
            tokio::task::yield_now().await;
        }
        let_go.send(()).unwrap();
        let mut next = resume.await.unwrap();
        holding.await.unwrap().unwrap();
        next.write(vec![Bytes::from_static(b"new")]).await.unwrap();
        let state = next.checkpoint(Then::Writes).await.unwrap();

        assert_eq!(state.offset, 3);
        assert_eq!(std::fs::read(dir.path().join("objects/in-flight/01")).unwrap(), b"new");
        let late = writer.checkpoint(Then::Writes).await;
        assert!(late.is_err(), "a writer whose call was dropped is spent");
    });
}

#[tokio::test]
async fn files_that_are_no_objects_are_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.put(&key("a/b"), Bytes::new()).await.unwrap();
    std::fs::create_dir(dir.path().join("objects/Lost+Found")).unwrap();
    std::fs::write(dir.path().join("objects/Lost+Found/x"), b"").unwrap();
    std::fs::write(dir.path().join("objects/a/READ ME"), b"").unwrap();

    let listed = store.list("", None, 10).await.unwrap();

    assert_eq!(listed, [ObjectEntry::object(key("a/b"), 0)]);
}
