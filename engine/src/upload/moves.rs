//! Moves behind requests: content that was finished where it was uploaded gets to its place.
//!
//! A chunked upload is answered as soon as its object is whole, under the key of its session (only
//! then is its digest known). Moving it under its digest is begun here right after, a few at a
//! time. Nothing depends on it: content is read where its row says, and what was not moved, because
//! there were too many, the store failed or the process ended, the next collection moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::core::Core;
use crate::digest::Digest;
use crate::gc::settle;
use crate::id::OrganisationId;

/// How many objects are moved at once: a store copies on its side, so this costs it more than us.
const AT_ONCE: usize = 2;
/// How many may wait; more are left to the collection.
const MAX_WAITING: usize = 1024;

/// The moves of this process.
#[derive(Debug)]
pub(crate) struct Moves {
    tasks: TaskTracker,
    ending: CancellationToken,
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Default for Moves {
    fn default() -> Self {
        Self {
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::default(),
        }
    }
}

impl Moves {
    /// Begins to move the content of `digest`; returns at once.
    pub(crate) fn begin(&self, core: &Arc<Core>, organisation: OrganisationId, digest: Digest) {
        if self.ending.is_cancelled() || self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let (core, turns) = (Arc::clone(core), Arc::clone(&self.turns));
        let waiting = Arc::clone(&self.waiting);
        let moving = async move {
            let _turn = turns.acquire_owned().await;
            if let Err(error) = settle(&core, organisation, &digest).await {
                tracing::info!(%digest, %error, "content is moved to its place by the next collection");
            }
        };
        // Given up in the middle a move leaves garbage at most.
        let ended = self.ending.clone().cancelled_owned();
        self.tasks.spawn(async move {
            tokio::select! { () = moving => {} () = ended => {} }
            waiting.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Gives up what is under way, and waits until nothing is.
    pub(crate) async fn end(&self) {
        self.ending.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits until all that was begun is moved, or was left to the collection.
    #[cfg(test)]
    pub(crate) async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}
