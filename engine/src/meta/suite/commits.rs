//! Commits: conditions, counters, sizes, and what is remembered.

use std::sync::Arc;

use bytes::Bytes;

use super::{append, commit, conflicting_key, count, put, value};
use crate::meta::{
    Add, Commit, CommitId, MAX_COMMIT_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, MetaError, MetaStore,
    Require, prefix_range,
};

/// A commit that does one of everything.
fn everything() -> Commit {
    let mut all = put(b"put", "new");
    all.delete.push(b"old".to_vec());
    all.add.push(Add { key: b"count".to_vec(), delta: 3, max: None });
    all.append.push(append(b"log", "entry"));
    all
}

pub(super) async fn a_refused_commit_leaves_no_trace(store: Arc<dyn MetaStore>) {
    store.commit(put(b"old", "still")).await.unwrap();
    let before = store.scan(prefix_range(b""), 100).await.unwrap();

    let mut conflicting = everything();
    conflicting.require.push(Require::Present(b"absent".to_vec()));
    assert_eq!(conflicting_key(store.commit(conflicting).await), b"absent");
    let mut bounded = everything();
    bounded.add.push(Add { key: b"bounded".to_vec(), delta: 2, max: Some(1) });
    assert!(matches!(store.commit(bounded).await, Err(MetaError::Bound { .. })));
    assert_eq!(store.scan(prefix_range(b""), 100).await.unwrap(), before);

    let done = store.commit(everything()).await.unwrap();
    assert_eq!(done.sequences, [0], "a refused commit took a sequence");
    assert_eq!(store.get(b"old").await.unwrap(), None);
    assert_eq!(count(&*store, b"count").await, 3);
}

/// Also to who reads beside: what was read in a revision that still stands is what is there.
pub(super) async fn each_is_another_revision_before_it_is_answered(store: Arc<dyn MetaStore>) {
    let mut before = store.revision();
    if before.is_none() {
        return;
    }
    let reading = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let mut last = 0;
            while last < 99 {
                let revision = store.revision();
                let row = store.get(b"k").await.unwrap();
                let again = store.get(b"k").await.unwrap();
                let stands = revision.is_some() && revision == store.revision();
                assert!(row == again || !stands, "{row:?} {again:?}");
                last = again.map_or(0, |row| std::str::from_utf8(&row).unwrap().parse().unwrap());
                tokio::task::yield_now().await;
            }
        }
    });
    for number in 0..100 {
        let kept = (store.revision(), store.get(b"k").await.unwrap());
        assert_eq!((store.revision(), store.get(b"k").await.unwrap()), kept);
        store.commit(put(b"k", number.to_string())).await.unwrap();
        let after = store.revision();
        assert_ne!(after, before);
        before = after;
    }
    reading.await.unwrap();
}

pub(super) async fn each_requirement_holds_or_conflicts(store: Arc<dyn MetaStore>) {
    store.commit(put(b"k", "v")).await.unwrap();
    let absent = |key: &[u8]| Require::Absent(key.to_vec());
    let present = |key: &[u8]| Require::Present(key.to_vec());

    for holds in [absent(b"x"), present(b"k"), value(b"k", "v")] {
        let mut commit = commit();
        commit.require.push(holds);
        store.commit(commit).await.unwrap();
    }
    let failing = [absent(b"k"), present(b"x"), value(b"k", "w"), value(b"k", ""), value(b"x", "")];
    for fails in failing {
        let (Require::Absent(key) | Require::Present(key) | Require::Value(key, _)) = &fails;
        let wanted = key.clone();
        let mut commit = put(b"k", "changed");
        commit.require.extend([present(b"k"), fails]);
        assert_eq!(conflicting_key(store.commit(commit).await), wanted);
    }
    assert_eq!(store.get(b"k").await.unwrap().as_deref(), Some(&b"v"[..]));
}

pub(super) async fn what_is_deleted_is_gone(store: Arc<dyn MetaStore>) {
    store.commit(put(b"k", "")).await.unwrap();
    assert_eq!(store.get(b"k").await.unwrap(), Some(Bytes::new()), "empty is not absent");
    for _ in 0..2 {
        let mut delete = commit();
        delete.delete.push(b"k".to_vec());
        store.commit(delete).await.unwrap();
        assert_eq!(store.get(b"k").await.unwrap(), None);
    }
    let mut anew = put(b"k", "again");
    anew.require.push(Require::Absent(b"k".to_vec()));
    store.commit(anew).await.unwrap();
}

