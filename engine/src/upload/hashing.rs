//! Hashing the batches of one upload, in their order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::digest::Hasher;

/// A hash that batches go to. A thread of the blocking pool stays with it for as long as there are
/// some: waking one for each batch left the processor idle for a third of a fast upload.
pub(super) struct Hashing(Arc<Mutex<State>>);

struct State {
    /// Absent while a thread is at work.
    at_rest: Option<Hasher>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    batch: Vec<Bytes>,
    hashed: oneshot::Sender<Hasher>,
}

impl Hashing {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self(Arc::new(Mutex::new(State { at_rest: Some(hasher), waiting: VecDeque::new() })))
    }

    /// Has `batch` hashed after all that were pushed before it; gives the state after it. Whoever
    /// pushes bounds how many wait.
    pub(super) fn push(&self, batch: Vec<Bytes>) -> oneshot::Receiver<Hasher> {
        let (hashed, state_after) = oneshot::channel();
        let mut state = lock(&self.0);
        state.waiting.push_back(Waiting { batch, hashed });
        if let Some(hasher) = state.at_rest.take() {
            let shared = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || work(&shared, hasher));
        }
        state_after
    }
}

fn work(state: &Mutex<State>, mut hasher: Hasher) {
    while let Some((Waiting { batch, hashed }, mine)) = next(state, hasher) {
        hasher = mine;
        for bytes in batch {
            hasher.update(&bytes);
        }
        // Nobody waits for it where the upload was given up.
        let _ = hashed.send(hasher.clone());
    }
}

/// The batch to hash next, with the hasher; leaves that to rest where there is none.
fn next(state: &Mutex<State>, hasher: Hasher) -> Option<(Waiting, Hasher)> {
    let mut state = lock(state);
    let Some(waiting) = state.waiting.pop_front() else {
        state.at_rest = Some(hasher);
        return None;
    };
    Some((waiting, hasher))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
