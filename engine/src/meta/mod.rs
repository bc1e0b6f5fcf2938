//! The facts: an ordered key space with conditional, durable, all-or-nothing commits.
//!
//! [`MetaStore`] is all that the rest of the engine asks of a database. It promises:
//!
//! - **durable**: when [`MetaStore::commit`] returns `Ok`, the commit survives power loss;
//! - **atomic**: all of a commit is there, or nothing of it, for every reader;
//! - **conditional**: a commit whose requirement does not hold changes nothing and says which key
//!   it was ([`MetaError::Conflict`]). There is no condition on ranges: nothing may need one;
//! - **serial**: commits are as if one after another, and a read that starts after a commit
//!   returned sees it.
//!
//! What it never does: interpret a value. Records and key layout live in `records` and
//! `keys`; who may read or write is decided far above. Every implementation passes
//! `suite` (feature `testing`).

#[cfg(any(test, feature = "testing"))]
pub mod fault;
pub mod log;
mod memo;
mod memory;
mod plan;
mod recent;
mod redb;
#[cfg(any(test, feature = "testing"))]
pub mod suite;
mod sure;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::memo::Memo;
pub use self::memory::MemoryStore;
pub use self::redb::{RedbOptions, RedbStore};
pub use self::sure::commit_surely;
use crate::seam::Timestamp;

/// A key: ordered by its bytes. At most [`MAX_KEY_BYTES`].
pub type Key = Vec<u8>;

/// The longest key a store must take.
pub const MAX_KEY_BYTES: usize = 1024;
/// The largest value a store must take: an inline manifest of 64 KiB and its facts fit.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// The most that the keys and values of one commit may come to.
pub const MAX_COMMIT_BYTES: usize = 16 * 1024 * 1024;
/// The most rows one scan returns, whatever was asked.
pub const MAX_SCAN_ROWS: usize = 10_000;

/// One key and its value, as a scan returns them.
pub type Row = (Key, Bytes);

/// What must hold for a commit to happen. A required row that the commit does not write is only
/// leaned on: many commits may lean on one row at once, and only its writer waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Require {
    /// The key has no value.
    Absent(Key),
    /// The key has exactly this value.
    Value(Key, Bytes),
    /// The key has a value, whichever.
    Present(Key),
}

/// Adds to a counter: a row whose value is a big-endian `i64`, zero where absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// The counter's key.
    pub key: Key,
    /// What to add; negative gives back.
    pub delta: i64,
    /// The sum may not pass this by a positive `delta`; the commit fails with
    /// [`MetaError::Bound`].
    pub max: Option<i64>,
}

/// Appends an entry to a log. The store gives it the log's next sequence (from 0, without gaps)
/// and its place in the hash chain, within the commit: nobody waits at the log's head.
/// The row is `log ++ sequence (8 bytes, big-endian)`; its value the chain hash (32 bytes) and the entry (see [`log`]).
/// Nothing else writes such a row, and no commit requires one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The key that all entries of this log begin with.
    pub log: Key,
    /// The entry's bytes.
    pub entry: Bytes,
}

/// Names one commit for ever, so that after a lost reply it can be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommitId(pub [u8; 16]);

/// How far a commit may use the room that a store keeps back for the day when nothing else is left.
/// A store that can't tell its room, or whose room somebody else sees to, keeps none back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reserve {
    /// Not at all: it adds facts, and is refused with [`MetaError::Full`] where only the reserve is
    /// left.
    #[default]
    Kept,
    /// Half of it: a little that has to be written, so that reads go on.
    Half,
    /// All of it: it makes room, or leads there.
    Whole,
}

/// One conditional batch. Order within it has no meaning; a key stands in at most one of `put`,
/// `delete` and `add` (where one does not, the later of `delete`, `put`, `add` wins).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Unique among all commits.
    pub id: CommitId,
    /// All of these must hold.
    pub require: Vec<Require>,
    /// Rows to write.
    pub put: Vec<Row>,
    /// Rows to remove; removing what is absent is no error.
    pub delete: Vec<Key>,
    /// Counters to change.
    pub add: Vec<Add>,
    /// Log entries to append, in this order.
    pub append: Vec<Append>,
    /// How far it may use the store's reserve.
    pub reserve: Reserve,
}

impl Commit {
    /// A commit that does nothing yet.
    pub fn new(id: CommitId) -> Self {
        Self {
            id,
            require: Vec::new(),
            put: Vec::new(),
            delete: Vec::new(),
            add: Vec::new(),
            append: Vec::new(),
            reserve: Reserve::Kept,
        }
    }
}

/// What a commit that happened tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// The sequence of each appended entry, in the order of [`Commit::append`].
    pub sequences: Vec<u64>,
}

