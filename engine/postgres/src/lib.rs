//! Strongroom's metadata in PostgreSQL: one database for many nodes.
//!
//! [`PostgresStore`] is a [`MetaStore`]. It keeps each of its promises, for several processes at
//! once, and adds:
//!
//! - **one call**: a commit is one call of a function in the database, with one flush of its log;
//!   what is refused writes nothing;
//! - **serial by locks**: a commit locks all keys it leans on or writes (advisory locks by the hash
//!   of a key, absent keys too, in one order for all, in READ COMMITTED) before it reads the first
//!   of them, and holds them until it is durable. So commits that touch each other's keys come
//!   one after another, and no others wait;
//! - **a fence**: what [`MetaStore::was_committed`] denied never happens later, however slow
//!   the network is;
//! - **bounds**: each call ends within the time-outs of [`PostgresOptions`]; a lost server is
//!   [`MetaError::Unavailable`] at once, and found again without a restart;
//! - **one clock**: [`MetaStore::now`] is the database's, behind by no more than the way of one answer.
//!
//! What it never does: change the schema by itself ([`PostgresStore::migrate`] is asked for), work
//! over a database whose settings lose acknowledged commits, or hold a lock while nobody
//! commits. Over a standby that is promoted by hand, nothing here can tell what the old primary had
//! acknowledged alone: `synchronous_standby_names` keeps that from being anything.
//!
//! The rows of a log are locked by their log, not one by one: only appends may write them, and
//! nobody may require one.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use strongroom_engine::Engine;
//! use strongroom_engine::content::opendal::OpendalStore;
//! use strongroom_postgres::{PostgresOptions, PostgresStore};
//!
//! let options = PostgresOptions::new("postgres://strongroom@db.example/strongroom?sslmode=verify-full");
//! PostgresStore::migrate(&options).await?;
//! let store = PostgresStore::open(options).await?;
//! let engine = Engine::builder(Arc::new(store), Arc::new(OpendalStore::memory()?)).build().await?;
//! # Ok(())
//! # }
//! ```

mod clock;
mod commit;
mod connections;
mod error;
mod keeping;
mod options;
mod orphans;
mod reads;
mod schema;
mod sent;
mod server;
mod snapshot;
mod tls;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use strongroom_engine::meta::{
    Commit, CommitId, Committed, Key, MetaError, MetaRead, MetaStore, Row, check_size,
};
use strongroom_engine::seam::Timestamp;

pub use self::options::PostgresOptions;
use crate::clock::Clock;
use crate::commit::Call;
use crate::connections::Connections;
use crate::error::Failure;
use crate::keeping::Keeping;
use crate::orphans::Orphans;
use crate::reads::Reads;
use crate::sent::Sent;
use crate::snapshot::Snapshot;

/// How often a commit is sent again whose connection was lost. It has the same id each time, so it
/// happens once.
const RESENDS: usize = 2;
/// How often a commit is tried again that the database undid for others' sake.
const RETRIES: usize = 8;

/// Why a database can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is not one this program takes.
    #[error("the database's URL can't be used: {reason}")]
    Url {
        /// What is wrong, without the URL: it may hold a password.
        reason: String,
    },
    /// TLS can't be set up as the URL asks.
    #[error("TLS to the database can't be set up: {reason}")]
    Tls {
        /// What is wrong.
        reason: String,
    },
    /// The database has not all the steps that this program needs.
    #[error(
        "the database is at version {found}, this program needs {known}: run `strongroom migrate`"
    )]
    Older {
        /// What the database has; 0 where it has nothing.
        found: i32,
        /// What this program knows.
        known: i32,
    },
    /// A newer program took steps that this one does not know.
    #[error("the database is at version {found}, this program knows {known}: run a newer one")]
    Newer {
        /// What the database has.
        found: i32,
        /// What this program knows.
        known: i32,
    },
    /// A step of the schema failed; it is undone.
    #[error("the database can't be migrated; the failed step is undone: {reason}")]
    Migration {
        /// What the database said.
        reason: String,
    },
    /// The server would lose what it acknowledged, or can't do what is asked of it.
    #[error("the database can't be trusted with metadata: {reason}")]
    Unfit {
        /// Which setting, and what to do about it.
        reason: String,
    },
    /// The database does not answer, or refuses.
    #[error(transparent)]
    Store(#[from] MetaError),
}

/// A metadata store in a PostgreSQL database, which other processes may use at the same time. See the
/// page of this crate.
pub struct PostgresStore {
    inner: Arc<Inner>,
    reads: Reads,
    reading: Connections,
}

struct Inner {
    connections: Connections,
    sent: Mutex<Sent>,
    orphans: Orphans,
    clock: Clock,
    keeping: Keeping,
}

