//! Races between two stores that are open over the same data.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::super::{append, commit, logs, put};
use super::{TASKS, sums_over};
use crate::meta::{MetaStore, Require};

/// The store of a task: they take turns.
fn side<S: MetaStore + 'static>(stores: &[Arc<S>; 2], task: usize) -> Arc<dyn MetaStore> {
    Arc::clone(&stores[task % 2]) as Arc<dyn MetaStore>
}

pub(crate) async fn sums_are_exact_and_stay_in_bounds<S: MetaStore + 'static>(stores: [Arc<S>; 2]) {
    sums_over(|task| side(&stores, task)).await;
}

pub(crate) async fn one_of_two_wins_each_swap<S: MetaStore + 'static>(stores: [Arc<S>; 2]) {
    let key = b"turn".to_vec();
    for round in 0..2 * TASKS as u64 {
        let seen = stores[0].get(&key).await.unwrap();
        let swap = |store: &Arc<S>| {
            let mut next = commit();
            next.require.push(match &seen {
                Some(seen) => Require::Value(key.clone(), seen.clone()),
                None => Require::Absent(key.clone()),
            });
            next.put.push((key.clone(), Bytes::copy_from_slice(&round.to_be_bytes())));
            let store = Arc::clone(store);
            tokio::spawn(async move { store.commit(next).await.is_ok() })
        };
        let (left, right) = (swap(&stores[0]), swap(&stores[1]));
        assert!(left.await.unwrap() != right.await.unwrap(), "both or none won round {round}");
    }
}

pub(crate) async fn a_collector_never_takes_what_an_edge_was_added_to<S: MetaStore + 'static>(
    stores: [Arc<S>; 2],
) {
    super::collect_against_pushes(&side(&stores, 0), &side(&stores, 1)).await;
}

pub(crate) async fn what_one_acknowledged_the_other_sees<S: MetaStore + 'static>(
    stores: [Arc<S>; 2],
) {
    for round in 0..2 * TASKS {
        let (from, to) = (&stores[round % 2], &stores[(round + 1) % 2]);
        let key = format!("seen {round}").into_bytes();
        from.commit(put(&key, "")).await.unwrap();
        assert!(to.get(&key).await.unwrap().is_some());
        assert!(to.get_many(&[key]).await.unwrap()[0].is_some());
    }
}

pub(crate) async fn entries_of_one_log_leave_no_gap<S: MetaStore + 'static>(stores: [Arc<S>; 2]) {
    const EACH: usize = 8;
    let tasks = (0..TASKS).map(|task| {
        let store = side(&stores, task);
        tokio::spawn(async move {
            for round in 0..EACH {
                let mut line = commit();
                line.append.push(append(b"log", &format!("{task} {round}")));
                store.commit(line).await.unwrap();
            }
        })
    });
    for task in join_all(tasks.collect::<Vec<_>>()).await {
        task.unwrap();
    }
    logs::verify(&*stores[1], b"log", (TASKS * EACH) as u64).await;
}
