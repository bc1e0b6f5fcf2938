//! Those who have an account here and are in the user pool no more.
//!
//! They are known by what a walk did not meet, so little is believed of that. Only a walk that came to its end
//! counts, and none that met nobody; each who was not met is asked for by themselves, since people come and
//! go while the pool is walked through; whose account is younger than the walk before waits for the next, for
//! the pool may not list them yet; and where of several people nobody is there any more, it is taken for
//! another pool, and nobody is shut out. Who is there again is let in by the walk that meets them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use strongroom_engine::seam::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::Worker;
use crate::make::{self, Unmade};
use crate::metrics;
use crate::pool::Pool;
use crate::reconcile::{BETWEEN_REQUESTS, Broken};

/// Whom a walk met, each as a fingerprint: a million are 16 MB. Whoever shares one with somebody is taken to be
/// there.
#[derive(Debug, Default)]
pub(crate) struct Met(HashSet<u64>);

impl Met {
    pub(crate) fn add(&mut self, sub: &str) {
        self.0.insert(fingerprint(sub));
    }

    fn has(&self, sub: &str) -> bool {
        self.0.contains(&fingerprint(sub))
    }
}

fn fingerprint(sub: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    sub.hash(&mut hasher);
    hasher.finish()
}

impl Worker {
    /// Shuts out who is gone, behind a walk that came to its end and `began` then.
    pub(crate) async fn shut_out_gone(
        &self,
        pool: &dyn Pool,
        met: &Met,
        began: Timestamp,
        stop: &CancellationToken,
    ) -> Result<(), Broken> {
        if met.0.is_empty() {
            tracing::warn!("the user pool has nobody in it; nobody is shut out for that");
            return Ok(());
        }
        let (engine, interval) = (&self.0.engine, self.0.settings.reconcile_interval);
        let (mut there, mut missing, mut after) = (0_usize, Vec::new(), None::<String>);
        loop {
            let page = match make::let_in(engine, after.as_deref()).await {
                Ok(page) => page,
                Err(Unmade::Away(reason)) => return Err(Broken::Failed(reason)),
                // Walking again changes nothing about that.
                Err(Unmade::Never(reason) | Unmade::Later(reason)) => {
                    tracing::error!(reason, "who is gone from the user pool can't be told");
                    return Ok(());
                }
            };
            for account in page.items {
                if met.has(account.id.name.as_str()) {
                    there += 1;
                } else if account.created_at.plus(interval) <= began {
                    missing.push(account.id);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if there == 0 && missing.len() > 1 {
            tracing::error!(
                missing = missing.len(),
                "of the people who have an account here nobody is in the user pool: is it the right \
                 one? Nobody is shut out for that"
            );
            return Ok(());
        }
        for id in missing {
            let known = stop.run_until_cancelled(pool.knows(id.name.as_str())).await;
            let known = known.ok_or(Broken::Stopped)?;
            if known.map_err(|error| Broken::Failed(error.to_string()))? {
                continue;
            }
            match make::barred_account(engine, &id).await {
                Ok(()) => {
                    metrics::met("gone");
                    tracing::info!(account = %id, "shut out: the user pool has them no more");
                }
                Err(Unmade::Away(reason)) => return Err(Broken::Failed(reason)),
                Err(Unmade::Never(reason) | Unmade::Later(reason)) => {
                    metrics::met("refused");
                    tracing::error!(reason, account = %id, "who is gone can't be shut out");
                }
            }
            stop.run_until_cancelled(sleep(BETWEEN_REQUESTS)).await.ok_or(Broken::Stopped)?;
        }
        Ok(())
    }
}
