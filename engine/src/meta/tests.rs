//! Random histories against a model: both stores, and redb through reopening and compaction.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::seam::SystemClock;

#[derive(Debug, Clone)]
enum Step {
    Commit(Commit),
    Reopen,
    Compact,
}

fn row_key() -> impl Strategy<Value = Key> {
    // Few keys, so that commits meet; some begin with others, and one is long.
    (0..12_u8).prop_map(|number| match number {
        11 => vec![b'r'; MAX_KEY_BYTES],
        number => vec![b'r'; usize::from(number % 4) + 1].into_iter().chain([number]).collect(),
    })
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => (0..3_u8).prop_map(|byte| Bytes::from(vec![byte; usize::from(byte)])),
        1 => (0..6000_usize).prop_map(|length| Bytes::from(vec![9; length])),
    ]
}

fn require() -> impl Strategy<Value = Require> {
    prop_oneof![
        row_key().prop_map(Require::Absent),
        row_key().prop_map(Require::Present),
        (row_key(), value()).prop_map(|(key, value)| Require::Value(key, value)),
    ]
}

fn add() -> impl Strategy<Value = Add> {
    (0..3_u8, -20..20_i64, proptest::option::of(-5..30_i64)).prop_map(|(number, delta, max)| Add {
        key: vec![b'c', number],
        delta,
        max,
    })
}

fn append() -> impl Strategy<Value = Append> {
    (0..3_usize, value()).prop_map(|(number, entry)| Append { log: vec![b'l'; number + 1], entry })
}

fn step() -> impl Strategy<Value = Step> {
    use proptest::collection::{btree_map, vec};
    let commit = (
        vec(require(), 0..3),
        btree_map(row_key(), proptest::option::of(value()), 0..6),
        vec(add(), 0..3),
        vec(append(), 0..3),
    )
        .prop_map(|(require, rows, add, append)| {
            let unnamed = Commit::new(CommitId([0; 16]));
            let mut commit = Commit { require, add, append, ..unnamed };
            for (key, value) in rows {
                match value {
                    Some(value) => commit.put.push((key, value)),
                    None => commit.delete.push(key),
                }
            }
            Step::Commit(commit)
        });
    prop_oneof![30 => commit, 2 => Just(Step::Reopen), 1 => Just(Step::Compact)]
}

/// What a commit does, said as plainly as can be.
#[derive(Debug, Clone, Default)]
struct Model {
    rows: BTreeMap<Key, Bytes>,
    next: BTreeMap<Key, (u64, [u8; 32])>,
}

impl Model {
    fn commit(&mut self, commit: &Commit) -> Option<Vec<u64>> {
        let holds = commit.require.iter().all(|require| match require {
            Require::Absent(key) => !self.rows.contains_key(key),
            Require::Present(key) => self.rows.contains_key(key),
            Require::Value(key, value) => self.rows.get(key) == Some(value),
        });
        if !holds {
            return None;
        }
        let mut after = self.clone();
        for key in &commit.delete {
            after.rows.remove(key);
        }
        after.rows.extend(commit.put.iter().cloned());
        for Add { key, delta, max } in &commit.add {
            let now = after
                .rows
                .get(key)
                .map_or(0, |row| i64::from_be_bytes(row[..].try_into().unwrap()));
            if *delta > 0 && max.is_some_and(|max| now + delta > max) {
                return None;
            }
            after.rows.insert(key.clone(), Bytes::from((now + delta).to_be_bytes().to_vec()));
        }
        let mut sequences = Vec::new();
        for Append { log, entry } in &commit.append {
            let (next, hash) = after.next.entry(log.clone()).or_insert((0, log::genesis(log)));
            *hash = log::link(hash, *next, entry);
            after.rows.insert(log::entry_key(log, *next), log::encode(hash, entry));
            sequences.push(*next);
            *next += 1;
        }
        *self = after;
        Some(sequences)
    }
}

async fn agrees(store: &dyn MetaStore, model: &Model) {
    let rows: Vec<Row> = model.rows.clone().into_iter().collect();
    assert_eq!(store.scan(prefix_range(b""), MAX_SCAN_ROWS).await.unwrap(), rows);
    let keys: Vec<Key> = model.rows.keys().cloned().chain([b"never".to_vec()]).collect();
    let values: Vec<_> = keys.iter().map(|key| model.rows.get(key).cloned()).collect();
    assert_eq!(store.get_many(&keys).await.unwrap(), values);
}

async fn follows_the_model<S: MetaStore>(history: Vec<Step>, reopen: impl Fn(Option<S>) -> S) {
    let mut model = Model::default();
    let mut store = reopen(None);
    for (number, step) in (0_u128..).zip(history) {
        match step {
            Step::Reopen => store = reopen(Some(store)),
            Step::Compact => drop(store.compact().await.unwrap()),
            Step::Commit(mut commit) => {
                commit.id = CommitId(number.to_be_bytes());
                let wanted = model.commit(&commit);
                let answer = store.commit(commit).await;
                match (&answer, wanted) {
                    (Ok(told), Some(wanted)) => assert_eq!(told.sequences, wanted),
                    (Err(MetaError::Conflict { .. } | MetaError::Bound { .. }), None) => {}
                    (_, wanted) => panic!("{answer:?} instead of {wanted:?}"),
                }
            }
        }
        agrees(&store, &model).await;
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn memory_follows_the_model(history in proptest::collection::vec(step(), 1..40)) {
        run(follows_the_model(history, Option::<MemoryStore>::unwrap_or_default));
    }

    #[test]
    fn redb_follows_the_model(history in proptest::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta.redb");
        run(follows_the_model(history, |store: Option<RedbStore>| {
            drop(store);
            RedbStore::open(&path, Arc::new(SystemClock)).unwrap()
        }));
    }
}
