#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::join_all;

use super::*;
use crate::meta::{Append, prefix_range, suite};
use crate::seam::SystemClock;

fn store_in(folder: &tempfile::TempDir) -> Arc<RedbStore> {
    Arc::new(RedbStore::open(folder.path().join("meta.redb"), Arc::new(SystemClock)).unwrap())
}

#[tokio::test]
async fn it_knows_how_many_rows_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(&folder);
    assert_eq!(store.about_rows().await.unwrap(), Some(0));
    store.commit(commit(1)).await.unwrap();
    let before = store.snapshot().await.unwrap();
    store.commit(commit(2)).await.unwrap();
    // A row and a line each; the ids of the last commits are nobody's.
    let all = store.scan(prefix_range(b""), 10).await.unwrap();
    assert_eq!((all.len(), store.about_rows().await.unwrap()), (4, Some(4)));
    assert_eq!(before.about_rows().await.unwrap(), Some(2));
}

fn commit(number: u8) -> Commit {
    let mut commit = Commit::new(CommitId([number; 16]));
    commit.put.push((vec![number], Bytes::from(vec![number; 200])));
    commit.append.push(Append { log: b"log".to_vec(), entry: Bytes::from(vec![number]) });
    commit
}

/// Bytes in memory whose writes and syncs fail as told. What was written stays in the cache, so a
/// failed sync shows afterwards as if it had worked: the trap of real systems.
#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    syncs: AtomicU64,
    /// The number of the sync that fails, once.
    bad_sync: AtomicU64,
    full: AtomicBool,
    gone: AtomicBool,
}

#[derive(Debug)]
struct OnDisk(Arc<Disk>);