pub(super) async fn counters_add_up_within_their_bound(store: Arc<dyn MetaStore>) {
    let add = async |delta: i64, max: Option<i64>| {
        let mut commit = commit();
        commit.add.push(Add { key: b"c".to_vec(), delta, max });
        store.commit(commit).await
    };
    add(-7, Some(10)).await.unwrap();
    add(17, Some(10)).await.unwrap();
    assert_eq!(count(&*store, b"c").await, 10, "a sum may reach its bound");
    match add(1, Some(10)).await {
        Err(MetaError::Bound { key, value: 10, delta: 1, max: 10 }) => assert_eq!(key, b"c"),
        other => panic!("the bound was passed: {other:?}"),
    }
    add(5, None).await.unwrap();
    add(-1, Some(10)).await.unwrap();
    add(0, Some(10)).await.unwrap();
    assert_eq!(count(&*store, b"c").await, 14, "giving back is never refused");
    assert!(matches!(add(i64::MAX, None).await, Err(MetaError::Bound { .. })), "no overflow");
    assert_eq!(count(&*store, b"c").await, 14);
}

pub(super) async fn what_is_no_counter_is_not_counted(store: Arc<dyn MetaStore>) {
    store.commit(put(b"text", "four")).await.unwrap();
    let mut add = commit();
    add.add.push(Add { key: b"text".to_vec(), delta: 1, max: None });
    assert!(matches!(store.commit(add).await, Err(MetaError::Corrupted(_))));
    assert_eq!(store.get(b"text").await.unwrap().as_deref(), Some(&b"four"[..]));
}

pub(super) async fn what_is_too_large_is_refused(store: Arc<dyn MetaStore>) {
    let value = Bytes::from(vec![7; MAX_VALUE_BYTES]);
    let mut largest = commit();
    largest.put.push((vec![7; MAX_KEY_BYTES], value.clone()));
    store.commit(largest).await.unwrap();
    let (stored, snapshot) =
        (store.get(&[7; MAX_KEY_BYTES]).await.unwrap(), store.snapshot().await.unwrap());
    assert_eq!(stored, Some(value.clone()));
    assert_eq!(snapshot.get(&[7; MAX_KEY_BYTES]).await.unwrap(), Some(value.clone()));

    let mut refused = vec![commit(), commit(), commit(), commit(), commit()];
    refused[0].put.push((vec![8; MAX_KEY_BYTES + 1], Bytes::new()));
    refused[1].put.push((b"k".to_vec(), Bytes::from(vec![7; MAX_VALUE_BYTES + 1])));
    refused[2].delete.push(vec![8; MAX_KEY_BYTES + 1]);
    refused[3].append.push(super::Append { log: vec![8; MAX_KEY_BYTES - 7], entry: Bytes::new() });
    for number in 0..=MAX_COMMIT_BYTES / MAX_VALUE_BYTES {
        refused[4].put.push((number.to_be_bytes().to_vec(), value.clone()));
    }
    for commit in refused {
        assert!(matches!(store.commit(commit).await, Err(MetaError::TooLarge(_))));
    }
    assert_eq!(store.scan(prefix_range(b""), 10).await.unwrap().len(), 1);
}

pub(super) async fn a_commit_that_is_sent_again_happens_once(store: Arc<dyn MetaStore>) {
    let once = everything();
    let (first, second) = tokio::join!(store.commit(once.clone()), store.commit(once.clone()));
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(store.commit(once).await.unwrap().sequences, [0]);
    assert_eq!(count(&*store, b"count").await, 3);
}

pub(super) async fn what_was_committed_is_known(store: Arc<dyn MetaStore>) {
    let done = put(b"k", "v");
    let mut refused = put(b"k", "w");
    refused.require.push(Require::Absent(b"k".to_vec()));
    let (done_id, refused_id) = (done.id, refused.id);
    store.commit(done).await.unwrap();
    store.commit(refused).await.unwrap_err();

    assert_eq!(store.was_committed(done_id).await.unwrap(), Some(true));
    assert_eq!(store.was_committed(refused_id).await.unwrap(), Some(false));
    assert_eq!(store.was_committed(CommitId([0xee; 16])).await.unwrap(), Some(false));
}

pub(super) async fn a_batch_may_have_thousands_of_keys(store: Arc<dyn MetaStore>) {
    const KEYS: u32 = 6_000;
    let value = Bytes::from(vec![7; MAX_COMMIT_BYTES / KEYS as usize - 64]);
    let key = |number: u32| [b"row ".as_slice(), &number.to_be_bytes()].concat();
    let mut large = commit();
    for number in 0..KEYS {
        large.require.push(Require::Absent(key(number)));
        large.put.push((key(number), value.clone()));
    }
    store.commit(large.clone()).await.unwrap();
    let again = Commit { id: commit().id, ..large };
    assert_eq!(conflicting_key(store.commit(again).await), key(0));

    let mut gone = commit();
    for number in 0..KEYS {
        gone.require.push(Require::Present(key(number)));
        gone.delete.push(key(number));
    }
    gone.require.push(Require::Absent(key(KEYS)));
    assert_eq!(store.scan(prefix_range(b"row "), 10_000).await.unwrap().len(), KEYS as usize);
    store.commit(gone).await.unwrap();
    assert_eq!(store.scan(prefix_range(b"row "), 10).await.unwrap(), []);
}
