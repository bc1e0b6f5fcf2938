//! What goes on beside the requests, each piece of it watched.
//!
//! **Promises.** A piece that panics, or ends though it never should, is logged, counted
//! (`strongroom_background_failures_total`) and started again after a pause that doubles; while it
//! keeps breaking down, [`Tasks::ailing`] says so for `/readyz`. Work that only fails (a store is away)
//! is logged and counted, too, and done again the next time: `/readyz` asks the stores itself.
//! [`Tasks::end`] returns when nothing of it runs any more.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::Failure;

const FAILURES: &str = "strongroom_background_failures_total";
const BROKEN: &str = "strongroom_background_broken";

/// The first pause before what broke down is started again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// How long a piece has to run to be whole again.
const WHOLE: Duration = Duration::from_mins(10);
/// After how many breakdowns in a row somebody should look at it.
const MANY: u32 = 3;

/// How often each piece broke down in a row.
type Broken = Arc<Mutex<BTreeMap<&'static str, u32>>>;

/// The pieces that run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    end: CancellationToken,
    broken: Broken,
}

impl Tasks {
    /// None yet. To be called once the process has its recorder.
    pub(crate) fn new() -> Self {
        describe_counter!(FAILURES, "Pieces of work beside the requests that failed or broke down");
        describe_gauge!(BROKEN, "How often in a row such a piece broke down; 0 is well");
        Self::default()
    }

    /// Runs what never ends by itself; it is dropped at the end.
    pub(crate) fn spawn<F>(&self, name: &'static str, work: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.supervise(name, Some(WHOLE), dropped(work));
    }

    /// Runs what goes on until it is asked to end, and then has something to finish.
    pub(crate) fn spawn_until<F>(
        &self,
        name: &'static str,
        work: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        self.supervise(name, Some(WHOLE), work);
    }

    /// Does something again and again. It is whole again when it is done without an error.
    pub(crate) fn every<F>(
        &self,
        name: &'static str,
        interval: Duration,
        work: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (work, broken) = (Arc::new(work), Arc::clone(&self.broken));
        let repeated = move || {
            let (work, broken) = (Arc::clone(&work), Arc::clone(&broken));
            async move {
                loop {
                    tokio::time::sleep(interval).await;
                    match work().await {
                        Ok(()) => whole(&broken, name),
                        Err(error) => {
                            counter!(FAILURES, "task" => name).increment(1);
                            tracing::error!(
                                task = name, %error,
                                "work beside the requests failed; it is tried again later"
                            );
                        }
                    }
                }
            }
        };
        self.supervise(name, None, dropped(repeated));
    }

    /// Runs `work`, and again where it breaks down. What ran for `whole_after` before counts anew.
    fn supervise<F>(
        &self,
        name: &'static str,
        whole_after: Option<Duration>,
        work: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        counter!(FAILURES, "task" => name).absolute(0);
        gauge!(BROKEN, "task" => name).set(0.0);
        let (end, broken) = (self.end.clone(), Arc::clone(&self.broken));
        self.tracker.spawn(async move {
            while !end.is_cancelled() {
                let started = Instant::now();
                let run = AssertUnwindSafe(async { work(end.clone()).await });
                let ended = run.catch_unwind().await;
                if end.is_cancelled() {
                    break;
                }
                let was_whole = whole_after.is_some_and(|time| started.elapsed() >= time);
                let times = broke_down(&broken, name, was_whole);
                let pause = pause(times);
                let how = if ended.is_err() { "panicked" } else { "ended" };
                tracing::error!(
                    task = name,
                    how,
                    times,
                    ?pause,
                    "work beside the requests broke down"
                );
                end.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
        });
    }

    /// What keeps breaking down, if anything does.
    pub(crate) fn ailing(&self) -> Option<String> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let ailing = broken.iter().filter(|(_, times)| **times >= MANY);
        let told: Vec<_> = ailing.map(|(name, times)| format!("{name} ({times} times)")).collect();
        (!told.is_empty()).then(|| format!("this keeps breaking down: {}", told.join(", ")))
    }

