//! One change to the facts, being built: rows, requirements, counters and audit lines that are
//! committed together or not at all.
//!
//! A change is optimistic. [`Core::read`] returns what a row said as a [`Seen`]; a change that
//! leans on it requires that it still says so. Where that does not hold any more the whole attempt
//! is made again by `retry!`, reading anew.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::audit::{Event, encode_event};
use crate::core::Core;
use crate::error::Error;
use crate::graph::{Cache, stripe_of_reference, stripe_of_repository};
use crate::id::{OrganisationId, RepositoryId};
use crate::keys;
use crate::meta::{
    Add, Append, Commit, CommitId, Key, MetaError, MetaStore, Require, Reserve, commit_surely,
};
use crate::records::Record;

/// A row as it was read: leaning on it later requires that it is still so.
#[derive(Debug, Clone)]
pub(crate) struct Seen<T> {
    pub(crate) key: Key,
    raw: Option<Bytes>,
    pub(crate) value: Option<T>,
}

impl<T> Seen<T> {
    /// The row as it was read.
    pub(crate) fn row(&self) -> (Key, Option<Bytes>) {
        (self.key.clone(), self.raw.clone())
    }

    /// Whether `raw` is what the row said.
    pub(crate) fn says(&self, raw: Option<&[u8]>) -> bool {
        self.raw.as_deref() == raw
    }
}

impl<T: Record> Seen<T> {
    /// What `raw` at `key` says.
    pub(crate) fn new(key: Key, raw: Option<Bytes>) -> Result<Self, Error> {
        let value = raw.as_deref().map(T::decode).transpose()?;
        Ok(Self { key, raw, value })
    }

    /// The same, but what can't be read says nothing: for rows that may be written anew.
    pub(crate) fn if_readable(key: Key, raw: Option<Bytes>) -> Self {
        let value = raw.as_deref().and_then(|raw| T::decode(raw).ok());
        Self { key, raw, value }
    }

    /// A row as this process has just written it.
    pub(crate) fn of(key: Key, record: T) -> Self {
        Self { key, raw: Some(record.encode()), value: Some(record) }
    }

    /// The requirement that the row still says what it said.
    fn unchanged(&self) -> Require {
        match &self.raw {
            Some(raw) => Require::Value(self.key.clone(), raw.clone()),
            None => Require::Absent(self.key.clone()),
        }
    }
}

/// Why an attempt at a change ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Something that was read has changed: read again and decide anew.
    Lost,
    /// It can't be done.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Attempt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// How often a change is attempted before it is [`Error::Contended`]. Each loss means that another
/// commit won, so the system as a whole went on.
const ATTEMPTS: usize = 64;
/// How many of them follow at once; after each further one comes a pause, which doubles.
const EAGER_ATTEMPTS: u32 = 4;
/// The first pause …
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// … and the longest: all attempts together take no longer than a client waits.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);
/// Whose turn it is to wait how long.
static TURN: AtomicU32 = AtomicU32::new(0);

/// Makes an attempt, which ends in `Result<T, Attempt>`, until it is not [`Attempt::Lost`]; the
/// result is `Result<T, Error>`. `$attempt` counts from 0.
///
/// A macro, because the compiler can't show that a generic function over async closures is `Send`.
macro_rules! retry {
    ($what:literal, $attempt:ident => $body:block) => {{
        let mut attempts = 0_usize;
        loop {
            #[allow(unused_variables, reason = "not every attempt cares which it is")]
            let $attempt = attempts;
            let ended: Result<_, $crate::change::Attempt> = async $body.await;
            match $crate::change::again($what, &mut attempts, ended).await {
                std::ops::ControlFlow::Break(result) => break result,
                std::ops::ControlFlow::Continue(()) => {}
            }
        }
    }};
}
pub(crate) use retry;

