//! The door for frontends' own records: users, tokens, facts of a package format.
//!
//! Promises: a namespace's records are nobody else's; a batch is committed whole and durably, or
//! not at all; its requirements hold at that moment; each batch has at least one line in the audit
//! trail, committed with it (DESIGN D10), which is also the event that subscribers see. The one
//! exception says of itself that it only keeps a reader's place ([`Batch::bookkeeping`]).
//!
//! What it never does: understand what is kept, ask an authorizer (the frontend that owns the
//! namespace does, before it calls), or count against a quota.

pub mod record;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::access::{Action, Caller};
use crate::audit::Event;
use crate::change::{Attempt, Change, Seen};
use crate::core::Core;
use crate::error::Error;
use crate::graph::{MAX_PAGE, Page};
use crate::keys;
use crate::meta::{MAX_KEY_BYTES, prefix_range};
use crate::records::{Record, RecordError};
use crate::seam::Timestamp;

/// The longest key of a record, in bytes: what the store takes, less the namespace.
pub const MAX_RECORD_KEY_BYTES: usize = MAX_KEY_BYTES - MAX_NAMESPACE_BYTES - 2;
/// The longest namespace, in bytes.
pub const MAX_NAMESPACE_BYTES: usize = 64;

/// The records of one namespace. Cheap to clone.
///
/// ```no_run
/// # async fn example(
/// #     engine: strongroom_engine::Engine,
/// #     created: strongroom_engine::audit::Event,
/// # ) -> Result<(), strongroom_engine::Error> {
/// use strongroom_engine::extension::Batch;
///
/// let users = engine.extension("identity");
/// // Fails with `Error::Contended` where the user is there already.
/// users.commit(Batch::new().absent("user/ann").put("user/ann", "…").event(created)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Extension {
    core: Arc<Core>,
    namespace: Arc<str>,
}

/// A record with the version that a later batch can require.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key in the namespace.
    pub key: Vec<u8>,
    /// What was put there.
    pub value: Bytes,
    /// What it is now, for [`Batch::unchanged`].
    pub version: Version,
}

/// What a record was when it was read. Two versions of one key are equal exactly where its value
/// was the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(Bytes);

/// One conditional change of a namespace's records, being built. Order within it has no meaning;
/// of two writes of one key the last counts.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    require: Vec<(Vec<u8>, Option<Version>)>,
    write: Vec<(Vec<u8>, Option<Bytes>)>,
    events: Vec<Event>,
    bookkeeping: bool,
}

impl Batch {
    /// A batch that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that there is no record at `key`.
    pub fn absent(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.require.push((key.into(), None));
        self
    }

    /// Requires that the record at `key` is what it was when it was read.
    pub fn unchanged(mut self, key: impl Into<Vec<u8>>, version: Version) -> Self {
        self.require.push((key.into(), Some(version)));
        self
    }

    /// Writes a record.
    pub fn put(mut self, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) -> Self {
        self.write.push((key.into(), Some(value.into())));
        self
    }

    /// Removes a record; what is absent is removed already.
    pub fn delete(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.write.push((key.into(), None));
        self
    }

    /// Adds a line to the audit trail of the event's organisation.
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Says that the batch only keeps how far its frontend came: where a reader of the trail stands,
    /// who does some work now, what came of an attempt. Nobody may do more or less by it, and it needs
    /// no line: a line for having read a line would be read in its turn, for ever.
    pub fn bookkeeping(mut self) -> Self {
        self.bookkeeping = true;
        self
    }
}

impl Engine {
    /// The records of a frontend, by its namespace: 1 to 64 of `[a-z0-9-]`, a constant of the
    /// frontend. Any other makes every call fail with [`Error::Invalid`].
    pub fn extension(&self, namespace: &str) -> Extension {
        Extension { core: Arc::clone(&self.core), namespace: namespace.into() }
    }
}

impl Extension {
    /// Notes in the trail of the system that `caller` was refused to manage `name`. Whoever is not known
    /// leaves nothing.
    pub fn note_refusal(&self, caller: &Caller, name: &str) {
        self.core.note_refusal(caller, Action::Manage, None, name);
    }