impl StorageBackend for OnDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.alive()?;
        Ok(self.0.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.alive()?;
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.bytes.lock().unwrap()[at..at + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.alive()?;
        self.0.bytes.lock().unwrap().resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.alive()?;
        let number = self.0.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        if number == self.0.bad_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("a failed fsync"));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.alive()?;
        if self.0.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let at = usize::try_from(offset).unwrap();
        self.0.bytes.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

impl Disk {
    fn alive(&self) -> io::Result<()> {
        if self.gone.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }

    fn store(self: &Arc<Self>) -> Arc<RedbStore> {
        let disk = self.clone();
        let backend = move || {
            disk.alive()?;
            Ok(OnDisk(disk.clone()))
        };
        Arc::new(RedbStore::with_backend(backend, Arc::new(SystemClock)).unwrap())
    }

    fn fail_sync_after(&self, more: u64) {
        self.bad_sync.store(self.syncs.load(Ordering::SeqCst) + more, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redb_keeps_the_promises() {
    let folders = Mutex::new(Vec::new());
    suite::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let store = store_in(&folder);
        folders.lock().unwrap().push(folder);
        store
    })
    .await;
}

#[tokio::test]
async fn what_was_acknowledged_outlives_the_store() {
    let folder = tempfile::tempdir().unwrap();
    suite::survives_reopening(async || store_in(&folder)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_is_true_whichever_fsync_fails() {
    let mut told = [0_usize; 2];
    for bad in 1..=6 {
        let disk = Arc::new(Disk::default());
        let store = disk.store();
        store.commit(commit(0)).await.unwrap();
        disk.fail_sync_after(bad);

        let mut answers = Vec::new();
        for group in [1..4, 4..20, 20..24] {
            let tasks = group.map(|number| {
                let store = store.clone();
                tokio::spawn(async move { (number, store.commit(commit(number)).await) })
            });
            answers.extend(join_all(tasks).await);
        }
        disk.bad_sync.store(0, Ordering::SeqCst);

        for answer in answers {
            let (number, answer) = answer.unwrap();
            let there = store.get(&[number]).await.unwrap().is_some();
            assert_eq!(answer.is_ok(), there, "fsync {bad}, commit {number}: {answer:?}");
            let known = store.was_committed(CommitId([number; 16])).await.unwrap();
            assert_eq!(known, Some(there));
            told[usize::from(there)] += 1;
        }
        store.commit(commit(100)).await.unwrap();
        no_gap_in_the_log(&store).await;
    }
    assert!(told[0] > 0 && told[1] > 0, "both sides of a failing fsync were seen: {told:?}");
}

/// The log's sequences have no gap, whatever failed.
async fn no_gap_in_the_log(store: &RedbStore) {
    let rows = store.scan(prefix_range(b"log"), 1000).await.unwrap();
    let mut previous = crate::meta::log::genesis(b"log");
    for (sequence, (key, value)) in (0..).zip(rows) {
        assert_eq!(key, crate::meta::log::entry_key(b"log", sequence));
        let (hash, entry) = crate::meta::log::decode(&value).unwrap();
        previous = crate::meta::log::link(&previous, sequence, &entry);
        assert_eq!(hash, previous);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_commits_and_goes_on_reading() {
    let disk = Arc::new(Disk::default());
    let store = disk.store();
    store.commit(commit(0)).await.unwrap();

    disk.full.store(true, Ordering::SeqCst);
    assert!(matches!(store.commit(commit(1)).await, Err(MetaError::Full(_))));
    disk.full.store(false, Ordering::SeqCst);

    assert!(store.get(&[0]).await.unwrap().is_some());
    assert_eq!(store.get(&[1]).await.unwrap(), None);
    assert_eq!(store.commit(commit(1)).await.unwrap().sequences, [1]);
}

#[tokio::test]
async fn a_disk_that_comes_back_is_used_again() {
    let disk = Arc::new(Disk::default());
    let store = disk.store();
    store.commit(commit(0)).await.unwrap();

    disk.gone.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let answer = store.commit(commit(1)).await;
        assert!(matches!(answer, Err(MetaError::Unavailable(_))), "{answer:?}");
        assert!(matches!(store.get(&[0]).await, Err(MetaError::Unavailable(_))));
        assert!(matches!(store.scan(prefix_range(b""), 9).await, Err(MetaError::Unavailable(_))));
    }
    disk.gone.store(false, Ordering::SeqCst);

    assert!(store.get(&[0]).await.unwrap().is_some());
    assert_eq!(store.was_committed(CommitId([1; 16])).await.unwrap(), Some(false));
    assert_eq!(store.commit(commit(1)).await.unwrap().sequences, [1]);
}

#[tokio::test]
async fn a_second_opening_says_who_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let _first = store_in(&folder);
    let second = RedbStore::open(folder.path().join("meta.redb"), Arc::new(SystemClock));
    match second {
        Err(MetaError::Unavailable(why)) => assert!(why.contains("another process"), "{why}"),
        other => panic!("opened twice: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meta.redb");
    std::fs::write(&path, b"something else entirely").unwrap();
    let opened = RedbStore::open(&path, Arc::new(SystemClock));
    assert!(matches!(opened, Err(MetaError::Corrupted(_))), "{opened:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"something else entirely");
}

#[tokio::test]
async fn what_a_cut_short_creation_left_is_not_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("meta.redb.new"), [0; 4096]).unwrap();
    store_in(&folder).commit(commit(1)).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(store_in(&folder).get(&[1]).await.unwrap().is_some());
}

#[tokio::test]
async fn compaction_gives_room_back_and_waits_for_no_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meta.redb");
    let store = store_in(&folder);
    let mut fill = Commit::new(CommitId([1; 16]));
    let mut clear = Commit::new(CommitId([2; 16]));
    for number in 0..4000_u32 {
        let key = number.to_be_bytes().to_vec();
        fill.put.push((key.clone(), Bytes::from(vec![7; 500])));
        clear.delete.push(key);
    }
    store.commit(fill).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    store.commit(clear).await.unwrap();
    assert!(matches!(store.compact().await, Err(MetaError::Unavailable(_))));
    assert_eq!(snapshot.scan(prefix_range(b""), 5000).await.unwrap().len(), 4000);
    drop(snapshot);

    let before = std::fs::metadata(&path).unwrap().len();
    let freed = store.compact().await.unwrap();

    assert_eq!(before - std::fs::metadata(&path).unwrap().len(), freed);
    assert!(freed > 1_000_000, "{freed} bytes were given back");
    store.commit(commit(3)).await.unwrap();
}

#[tokio::test]
async fn the_stores_own_row_is_neither_seen_nor_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(&folder);
    store.commit(commit(1)).await.unwrap();
    assert_eq!(store.get(COMMITS).await.unwrap(), None);
    assert_eq!(store.scan(prefix_range(b"!"), 10).await.unwrap(), []);
    let mut own = Commit::new(CommitId([2; 16]));
    own.put.push((COMMITS.to_vec(), Bytes::new()));
    assert!(matches!(store.commit(own).await, Err(MetaError::TooLarge(_))));
}

#[tokio::test]
async fn a_committer_that_ended_is_told_of_though_reads_go_on() {
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&broken);
    let store = RedbStore::with_backend_in(
        RedbOptions::default(),
        || Ok(::redb::backends::InMemoryBackend::new()),
        move || {
            assert!(!breaks.load(Ordering::SeqCst), "the disk's room is not to be had");
            Ok(u64::MAX)
        },
        Arc::new(SystemClock),
    )
    .unwrap();
    store.commit(commit(1)).await.unwrap();
    store.is_serving().unwrap();
    broken.store(true, Ordering::SeqCst);
    assert!(matches!(store.commit(commit(2)).await, Err(MetaError::Unavailable(_))));
    store.get(&[1]).await.unwrap().unwrap();
    // Its thread answers a moment before it is gone.
    while store.is_serving().is_ok() {
        tokio::task::yield_now().await;
    }
}
