//! What every [`MetaStore`] must do, as tests any implementation runs.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use strongroom_engine::meta::{MemoryStore, suite};
//! # async fn test() {
//! suite::run(async || Arc::new(MemoryStore::default())).await;
//! # }
//! ```
//!
//! Each behaviour panics where the store breaks a promise. Run them on a runtime with several
//! threads: the races want them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a suite of assertions, for tests only"
)]

mod commits;
mod logs;
mod races;
mod reads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{Add, Append, Commit, CommitId, Key, MetaError, MetaStore, Require};

/// Runs every behaviour, each on a fresh and empty store that `make` gives.
pub async fn run<S: MetaStore + 'static>(make: impl AsyncFn() -> Arc<S>) {
    let make = async || {
        let store: Arc<dyn MetaStore> = make().await;
        store
    };
    reads::rows_come_in_order_and_within_the_limit(make().await).await;
    reads::a_prefix_is_scanned_whole_and_alone(make().await).await;
    reads::many_keys_are_of_one_moment(make().await).await;
    reads::a_snapshot_stands_still(make().await).await;
    reads::an_odd_range_is_empty(make().await).await;
    reads::rows_are_counted_as_far_as_that_is_known(make().await).await;

    commits::a_refused_commit_leaves_no_trace(make().await).await;
    commits::each_requirement_holds_or_conflicts(make().await).await;
    commits::what_is_deleted_is_gone(make().await).await;
    commits::each_is_another_revision_before_it_is_answered(make().await).await;
    commits::counters_add_up_within_their_bound(make().await).await;
    commits::what_is_no_counter_is_not_counted(make().await).await;
    commits::what_is_too_large_is_refused(make().await).await;
    commits::a_commit_that_is_sent_again_happens_once(make().await).await;
    commits::what_was_committed_is_known(make().await).await;
    commits::a_batch_may_have_thousands_of_keys(make().await).await;

    logs::entries_are_chained_in_order(make().await).await;
    logs::logs_do_not_mix(make().await).await;
    logs::many_appenders_leave_no_gap(make().await).await;

    races::many_tasks_count_right_by_compare_and_swap(make().await).await;
    races::concurrent_sums_are_exact_and_stay_in_bounds(make().await).await;
    races::many_lean_on_one_row(make().await).await;
    races::collector_and_writer_never_both_win(make().await).await;
    races::only_one_of_many_creates_a_row(make().await).await;
    races::a_dropped_commit_happens_whole_or_not(make().await).await;
    races::what_is_said_of_a_lost_commit_stays_true(make().await).await;
    races::a_collector_never_takes_what_an_edge_was_added_to(make().await).await;
    races::small_commits_and_large_ones_stay_serial(make().await).await;
}

/// The races between callers of one store, run through two that are open over the same data, as
/// two processes would have them: `make` gives a fresh and empty one, opened twice.
pub async fn run_across<S: MetaStore + 'static>(make: impl AsyncFn() -> [Arc<S>; 2]) {
    races::across::sums_are_exact_and_stay_in_bounds(make().await).await;
    races::across::one_of_two_wins_each_swap(make().await).await;
    races::across::a_collector_never_takes_what_an_edge_was_added_to(make().await).await;
    races::across::what_one_acknowledged_the_other_sees(make().await).await;
    races::across::entries_of_one_log_leave_no_gap(make().await).await;
}

/// What was acknowledged is there when the store is opened again: `open` opens the same data each
/// time, when the store it gave before has been dropped.
pub async fn survives_reopening<S: MetaStore>(open: impl AsyncFn() -> Arc<S>) {
    let store = open().await;
    let mut first = commit();
    first.put.push((b"row".to_vec(), Bytes::from_static(b"value")));
    first.put.push((b"gone".to_vec(), Bytes::from_static(b"value")));
    first.add.push(Add { key: b"count".to_vec(), delta: 5, max: None });
    first.append.push(append(b"log", "one"));
    store.commit(first).await.unwrap();
    let mut second = commit();
    second.delete.push(b"gone".to_vec());
    store.commit(second).await.unwrap();
    drop(store);

    let store = open().await;
    assert_eq!(store.get(b"row").await.unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(store.get(b"gone").await.unwrap(), None);
    assert_eq!(count(&*store, b"count").await, 5);
    let mut third = commit();
    third.append.push(append(b"log", "two"));
    third.add.push(Add { key: b"count".to_vec(), delta: 1, max: None });
    assert_eq!(store.commit(third).await.unwrap().sequences, [1]);
    logs::verify(&*store, b"log", 2).await;
    assert_eq!(count(&*store, b"count").await, 6);
}

/// A commit with an id of its own.
fn commit() -> Commit {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut id = [0x5a; 16];
    id[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Commit::new(CommitId(id))
}

/// A commit that writes one row.
fn put(key: &[u8], value: impl Into<Bytes>) -> Commit {
    let mut commit = commit();
    commit.put.push((key.to_vec(), value.into()));
    commit
}

fn append(log: &[u8], entry: &str) -> Append {
    Append { log: log.to_vec(), entry: Bytes::copy_from_slice(entry.as_bytes()) }
}

fn value(key: &[u8], value: &'static str) -> Require {
    Require::Value(key.to_vec(), Bytes::from_static(value.as_bytes()))
}

async fn count(store: &dyn MetaStore, key: &[u8]) -> i64 {
    let row = store.get(key).await.unwrap();
    row.map_or(0, |value| i64::from_be_bytes(value[..].try_into().unwrap()))
}

fn conflicting_key(answer: Result<super::Committed, MetaError>) -> Key {
    match answer {
        Err(MetaError::Conflict { key }) => key,
        other => panic!("a conflict was expected, not {other:?}"),
    }
}
