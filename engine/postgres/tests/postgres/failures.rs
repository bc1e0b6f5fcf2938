//! What a server, a network or an operator does to a store: nothing acknowledged is lost, nothing
//! happens twice, and nobody hangs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::proxy::{Cut, MARK, Proxy};
use crate::support::{Server, quick};
use bytes::Bytes;
use strongroom_engine::meta::{
    Append, Commit, CommitId, MetaError, MetaRead, MetaStore, Require, prefix_range,
};
use strongroom_postgres::{OpenError, PostgresStore};

fn commit() -> Commit {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut id = [0x77; 16];
    id[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Commit::new(CommitId(id))
}

fn put(key: impl Into<Vec<u8>>) -> Commit {
    let mut commit = commit();
    commit.put.push((key.into(), Bytes::from_static(b"value")));
    commit
}

/// A commit that the proxy knows, and whose happening twice would show.
fn marked(number: usize) -> Commit {
    let mut commit = put(format!("marked {number}"));
    commit.append.push(Append { log: b"log".to_vec(), entry: Bytes::from_static(MARK) });
    commit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_dies_under_load_loses_nothing_that_was_acknowledged() {
    let mut server = Server::start();
    let store = server.store().await;
    let over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (store, over) = (Arc::clone(&store), Arc::clone(&over));
            tokio::spawn(async move {
                let (mut acknowledged, mut failed, mut slowest) = (Vec::new(), 0, Duration::ZERO);
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("load {task} {round}").into_bytes();
                    let start = Instant::now();
                    match store.commit(put(key.clone())).await {
                        Ok(_) => acknowledged.push(key),
                        Err(MetaError::Unavailable(_)) => {
                            failed += 1;
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                    match store.get(b"load 0 0").await {
                        Ok(_) | Err(MetaError::Unavailable(_)) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                    slowest = slowest.max(start.elapsed());
                }
                (acknowledged, failed, slowest)
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.crash();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.run().unwrap();
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    over.store(true, Ordering::Relaxed);

    let (mut acknowledged, mut failed) = (Vec::new(), 0);
    for task in tasks {
        let (keys, failures, slowest) = task.await.unwrap();
        assert!(slowest < Duration::from_secs(12), "a request hung for {slowest:?}");
        acknowledged.extend(keys);
        failed += failures;
    }
    assert!(failed > 0, "the server was never away");
    assert!(acknowledged.len() > 500, "hardly anything was done: {}", acknowledged.len());
    let mut there = BTreeSet::new();
    let mut range = prefix_range(b"load ");
    loop {
        let rows = store.scan(range.clone(), 10_000).await.unwrap();
        let Some((last, _)) = rows.last() else { break };
        range.start = [last.as_slice(), &[0]].concat();
        there.extend(rows.into_iter().map(|(key, _)| key));
    }
    let lost = acknowledged.iter().filter(|key| !there.contains(*key)).count();
    assert_eq!(lost, 0, "of {} acknowledged", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_said_so_at_once_and_found_again() {
    let mut server = Server::start();
    let store = server.store().await;
    store.commit(put("before")).await.unwrap();
    server.crash();

    let start = Instant::now();
    let committed = store.commit(put("while")).await;
    let read = store.get(b"before").await;
    let scanned = store.scan(prefix_range(b""), 10).await;
    let asked = store.was_committed(CommitId([9; 16])).await;
    assert!(matches!(committed, Err(MetaError::Unavailable(_))), "{committed:?}");
    assert!(matches!(read, Err(MetaError::Unavailable(_))), "{read:?}");
    assert!(matches!(scanned, Err(MetaError::Unavailable(_))), "{scanned:?}");
    assert!(matches!(asked, Err(MetaError::Unavailable(_))), "{asked:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "it took {:?}", start.elapsed());

    server.run().unwrap();
    store.commit(put("after")).await.unwrap();
    assert!(store.get(b"before").await.unwrap().is_some());
    assert!(store.get(b"while").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s35_a_commit_whose_connection_is_cut_happens_once() {
    let server = Server::start();
    let options = server.fresh().await;
    let proxy = Proxy::start(server.port()).await;
    let through = quick(proxy.url(&options.url, server.port()));
    let store = PostgresStore::open(through).await.unwrap();

    let cuts = [Cut::Nowhere, Cut::Request, Cut::Reply, Cut::Late, Cut::Reply, Cut::Request];
    for (number, cut) in cuts.into_iter().enumerate() {
        proxy.cut(cut);
        let told = store.commit(marked(number)).await.unwrap();
        assert_eq!(told.sequences, [number as u64], "{cut:?}");
        if cut == Cut::Late {
            // The first copy comes now, after the second was done.
            proxy.release();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 5, "the proxy did not cut");
    let lines = store.scan(prefix_range(b"log"), 100).await.unwrap();
    assert_eq!(lines.len(), cuts.len(), "a commit happened twice, or not at all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_denied_never_happens_however_late_it_comes() {
    let server = Server::start();
    let options = server.fresh().await;
    let (slow, asking) = (
        PostgresStore::open(options.clone()).await.unwrap(),
        PostgresStore::open(options).await.unwrap(),
    );
    let late = put("late");
    // It is asked for while it is still on its way.
    assert_eq!(asking.was_committed(late.id).await.unwrap(), Some(false));

    let refused = slow.commit(late.clone()).await;

    assert!(matches!(refused, Err(MetaError::Unavailable(_))), "{refused:?}");
    assert_eq!(slow.get(b"late").await.unwrap(), None);
    assert_eq!(asking.was_committed(late.id).await.unwrap(), Some(false));
    slow.commit(Commit { id: commit().id, ..late }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_waits_for_what_is_in_flight() {
    let server = Server::start();
    let options = server.fresh().await;
    let store = Arc::new(PostgresStore::open(options.clone()).await.unwrap());
    let mut by_hand = server.client(&schema_of(&options.url)).await;
    let held = by_hand.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE strongroom_rows IN EXCLUSIVE MODE").await.unwrap();

    let waiting = put("waiting");
    let id = waiting.id;
    let committing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(waiting).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asking = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.was_committed(id).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asking.is_finished(), "it was denied while it was in flight");
    held.commit().await.unwrap();

    committing.await.unwrap().unwrap();
    assert_eq!(asking.await.unwrap().unwrap(), Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s36_what_the_database_undoes_is_tried_again_and_never_half_there() {
    let server = Server::start();
    let options = server.fresh().await;
    let store = PostgresStore::open(options.clone()).await.unwrap();
    let by_hand = server.client(&schema_of(&options.url)).await;
    for code in ["40001", "40P01", "55P03"] {
        // The first three that come to the last of their writes are undone. A sequence is not.
        by_hand
            .batch_execute(&format!(
                "DROP TRIGGER IF EXISTS undo ON strongroom_commits;
                 DROP SEQUENCE IF EXISTS undone;
                 CREATE SEQUENCE undone;
                 CREATE OR REPLACE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     IF nextval('undone') <= 3 THEN
                         RAISE EXCEPTION 'undone' USING ERRCODE = '{code}';
                     END IF;
                     RETURN NEW;
                 END $$;
                 CREATE TRIGGER undo BEFORE INSERT ON strongroom_commits
                     FOR EACH ROW EXECUTE FUNCTION undo()"
            ))
            .await
            .unwrap();
        let mut twice = put(format!("{code} row"));
        twice.append.push(Append { log: code.into(), entry: Bytes::from_static(b"line") });
        assert_eq!(store.commit(twice).await.unwrap().sequences, [0], "{code}");
        assert_eq!(store.scan(prefix_range(code.as_bytes()), 10).await.unwrap().len(), 2);
    }
    // One that is undone for ever is given up, whole.
    by_hand
        .batch_execute("ALTER SEQUENCE undone INCREMENT BY -1 RESTART WITH 1 MINVALUE -1000000")
        .await
        .unwrap();
    let given_up = store.commit(put("never")).await;
    assert!(matches!(given_up, Err(MetaError::Unavailable(_))), "{given_up:?}");
    assert_eq!(store.get(b"never").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s36_a_lock_held_too_long_and_an_exhausted_pool_end_in_time() {
    let server = Server::start();
    let mut options = server.fresh().await;
    options.connections = 2;
    options.connect_timeout = Duration::from_millis(400);
    options.lock_timeout = Duration::from_millis(100);
    let store = Arc::new(PostgresStore::open(options.clone()).await.unwrap());
    let mut by_hand = server.client(&schema_of(&options.url)).await;
    let held = by_hand.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE strongroom_rows IN EXCLUSIVE MODE").await.unwrap();

    let start = Instant::now();
    let commits: Vec<_> = (0..12)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.commit(put(format!("stuck {number}"))).await })
        })
        .collect();
    assert_eq!(store.get(b"stuck 0").await.unwrap(), None, "reads go on");
    for commit in commits {
        let answer = commit.await.unwrap();
        assert!(matches!(answer, Err(MetaError::Unavailable(_))), "{answer:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
    held.commit().await.unwrap();
    store.commit(put("free again")).await.unwrap();
    assert_eq!(store.scan(prefix_range(b"stuck"), 100).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_too_long_is_ended_and_its_connection_goes_on() {
    let server = Server::start();
    let mut options = server.fresh().await;
    (options.connections, options.readers) = (1, 1);
    options.statement_timeout = Duration::from_millis(300);
    options.lock_timeout = Duration::from_mins(1);
    let store = PostgresStore::open(options.clone()).await.unwrap();
    store.commit(put("before")).await.unwrap();
    let mut by_hand = server.client(&schema_of(&options.url)).await;
    let held = by_hand.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE strongroom_rows IN ACCESS EXCLUSIVE MODE").await.unwrap();

    let start = Instant::now();
    for _ in 0..2 {
        let read = store.get(b"before").await;
        assert!(matches!(read, Err(MetaError::Unavailable(_))), "{read:?}");
        let scanned = store.scan(prefix_range(b""), 10).await;
        assert!(matches!(scanned, Err(MetaError::Unavailable(_))), "{scanned:?}");
        let committed = store.commit(put("while")).await;
        assert!(matches!(committed, Err(MetaError::Unavailable(_))), "{committed:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(8), "it took {:?}", start.elapsed());
    held.commit().await.unwrap();
    store.commit(put("after")).await.unwrap();
    assert!(store.get(b"before").await.unwrap().is_some());
    assert_eq!(store.get(b"while").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_and_a_required_row_survive_a_session_set_otherwise() {
    let server = Server::start();
    // A database whose defaults would make the locks worthless.
    server
        .execute("ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'")
        .await;
    let store = server.store().await;
    let mut first = put("row");
    first.require.push(Require::Absent(b"row".to_vec()));
    store.commit(first.clone()).await.unwrap();
    let again = store.commit(Commit { id: commit().id, ..first }).await;
    assert!(matches!(again, Err(MetaError::Conflict { .. })), "{again:?}");
    let snapshot = store.snapshot().await.unwrap();
    assert!(snapshot.get(b"row").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s34_a_server_that_would_lose_commits_is_refused() {
    let server = Server::start();
    let options = server.fresh().await;
    server.execute("ALTER ROLE postgres SET synchronous_commit = off").await;
    match PostgresStore::open(options.clone()).await {
        Err(OpenError::Unfit { reason }) => assert!(reason.contains("synchronous_commit")),
        other => panic!("{other:?}"),
    }
    server.execute("ALTER ROLE postgres SET synchronous_commit = on").await;
    PostgresStore::open(options).await.unwrap();

    let careless = Server::with(&["fsync=off"]);
    let options = quick(careless.url("public"));
    match PostgresStore::migrate(&options).await {
        Err(OpenError::Unfit { reason }) => assert!(reason.contains("fsync")),
        other => panic!("{other:?}"),
    }
}

fn schema_of(url: &str) -> String {
    url.rsplit_once("%3D").unwrap().1.to_owned()
}
