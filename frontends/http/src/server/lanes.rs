//! Lanes: threads that each drive some of the connections, each from its first byte to its last.
//!
//! A pool of threads that take work from each other wakes another one for each request that comes while
//! one is at work, and hands the connection's state from one processor's caches to another's: measured,
//! small requests had a fifth of two processors idle for it. A lane has its own sockets, timers and
//! queue, and a connection stays on the lane that had the fewest when it came.
//!
//! **Never.** A lane does work that blocks or computes for long: that is for its
//! [blocking threads](tokio::task::spawn_blocking), since all connections of the lane would wait.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The lanes of a process. What was begun on them (connections, and what those left behind) goes on
/// until this is dropped, which waits for work that blocks.
#[derive(Debug)]
#[must_use = "dropping them ends what runs on them"]
pub struct Lanes {
    shared: Shared,
    end: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Lanes {
    /// Starts `count` of them, each with at most `blocking_threads` for work that blocks. Fails where
    /// the system has no more threads or files.
    pub fn start(count: NonZeroUsize, blocking_threads: NonZeroUsize) -> io::Result<Self> {
        let end = CancellationToken::new();
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count.get() {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(blocking_threads.get())
                .build()?;
            lanes.push(Lane::new(runtime.handle().clone()));
            let end = end.clone();
            let thread = std::thread::Builder::new().name(format!("lane-{number}"));
            threads.push(thread.spawn(move || runtime.block_on(end.cancelled()))?);
        }
        Ok(Self { shared: Shared(lanes.into()), end, threads })
    }

    /// For a server.
    pub(super) fn shared(&self) -> Shared {
        self.shared.clone()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.end.cancel();
        for thread in self.threads.drain(..) {
            // A task that panics ends by itself; the thread does not.
            let _ended = thread.join();
        }
    }
}

struct Lane {
    handle: Handle,
    connections: AtomicUsize,
}

impl Lane {
    fn new(handle: Handle) -> Arc<Self> {
        Arc::new(Self { handle, connections: AtomicUsize::new(0) })
    }
}

/// The lanes, for whoever puts connections on them; at least one.
#[derive(Clone)]
pub(super) struct Shared(Arc<[Arc<Lane>]>);

impl Shared {
    /// The runtime that this is called on, as the only lane.
    pub(super) fn here() -> Self {
        Self([Lane::new(Handle::current())].into())
    }

    /// A place on the lane that has the fewest connections.
    pub(super) fn place(&self) -> OnLane {
        let emptiest = self.0.iter().min_by_key(|lane| lane.connections.load(Ordering::Relaxed));
        let lane = Arc::clone(emptiest.expect("there is at least one"));
        lane.connections.fetch_add(1, Ordering::Relaxed);
        OnLane(lane)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.0.iter().map(|lane| lane.connections.load(Ordering::Relaxed));
        f.debug_list().entries(connections).finish()
    }
}

/// A connection's place on its lane, until it is dropped.
pub(super) struct OnLane(Arc<Lane>);

impl OnLane {
    /// The runtime of the lane.
    pub(super) fn handle(&self) -> &Handle {
        &self.0.handle
    }
}

impl Drop for OnLane {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