/// Whether another attempt is to be made.
pub(crate) async fn again<T>(
    what: &'static str,
    attempts: &mut usize,
    ended: Result<T, Attempt>,
) -> ControlFlow<Result<T, Error>> {
    match ended {
        Ok(done) => return ControlFlow::Break(Ok(done)),
        Err(Attempt::Failed(error)) => return ControlFlow::Break(Err(error)),
        Err(Attempt::Lost) => *attempts += 1,
    }
    if *attempts >= ATTEMPTS {
        return ControlFlow::Break(Err(Error::Contended { what }));
    }
    // The winner's commit is durable already; letting others run first spreads the rest.
    match u32::try_from(*attempts).unwrap_or(u32::MAX).checked_sub(EAGER_ATTEMPTS) {
        None => tokio::task::yield_now().await,
        Some(doublings) => {
            let longest = FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE);
            // Each of those who wait takes the next eighth of the pause, so that they do not all
            // come back together.
            let eighth = 1 + TURN.fetch_add(1, Ordering::Relaxed) % 8;
            tokio::time::sleep(longest / 8 * eighth).await;
        }
    }
    ControlFlow::Continue(())
}

/// A change being built.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    core: &'a Core,
    /// By key, so that a row is required once and written once, and rows are written in order.
    require: BTreeMap<Key, Require>,
    write: BTreeMap<Key, Option<Bytes>>,
    add: Vec<Add>,
    append: Vec<Append>,
    events: Vec<Event>,
    touched: Vec<u64>,
    reserve: Reserve,
}

