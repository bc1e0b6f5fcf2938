//! Reads: order, limits, and one moment.

use std::sync::Arc;

use bytes::Bytes;

use super::{commit, put};
use crate::meta::{Key, MAX_KEY_BYTES, MetaStore, prefix_range};

async fn keys(store: &dyn MetaStore, range: std::ops::Range<Key>, limit: usize) -> Vec<Key> {
    store.scan(range, limit).await.unwrap().into_iter().map(|(key, _)| key).collect()
}

pub(super) async fn rows_come_in_order_and_within_the_limit(store: Arc<dyn MetaStore>) {
    let mut rows = commit();
    for key in ["b", "a", "ab", "c", "a\0", "aa"] {
        rows.put.push((key.into(), Bytes::from(key)));
    }
    store.commit(rows).await.unwrap();

    let all = keys(&*store, b"a".to_vec()..b"c".to_vec(), 100).await;
    assert_eq!(all, [b"a".as_slice(), b"a\0", b"aa", b"ab", b"b"]);
    assert_eq!(keys(&*store, b"a".to_vec()..b"c".to_vec(), 2).await, all[..2]);
    assert_eq!(keys(&*store, b"aa".to_vec()..b"b".to_vec(), 100).await, all[2..4]);
    assert_eq!(keys(&*store, b"a".to_vec()..b"z".to_vec(), 0).await, Vec::<Key>::new());
    let row = store.scan(b"b".to_vec()..b"c".to_vec(), 1).await.unwrap();
    assert_eq!(row, [(b"b".to_vec(), Bytes::from_static(b"b"))]);
}

pub(super) async fn an_odd_range_is_empty(store: Arc<dyn MetaStore>) {
    store.commit(put(b"m", "")).await.unwrap();
    for range in [b"z".to_vec()..b"a".to_vec(), b"m".to_vec()..b"m".to_vec()] {
        assert_eq!(keys(&*store, range, 10).await, Vec::<Key>::new());
    }
}

pub(super) async fn rows_are_counted_as_far_as_that_is_known(store: Arc<dyn MetaStore>) {
    let mut rows = commit();
    rows.put.extend((0..1000_u32).map(|n| (n.to_be_bytes().to_vec(), Bytes::from_static(b"v"))));
    store.commit(rows).await.unwrap();
    let view = store.snapshot().await.unwrap();
    for about in [store.about_rows().await.unwrap(), view.about_rows().await.unwrap()] {
        // Whoever guesses may be wrong, though not by much.
        assert!(about.is_none_or(|rows| (500..=2000).contains(&rows)), "{about:?}");
    }
}

pub(super) async fn a_prefix_is_scanned_whole_and_alone(store: Arc<dyn MetaStore>) {
    let longest = vec![u8::MAX; MAX_KEY_BYTES];
    let mut rows = commit();
    for key in [&b"p"[..], b"p\xff", b"p\xff\xff", b"q", b"o\xff", b"\xff", &longest] {
        rows.put.push((key.to_vec(), Bytes::new()));
    }
    store.commit(rows).await.unwrap();

    assert_eq!(keys(&*store, prefix_range(b"p"), 10).await, [&b"p"[..], b"p\xff", b"p\xff\xff"]);
    assert_eq!(keys(&*store, prefix_range(b"p\xff"), 10).await, [&b"p\xff"[..], b"p\xff\xff"]);
    assert_eq!(keys(&*store, prefix_range(b"\xff"), 10).await, [&b"\xff"[..], &longest]);
    assert_eq!(keys(&*store, prefix_range(b""), 10).await.len(), 7);
}

pub(super) async fn many_keys_are_of_one_moment(store: Arc<dyn MetaStore>) {
    let pair = [b"left".to_vec(), b"right".to_vec()];
    let writer = tokio::spawn({
        let (store, pair) = (store.clone(), pair.clone());
        async move {
            for round in 0..200_u32 {
                let mut both = commit();
                for key in &pair {
                    both.put.push((key.clone(), Bytes::copy_from_slice(&round.to_be_bytes())));
                }
                store.commit(both).await.unwrap();
            }
        }
    });
    while !writer.is_finished() {
        let seen = store.get_many(&pair).await.unwrap();
        assert_eq!(seen[0], seen[1], "two rows that always agree were read apart");
        let scanned = store.scan(b"left".to_vec()..b"s".to_vec(), 10).await.unwrap();
        assert!(scanned.windows(2).all(|two| two[0].1 == two[1].1), "{scanned:?}");
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    let absent_between = [pair[1].clone(), b"absent".to_vec(), pair[0].clone(), pair[0].clone()];
    let seen = store.get_many(&absent_between).await.unwrap();
    let last = Some(Bytes::copy_from_slice(&199_u32.to_be_bytes()));
    assert_eq!(seen, [last.clone(), None, last.clone(), last]);
}

pub(super) async fn a_snapshot_stands_still(store: Arc<dyn MetaStore>) {
    store.commit(put(b"kept", "before")).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let mut change = put(b"kept", "after");
    change.put.push((b"new".to_vec(), Bytes::new()));
    store.commit(change).await.unwrap();

    assert_eq!(snapshot.get(b"kept").await.unwrap().as_deref(), Some(&b"before"[..]));
    assert_eq!(snapshot.get(b"new").await.unwrap(), None);
    assert_eq!(snapshot.scan(prefix_range(b""), 10).await.unwrap().len(), 1);
    assert_eq!(store.get(b"kept").await.unwrap().as_deref(), Some(&b"after"[..]));
    assert_eq!(store.scan(prefix_range(b""), 10).await.unwrap().len(), 2);
}
