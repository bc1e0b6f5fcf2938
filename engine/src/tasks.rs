//! What the engine does behind requests for as long as it is there, each piece of it watched.
//!
//! Promises: a round that panics is logged, shown by [`Tasks::broken`] (and so by
//! [`crate::Engine::ready`]) until a later round goes well, and tried again after a pause that doubles; a
//! piece that ends though the engine is still there, and nobody asked it to, stays shown. A round
//! that only fails says so itself: it knows what waits for it.
//!
//! What it never does: keep the engine alive. A piece ends when the last clone of it is gone.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;

use crate::core::Core;

/// The first pause after a round that panicked …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … and the longest.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The pieces that broke down, and how.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<BTreeMap<&'static str, String>>);

impl Tasks {
    /// What is broken, in words; nothing where all goes well.
    pub(crate) fn broken(&self) -> Option<String> {
        let broken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told: Vec<_> = broken.iter().map(|(name, how)| format!("{name} {how}")).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    fn broke(&self, name: &'static str, how: String) {
        tracing::error!(task = name, how, "work behind the requests broke down");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, how);
    }

    fn mended(&self, name: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Tells of a piece that ended unasked: it was aborted, or something outside its rounds panicked.
struct Ending {
    name: &'static str,
    core: Weak<Core>,
    asked: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.asked
            && let Some(core) = self.core.upgrade()
        {
            core.tasks.broke(self.name, "has ended".to_owned());
        }
    }
}

/// Does `round` again and again as long as the engine is there, or until it says that it is done. A
/// round begins with its own pause, and without the engine, which it takes for as long as it works.
pub(crate) fn repeat<F>(
    core: &Arc<Core>,
    name: &'static str,
    mut round: impl FnMut() -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ControlFlow<()>> + Send,
{
    let core = Arc::downgrade(core);
    tokio::spawn(async move {
        let mut ending = Ending { name, core: core.clone(), asked: false };
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = AssertUnwindSafe(async { round().await }).catch_unwind().await;
            let Some(core) = core.upgrade() else { break };
            match ended {
                Ok(ControlFlow::Break(())) => {
                    core.tasks.mended(name);
                    break;
                }
                Ok(ControlFlow::Continue(())) => {
                    core.tasks.mended(name);
                    pause = FIRST_PAUSE;
                    continue;
                }
                Err(panic) => core.tasks.broke(name, format!("panicked: {}", message(&*panic))),
            }
            drop(core);
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        ending.asked = true;
    })
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::tests::support::World;

    const SOON: Duration = Duration::from_secs(2);

    async fn why_not_ready(world: &World) -> Option<String> {
        world.engine.ready(SOON).await.err().map(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_panics_is_told_of_until_one_goes_well() {
        let world = World::new().await;
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        let _task = repeat(&world.engine.core, "moody work", move || {
            let round = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(SOON).await;
                assert!(round != 1 && round != 2, "in a mood");
                ControlFlow::Continue(())
            }
        });
        // Rounds end after 2 s and 4 s; behind pauses of 1 s and 2 s the next do after 7 s and 11 s.
        let begun = tokio::time::Instant::now();
        for (at, broken) in [(3, false), (5, true), (8, true), (12, false), (60, false)] {
            tokio::time::sleep_until(begun + Duration::from_secs(at)).await;
            let why = why_not_ready(&world).await;
            assert_eq!(why.is_some(), broken, "{at}: {why:?}");
            if let Some(why) = why {
                assert!(why.contains("moody work panicked: in a mood"), "{why}");
            }
        }
        assert!(rounds.load(Ordering::SeqCst) > 20, "it goes on");
    }

    #[tokio::test]
    async fn what_ends_unasked_is_told_of_and_what_is_asked_to_is_not() {
        let world = World::new().await;
        let core = &world.engine.core;
        let asked = repeat(core, "asked", || async { ControlFlow::Break(()) });
        asked.await.unwrap();
        assert_eq!(why_not_ready(&world).await, None);
        let endless = repeat(core, "endless", std::future::pending::<ControlFlow<()>>);
        tokio::task::yield_now().await;
        endless.abort();
        endless.await.unwrap_err();
        let why = why_not_ready(&world).await.unwrap();
        assert!(why.contains("endless has ended"), "{why}");
    }

    #[tokio::test]
    async fn nothing_keeps_the_engine_alive() {
        let world = World::new().await;
        let turn = || async {
            tokio::task::yield_now().await;
            ControlFlow::Continue(())
        };
        let task = repeat(&world.engine.core, "busy", turn);
        drop(world);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn pulls_are_written_on_after_the_writing_of_some_panicked() {
        let world = World::new().await;
        world.gate.panic_at_the_next_look_at_the_clock();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let why = why_not_ready(&world).await;
        assert!(why.as_ref().is_some_and(|why| why.contains("to the trail panicked")), "{why:?}");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(why_not_ready(&world).await, None);
    }
}
