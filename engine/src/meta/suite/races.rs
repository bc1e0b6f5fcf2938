//! Races: what must hold whoever is first.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::{append, commit, count, put, value};
use crate::meta::{Add, MetaError, MetaStore, Require};

const TASKS: usize = 32;

pub(super) async fn many_tasks_count_right_by_compare_and_swap(store: Arc<dyn MetaStore>) {
    const EACH: u64 = 4;
    let key = b"cas".to_vec();
    let task = |_| {
        let (store, key) = (store.clone(), key.clone());
        tokio::spawn(async move {
            let mut done = 0;
            while done < EACH {
                let seen = store.get(&key).await.unwrap();
                let number =
                    seen.as_deref().map_or(0, |seen| u64::from_be_bytes(seen.try_into().unwrap()));
                let mut next = commit();
                next.require.push(match seen {
                    Some(seen) => Require::Value(key.clone(), seen),
                    None => Require::Absent(key.clone()),
                });
                next.put.push((key.clone(), Bytes::copy_from_slice(&(number + 1).to_be_bytes())));
                match store.commit(next).await {
                    Ok(_) => done += 1,
                    Err(MetaError::Conflict { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        })
    };
    for task in join_all((0..TASKS).map(task)).await {
        task.unwrap();
    }
    let sum = store.get(&key).await.unwrap().unwrap();
    assert_eq!(sum[..], (TASKS as u64 * EACH).to_be_bytes());
}

pub(super) async fn concurrent_sums_are_exact_and_stay_in_bounds(store: Arc<dyn MetaStore>) {
    const MAX: i64 = 40;
    let task = |number: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut sum = 0;
            for round in 0..8_i64 {
                let delta = if number.is_multiple_of(3) && round % 2 == 1 { -1 } else { 3 };
                let mut add = commit();
                add.add.push(Add { key: b"sum".to_vec(), delta, max: Some(MAX) });
                match store.commit(add).await {
                    Ok(_) => sum += delta,
                    Err(MetaError::Bound { .. }) if delta > 0 => {}
                    Err(other) => panic!("{other}"),
                }
                assert!(count(&*store, b"sum").await <= MAX);
            }
            sum
        })
    };
    let sums = join_all((0..TASKS).map(task)).await;
    let wanted: i64 = sums.into_iter().map(|sum| sum.unwrap()).sum();
    assert_eq!(count(&*store, b"sum").await, wanted);
}

pub(super) async fn many_lean_on_one_row(store: Arc<dyn MetaStore>) {
    store.commit(put(b"live", "yes")).await.unwrap();
    let leaning = (0..4 * TASKS).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut leaning = commit();
            leaning.require.extend([value(b"live", "yes"), Require::Present(b"live".to_vec())]);
            leaning.put.push((number.to_be_bytes().to_vec(), Bytes::new()));
            store.commit(leaning).await.unwrap();
        })
    });
    for task in join_all(leaning).await {
        task.unwrap();
    }
}

/// A writer leans on a row being live while a collector condemns it: one of them has to lose.
pub(super) async fn collector_and_writer_never_both_win(store: Arc<dyn MetaStore>) {
    for round in 0..64_u32 {
        let row = [b"blob".as_slice(), &round.to_be_bytes()].concat();
        let link = [b"link".as_slice(), &round.to_be_bytes()].concat();
        store.commit(put(&row, "live")).await.unwrap();
        let mut write = put(&link, "");
        write.require.push(value(&row, "live"));
        let mut condemn = put(&row, "deleting");
        condemn.require.extend([value(&row, "live"), Require::Absent(link.clone())]);

        let (writer, collector) = (store.clone(), store.clone());
        let writer = tokio::spawn(async move { writer.commit(write).await });
        let collector = tokio::spawn(async move { collector.commit(condemn).await });
        let (wrote, condemned) = (writer.await.unwrap(), collector.await.unwrap());

        assert!(wrote.is_ok() != condemned.is_ok(), "{wrote:?} and {condemned:?}");
        assert_eq!(store.get(&link).await.unwrap().is_some(), wrote.is_ok());
    }
}

pub(super) async fn only_one_of_many_creates_a_row(store: Arc<dyn MetaStore>) {
    let creators = (0..TASKS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut create = put(b"name", "mine");
            create.require.push(Require::Absent(b"name".to_vec()));
            store.commit(create).await.is_ok()
        })
    });
    let won = join_all(creators).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
    assert_eq!(won, 1);
}

pub(super) async fn a_dropped_commit_happens_whole_or_not(store: Arc<dyn MetaStore>) {
    let mut happened = 0;
    for round in 0..TASKS {
        let key = |side: &str| format!("{side} {round}").into_bytes();
        let mut both = put(&key("left"), "");
        both.put.push((key("right"), Bytes::new()));
        both.append.push(append(b"log", "entry"));
        let id = both.id;
        let mut future = store.commit(both);
        // Polled as often as the round says, then dropped.
        for _ in 0..round % 4 {
            if futures::poll!(&mut future).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(future);

        // A commit behind it: the store is serial, so by now it has happened or never will.
        store.commit(put(b"fence", "")).await.unwrap();
        let seen = store.get_many(&[key("left"), key("right")]).await.unwrap();
        assert_eq!(seen[0], seen[1], "half a commit");
        assert_eq!(store.was_committed(id).await.unwrap(), Some(seen[0].is_some()));
        happened += u64::from(seen[0].is_some());
    }
    super::logs::verify(&*store, b"log", happened).await;
}
