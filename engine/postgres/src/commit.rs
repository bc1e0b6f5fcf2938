//! A commit as the arguments of one call, and what the call answers.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use deadpool_postgres::Object;
use sha2::{Digest, Sha256};
use strongroom_engine::meta::{Add, Append, Commit, CommitId, Committed, Key, MetaError, Require};
use tokio_postgres::types::ToSql;

use crate::error::Failure;

const CALL: &str = "SELECT outcome, place, held, told FROM strongroom_commit(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// The lock of all keys at once: shared by commits that lock key by key, and held alone by one
/// with more keys than that, so that the server's table of locks is never full of one commit.
const ALL: i64 = 0x7374_726f_6e67_726f;
/// The most keys that one commit locks one by one. The server has room for 64 locks a connection on
/// average, and most commits take about ten.
const MAX_LOCKS: usize = 128;

/// The lock of a key. Every program that writes here must compute the same; it is part of the schema.
/// Two keys of one hash only wait for each other without need.
fn lock(kind: &[u8], name: &[u8]) -> i64 {
    let hash: [u8; 32] = Sha256::new().chain_update(kind).chain_update(name).finalize().into();
    hash.first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
}

/// The lock of a commit's id: of two calls for one commit the second waits for the first.
pub(crate) fn lock_of_id(id: CommitId) -> i64 {
    lock(b"commit", &id.0)
}

/// A commit whose writes are one for each key.
#[derive(Debug)]
pub(crate) struct Call {
    id: CommitId,
    require: Vec<Require>,
    put: Vec<(Key, Bytes)>,
    delete: Vec<Key>,
    add: Vec<Add>,
    append: Vec<Append>,
}

impl Call {
    /// The same commit with each key written once: of a put and a delete the put counts, and what
    /// is added to either is known here.
    pub(crate) fn new(commit: Commit) -> Result<Self, MetaError> {
        // The room on the server's disk is its operator's to keep: nothing here can reserve any.
        let Commit { id, require, put, mut delete, add, append, reserve: _ } = commit;
        let twice = put.len() + delete.len() + add.len() > {
            let puts = put.iter().map(|(key, _)| key);
            let adds = add.iter().map(|add| &add.key);
            puts.chain(&delete).chain(adds).collect::<HashSet<_>>().len()
        };
        if !twice {
            return Ok(Self { id, require, put, delete, add, append });
        }
        let mut puts: BTreeMap<Key, Bytes> = put.into_iter().collect();
        delete.retain(|key| !puts.contains_key(key));
        let mut deleted: HashSet<Key> = delete.into_iter().collect();
        let mut adds = Vec::with_capacity(add.len());
        for add in add {
            let before = match puts.get(&add.key) {
                Some(value) => {
                    let bytes = <[u8; 8]>::try_from(&**value);
                    i64::from_be_bytes(bytes.map_err(|_| no_counter(&add.key, value.len()))?)
                }
                None if deleted.remove(&add.key) => 0,
                None => {
                    adds.push(add);
                    continue;
                }
            };
            let most = add.max.unwrap_or(i64::MAX);
            match before.checked_add(add.delta).filter(|sum| add.delta <= 0 || *sum <= most) {
                Some(sum) => puts.insert(add.key, Bytes::copy_from_slice(&sum.to_be_bytes())),
                None => return Err(bound(add, before)),
            };
        }
        let (put, delete) = (puts.into_iter().collect(), deleted.into_iter().collect());
        Ok(Self { id, require, put, delete, add: adds, append })
    }

    pub(crate) fn id(&self) -> CommitId {
        self.id
    }

    /// What to lock, in the order of all: the commit, everything together, then each key.
    fn locks(&self) -> (Vec<i64>, Vec<bool>) {
        let mut keys: HashMap<&[u8], bool> = HashMap::new();
        for require in &self.require {
            let (Require::Absent(key) | Require::Present(key) | Require::Value(key, _)) = require;
            keys.entry(key).or_insert(false);
        }
        let written = self.put.iter().map(|(key, _)| key).chain(&self.delete);
        let written = written.chain(self.add.iter().map(|add| &add.key));
        for key in written.chain(self.append.iter().map(|append| &append.log)) {
            keys.insert(key, true);
        }
        let alone = keys.len() > MAX_LOCKS;
        let mut locks = BTreeMap::new();
        if !alone {
            for (key, exclusive) in keys {
                *locks.entry(lock(b"", key)).or_insert(false) |= exclusive;
            }
        }
        [(lock_of_id(self.id), true), (ALL, alone)].into_iter().chain(locks).unzip()
    }

