//! The open database with the read transaction of its last commit, which all reads share.
//!
//! Beginning a transaction and opening the table cost more than reading a row. So the committer
//! begins one after each group, before it answers anybody, and readers take that: whoever was told
//! of a commit reads it. It holds the pages of one moment, the last, which the database has anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::redb::{CompactionError, Database};
use arc_swap::ArcSwapOption;

use super::{Rows, rows};

/// See the page of this module.
pub(super) struct Opened {
    database: Database,
    /// None where no transaction could be begun: then each read begins its own, and hears why that
    /// fails.
    latest: ArcSwapOption<Rows>,
    /// Odd while one takes the other's place: then nobody can tell which is read.
    revision: Arc<AtomicU64>,
}

impl Opened {
    /// `revision` counts what is read from now on, also where the database is opened again.
    pub(super) fn new(database: Database, revision: Arc<AtomicU64>) -> Self {
        let opened = Self { database, latest: ArcSwapOption::empty(), revision };
        opened.advance();
        opened
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// The rows as of the last commit.
    pub(super) fn rows(&self) -> Result<Arc<Rows>, ::redb::Error> {
        match self.latest.load_full() {
            Some(rows) => Ok(rows),
            None => Ok(Arc::new(rows(&self.database)?.1)),
        }
    }

    /// Makes what is committed now what is read from now on.
    pub(super) fn advance(&self) {
        let rows = rows(&self.database).ok().map(|(_, rows)| Arc::new(rows));
        self.revision.fetch_add(1, Ordering::SeqCst);
        self.latest.store(rows);
        self.revision.fetch_add(1, Ordering::SeqCst);
    }

    /// Refused while anybody holds rows of [`Self::rows`].
    pub(super) fn compact(&mut self) -> Result<bool, CompactionError> {
        self.latest.store(None);
        let compacted = self.database.compact();
        self.advance();
        compacted
    }
}
