//! The loop: from the queue to profiles, and back to the queue what could not be done.
//!
//! All of it is one future, so that dropping it drops everything: nothing goes on by itself.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Worker;
use crate::aws::AwsError;
use crate::make::{self, Unmade};
use crate::metrics::{self, Counted, Outcome};
use crate::queue::{MAX_RECEIVED, Received};

/// The waits while the queue or the metadata are away: the first, and the longest. Each doubles the last.
const QUEUE_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
const STORE_WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long a message that failed is left alone: the first time, and at most.
const RETURN_WAITS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(15));
/// How long a message is held while the metadata are away. SQS gives it up after twelve hours.
const LONGEST_HOLD: Duration = Duration::from_hours(6);
/// How long what is under way may take when the worker is asked to end.
const GRACE: Duration = Duration::from_secs(10);

/// What is to become of a message.
enum Verdict {
    Done,
    Bury(String),
    Return(Duration, String),
}

type Receiving<'a> = BoxFuture<'a, Result<Vec<Received>, AwsError>>;

impl Worker {
    /// Reads the queue until `stop`, then finishes.
    pub(crate) async fn consume(&self, stop: &CancellationToken) {
        let mut held = FuturesUnordered::new();
        let mut receiving: Option<Receiving<'_>> = None;
        let mut failures = 0_u32;
        loop {
            if receiving.is_none() {
                receiving = self.receive(held.len(), failures);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Some(()) = held.next(), if !held.is_empty() => {}
                received = next(&mut receiving) => {
                    receiving = None;
                    match received {
                        Ok(messages) => {
                            failures = 0;
                            held.extend(messages.into_iter().map(|one| self.handle(one, stop)));
                        }
                        Err(error) => {
                            failures = failures.saturating_add(1);
                            tracing::warn!(%error, failures, "sign-ups can't be received now");
                        }
                    }
                }
            }
        }
        // What this was about to bring is seen again once its time is over.
        drop(receiving);
        let finish = async { while held.next().await.is_some() {} };
        if timeout(GRACE, finish).await.is_err() {
            tracing::warn!("messages of sign-ups are left unfinished; they come again later");
        }
    }

    /// Asks for messages, where there is room for some and the metadata answer.
    fn receive(&self, held: usize, failures: u32) -> Option<Receiving<'_>> {
        let room = self.0.settings.concurrency.saturating_sub(held).min(MAX_RECEIVED);
        if room == 0 || self.0.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        Some(Box::pin(async move {
            if failures > 0 {
                sleep(doubled(QUEUE_WAITS, failures)).await;
            }
            self.0.queue.receive(room).await
        }))
    }

    /// The life of one message here. It is held all the while.
    async fn handle(&self, message: Received, stop: &CancellationToken) {
        let (_held, started) = (Counted::held(), Instant::now());
        let verdict = tokio::select! {
            verdict = self.work(&message, stop) => verdict,
            never = self.keep(&message) => match never {},
        };
        metrics::ended(self.settle(&message, verdict).await, started.elapsed());
    }

    /// Renews the hold, without end.
    async fn keep(&self, message: &Received) -> Infallible {
        let visibility = self.0.settings.visibility;
        loop {
            sleep(visibility / 2).await;
            if let Err(error) = self.0.queue.hold(message, visibility).await {
                // Another may receive it meanwhile, and find it done.
                tracing::warn!(%error, message = message.id, "a sign-up can't be held for longer");
            }
        }
    }

    /// Does what the message asks for; again and again while the metadata are away.
    async fn work(&self, message: &Received, stop: &CancellationToken) -> Verdict {
        let started = Instant::now();
        let mut waiting: Option<(Waiting<'_>, Counted)> = None;
        let mut failures = 0_u32;
        loop {
            let reason = match make::from_message(
                &self.0.engine,
                &message.body,
                self.0.settings.first,
            )
            .await
            {
                Ok(()) => return Verdict::Done,
                Err(Unmade::Never(reason)) => return Verdict::Bury(reason),
                Err(Unmade::Later(reason)) if message.receives >= self.0.settings.max_receives => {
                    return Verdict::Bury(reason);
                }
                Err(Unmade::Later(reason)) => {
                    return Verdict::Return(doubled(RETURN_WAITS, message.receives), reason);
                }
                Err(Unmade::Away(reason)) => reason,
            };
            failures = failures.saturating_add(1);
            tracing::warn!(reason, failures, message = message.id, "a sign-up waits");
            waiting.get_or_insert_with(|| (Waiting::new(&self.0.waiting), Counted::waiting()));
            let wait = stop.run_until_cancelled(sleep(doubled(STORE_WAITS, failures))).await;
            if wait.is_none() || started.elapsed() > LONGEST_HOLD {
                return Verdict::Return(Duration::ZERO, reason);
            }
        }
    }

    /// Tells the queue. Where that fails the message comes again, and is settled then.
    async fn settle(&self, message: &Received, verdict: Verdict) -> Outcome {
        let queue = &self.0.queue;
        let (told, outcome) = match verdict {
            Verdict::Done => (queue.delete(message).await, Outcome::Done),
            Verdict::Return(time, reason) => {
                tracing::warn!(reason, ?time, message = message.id, "a sign-up is given back");
                (queue.hold(message, time).await, Outcome::Returned)
            }
            Verdict::Bury(reason) if queue.takes_dead_letters() => {
                tracing::error!(reason, message = message.id, "a sign-up becomes a dead letter");
                let told = match queue.bury(message, &reason).await {
                    Ok(()) => queue.delete(message).await,
                    failed => failed,
                };
                (told, Outcome::Buried)
            }
            Verdict::Bury(reason) => {
                tracing::error!(
                    reason,
                    message = message.id,
                    receives = message.receives,
                    "a sign-up can't be done and is left to the queue's redrive policy"
                );
                return Outcome::Left;
            }
        };
        match told {
            Ok(()) => outcome,
            Err(error) => {
                tracing::warn!(%error, message = message.id, "a message of a sign-up will come again");
                // Done is done, whatever the queue heard of it.
                if outcome == Outcome::Done { Outcome::Done } else { Outcome::Left }
            }
        }
    }
}

/// Counts a message that waits for the metadata, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What was asked for, once it is there; never where nothing was.
async fn next(receiving: &mut Option<Receiving<'_>>) -> Result<Vec<Received>, AwsError> {
    match receiving {
        Some(receiving) => Pin::new(receiving).await,
        None => std::future::pending().await,
    }
}

/// The wait after so many failures on end.
fn doubled((first, longest): (Duration, Duration), failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(longest)
}
