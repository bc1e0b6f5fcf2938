//! Races: what must hold whoever is first.

pub(super) mod across;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::{append, commit, count, put, value};
use crate::meta::{Add, MetaError, MetaStore, Require, prefix_range};

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
    sums_over(|_| Arc::clone(&store)).await;
}

/// Many tasks count in one row, each by the store that `side` gives it.
async fn sums_over(side: impl Fn(usize) -> Arc<dyn MetaStore>) {
    const MAX: i64 = 40;
    let task = |number: usize| {
        let store = side(number);
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
    assert_eq!(count(&*side(0), b"sum").await, wanted);
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

/// As when the reply of a commit is lost: its caller asks, and believes what it is told.
pub(super) async fn what_is_said_of_a_lost_commit_stays_true(store: Arc<dyn MetaStore>) {
    let mut said = Vec::new();
    for round in 0..2 * TASKS {
        let key = format!("lost {round}").into_bytes();
        let lost = put(&key, "");
        let id = lost.id;
        let mut future = store.commit(lost);
        for _ in 0..round % 8 {
            if futures::poll!(&mut future).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(future);
        let happened = store.was_committed(id).await.unwrap().expect("it was sent just now");
        said.push((key, id, happened));
    }
    // Whatever is still on its way has time to come.
    for _ in 0..TASKS {
        store.commit(put(b"later", "")).await.unwrap();
    }
    for (key, id, happened) in said {
        assert_eq!(store.get(&key).await.unwrap().is_some(), happened);
        assert_eq!(store.was_committed(id).await.unwrap(), Some(happened));
    }
}

/// The collector's steps: condemn, look, and only then remove; against a push that adds an edge.
pub(super) async fn a_collector_never_takes_what_an_edge_was_added_to(store: Arc<dyn MetaStore>) {
    collect_against_pushes(&store, &store).await;
}

async fn collect_against_pushes(collecting: &Arc<dyn MetaStore>, pushing: &Arc<dyn MetaStore>) {
    let (mut kept, mut taken) = (0, 0);
    for round in 0..2 * TASKS {
        let blob = format!("blob {round}").into_bytes();
        let edges = format!("edge {round} ").into_bytes();
        collecting.commit(put(&blob, "live")).await.unwrap();
        let collector = tokio::spawn(collect(Arc::clone(collecting), blob.clone(), edges.clone()));
        let pushed = tokio::spawn({
            let (store, blob, edge) = (Arc::clone(pushing), blob.clone(), [&*edges, b"1"].concat());
            async move {
                let mut push = put(&edge, "");
                push.require.push(value(&blob, "live"));
                store.commit(push).await.is_ok()
            }
        });
        let (collected, pushed) = (collector.await.unwrap(), pushed.await.unwrap());
        assert!(!(collected && pushed), "what an edge names is gone");
        assert_eq!(pushing.get(&blob).await.unwrap().is_none(), collected);
        let left = pushing.scan(prefix_range(&edges), 10).await.unwrap();
        assert_eq!(left.len(), usize::from(pushed));
        kept += usize::from(pushed);
        taken += usize::from(collected);
    }
    assert!(kept + taken > 0, "neither ever won");
}

/// Whether it was collected.
async fn collect(store: Arc<dyn MetaStore>, blob: Vec<u8>, edges: Vec<u8>) -> bool {
    let mut condemn = put(&blob, "condemned");
    condemn.require.push(value(&blob, "live"));
    store.commit(condemn).await.unwrap();
    let named = !store.scan(prefix_range(&edges), 1).await.unwrap().is_empty();
    let mut decide = if named { put(&blob, "live") } else { commit() };
    decide.require.push(value(&blob, "condemned"));
    if !named {
        decide.delete.push(blob);
    }
    store.commit(decide).await.unwrap();
    !named
}

/// A batch too large to be held key by key must not slip between commits that are.
pub(super) async fn small_commits_and_large_ones_stay_serial(store: Arc<dyn MetaStore>) {
    const ROWS: u32 = 400;
    let rows: Vec<_> =
        (0..ROWS).map(|row| [b"r".as_slice(), &row.to_be_bytes()].concat()).collect();
    let mut first = put(b"switch", "on");
    first.put.extend(rows.iter().map(|row| (row.clone(), Bytes::new())));
    store.commit(first).await.unwrap();
    // Small ones add a mark to a row while the switch is on; the large one turns it off and takes
    // all rows and marks that it saw away.
    let small = rows.iter().step_by(10).map(|row| {
        let (store, row) = (store.clone(), row.clone());
        tokio::spawn(async move {
            let mut mark = put(&[b"m", &*row].concat(), "");
            mark.require.extend([value(b"switch", "on"), Require::Present(row)]);
            store.commit(mark).await.is_ok()
        })
    });
    let small: Vec<_> = small.collect();
    let large = tokio::spawn({
        let (store, rows) = (store.clone(), rows.clone());
        async move {
            let mut clear = put(b"switch", "off");
            clear.require.push(value(b"switch", "on"));
            clear.delete.extend(rows);
            store.commit(clear).await.unwrap();
            // Serial: nobody leans on the switch any more.
            store.scan(prefix_range(b"mr"), 1000).await.unwrap().len()
        }
    });
    let marked = join_all(small).await.into_iter().filter(|done| *done.as_ref().unwrap()).count();
    let seen = large.await.unwrap();
    assert_eq!(store.scan(prefix_range(b"r"), 1000).await.unwrap(), []);
    assert_eq!(seen, marked, "a mark came after the switch was off");
}