/// Why a call on a [`MetaStore`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// A requirement did not hold; nothing changed. Read again and decide anew.
    #[error("the commit's requirement on key {} does not hold", const_hex::encode(key))]
    Conflict {
        /// The first key whose requirement failed.
        key: Key,
    },
    /// A counter would pass its bound; nothing changed.
    #[error("a counter at {value} can't take {delta} more: its bound is {max}")]
    Bound {
        /// The counter.
        key: Key,
        /// What it holds now.
        value: i64,
        /// What was to be added.
        delta: i64,
        /// What it may hold.
        max: i64,
    },
    /// The disk or the database has no room. Reads go on, and so do commits that may use the
    /// store's [`Reserve`], as far as it carries.
    #[error("the metadata store has no room: {0}")]
    Full(String),
    /// The store can't answer now; nothing is known to have changed. Try again later.
    #[error("the metadata store is away: {0}")]
    Unavailable(String),
    /// What was read is not what was written. Never tried again.
    #[error("the metadata store is damaged: {0}")]
    Corrupted(String),
    /// A key, value or batch is larger than the store takes.
    #[error("too large for the metadata store: {0}")]
    TooLarge(String),
}

/// Reads of one moment: whatever is committed meanwhile does not show.
#[async_trait]
pub trait MetaRead: Send + Sync {
    /// The value at `key`.
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError>;

    /// The rows whose keys lie in `range` (start included, end not), in order, at most `limit`
    /// and at most [`MAX_SCAN_ROWS`].
    async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError>;

    /// About how many rows there are, so that who reads them all can tell how far that is. `None` where
    /// the store can't tell at once: it is not worth a walk.
    async fn about_rows(&self) -> Result<Option<u64>, MetaError> {
        Ok(None)
    }
}

/// The database the engine needs. See the page of this module for its promises.
#[async_trait]
pub trait MetaStore: MetaRead + fmt::Debug {
    /// The values at `keys`, in their order, all of one moment.
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, MetaError>;

    /// Does all of `commit`, durably, or nothing. Dropping the future does not take a commit
    /// back: it may happen or not, and it happens whole. A commit whose id the store remembers as
    /// done (see [`Self::was_committed`]) is not done again, and answers as it did.
    async fn commit(&self, commit: Commit) -> Result<Committed, MetaError>;

    /// Whether the commit of this id happened, however its reply was lost; `None` where that is too
    /// long ago to know. Asked after that commit's future ended, in the process that sent it.
    ///
    /// What is answered stays true: after `Some(false)` nothing that is still on its way makes it
    /// happen. Whoever wants it still sends it under another id; under the same one it may be refused
    /// with [`MetaError::Unavailable`].
    async fn was_committed(&self, id: CommitId) -> Result<Option<bool>, MetaError>;

    /// A consistent view of this moment (for backup and fsck).
    async fn snapshot(&self) -> Result<Box<dyn MetaRead>, MetaError>;

    /// The time by the store's clock, which leases are counted by: one clock for all nodes.
    async fn now(&self) -> Result<Timestamp, MetaError>;

    /// Gives room that deleted rows held back to the system, as far as the store can; returns
    /// the bytes given back.
    async fn compact(&self) -> Result<u64, MetaError>;

    /// Fails where what serves commits in this process has ended, so that no commit can go well any
    /// more whatever the reads say. Asks nobody and costs nothing.
    fn is_serving(&self) -> Result<(), MetaError> {
        Ok(())
    }

    /// Whether other processes may write to the same store: what one of them has read may be old
    /// as soon as it has it, and only a commit's requirements or another read can tell.
    fn is_shared(&self) -> bool {
        false
    }

    /// Which state of the store is read: another number after each commit, before that is answered. Where
    /// it is the same at two moments, whatever was read after the first is still so at the second. `None` where
    /// that is not known without asking, as where other processes write or, for a moment, while one state
    /// takes the place of another.
    fn revision(&self) -> Option<u64> {
        None
    }
}

/// Fails with [`MetaError::TooLarge`] where `commit` is more than a store has to take. For whoever
/// implements [`MetaStore`].
pub fn check_size(commit: &Commit) -> Result<(), MetaError> {
    plan::measure(commit).map(drop)
}

/// The range of all keys that begin with `prefix`.
pub fn prefix_range(prefix: &[u8]) -> Range<Key> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    if end.is_empty() {
        end = vec![u8::MAX; MAX_KEY_BYTES + 1];
    }
    prefix.to_vec()..end
}

/// The keys with `prefix` whose rest comes after `after`, which need not exist; `None` where there
/// can be none.
pub(crate) fn range_behind(prefix: &[u8], after: Option<&str>) -> Option<Range<Key>> {
    let mut range = prefix_range(prefix);
    if let Some(after) = after {
        // The first key past `after` itself.
        range.start = [prefix, after.as_bytes(), &[0]].concat();
    }
    (!range.is_empty()).then_some(range)
}
