//! The one thread that writes: it joins what waits into one durable transaction.
//!
//! Each commit of a group is decided by itself, against the database and the members before it,
//! in an [`Overlay`]: one that is refused leaves no trace. What the others change is then written
//! in the order of keys, a row that many of them change once, and made durable once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ::redb::{Database, Durability, ReadableTable, Table, WriteTransaction};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::error::{away, into_meta};
use super::latest::Opened;
use super::open::Opener;
use super::room::{Left, Room};
use super::{COMMITS, ROWS, Slot};
use crate::meta::log::{self, Head};
use crate::meta::plan::{self, View};
use crate::meta::recent::Recent;
use crate::meta::{Commit, CommitId, Committed, Key, MetaError};

/// The most commits of one group.
const GROUP_COMMITS: usize = 512;
/// No commit joins a group that has come to this many bytes.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How many logs' heads are kept; a head that is not is read from the log's last row.
const CACHED_HEADS: usize = 4096;
/// How long to wait for a group to become as large as the last one, and how often in vain: a
/// fraction of an fsync, and nothing for one caller alone.
const NAP: Duration = Duration::from_micros(20);
const NAPS: usize = 2;

pub(super) type Reply<T> = oneshot::Sender<Result<T, MetaError>>;

/// A commit that waits.
pub(super) struct Pending {
    pub(super) commit: Commit,
    pub(super) bytes: usize,
    pub(super) reply: Reply<Committed>,
}

/// What the committer is asked for. A caller that is gone changes nothing.
pub(super) enum Request {
    Commit(Pending),
    WasCommitted(CommitId, Reply<Option<bool>>),
    Compact(Reply<u64>),
    /// Open the database anew if it needs that.
    Heal(Reply<()>),
}

/// Those of a group that go into the transaction, in order, and what they are told.
type Members = Vec<(CommitId, Committed)>;

pub(super) struct Committer {
    database: Arc<Slot>,
    revision: Arc<AtomicU64>,
    opener: Opener,
    room: Option<Room>,
    queue: mpsc::Receiver<Request>,
    heads: HashMap<Key, Head>,
    recent: Recent,
    /// How many commits the last group had.
    last_group: usize,
    /// The group during whose commit the disk failed, until the database has told how that went.
    uncertain: Option<Members>,
}

impl Committer {
    pub(super) fn new(
        database: Arc<Slot>,
        revision: Arc<AtomicU64>,
        opener: Opener,
        room: Option<Room>,
        queue: mpsc::Receiver<Request>,
    ) -> Self {
        Self {
            database,
            revision,
            opener,
            room,
            queue,
            heads: HashMap::new(),
            recent: Recent::default(),
            last_group: 0,
            uncertain: None,
        }
    }

    /// Serves until the store is dropped and its queue is empty.
    pub(super) fn run(mut self) {
        let mut next = self.queue.blocking_recv();
        while let Some(request) = next.take() {
            match request {
                Request::Commit(first) => next = self.commit(first),
                Request::WasCommitted(id, reply) => {
                    let _ = reply.send(self.was_committed(id));
                }
                Request::Compact(reply) => {
                    let _ = reply.send(self.compact());
                }
                Request::Heal(reply) => {
                    let _ = reply.send(self.heal());
                }
            }
            next = next.or_else(|| self.queue.blocking_recv());
        }
    }

    /// Commits `first` and whatever waits behind it; gives back what was taken from the queue and
    /// is no commit.
    fn commit(&mut self, first: Pending) -> Option<Request> {
        let mut bytes = first.bytes;
        let mut group = vec![first];
        let mut other = None;
        let (mut naps, mut seen) = (0, 0);
        while group.len() < GROUP_COMMITS && bytes < GROUP_BYTES {
            match self.queue.try_recv() {
                Ok(Request::Commit(pending)) => {
                    bytes = bytes.saturating_add(pending.bytes);
                    group.push(pending);
                }
                Ok(request) => {
                    other = Some(request);
                    break;
                }
                // Whoever was in the last group has just been answered and may be about to send
                // again: without them, groups of one and of all others would take turns.
                Err(_) if group.len() < self.last_group && naps < NAPS => {
                    naps = if group.len() > seen { 0 } else { naps + 1 };
                    seen = group.len();
                    std::thread::sleep(NAP);
                }
                Err(_) => break,
            }
        }
        self.last_group = group.len();
        let (commits, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|pending| (pending.commit, pending.reply)).unzip();
        for (reply, answer) in replies.into_iter().zip(self.decide_and_write(commits)) {
            let _ = reply.send(answer);
        }
        other
    }