    /// Ends all of it.
    pub(crate) async fn end(self) {
        self.end.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Work that is dropped when it is to end.
fn dropped<F>(
    work: impl Fn() -> F + Send + Sync + 'static,
) -> impl Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync + 'static
where
    F: Future<Output = ()> + Send + 'static,
{
    move |end| {
        let work = work();
        async move {
            end.run_until_cancelled(work).await;
        }
        .boxed()
    }
}

/// Notes a breakdown, and returns how many there were in a row.
fn broke_down(broken: &Broken, name: &'static str, was_whole: bool) -> u32 {
    let mut broken = broken.lock().unwrap_or_else(PoisonError::into_inner);
    let times = broken.entry(name).or_default();
    *times = if was_whole { 1 } else { times.saturating_add(1) };
    counter!(FAILURES, "task" => name).increment(1);
    gauge!(BROKEN, "task" => name).set(f64::from(*times));
    *times
}

fn whole(broken: &Broken, name: &'static str) {
    let mut broken = broken.lock().unwrap_or_else(PoisonError::into_inner);
    if broken.remove(name).is_some() {
        gauge!(BROKEN, "task" => name).set(0.0);
    }
}

fn pause(times: u32) -> Duration {
    let (first, longest) = PAUSES;
    first.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1))).min(longest)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counting() -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        (Arc::clone(&count), count)
    }

    #[tokio::test(start_paused = true)]
    async fn what_panics_or_ends_is_started_again_after_longer_and_longer_pauses() {
        let tasks = Tasks::new();
        let (starts, seen) = counting();
        tasks.spawn("moody", move || {
            let start = starts.fetch_add(1, Ordering::SeqCst);
            async move { assert!(start % 2 == 0, "in a mood") }
        });
        // Starts at 0, 1, 3, 7 and 15 s.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!((seen.load(Ordering::SeqCst), tasks.ailing()), (1, None));
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(seen.load(Ordering::SeqCst), 5);
        let ailing = tasks.ailing().unwrap();
        assert!(ailing.contains("moody (5 times)"), "{ailing}");
        tokio::time::sleep(Duration::from_hours(1)).await;
        let starts = seen.load(Ordering::SeqCst);
        assert!((15..=25).contains(&starts), "at most each five minutes: {starts}");
        tasks.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_when_the_work_is_made_counts_as_well_as_one_within_it() {
        let tasks = Tasks::new();
        tasks.spawn("unmade", || -> std::future::Ready<()> { panic!("before there is a future") });
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(tasks.ailing().unwrap().contains("unmade"));
        tasks.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_works_again_ails_no_more() {
        let tasks = Tasks::new();
        let (runs, seen) = counting();
        tasks.every("healing", Duration::from_secs(1), move || {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(run >= 4, "not yet");
                if run == 4 { Err(Failure::away("a store is away")) } else { Ok(()) }
            }
        });
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(tasks.ailing().is_some());
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(seen.load(Ordering::SeqCst) > 5);
        assert_eq!(tasks.ailing(), None);
        tasks.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_seldom_and_breaks_down_each_time_ails() {
        let tasks = Tasks::new();
        tasks.every("collection", Duration::from_hours(1), || async { panic!("each time") });
        tokio::time::sleep(Duration::from_hours(4)).await;
        assert!(tasks.ailing().unwrap().contains("collection (3 times)"));
        tasks.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_what_has_something_to_finish() {
        let tasks = Tasks::new();
        let (done, seen) = counting();
        tasks.spawn_until("tidy", move |end| {
            let done = Arc::clone(&done);
            async move {
                end.cancelled().await;
                tokio::time::sleep(Duration::from_secs(5)).await;
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
        tasks.spawn("endless", std::future::pending);
        // What has not begun has nothing to finish.
        tokio::time::sleep(Duration::from_secs(1)).await;
        tasks.end().await;
        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_breakdown_is_in_the_metrics() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let tasks = Tasks::new();
        tasks.spawn("moody", || async { panic!("in a mood") });
        tokio::time::sleep(Duration::from_secs(2)).await;
        let text = handle.render();
        assert!(text.contains("strongroom_background_failures_total{task=\"moody\"} 2"), "{text}");
        assert!(text.contains("strongroom_background_broken{task=\"moody\"} 2"), "{text}");
        tasks.end().await;
    }
}
