//! The database's clock, asked for seldom: one clock for all nodes.
//!
//! A reading is the time the database told plus what has passed here since its answer came, so it
//! is behind the database's clock by at most the way of that answer, and by how far the
//! clocks' speeds differ within [`GOOD_FOR`]. It never jumps ahead. An answer that took longer
//! than [`SLOWEST`] is not kept.

use std::time::Duration;

use strongroom_engine::meta::MetaError;
use strongroom_engine::seam::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connections::Connections;
use crate::error::Failure;

/// How long one answer is counted on from.
const GOOD_FOR: Duration = Duration::from_millis(500);
/// The slowest answer that others may count on from.
const SLOWEST: Duration = Duration::from_millis(250);

const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// What the database said, and when.
#[derive(Debug, Default)]
pub(crate) struct Clock(Mutex<Option<(Timestamp, Instant)>>);

impl Clock {
    /// The time by the database's clock. Of many who ask at once, one asks the database.
    pub(crate) async fn now(&self, connections: &Connections) -> Result<Timestamp, MetaError> {
        let mut last = self.0.lock().await;
        if let Some((told, at)) = *last
            && at.elapsed() < GOOD_FOR
        {
            return Ok(told.plus(at.elapsed()));
        }
        *last = None;
        let asked = Instant::now();
        let answer = connections.run(async |connection| {
            let statement = connection.prepare_cached(NOW).await?;
            Ok(connection.query_one(&statement, &[]).await?.try_get::<_, i64>(0)?)
        });
        let millis = answer.await.map_err(Failure::into_meta)?;
        let told = Timestamp(u64::try_from(millis).unwrap_or(0));
        if asked.elapsed() <= SLOWEST {
            *last = Some((told, Instant::now()));
        }
        Ok(told)
    }
}