    /// The answers to `commits`, in their order, when all of that is durable.
    fn decide_and_write(&mut self, commits: Vec<Commit>) -> Vec<Result<Committed, MetaError>> {
        let ids: Vec<CommitId> = commits.iter().map(|commit| commit.id).collect();
        let transaction = match self.begin() {
            Ok(transaction) => transaction,
            Err(error) => return ids.iter().map(|_| Err(copy(&error))).collect(),
        };
        let failed = match self.attempt(transaction, commits) {
            Ok(answers) => return answers,
            Err(error) => error,
        };
        // Whatever failed, redb wants to be opened anew; that also finds out how it went.
        let failed = self.reopen().err().unwrap_or(failed);
        ids.iter().map(|id| self.recent.get(*id).ok_or_else(|| copy(&failed))).collect()
    }

    /// A transaction on the database, which is opened anew where redb refuses to go on.
    fn begin(&mut self) -> Result<WriteTransaction, MetaError> {
        if let Some(opened) = self.database.blocking_read().as_ref()
            && let Ok(transaction) = opened.database().begin_write()
        {
            return Ok(transaction);
        }
        self.reopen()?;
        match self.database.blocking_read().as_ref() {
            Some(opened) => opened.database().begin_write().map_err(into_meta),
            None => Err(away()),
        }
    }

    /// One transaction for all of `commits`.
    fn attempt(
        &mut self,
        mut transaction: WriteTransaction,
        commits: Vec<Commit>,
    ) -> Result<Vec<Result<Committed, MetaError>>, MetaError> {
        // The default, said aloud: nothing here may ever be less.
        transaction.set_durability(Durability::Immediate).map_err(into_meta)?;
        transaction.set_two_phase_commit(true);

        let left = self.room.as_ref().map(Room::look);
        let admit = |reserve| left.as_ref().map_or(Ok(()), |left: &Left| left.admit(reserve));
        let mut answers = Vec::with_capacity(commits.len());
        let mut members = Members::with_capacity(commits.len());
        let heads = {
            let mut table = transaction.open_table(ROWS).map_err(into_meta)?;
            let mut overlay = Overlay {
                table: &table,
                rows: HashMap::with_capacity(commits.len() * 8),
                heads: HashMap::new(),
                known: &self.heads,
            };
            for commit in commits {
                let id = commit.id;
                let joined = || members.iter().find(|(member, _)| *member == id);
                let done = self.recent.get(id).or_else(|| joined().map(|(_, told)| told.clone()));
                if let Some(committed) = done {
                    answers.push(Ok(committed));
                    continue;
                }
                if let Err(full) = admit(commit.reserve) {
                    answers.push(Err(full));
                    continue;
                }
                answers.push(plan::plan(commit, &mut overlay).map(|plan| {
                    let committed = Committed { sequences: plan.sequences };
                    overlay.take(plan.writes, plan.heads);
                    members.push((id, committed.clone()));
                    committed
                }));
            }
            let Overlay { rows, heads, .. } = overlay;
            write(&mut table, rows, &members).map_err(into_meta)?;
            heads
        };
        if members.is_empty() {
            transaction.abort().map_err(into_meta)?;
            return Ok(answers);
        }
        if let Err(error) = transaction.commit() {
            self.uncertain = Some(members);
            return Err(into_meta(error));
        }
        if let Some(opened) = self.database.blocking_read().as_ref() {
            // Before anybody is answered: who was told of a commit reads it.
            opened.advance();
        }
        self.remember(&members);
        if self.heads.len() + heads.len() > CACHED_HEADS {
            self.heads.clear();
        }
        self.heads.extend(heads);
        Ok(answers)
    }

    fn remember(&mut self, members: &Members) {
        for (id, committed) in members {
            self.recent.insert(*id, committed);
        }
    }

    /// Opens the database anew where redb refuses to go on.
    fn heal(&mut self) -> Result<(), MetaError> {
        self.begin()?.abort().map_err(into_meta)
    }

    fn was_committed(&mut self, id: CommitId) -> Result<Option<bool>, MetaError> {
        if self.uncertain.is_some() {
            self.reopen()?;
        }
        Ok(self.recent.contains(id))
    }

    /// Opens the database anew, and finds out how an uncertain group went.
    fn reopen(&mut self) -> Result<(), MetaError> {
        let slot = self.database.clone();
        let mut slot = slot.blocking_write();
        // Closes it: redb locks its storage.
        *slot = None;
        self.heads.clear();
        let database = self.opener.open()?;
        if let Some(members) = &self.uncertain {
            if last_group(&database)? == ids(members) {
                // What was read may have come from the page cache after a failed fsync. A commit
                // on top writes the same header again: when it is durable, the group is.
                confirm(&database, members)?;
                let members = self.uncertain.take().unwrap_or_default();
                self.remember(&members);
            }
            self.uncertain = None;
        }
        *slot = Some(Opened::new(database, Arc::clone(&self.revision)));
        Ok(())
    }

