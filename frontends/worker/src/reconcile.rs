//! The walk through the user pool, for those of whom no message told.
//!
//! Of the processes that share the metadata one walks at a time: whoever finds that the last walk is old
//! enough writes down that a new one begins. A walk that breaks off is taken back, so that the next look
//! begins it anew; one that a kill ended is done again when its turn would be.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_engine::Error;
use strongroom_engine::extension::{Batch, Entry};
use strongroom_engine::seam::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::Worker;
use crate::gone::Met;
use crate::make::{self, Unmade};
use crate::metrics;
use crate::pool::Pool;

/// The namespace of the engine's records that is ours.
const NAMESPACE: &str = "signups";
/// When the last walk began.
const LAST: &str = "reconciled";
/// The wait before the first look, so that starting is not slowed by it; and after a failure.
const FIRST: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_mins(1);
/// Between two requests: less than a third of the requests that Cognito takes of an account.
pub(crate) const BETWEEN_REQUESTS: Duration = Duration::from_millis(100);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Walk {
    began: Timestamp,
}

/// Why a walk did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the worker is asked to end")]
    Stopped,
    #[error("{0}")]
    Failed(String),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Worker {
    /// Walks through the pool every so often, until `stop`; does nothing where there is none.
    pub(crate) async fn reconcile(&self, stop: &CancellationToken) {
        let interval = self.0.settings.reconcile_interval;
        let Some(pool) = self.0.pool.as_deref().filter(|_| !interval.is_zero()) else { return };
        let mut wait = FIRST.min(interval);
        while stop.run_until_cancelled(sleep(wait)).await.is_some() {
            wait = match self.turn(pool, stop).await {
                Ok(left) => left,
                Err(Broken::Stopped) => return,
                Err(Broken::Failed(error)) => {
                    metrics::reconciled(false);
                    tracing::warn!(error, "the user pool could not be walked through; again later");
                    AGAIN.min(interval)
                }
            };
        }
    }

    /// Walks, where it is time to; returns how long it is until the next one.
    async fn turn(&self, pool: &dyn Pool, stop: &CancellationToken) -> Result<Duration, Broken> {
        let interval = self.0.settings.reconcile_interval;
        let records = self.0.engine.extension(NAMESPACE);
        let now = records.now().await?;
        let last = records.get(LAST).await?;
        // What can't be read says nothing.
        let since = last.as_ref().and_then(read).map(|walk| now.since(walk.began));
        let left = since.and_then(|since| interval.checked_sub(since));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Ok(left);
        }
        let batch = match last {
            Some(entry) => Batch::new().unchanged(LAST, entry.version),
            None => Batch::new().absent(LAST),
        };
        match records.commit(batch.put(LAST, written(&Walk { began: now })).bookkeeping()).await {
            Ok(()) => {}
            // Another process begins it this moment.
            Err(Error::Contended { .. }) => return Ok(interval),
            Err(error) => return Err(error.into()),
        }
        let walked = async {
            let met = self.walk(pool, stop).await?;
            self.shut_out_gone(pool, &met, now, stop).await
        };
        if let Err(broken) = walked.await {
            if let Err(error) = records.commit(Batch::new().delete(LAST).bookkeeping()).await {
                tracing::warn!(%error, "the next walk through the user pool is a whole interval away");
            }
            return Err(broken);
        }
        metrics::reconciled(true);
        Ok(interval)
    }

    /// From the first page to the last; whom it met.
    async fn walk(&self, pool: &dyn Pool, stop: &CancellationToken) -> Result<Met, Broken> {
        let mut met = Met::default();
        let (mut there, mut left_out, mut refused) = (0_u64, 0_u64, 0_u64);
        let mut after: Option<String> = None;
        loop {
            let page = stop.run_until_cancelled(pool.page(after.as_deref())).await;
            let page = page.ok_or(Broken::Stopped)?;
            let page = page.map_err(|error| Broken::Failed(error.to_string()))?;
            for _ in 0..page.nameless {
                metrics::met("refused");
                refused += 1;
            }
            for found in page.users {
                if stop.is_cancelled() {
                    return Err(Broken::Stopped);
                }
                met.add(&found.user.sub);
                let (engine, first) = (&self.0.engine, self.0.settings.first);
                let done = if !found.enabled {
                    make::barred(engine, &found.user).await
                } else if found.vouched {
                    make::from_pool(engine, &found.user, first).await
                } else {
                    Ok(())
                };
                match done {
                    Ok(()) if found.enabled && found.vouched => {
                        metrics::met("there");
                        there += 1;
                    }
                    Ok(()) => {
                        metrics::met("left_out");
                        left_out += 1;
                    }
                    Err(Unmade::Away(reason)) => return Err(Broken::Failed(reason)),
                    Err(Unmade::Never(reason) | Unmade::Later(reason)) => {
                        metrics::met("refused");
                        refused += 1;
                        let sub = &found.user.sub;
                        tracing::error!(
                            reason,
                            sub,
                            "what the user pool says of somebody can't be taken up"
                        );
                    }
                }
            }
            if page.next.is_none() {
                tracing::info!(there, left_out, refused, "walked through the user pool");
                return Ok(met);
            }
            if page.next == after {
                return Err(Broken::Failed(
                    "the user pool gives one page again and again".to_owned(),
                ));
            }
            after = page.next;
            stop.run_until_cancelled(sleep(BETWEEN_REQUESTS)).await.ok_or(Broken::Stopped)?;
        }
    }
}

fn read(entry: &Entry) -> Option<Walk> {
    serde_json::from_slice(&entry.value).ok()
}

fn written(walk: &Walk) -> Vec<u8> {
    serde_json::to_vec(walk).expect("a number is JSON, and memory grows")
}
