//! Reads by key: what is asked while a statement is out goes together into the next one.
//!
//! A request waits in a queue until one of a few connections is free; that one takes all that wait,
//! asks for the keys of all at once, each once, and hands out the answers. So a read is sent after
//! it was asked for, and sees whatever was committed before; and the busier it is, the less a
//! read costs. All keys of one request are in one statement, and so of one moment.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_engine::meta::{Key, MetaError};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::connections::Connections;
use crate::error::Failure;

/// The most keys that requests are joined to. One request with more goes alone.
const BATCH_KEYS: usize = 256;
/// The most requests that wait; others wait to get that far.
const QUEUE: usize = 4096;
/// How often a batch whose connection was lost is sent again: it only reads.
const RESENDS: usize = 2;

const SELECT: &str = "SELECT key, value FROM strongroom_rows WHERE key = ANY ($1)";

/// One request, and where its answer goes.
struct Request {
    keys: Vec<Key>,
    reply: oneshot::Sender<Result<Vec<Option<Bytes>>, MetaError>>,
}

/// The queue. Its readers end with it.
#[derive(Debug, Clone)]
pub(crate) struct Reads(mpsc::Sender<Request>);

impl Reads {
    /// Starts `readers` tasks that read over `connections`.
    pub(crate) fn start(connections: &Connections, readers: usize) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..readers.max(1) {
            let (connections, queue) = (connections.clone(), Arc::clone(&queue));
            keep(move || read(connections.clone(), Arc::clone(&queue)));
        }
        Self(sender)
    }

    /// The values at `keys`, in their order, all of one moment.
    pub(crate) async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Bytes>>, MetaError> {
        let away = || MetaError::Unavailable("a read ended without an answer".to_owned());
        let (reply, answer) = oneshot::channel();
        self.0.send(Request { keys, reply }).await.map_err(|_| away())?;
        answer.await.map_err(|_| away())?
    }
}

/// Runs `work` to its end, and again from its beginning where it panics: what it was asked then is answered
/// as if the database were away.
fn keep<F>(work: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while let Err(ended) = tokio::spawn(work()).await
            && ended.is_panic()
        {
            tracing::error!("a reader of the database panicked, and is started again");
        }
    });
}

/// Serves batch after batch until the store is dropped.
async fn read(connections: Connections, queue: Arc<Mutex<mpsc::Receiver<Request>>>) {
    while let Some(batch) = next(&queue).await {
        let mut keys: Vec<&[u8]> =
            batch.iter().flat_map(|request| &request.keys).map(Key::as_slice).collect();
        keys.sort_unstable();
        keys.dedup();
        match select(&connections, &keys).await {
            Ok(found) => {
                for Request { keys, reply } in batch {
                    let values = keys.iter().map(|key| found.get(key.as_slice()).cloned());
                    // Who no longer waits needs no answer.
                    let _ = reply.send(Ok(values.collect()));
                }
            }
            Err(error) => {
                for request in batch {
                    let _ = request.reply.send(Err(copy(&error)));
                }
            }
        }
    }
}

/// All that waits, up to a batch, as soon as anything does.
async fn next(queue: &Mutex<mpsc::Receiver<Request>>) -> Option<Vec<Request>> {
    let mut queue = queue.lock().await;
    let first = queue.recv().await?;
    let mut keys = first.keys.len();
    let mut batch = vec![first];
    while keys < BATCH_KEYS
        && let Ok(request) = queue.try_recv()
    {
        keys += request.keys.len();
        batch.push(request);
    }
    Some(batch)
}

async fn select(
    connections: &Connections,
    keys: &[&[u8]],
) -> Result<HashMap<Key, Bytes>, MetaError> {
    let mut resends = 0;
    loop {
        let answer = connections.run(async |connection| {
            let statement = connection.prepare_cached(SELECT).await?;
            let rows = connection.query(&statement, &[&keys]).await?;
            let mut found = HashMap::with_capacity(rows.len());
            for row in rows {
                let value = Bytes::copy_from_slice(row.try_get(1)?);
                found.insert(row.try_get(0)?, value);
            }
            Ok(found)
        });
        match answer.await {
            Ok(found) => return Ok(found),
            Err(Failure::Lost(_) | Failure::Again(_)) if resends < RESENDS => resends += 1,
            Err(failure) => return Err(failure.into_meta()),
        }
    }
}

/// An error that hit a whole batch, for one of its requests.
fn copy(error: &MetaError) -> MetaError {
    match error {
        MetaError::Corrupted(what) => MetaError::Corrupted(what.clone()),
        other => MetaError::Unavailable(match other {
            MetaError::Unavailable(why) => why.clone(),
            other => other.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_panics_is_started_again_and_one_that_ends_is_not() {
        let (starts, mut started) = mpsc::unbounded_channel();
        let turns = Arc::new(std::sync::atomic::AtomicU32::new(0));
        keep(move || {
            let turn = turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            starts.send(turn).unwrap();
            async move { assert!(turn > 1, "as the test asked for") }
        });
        // The channel ends with the work.
        let mut seen = Vec::new();
        while let Some(turn) = started.recv().await {
            seen.push(turn);
        }
        assert_eq!(seen, [0, 1, 2]);
    }
}