    /// Makes the call on `connection`.
    pub(crate) async fn send(&self, connection: &Object) -> Result<Committed, Failure> {
        let (locks, exclusive) = self.locks();
        let (mut require_keys, mut kinds, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for require in &self.require {
            let (key, kind, value): (_, i16, _) = match require {
                Require::Absent(key) => (key, 0, None),
                Require::Present(key) => (key, 1, None),
                Require::Value(key, value) => (key, 2, Some(&**value)),
            };
            require_keys.push(key.as_slice());
            kinds.push(kind);
            values.push(value);
        }
        let delete: Vec<&[u8]> = self.delete.iter().map(Key::as_slice).collect();
        let (put_keys, put_values): (Vec<&[u8]>, Vec<&[u8]>) =
            self.put.iter().map(|(key, value)| (key.as_slice(), &**value)).unzip();
        let add_keys: Vec<&[u8]> = self.add.iter().map(|add| add.key.as_slice()).collect();
        let deltas: Vec<i64> = self.add.iter().map(|add| add.delta).collect();
        let bounds: Vec<i64> = self.add.iter().map(|add| add.max.unwrap_or(i64::MAX)).collect();
        let (logs, entries): (Vec<&[u8]>, Vec<&[u8]>) =
            self.append.iter().map(|append| (append.log.as_slice(), &*append.entry)).unzip();
        let id = self.id.0.as_slice();
        let arguments: [&(dyn ToSql + Sync); 14] = [
            &id,
            &locks,
            &exclusive,
            &require_keys,
            &kinds,
            &values,
            &delete,
            &put_keys,
            &put_values,
            &add_keys,
            &deltas,
            &bounds,
            &logs,
            &entries,
        ];
        let statement = connection.prepare_cached(CALL).await?;
        let row = connection.query_one(&statement, &arguments).await?;
        let outcome: i32 = row.try_get(0)?;
        let place: Option<i64> = row.try_get(1)?;
        let held: Option<i64> = row.try_get(2)?;
        let told: Option<Vec<i64>> = row.try_get(3)?;
        if outcome == 0 {
            let sequences = told.unwrap_or_default().into_iter().map(i64::cast_unsigned).collect();
            return Ok(Committed { sequences });
        }
        let place = place.and_then(|place| usize::try_from(place - 1).ok()).unwrap_or(usize::MAX);
        Err(Failure::Final(self.refused(outcome, place, held.unwrap_or(0))))
    }

    /// Why it was not done.
    fn refused(&self, outcome: i32, place: usize, held: i64) -> MetaError {
        match (outcome, self.require.get(place), self.add.get(place), self.append.get(place)) {
            (1, Some(require), _, _) => {
                let (Require::Absent(key) | Require::Present(key) | Require::Value(key, _)) =
                    require;
                MetaError::Conflict { key: key.clone() }
            }
            (2, _, Some(add), _) => bound(add.clone(), held),
            (3, _, Some(add), _) => no_counter(&add.key, usize::try_from(held).unwrap_or(0)),
            (4, _, _, Some(append)) => MetaError::Corrupted(format!(
                "the last entry of the log {}",
                const_hex::encode(&append.log)
            )),
            (5, ..) => MetaError::Unavailable(
                "this commit was asked for before it came, and so was given up".to_owned(),
            ),
            _ => MetaError::Unavailable(format!("the database answers {outcome} to a commit")),
        }
    }
}

fn bound(add: Add, value: i64) -> MetaError {
    MetaError::Bound { key: add.key, value, delta: add.delta, max: add.max.unwrap_or(i64::MAX) }
}

fn no_counter(key: &[u8], length: usize) -> MetaError {
    MetaError::Corrupted(format!(
        "the counter at {} has {length} bytes instead of 8",
        const_hex::encode(key)
    ))
}
