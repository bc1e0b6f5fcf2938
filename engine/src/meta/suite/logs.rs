//! Logs: gapless sequences and a chain that verifies.

use std::sync::Arc;

use bytes::Bytes;

use super::{append, commit, put};
use crate::meta::{MetaStore, Require, log, prefix_range};

/// Reads `wanted` entries of `log` and follows the chain through them; returns the entries.
pub(super) async fn verify(store: &dyn MetaStore, name: &[u8], wanted: u64) -> Vec<Bytes> {
    let rows = store.scan(prefix_range(name), 10_000).await.unwrap();
    assert_eq!(rows.len() as u64, wanted);
    let mut previous = log::genesis(name);
    let mut entries = Vec::new();
    for (sequence, (key, value)) in (0..).zip(rows) {
        assert_eq!(key, log::entry_key(name, sequence), "a gap");
        let (hash, entry) = log::decode(&value).unwrap();
        previous = log::link(&previous, sequence, &entry);
        assert_eq!(hash, previous, "the chain breaks at {sequence}");
        entries.push(entry);
    }
    entries
}

pub(super) async fn entries_are_chained_in_order(store: Arc<dyn MetaStore>) {
    let mut two = commit();
    two.append.extend([append(b"log", "one"), append(b"log", "two")]);
    assert_eq!(store.commit(two).await.unwrap().sequences, [0, 1]);
    let mut more = commit();
    more.append.push(append(b"log", ""));
    assert_eq!(store.commit(more).await.unwrap().sequences, [2]);
    assert_eq!(verify(&*store, b"log", 3).await, ["one", "two", ""]);
}

pub(super) async fn logs_do_not_mix(store: Arc<dyn MetaStore>) {
    // A log whose key another's begins with, and rows that look almost like entries.
    store.commit(put(b"log\xff", "row")).await.unwrap();
    store.commit(put(b"log\xff\xff\xff\xff\xff\xff\xff\xff\xff", "row")).await.unwrap();
    for round in 0..3_u64 {
        let mut both = commit();
        both.append.extend([append(b"logs", "b"), append(b"log", "a"), append(b"logs", "c")]);
        let told = store.commit(both).await.unwrap().sequences;
        assert_eq!(told, [2 * round, round, 2 * round + 1]);
    }
    verify(&*store, b"logs", 6).await;
}

pub(super) async fn many_appenders_leave_no_gap(store: Arc<dyn MetaStore>) {
    const TASKS: u64 = 64;
    const EACH: u64 = 8;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut told = Vec::new();
                for round in 0..EACH {
                    let mut commit = commit();
                    let entry = format!("{task} {round}");
                    commit.append.push(append(b"log", &entry));
                    let fails = round % 4 == 3;
                    if fails {
                        commit.require.push(Require::Present(b"absent".to_vec()));
                    }
                    match store.commit(commit).await {
                        Ok(committed) if !fails => told.push((committed.sequences[0], entry)),
                        Err(_) if fails => {}
                        other => panic!("commit {entry}: {other:?}"),
                    }
                }
                told
            })
        })
        .collect();
    let mut told = Vec::new();
    for task in tasks {
        told.extend(task.await.unwrap());
    }
    let entries = verify(&*store, b"log", TASKS * EACH * 3 / 4).await;
    for (sequence, entry) in told {
        assert_eq!(entries[usize::try_from(sequence).unwrap()], entry);
    }
}
