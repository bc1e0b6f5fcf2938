//! Connections: made with a known session, checked once, bounded in number and in time.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
    Timeouts,
};
use strongroom_engine::meta::MetaError;
use tokio_postgres::Config;

use crate::error::Failure;
use crate::options::PostgresOptions;
use crate::tls::Tls;

/// How much longer than the server a client waits: past that, the network has lost the answer.
const GRACE: Duration = Duration::from_secs(5);

/// A bounded set of connections.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    pool: Pool,
    patience: Duration,
}

impl Connections {
    pub(crate) fn new(
        config: Config,
        tls: Tls,
        size: usize,
        options: &PostgresOptions,
    ) -> Result<Self, MetaError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, tls, recycling);
        let session: Arc<str> = session(options).into();
        let set = Hook::async_fn(move |client, _| {
            let session = Arc::clone(&session);
            Box::pin(
                async move { client.batch_execute(&session).await.map_err(HookError::Backend) },
            )
        });
        let wait = Some(options.connect_timeout);
        let pool = Pool::builder(manager)
            .max_size(size.max(1))
            .timeouts(Timeouts { wait, create: wait, recycle: wait })
            .runtime(Runtime::Tokio1)
            .post_create(set)
            .build()
            .map_err(|error| MetaError::Unavailable(error.to_string()))?;
        Ok(Self { pool, patience: options.statement_timeout + GRACE })
    }

    /// A connection, when one is free.
    pub(crate) async fn get(&self) -> Result<Object, Failure> {
        Ok(self.pool.get().await?)
    }

    /// A connection of the caller's own, for as long as it likes: another takes its place.
    /// Dropping it ends it, and undoes what was not committed.
    pub(crate) async fn own(&self) -> Result<ClientWrapper, Failure> {
        Ok(Object::take(self.pool.get().await?))
    }

    /// Does `work` on a connection. One that does not answer is closed.
    pub(crate) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&Object) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let connection = self.get().await?;
        match tokio::time::timeout(self.patience, work(&connection)).await {
            Ok(Err(Failure::Lost(reason))) => {
                drop(Object::take(connection));
                Err(Failure::Lost(reason))
            }
            Ok(answer) => answer,
            Err(_) => {
                drop(Object::take(connection));
                let reason = "the database does not answer".to_owned();
                Err(Failure::Final(MetaError::Unavailable(reason)))
            }
        }
    }

    /// How long an answer may take.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }
}

/// What each session is set to, whatever the server's or the role's defaults are.
///
/// Isolation: commits lock what they lean on, and then have to see what the last holder left.
/// The planner's switches: all there is to do is to find keys in one index, and a plan made while the
/// table was empty must not read all of it when it is large.
fn session(options: &PostgresOptions) -> String {
    format!(
        "SET default_transaction_isolation = 'read committed';
         SET statement_timeout = {};
         SET lock_timeout = {};
         SET enable_seqscan = off;
         SET enable_bitmapscan = off;
         SET enable_hashjoin = off;
         SET enable_mergejoin = off;
         SET jit = off",
        options.statement_timeout.as_millis(),
        options.lock_timeout.as_millis(),
    )
}
