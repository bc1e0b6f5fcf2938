//! People who signed up, made into a profile and a first organisation each.
//!
//! Whoever confirms a sign-up in the user pool is told of by a message in a queue
//! ([`strongroom_signup`] has its form, `lambda/` sends it); this is who reads the queue. People whom an
//! administrator of the pool created send no message, so the pool is walked through, too, every so often.
//! `docs/signups.md` says how to set all of it up.
//!
//! **Promises.** One person gets one profile and one organisation, whatever comes twice, late or in another
//! order, and wherever the process is killed: a message is deleted only after what it asks for is
//! committed, and doing it again is nothing new ([`profiles::ensure`](strongroom_identity::profiles::ensure)).
//! A message that can never be done goes to the dead letters with the reason; one that may be done later is
//! given back, each time for longer; while the metadata are away nothing more is received, and what is held
//! stays held, so that an outage makes no dead letters. At most [`Settings::concurrency`] are held at once.
//!
//! A walk through the pool shuts out here whom the pool has disabled or has no more (`gone`), with all their
//! tokens, and lets them in again once it does.
//!
//! **Never.** It changes a profile that is there by a message, which may be older than the profile; makes
//! anything for who is not confirmed or is disabled in the pool; lets in whom an operator shut out here; or
//! writes a message's text to the log.

#![forbid(unsafe_code)]

mod aws;
mod cognito;
mod consume;
mod gone;
mod make;
mod metrics;
mod pool;
mod queue;
mod reconcile;
mod settings;
mod sqs;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use strongroom_engine::Engine;
use tokio_util::sync::CancellationToken;

pub use settings::{Settings, SettingsError};

use crate::cognito::UserPool;
use crate::pool::Pool;
use crate::queue::Queue;
use crate::sqs::Sqs;

/// The worker of an installation. Clones share it.
#[derive(Debug, Clone)]
pub struct Worker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    queue: Arc<dyn Queue>,
    pool: Option<Arc<dyn Pool>>,
    settings: Settings,
    /// How many messages wait for the metadata.
    waiting: AtomicUsize,
}

impl Worker {
    /// The worker of these settings, which are checked here. Finds credentials and region as AWS's own tools
    /// do, and asks neither the queue nor the pool yet.
    pub async fn new(engine: Engine, settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let shared = aws::load(&settings).await;
        let queue = Arc::new(Sqs::new(&shared, &settings));
        let pool = settings.user_pool_id.as_deref();
        let pool = pool.map(|id| Arc::new(UserPool::new(&shared, id)) as Arc<dyn Pool>);
        Ok(Self::over(engine, queue, pool, settings))
    }

    fn over(
        engine: Engine,
        queue: Arc<dyn Queue>,
        pool: Option<Arc<dyn Pool>>,
        settings: Settings,
    ) -> Self {
        metrics::describe();
        Self(Arc::new(Inner { engine, queue, pool, settings, waiting: AtomicUsize::new(0) }))
    }

    /// Works until `stop`; then finishes what is under way and gives back what waits. What goes wrong is in the
    /// log, and tried again. Dropping it instead leaves messages held until their time is over; they come
    /// again then.
    pub async fn run(&self, stop: CancellationToken) {
        futures::join!(self.consume(&stop), self.reconcile(&stop));
    }
}
