//! Commits whose callers stopped waiting: those behind them wait for them to end.
//!
//! A commit's future may be dropped at any time, and the commit goes on in its task. The store is
//! serial for whoever comes next in this process: by the time a later commit is sent, the dropped one has
//! happened or never will.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use strongroom_engine::meta::{Committed, MetaError};
use tokio::task::JoinHandle;

type Task = JoinHandle<Result<Committed, MetaError>>;

/// The tasks that nobody waits for, until somebody does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Orphans {
    tasks: Arc<Mutex<Vec<Task>>>,
    /// Held by whoever waits, so that the next one waits for those too.
    waiting: Arc<tokio::sync::Mutex<()>>,
}

impl Orphans {
    /// Waits until all commits that were given up have ended.
    pub(crate) async fn wait(&self) {
        if self.lock().is_empty() && self.waiting.try_lock().is_ok() {
            return;
        }
        let _one_at_a_time = self.waiting.lock().await;
        let tasks = std::mem::take(&mut *self.lock());
        let mut ending = Ending { tasks, orphans: self };
        while let Some(task) = ending.tasks.last_mut() {
            let _ = task.await;
            ending.tasks.pop();
        }
    }

    /// The answer of `task`, which is an orphan where the future is dropped before it comes.
    pub(crate) fn adopt(&self, task: Task) -> Answer {
        Answer { task: Some(task), orphans: self.clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tasks that are waited for; whoever stops waiting leaves them to the next.
struct Ending<'a> {
    tasks: Vec<Task>,
    orphans: &'a Orphans,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.tasks.is_empty() {
            self.orphans.lock().append(&mut self.tasks);
        }
    }
}

/// See [`Orphans::adopt`].
#[derive(Debug)]
pub(crate) struct Answer {
    task: Option<Task>,
    orphans: Orphans,
}

impl Future for Answer {
    type Output = Result<Committed, MetaError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(task) = &mut self.task else { return Poll::Pending };
        let Poll::Ready(answer) = Pin::new(task).poll(cx) else { return Poll::Pending };
        self.task = None;
        Poll::Ready(answer.unwrap_or_else(|_| {
            Err(MetaError::Unavailable("the process ends, or its commit broke".to_owned()))
        }))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(task) = self.task.take()
            && !task.is_finished()
        {
            self.orphans.lock().push(task);
        }
    }
}