    fn compact(&mut self) -> Result<u64, MetaError> {
        self.heal()?;
        let before = self.opener.length();
        let compacted = match self.database.blocking_write().as_mut() {
            Some(opened) => opened.compact(),
            None => return Err(away()),
        };
        match compacted {
            Ok(_) => Ok(before.saturating_sub(self.opener.length())),
            Err(::redb::CompactionError::Storage(error)) => {
                self.reopen()?;
                Err(into_meta(error))
            }
            Err(error) => Err(into_meta(error)),
        }
    }
}

/// An error that hit a whole group, for one of its members.
fn copy(error: &MetaError) -> MetaError {
    match error {
        MetaError::Full(why) => MetaError::Full(why.clone()),
        MetaError::Corrupted(what) => MetaError::Corrupted(what.clone()),
        other => MetaError::Unavailable(other.to_string()),
    }
}

fn ids(members: &Members) -> Vec<u8> {
    members.iter().flat_map(|(id, _)| id.0).collect()
}

fn last_group(database: &Database) -> Result<Vec<u8>, MetaError> {
    let (_transaction, rows) = super::rows(database).map_err(into_meta)?;
    let row = rows.get(COMMITS).map_err(into_meta)?;
    Ok(row.map_or_else(Vec::new, |row| row.value().to_vec()))
}

fn confirm(database: &Database, members: &Members) -> Result<(), MetaError> {
    let mut transaction = database.begin_write().map_err(into_meta)?;
    transaction.set_two_phase_commit(true);
    transaction
        .open_table(ROWS)
        .map_err(into_meta)?
        .insert(COMMITS, ids(members).as_slice())
        .map_err(into_meta)?;
    transaction.commit().map_err(into_meta)
}

type Rows<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

/// Writes the changed `rows` in the order of their keys: neighbours share a page.
fn write(
    table: &mut Rows<'_>,
    rows: HashMap<Key, Cell>,
    members: &Members,
) -> Result<(), ::redb::StorageError> {
    let mut changed: Vec<(Key, Option<Bytes>)> = rows
        .into_iter()
        .filter(|(_, cell)| cell.changed)
        .map(|(key, cell)| (key, cell.value))
        .collect();
    changed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    for (key, value) in &changed {
        match value {
            Some(value) => table.insert(key.as_slice(), &**value)?,
            None => table.remove(key.as_slice())?,
        };
    }
    if !members.is_empty() {
        table.insert(COMMITS, ids(members).as_slice())?;
    }
    Ok(())
}

/// A row as the members so far left it.
struct Cell {
    value: Option<Bytes>,
    changed: bool,
}

/// The database with the changes of a group's members so far. What was read is kept: the members
/// of a group lean on the same rows.
struct Overlay<'a, 'txn> {
    table: &'a Rows<'txn>,
    rows: HashMap<Key, Cell>,
    heads: HashMap<Key, Head>,
    known: &'a HashMap<Key, Head>,
}

impl Overlay<'_, '_> {
    fn take(&mut self, writes: Vec<(Key, Option<Bytes>)>, heads: Vec<(Key, Head)>) {
        for (key, value) in writes {
            self.rows.insert(key, Cell { value, changed: true });
        }
        self.heads.extend(heads);
    }
}

impl View for Overlay<'_, '_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        if key == COMMITS {
            return Ok(None);
        }
        if let Some(cell) = self.rows.get(key) {
            return Ok(cell.value.clone());
        }
        let row = self.table.get(key).map_err(into_meta)?;
        let value = row.map(|row| Bytes::copy_from_slice(row.value()));
        self.rows.insert(key.to_vec(), Cell { value: value.clone(), changed: false });
        Ok(value)
    }

    fn head(&mut self, log: &[u8]) -> Result<Head, MetaError> {
        if let Some(head) = self.heads.get(log).or_else(|| self.known.get(log)) {
            return Ok(*head);
        }
        let (first, last) = (log::entry_key(log, 0), log::entry_key(log, u64::MAX));
        let entries = self.table.range(first.as_slice()..=last.as_slice()).map_err(into_meta)?;
        for row in entries.rev() {
            let (key, value) = row.map_err(into_meta)?;
            if log::entry_sequence(log, key.value()).is_some() {
                return Head::after(log, key.value(), value.value())
                    .ok_or_else(|| log::damaged(log));
            }
        }
        Ok(Head::empty(log))
    }
}