    /// The record at `key`.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>, Error> {
        let key = key.as_ref();
        let value = self.core.meta.get(&self.row(key)?).await?;
        Ok(value.map(|value| entry(key.to_vec(), value)))
    }

    /// The records whose keys begin with `prefix`, in the order of their keys, at most `limit`.
    /// The next page is what comes `after` this one's [`Page::next`], a key in hexadecimal.
    pub async fn scan(
        &self,
        prefix: impl AsRef<[u8]>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Entry>, Error> {
        let before = self.row(&[])?.len();
        let mut range = prefix_range(&self.row(prefix.as_ref())?);
        if let Some(after) = after {
            let key = const_hex::decode(after)
                .map_err(|_| Error::Invalid(format!("{after:?} is no cursor of a scan")))?;
            let mut start = self.row(&key)?;
            // The first key behind `after`.
            start.push(0);
            range.start = range.start.max(start);
        }
        let limit = limit.clamp(1, MAX_PAGE);
        let rows =
            if range.is_empty() { Vec::new() } else { self.core.meta.scan(range, limit).await? };
        let full = rows.len() == limit;
        let items: Vec<_> = rows
            .into_iter()
            .map(|(key, value)| entry(key.get(before..).unwrap_or_default().to_vec(), value))
            .collect();
        let next = items.last().filter(|_| full).map(|entry| const_hex::encode(&entry.key));
        Ok(Page { items, next })
    }

    /// Commits a batch, durably, or changes nothing. Dropping the future does not take it back: it
    /// may happen or not, and it happens whole.
    ///
    /// [`Error::Contended`] where a requirement does not hold: read again and decide anew.
    /// [`Error::Invalid`] for a batch without an event that is no [`Batch::bookkeeping`].
    pub async fn commit(&self, batch: Batch) -> Result<(), Error> {
        if batch.events.is_empty() && !batch.bookkeeping {
            return Err(Error::Invalid("a change needs a line in the audit trail".to_owned()));
        }
        let mut change = Change::new(&self.core);
        if batch.write.iter().all(|(_, value)| value.is_none()) {
            // Nothing but removals and lines: taking a right away must not wait for room.
            change.frees();
        }
        for (key, version) in batch.require {
            let raw = version.map(|version| version.0);
            change.lean(&Seen::<Opaque>::new(self.row(&key)?, raw)?);
        }
        for (key, value) in batch.write {
            let key = self.row(&key)?;
            match value {
                Some(value) => change.put_raw(key, value),
                None => change.delete(key),
            }
        }
        for event in batch.events {
            change.event(event);
        }
        match change.commit().await {
            Ok(()) => Ok(()),
            Err(Attempt::Lost) => Err(Error::Contended { what: "a record of a frontend" }),
            Err(Attempt::Failed(error)) => Err(error),
        }
    }

    /// Which state of the store is read, for a [`Memo`](crate::meta::Memo) of records.
    pub fn revision(&self) -> Option<u64> {
        self.core.meta.revision()
    }

    /// The time by the store's clock, for events and expiry: one clock for all nodes.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        self.core.now().await
    }

    fn row(&self, key: &[u8]) -> Result<Vec<u8>, Error> {
        let name = self.namespace.as_bytes();
        let good = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if name.is_empty() || name.len() > MAX_NAMESPACE_BYTES || !name.iter().all(good) {
            return Err(Error::Invalid(format!("{:?} is no namespace", self.namespace)));
        }
        if key.len() > MAX_RECORD_KEY_BYTES {
            return Err(Error::Invalid(format!(
                "a record's key has at most {MAX_RECORD_KEY_BYTES} bytes, not {}",
                key.len()
            )));
        }
        Ok(keys::extension(&self.namespace, key))
    }
}

fn entry(key: Vec<u8>, value: Bytes) -> Entry {
    Entry { key, version: Version(value.clone()), value }
}

