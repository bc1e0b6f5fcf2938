//! Keeping house: old commits are forgotten, and deleted rows' room is given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::connections::Connections;
use crate::error::Failure;
use crate::sent::KEPT;

/// Old commits are looked for after so many new ones …
const EACH: u32 = 4096;
/// … and at most so many forgotten at once, which keeps up with any load.
const PRUNE: &str = "DELETE FROM strongroom_commits WHERE id IN (
    SELECT id FROM strongroom_commits WHERE at < now() - make_interval(secs => $1)
    ORDER BY at LIMIT 16384 FOR UPDATE SKIP LOCKED)";

const SIZE: &str = "SELECT pg_total_relation_size('strongroom_rows')
    + pg_total_relation_size('strongroom_commits')";

/// When it is time to forget old commits.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    commits: AtomicU32,
    at_it: Arc<AtomicBool>,
}

impl Keeping {
    /// Counts a commit; now and then one of them starts a task that forgets old ones.
    pub(crate) fn committed(&self, connections: &Connections) {
        let due = self.commits.fetch_add(1, Ordering::Relaxed) % EACH == EACH - 1;
        if !due || self.at_it.swap(true, Ordering::Relaxed) {
            return;
        }
        let (connections, at_it) = (connections.clone(), Arc::clone(&self.at_it));
        let done = Done(at_it);
        tokio::spawn(async move {
            let _done = done;
            if let Err(failure) = prune(&connections).await {
                let error = failure.into_meta();
                tracing::warn!(%error, "old commits wait to be forgotten");
            }
        });
    }
}

/// Lets the next one begin, however this one ended.
struct Done(Arc<AtomicBool>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

async fn prune(connections: &Connections) -> Result<(), Failure> {
    let prune = connections.run(async |connection| {
        let statement = connection.prepare_cached(PRUNE).await?;
        connection.execute(&statement, &[&KEPT.as_secs_f64()]).await?;
        Ok(())
    });
    prune.await
}

/// Clears away dead rows, and gives the empty end of the tables back to the system.
pub(crate) async fn compact(connections: &Connections) -> Result<u64, Failure> {
    let client = connections.own().await?;
    client.batch_execute("SET statement_timeout = 0").await?;
    let before: i64 = client.query_one(SIZE, &[]).await?.try_get(0)?;
    client.batch_execute("VACUUM strongroom_rows").await?;
    client.batch_execute("VACUUM strongroom_commits").await?;
    let after: i64 = client.query_one(SIZE, &[]).await?.try_get(0)?;
    Ok(u64::try_from(before - after).unwrap_or(0))
}
