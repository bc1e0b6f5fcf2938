//! What a commit means: one reading of it for every store that decides in its own process.
//!
//! [`plan`] checks a commit against a [`View`] and says what is to be written; it changes nothing
//! itself, so a commit that is refused leaves no trace.

use bytes::Bytes;

use super::log::{self, Head};
use super::{
    Add, Append, Commit, Key, MAX_COMMIT_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, MetaError, Require,
};

/// What a commit is decided against: the rows of now.
pub(super) trait View {
    /// The value at `key`.
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, MetaError>;
    /// Where `log` goes on.
    fn head(&mut self, log: &[u8]) -> Result<Head, MetaError>;
}

/// What a commit that may happen does.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The rows to write, or to remove where there is no value.
    pub(super) writes: Vec<(Key, Option<Bytes>)>,
    /// The logs that moved, each once.
    pub(super) heads: Vec<(Key, Head)>,
    /// The sequence of each appended entry.
    pub(super) sequences: Vec<u64>,
}

/// How many bytes a commit brings, or [`MetaError::TooLarge`].
pub(super) fn measure(commit: &Commit) -> Result<usize, MetaError> {
    let mut total = 0_usize;
    let mut key = |key: &Key, more: usize| {
        let length = key.len() + more;
        total += length;
        if length > MAX_KEY_BYTES {
            return Err(MetaError::TooLarge(format!(
                "a key of {length} bytes, where {MAX_KEY_BYTES} are the most"
            )));
        }
        Ok(())
    };
    for require in &commit.require {
        let (Require::Absent(at) | Require::Present(at) | Require::Value(at, _)) = require;
        key(at, 0)?;
    }
    for (at, _) in &commit.put {
        key(at, 0)?;
    }
    for at in &commit.delete {
        key(at, 0)?;
    }
    for add in &commit.add {
        key(&add.key, 0)?;
    }
    for append in &commit.append {
        key(&append.log, log::SEQUENCE_BYTES)?;
    }
    let values = commit.put.iter().map(|(_, value)| value);
    for value in values.chain(commit.append.iter().map(|append| &append.entry)) {
        total += value.len();
        if value.len() > MAX_VALUE_BYTES {
            return Err(MetaError::TooLarge(format!(
                "a value of {} bytes, where {MAX_VALUE_BYTES} are the most",
                value.len()
            )));
        }
    }
    if total > MAX_COMMIT_BYTES {
        return Err(MetaError::TooLarge(format!(
            "a commit of {total} bytes, where {MAX_COMMIT_BYTES} are the most"
        )));
    }
    Ok(total)
}

/// Decides `commit` against `view`.
pub(super) fn plan(commit: Commit, view: &mut impl View) -> Result<Plan, MetaError> {
    let Commit { id: _, require, put, delete, add, append, reserve: _ } = commit;
    for require in require {
        let (key, holds) = match require {
            Require::Absent(key) => {
                let holds = view.get(&key)?.is_none();
                (key, holds)
            }
            Require::Present(key) => {
                let holds = view.get(&key)?.is_some();
                (key, holds)
            }
            Require::Value(key, value) => {
                let holds = view.get(&key)?.is_some_and(|now| now == value);
                (key, holds)
            }
        };
        if !holds {
            return Err(MetaError::Conflict { key });
        }
    }
    let mut plan = Plan::default();
    plan.writes.reserve(delete.len() + put.len() + add.len() + append.len());
    plan.writes.extend(delete.into_iter().map(|key| (key, None)));
    plan.writes.extend(put.into_iter().map(|(key, value)| (key, Some(value))));
    for add in add {
        plan.count(add, view)?;
    }
    plan.sequences.reserve(append.len());
    for append in append {
        plan.append(append, view)?;
    }
    Ok(plan)
}

impl Plan {
    fn count(&mut self, add: Add, view: &mut impl View) -> Result<(), MetaError> {
        let Add { key, delta, max } = add;
        let staged = self.writes.iter().rev().find(|(at, _)| *at == key);
        let before = match staged {
            Some((_, value)) => value.clone(),
            None => view.get(&key)?,
        };
        let value = counter(&key, before.as_deref())?;
        let most = max.unwrap_or(i64::MAX);
        match value.checked_add(delta) {
            Some(sum) if delta <= 0 || sum <= most => {
                self.writes.push((key, Some(Bytes::copy_from_slice(&sum.to_be_bytes()))));
                Ok(())
            }
            _ => Err(MetaError::Bound { key, value, delta, max: most }),
        }
    }

    fn append(&mut self, append: Append, view: &mut impl View) -> Result<(), MetaError> {
        let Append { log, entry } = append;
        let staged = self.heads.iter().position(|(at, _)| *at == log);
        let mut head = match staged.and_then(|at| self.heads.get(at)) {
            Some((_, head)) => *head,
            None => view.head(&log)?,
        };
        let (sequence, value) = head.push(&entry);
        self.writes.push((log::entry_key(&log, sequence), Some(value)));
        self.sequences.push(sequence);
        match staged.and_then(|at| self.heads.get_mut(at)) {
            Some((_, moved)) => *moved = head,
            None => self.heads.push((log, head)),
        }
        Ok(())
    }
}

/// The number in a counter's row.
fn counter(key: &[u8], value: Option<&[u8]>) -> Result<i64, MetaError> {
    let Some(value) = value else { return Ok(0) };
    let bytes = value.try_into().map_err(|_| {
        MetaError::Corrupted(format!(
            "the counter at {} has {} bytes instead of 8",
            const_hex::encode(key),
            value.len()
        ))
    })?;
    Ok(i64::from_be_bytes(bytes))
}