impl PostgresStore {
    /// Opens the database, which has to be migrated, and checks that it is fit. Must be called
    /// within a tokio runtime: reads are done by tasks of it, which end with the store.
    pub async fn open(options: PostgresOptions) -> Result<Self, OpenError> {
        let (config, tls) = options.parse()?;
        let size = options.connections;
        let connections = Connections::new(config.clone(), tls.clone(), size, &options)?;
        // As many for scans as for reads by key.
        let reading = Connections::new(config, tls, 2 * options.readers, &options)?;
        let first = connections.own().await.map_err(Failure::into_meta)?;
        server::check(&first).await?;
        schema::check(&first).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                connections,
                sent: Mutex::default(),
                orphans: Orphans::default(),
                clock: Clock::default(),
                keeping: Keeping::default(),
            }),
            reads: Reads::start(&reading, options.readers),
            reading,
        })
    }

    /// Brings the database to the version that this program needs; returns how many steps that took.
    /// Several at once are one after another; a killed one leaves whole steps.
    pub async fn migrate(options: &PostgresOptions) -> Result<usize, OpenError> {
        let (config, tls) = options.parse()?;
        schema::migrate(&Connections::new(config, tls, 1, options)?).await
    }

    /// The version of the schema that this program reads and writes.
    pub fn version() -> i32 {
        schema::known()
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the connections: they know the password.
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

impl Inner {
    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn commit(&self, call: &Call) -> Result<Committed, MetaError> {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(2))
            .with_max_delay(Duration::from_millis(200))
            .with_max_times(RETRIES)
            .with_jitter()
            .build();
        let mut resends = 0;
        loop {
            let sent = self.connections.run(async |connection| call.send(connection).await);
            let failure = match sent.await {
                Ok(committed) => return Ok(committed),
                Err(failure) => failure,
            };
            match failure {
                // It may have happened: sent again, it answers as it did.
                Failure::Lost(_) if resends < RESENDS => resends += 1,
                Failure::Again(reason) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(MetaError::Unavailable(reason)),
                },
                failure => return Err(failure.into_meta()),
            }
        }
    }
}

#[async_trait]
impl MetaRead for PostgresStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        let mut values = self.reads.get(vec![key.to_vec()]).await?;
        Ok(values.pop().flatten())
    }

    async fn scan(&self, range: Range<Key>, limit: usize) -> Result<Vec<Row>, MetaError> {
        let limit = snapshot::limit(limit);
        let scan = async || {
            let answer = self.reading.run(async |connection| {
                let statement = connection.prepare_cached(snapshot::SCAN).await?;
                let bounds = [&range.start, &range.end];
                let rows = connection.query(&statement, &[bounds[0], bounds[1], &limit]).await?;
                snapshot::rows(rows)
            });
            answer.await
        };
        match scan().await {
            Err(Failure::Lost(_)) => scan().await,
            answer => answer,
        }
        .map_err(Failure::into_meta)
    }

    async fn about_rows(&self) -> Result<Option<u64>, MetaError> {
        let answer = self.reading.run(async |connection| {
            let statement = connection.prepare_cached(snapshot::ABOUT).await?;
            snapshot::about(&connection.query_one(&statement, &[]).await?)
        });
        answer.await.map_err(Failure::into_meta)
    }
}

#[async_trait]
impl MetaStore for PostgresStore {
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, MetaError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.reads.get(keys.to_vec()).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, MetaError> {
        check_size(&commit)?;
        let call = Call::new(commit)?;
        self.inner.orphans.wait().await;
        self.inner.sent().insert(call.id());
        let inner = Arc::clone(&self.inner);
        // A task of its own: whoever gives up waiting does not leave a call half sent.
        let answer = self.inner.orphans.adopt(tokio::spawn(async move {
            let answer = inner.commit(&call).await;
            inner.keeping.committed(&inner.connections);
            answer
        }));
        answer.await
    }

    async fn was_committed(&self, id: CommitId) -> Result<Option<bool>, MetaError> {
        self.inner.orphans.wait().await;
        let give_up = self.inner.sent().is_sure_of(id);
        let ask = async || {
            let answer = self.inner.connections.run(async |connection| {
                let text = "SELECT strongroom_was_committed($1, $2, $3)";
                let statement = connection.prepare_cached(text).await?;
                let (lock, id) = (commit::lock_of_id(id), id.0.as_slice());
                Ok(connection.query_one(&statement, &[&id, &lock, &give_up]).await?.try_get(0)?)
            });
            answer.await
        };
        // Asking twice changes nothing.
        match ask().await {
            Err(Failure::Lost(_) | Failure::Again(_)) => ask().await,
            answer => answer,
        }
        .map_err(Failure::into_meta)
    }

    async fn snapshot(&self) -> Result<Box<dyn MetaRead>, MetaError> {
        let taken = match Snapshot::take(&self.inner.connections).await {
            Err(Failure::Lost(_)) => Snapshot::take(&self.inner.connections).await,
            taken => taken,
        };
        Ok(Box::new(taken.map_err(Failure::into_meta)?))
    }

    async fn now(&self) -> Result<Timestamp, MetaError> {
        self.inner.clock.now(&self.reading).await
    }

    async fn compact(&self) -> Result<u64, MetaError> {
        keeping::compact(&self.inner.connections).await.map_err(Failure::into_meta)
    }

    fn is_shared(&self) -> bool {
        true
    }
}
