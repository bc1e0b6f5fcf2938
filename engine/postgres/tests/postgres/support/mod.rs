//! A PostgreSQL server of a test's own, with schemas and stores in it. Where it can't be started the test
//! fails, since a store that nobody ran tells nothing.

#![allow(dead_code, reason = "not every test uses all of it")]
#![allow(clippy::print_stderr, reason = "what a server said is for whoever reads a failure")]

pub(crate) mod proxy;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use strongroom_postgres::{PostgresOptions, PostgresStore};
use strongroom_servers::Database;

pub(crate) struct Server(Database);

impl Server {
    /// A server with its defaults.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// A server with these settings (`name=value`).
    pub(crate) fn with(settings: &[&str]) -> Self {
        let programs = Database::programs().unwrap();
        Self(Database::start_with(&programs, settings).unwrap())
    }

    /// The address of a schema that nobody else uses.
    pub(crate) fn url(&self, schema: &str) -> String {
        format!("{}?options=-c%20search_path%3D{schema}", self.0.url())
    }

    /// Does something by hand.
    pub(crate) async fn execute(&self, sql: &str) {
        self.client("public").await.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn client(&self, schema: &str) -> tokio_postgres::Client {
        let url = self.url(schema);
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A schema of its own, migrated, and how to open it.
    pub(crate) async fn fresh(&self) -> PostgresOptions {
        self.fresh_in().await.0
    }

    /// The same, with the name of the schema.
    pub(crate) async fn fresh_in(&self) -> (PostgresOptions, String) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let schema = format!("s{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE SCHEMA {schema}")).await;
        let options = quick(self.url(&schema));
        PostgresStore::migrate(&options).await.unwrap();
        (options, schema)
    }

    /// An empty store.
    pub(crate) async fn store(&self) -> Arc<PostgresStore> {
        Arc::new(PostgresStore::open(self.fresh().await).await.unwrap())
    }
}

impl Deref for Server {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.0
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Database {
        &mut self.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// Options with few connections: a server takes a hundred.
pub(crate) fn quick(url: String) -> PostgresOptions {
    let mut options = PostgresOptions::new(url);
    options.connections = 8;
    options.readers = 2;
    options
}