impl<'a> Change<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self {
            core,
            require: BTreeMap::new(),
            write: BTreeMap::new(),
            add: Vec::new(),
            append: Vec::new(),
            events: Vec::new(),
            touched: Vec::new(),
            reserve: Reserve::Kept,
        }
    }

    /// A change that makes room, or is a step on the way there: it may use what the metadata store
    /// keeps back for it.
    pub(crate) fn freeing(core: &'a Core) -> Self {
        Self { reserve: Reserve::Whole, ..Self::new(core) }
    }

    /// Says of a change that it makes room, as [`Self::freeing`].
    pub(crate) fn frees(&mut self) {
        self.reserve = Reserve::Whole;
    }

    /// A change that only adds to the trail, so that what needs a line there goes on.
    pub(crate) fn of_lines(core: &'a Core) -> Self {
        Self { reserve: Reserve::Half, ..Self::new(core) }
    }

    /// Requires that a row still says what it said.
    pub(crate) fn lean<T: Record>(&mut self, seen: &Seen<T>) {
        self.require.entry(seen.key.clone()).or_insert_with(|| seen.unchanged());
    }

    /// Requires that a key has no row.
    pub(crate) fn absent(&mut self, key: Key) {
        self.require.insert(key.clone(), Require::Absent(key));
    }

    /// Requires that a key has a row, whatever it says.
    pub(crate) fn present(&mut self, key: Key) {
        self.require.entry(key.clone()).or_insert(Require::Present(key));
    }

    /// Requires that a row still says what it said, and writes it.
    pub(crate) fn replace<T: Record>(&mut self, seen: &Seen<T>, record: &T) {
        self.lean(seen);
        self.put(seen.key.clone(), record);
    }

    /// Requires that a row still says what it said, and removes it.
    pub(crate) fn remove<T: Record>(&mut self, seen: &Seen<T>) {
        self.lean(seen);
        self.delete(seen.key.clone());
    }

    /// Writes a row, whatever it said. The last write of a key in one change counts.
    pub(crate) fn put<T: Record>(&mut self, key: Key, record: &T) {
        self.put_raw(key, record.encode());
    }

    /// Writes a row of bytes; empty ones where the key says it all.
    pub(crate) fn put_raw(&mut self, key: Key, value: Bytes) {
        self.write.insert(key, Some(value));
    }

    /// Removes a row.
    pub(crate) fn delete(&mut self, key: Key) {
        self.write.insert(key, None);
    }

    /// Adds to the organisation's stored and reserved bytes, bounded by its quota.
    pub(crate) fn use_bytes(
        &mut self,
        organisation: OrganisationId,
        delta: i64,
        quota_bytes: Option<u64>,
    ) {
        let key = keys::usage(organisation);
        let max = quota_bytes.map(|quota| i64::try_from(quota).unwrap_or(i64::MAX));
        match self.add.iter_mut().find(|add| add.key == key) {
            Some(add) => add.delta = add.delta.saturating_add(delta),
            None if delta != 0 => self.add.push(Add { key, delta, max }),
            None => {}
        }
    }

    /// Adds an audit line, which is also the event that subscribers see once it is committed.
    pub(crate) fn event(&mut self, event: Event) {
        self.append.push(Append {
            log: keys::audit_chain(event.organisation, self.core.chain),
            entry: encode_event(&event),
        });
        self.events.push(event);
    }

    /// Says that whatever is cached under `stripe` is old once this is committed.
    pub(crate) fn touches(&mut self, stripe: u64) {
        self.touched.push(stripe);
    }

    /// Says that a tag or digest of a repository, and with it whatever is derived from the whole
    /// repository, is old once this is committed.
    pub(crate) fn touches_reference(&mut self, repository: RepositoryId, reference: &str) {
        self.touches(stripe_of_reference(repository, reference));
        self.touches(stripe_of_repository(repository));
    }

    /// Commits, durably. [`Attempt::Lost`] where a requirement does not hold any more.
    ///
    /// Dropping the future does not take it back: what was sent happens or not, and subscribers and
    /// the cache hear of it either way.
    pub(crate) async fn commit(self) -> Result<(), Attempt> {
        let core = self.core;
        let mut commit = Commit::new(CommitId(core.seams.random_16()));
        commit.require = self.require.into_values().collect();
        for (key, value) in self.write {
            match value {
                Some(value) => commit.put.push((key, value)),
                None => commit.delete.push(key),
            }
        }
        commit.add = self.add;
        commit.add.retain(|add| add.delta != 0);
        commit.append = self.append;
        commit.reserve = self.reserve;
        // A task of its own, since the request may end while the store is at it, and a cache that
        // did not hear of the change would serve what was before for ever.
        let sent = tokio::spawn(send(
            Arc::clone(&core.meta),
            Arc::clone(&core.cache),
            commit,
            self.touched,
            (core.events.clone(), self.events),
        ));
        let result = sent.await.unwrap_or_else(|_| {
            Err(MetaError::Unavailable("the process ends, or its commit broke".to_owned()))
        });
        match result {
            Ok(()) => Ok(()),
            Err(MetaError::Conflict { .. }) => Err(Attempt::Lost),
            Err(error) => Err(Attempt::Failed(error.into())),
        }
    }
}

/// Makes old what is cached of a change. Also where it failed, or its store panicked: whether it
/// happened may not be known, and forgetting is harmless.
struct Forgetting {
    cache: Arc<Cache>,
    touched: Vec<u64>,
}

impl Drop for Forgetting {
    fn drop(&mut self) {
        for stripe in &self.touched {
            self.cache.forget(*stripe);
        }
    }
}

/// Sends a commit, finds out how it ended, makes old what is cached of it and tells subscribers.
async fn send(
    meta: Arc<dyn MetaStore>,
    cache: Arc<Cache>,
    commit: Commit,
    touched: Vec<u64>,
    (subscribers, events): (broadcast::Sender<Arc<Event>>, Vec<Event>),
) -> Result<(), MetaError> {
    let forgetting = Forgetting { cache, touched };
    let result = commit_surely(&*meta, commit).await.map(drop);
    drop(forgetting);
    if result.is_ok() && subscribers.receiver_count() > 0 {
        for event in events {
            // Nobody listening any more is no error.
            let _ = subscribers.send(Arc::new(event));
        }
    }
    result
}