/// A frontend's record, as far as a change needs to know it: not at all.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Opaque;

impl Record for Opaque {
    const KIND: &'static str = "extension";

    fn decode(_: &[u8]) -> Result<Self, RecordError> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{EventKind, SYSTEM};
    use crate::tenancy::tests::{Town, caller};

    async fn line(extension: &Extension) -> Event {
        let kind = EventKind::Identity { change: "created".into(), subject: "user:ann".into() };
        Event::by(&caller("ann"), SYSTEM, extension.now().await.unwrap(), kind)
    }

    #[tokio::test]
    async fn of_two_who_change_a_record_at_once_one_wins() {
        let town = Town::new().await;
        let users = town.engine.extension("identity");
        let line = line(&users).await;
        let create = || Batch::new().absent("ann").put("ann", "1").event(line.clone());
        users.commit(create()).await.unwrap();

        let again = users.commit(create()).await;
        let version = users.get("ann").await.unwrap().unwrap().version;
        let change = |value: &'static str| {
            Batch::new().unchanged("ann", version.clone()).put("ann", value).event(line.clone())
        };
        users.commit(change("2")).await.unwrap();
        let late = users.commit(change("3")).await;

        assert!(matches!(again, Err(Error::Contended { .. })), "{again:?}");
        assert!(matches!(late, Err(Error::Contended { .. })), "{late:?}");
        assert_eq!(users.get("ann").await.unwrap().unwrap().value, "2");
    }

    #[tokio::test]
    async fn nothing_changes_without_a_line() {
        let town = Town::new().await;
        let users = town.engine.extension("identity");

        let silent = users.commit(Batch::new().put("ann", "1")).await;

        assert!(matches!(silent, Err(Error::Invalid(_))), "{silent:?}");
        assert_eq!(users.get("ann").await.unwrap(), None);
        // But where a reader stands.
        users.commit(Batch::new().put("cursor", "1").bookkeeping()).await.unwrap();
        assert_eq!(users.get("cursor").await.unwrap().unwrap().value, "1");
    }

    #[tokio::test]
    async fn namespaces_do_not_see_each_other_and_scans_come_in_pages() {
        let town = Town::new().await;
        let (users, packages) = (town.engine.extension("a"), town.engine.extension("ab"));
        let line = line(&users).await;
        let mut batch = Batch::new().event(line.clone());
        for key in ["user/1", "user/2", "user/3", "token/1", "user"] {
            batch = batch.put(key, key);
        }
        users.commit(batch).await.unwrap();
        packages.commit(Batch::new().put("user/9", "").event(line)).await.unwrap();

        let first = users.scan("user/", None, 2).await.unwrap();
        let rest = users.scan("user/", first.next.as_deref(), 2).await.unwrap();
        let behind = users.scan("token/", first.next.as_deref(), 2).await.unwrap();

        let keys = |page: &Page<Entry>| -> Vec<Vec<u8>> {
            page.items.iter().map(|entry| entry.key.clone()).collect()
        };
        assert_eq!(keys(&first), [b"user/1", b"user/2"]);
        assert_eq!(keys(&rest), [b"user/3"]);
        assert_eq!(rest.next, None);
        assert_eq!(behind.items, []);
        assert_eq!(users.scan("", None, 100).await.unwrap().items.len(), 5);
        assert_eq!(packages.scan("", None, 100).await.unwrap().items.len(), 1);
    }

    #[tokio::test]
    async fn a_bad_namespace_or_key_is_refused() {
        let town = Town::new().await;
        for namespace in ["", "a\0b", "Identity", &"a".repeat(65)] {
            let refused = town.engine.extension(namespace).get("key").await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{namespace}: {refused:?}");
        }
        let users = town.engine.extension("identity");
        let long = vec![b'k'; MAX_RECORD_KEY_BYTES + 1];
        assert!(matches!(users.get(&long).await, Err(Error::Invalid(_))));
        assert_eq!(users.get(&long[1..]).await.unwrap(), None);
    }
}
