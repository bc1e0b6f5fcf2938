//! Objects in any service that opendal speaks to.
//!
//! opendal hides multipart upload ids, so an unfinished object can't be one upload that is
//! resumed: each checkpoint closes one numbered object below the unfinished key
//! (`<unfinished>/part-000001.<nonce>`), and [`BlobStore::finish`] joins them, on the service's
//! side where it can copy ranges, and through this process in bounded memory where it can't.
//!
//! Beyond [`BlobStore`] it promises: a part's name is never used twice, so a writer that was
//! left behind can't change what a later one wrote; what a call achieved is decided by the
//! object (its size), never by the error that came back, for a lost reply looks like a failure.
//!
//! What it leans on: the service makes an object durable before it confirms it, and shows it
//! whole or not at all; `a` and `a/b` may both be objects (so not opendal's own `fs`, which
//! fails at both: [`super::fs`] is for file systems). It needs no `if_not_exists`, which some
//! services check and then write in two steps, and no `ETag`, which some compute from parts:
//! keys are used once, and sizes and digests are the proof. A service that takes an object only
//! in one piece (opendal's `write_can_multi`) refuses what is written in more than one.

mod listing;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{self, StreamExt};
use opendal::{Buffer, ErrorKind, Operator};
use serde::{Deserialize, Serialize};

use self::listing::Page;
use self::writer::PartWriter;
use super::{BlobStore, ObjectEntry, ObjectKey, ObjectRead, ObjectWriter, StoreError, WriteState};
use crate::seam::{Entropy, Seams};

/// The most that opendal copies from one object in one call.
const COPY_STEP: u64 = 4 * 1024 * 1024 * 1024;

/// A [`BlobStore`] over an opendal operator.
#[derive(Clone)]
pub struct OpendalStore {
    operator: Operator,
    entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for OpendalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpendalStore({})", self.operator.info().scheme())
    }
}

/// One checkpoint's bytes, as [`WriteState::state`] remembers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    nonce: u32,
    size: u64,
}

fn part_path(unfinished: &ObjectKey, index: usize, part: Part) -> String {
    format!("{unfinished}/part-{:06}.{:08x}", index + 1, part.nonce)
}

fn failure(key: &ObjectKey, error: &opendal::Error) -> StoreError {
    let (key, reason) = (key.clone(), error.to_string());
    match error.kind() {
        ErrorKind::NotFound => StoreError::NotFound(key),
        kind => {
            let temporary = error.is_temporary() || kind == ErrorKind::RateLimited;
            StoreError::Failed { key, reason, temporary }
        }
    }
}

/// The parts that `state` remembers, which must be as long together as it says.
fn parts_of(key: &ObjectKey, state: &WriteState) -> Result<Vec<Part>, StoreError> {
    let parts: Vec<Part> = if state.state.is_empty() {
        Vec::new()
    } else {
        postcard::from_bytes(&state.state).map_err(|error| StoreError::Failed {
            key: key.clone(),
            reason: format!("the upload's saved state is not one of this store: {error}"),
            temporary: false,
        })?
    };
    let found = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.size));
    if found != state.offset {
        return Err(StoreError::WrongSize { key: key.clone(), expected: state.offset, found });
    }
    Ok(parts)
}

impl OpendalStore {
    /// A store over `operator`, whose root is the store's. Retries and time-outs are layers of
    /// the operator: they belong below this store.
    pub fn new(operator: Operator) -> Self {
        Self { operator, entropy: Seams::default().entropy }
    }

    /// The same store, with the names of its parts drawn from `entropy`.
    pub fn with_entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// A store that forgets everything at the end of the process.
    ///
    /// # Errors
    /// What opendal says, which for memory is nothing.
    pub fn memory() -> Result<Self, opendal::Error> {
        Ok(Self::new(Operator::new(opendal::services::Memory::default())?))
    }

    async fn size(&self, key: &ObjectKey, path: &str) -> Result<Option<u64>, StoreError> {
        match self.operator.stat(path).await {
            Ok(metadata) if metadata.is_dir() => Ok(None),
            Ok(metadata) => Ok(Some(metadata.content_length())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure(key, &error)),
        }
    }

    /// Requires that a part is there, as long as it was.
    async fn require(&self, key: &ObjectKey, path: &str, size: u64) -> Result<(), StoreError> {
        match self.size(key, path).await? {
            None => Err(StoreError::NotFound(key.clone())),
            Some(found) if found == size => Ok(()),
            Some(found) => Err(StoreError::WrongSize { key: key.clone(), expected: size, found }),
        }
    }

    /// Writes one object from whole others, in order.
    async fn join(
        &self,
        key: &ObjectKey,
        sources: &[(String, u64)],
        to: &ObjectKey,
    ) -> Result<(), StoreError> {
        for (path, size) in sources {
            self.require(key, path, *size).await?;
        }
        let failed = |error| failure(to, &error);
        if sources.iter().all(|(_, size)| *size == 0) {
            self.operator.write(to.as_str(), Buffer::new()).await.map_err(failed)?;
            return Ok(());
        }
        let mut writer = self.operator.writer(to.as_str()).await.map_err(failed)?;
        let copied = async {
            for (path, size) in sources {
                let mut from = 0;
                while from < *size {
                    let end = size.min(&from.saturating_add(COPY_STEP)).to_owned();
                    writer.copy_from(path, from..end).await?;
                    from = end;
                }
            }
            writer.close().await
        };
        if let Err(error) = copied.await {
            // What the service keeps of it is swept by the service; the object decides below.
            let _ = writer.abort().await;
            return Err(failed(error));
        }
        Ok(())
    }

    /// Joins, and lets the object that came of it decide whether that worked.
    async fn publish(
        &self,
        key: &ObjectKey,
        sources: &[(String, u64)],
        to: &ObjectKey,
    ) -> Result<(), StoreError> {
        let expected = sources.iter().map(|(_, size)| size).sum();
        if self.size(to, to.as_str()).await? == Some(expected) {
            return Ok(());
        }
        let joined = self.join(key, sources, to).await;
        match (self.size(to, to.as_str()).await?, joined) {
            (Some(found), _) if found == expected => Ok(()),
            (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError::Failed {
                key: to.clone(),
                reason: "the service confirmed the object and does not have it".into(),
                temporary: true,
            }),
            (Some(found), Ok(())) => {
                Err(StoreError::WrongSize { key: to.clone(), expected, found })
            }
        }
    }

    async fn remove_parts(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let failed = |error| failure(key, &error);
        let below = format!("{key}/");
        let mut lister = self.operator.lister_with(&below).recursive(true).await.map_err(failed)?;
        while let Some(entry) = lister.try_next().await.map_err(failed)? {
            if !entry.path().ends_with('/') {
                self.operator.delete(entry.path()).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl BlobStore for OpendalStore {
    async fn start(&self, _unfinished: &ObjectKey) -> Result<WriteState, StoreError> {
        Ok(WriteState::default())
    }

    async fn resume(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
    ) -> Result<Box<dyn ObjectWriter>, StoreError> {
        let parts = parts_of(unfinished, state)?;
        if let Some((index, part)) = parts.iter().enumerate().next_back() {
            self.require(unfinished, &part_path(unfinished, index, *part), part.size).await?;
        }
        let (store, key) = (self.clone(), unfinished.clone());
        Ok(Box::new(PartWriter::new(store, key, parts)))
    }

    async fn finish(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
        finished: &ObjectKey,
    ) -> Result<ObjectKey, StoreError> {
        let parts = parts_of(unfinished, state)?;
        let sources: Vec<(String, u64)> = parts
            .iter()
            .enumerate()
            .map(|(index, part)| (part_path(unfinished, index, *part), part.size))
            .collect();
        self.publish(unfinished, &sources, finished).await?;
        if unfinished == finished {
            // Aborting would take the object too; the parts are garbage, whether or not they go.
            let _ = self.remove_parts(unfinished).await;
        }
        Ok(finished.clone())
    }

    async fn abort(&self, unfinished: &ObjectKey, _state: &WriteState) -> Result<(), StoreError> {
        self.delete(unfinished).await
    }

    async fn settle(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        let Some(size) = self.size(from, from.as_str()).await? else {
            return Err(StoreError::NotFound(from.clone()));
        };
        if from == to {
            return Ok(());
        }
        self.publish(from, &[(from.to_string(), size)], to).await
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let expected = bytes.len() as u64;
        self.operator.write(key.as_str(), bytes).await.map_err(|error| failure(key, &error))?;
        self.require(key, key.as_str(), expected).await
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<ObjectRead, StoreError> {
        let Some(found) = self.size(key, key.as_str()).await? else {
            return Err(StoreError::NotFound(key.clone()));
        };
        if range.end > found {
            return Err(StoreError::WrongSize { key: key.clone(), expected: range.end, found });
        }
        if range.is_empty() {
            return Ok(ObjectRead::Stream(stream::empty().boxed()));
        }
        let failed = |error| failure(key, &error);
        let reader = self.operator.reader(key.as_str()).await.map_err(failed)?;
        let bytes = reader.into_bytes_stream(range.clone()).await.map_err(failed)?;
        let (of, end) = (key.clone(), range.end);
        // A service that ends early, or late, must not pass for the whole.
        let exact = stream::try_unfold((bytes.boxed(), range.start), move |(mut bytes, at)| {
            let of = of.clone();
            async move {
                let next = bytes.try_next().await.map_err(|error| StoreError::Failed {
                    key: of.clone(),
                    reason: error.to_string(),
                    temporary: true,
                })?;
                let now = at + next.as_ref().map_or(0, |bytes| bytes.len() as u64);
                if now > end || (next.is_none() && now < end) {
                    return Err(StoreError::WrongSize { key: of, expected: end, found: now });
                }
                Ok(next.map(|chunk| (chunk, (bytes, now))))
            }
        });
        Ok(ObjectRead::Stream(exact.boxed()))
    }

    async fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.size(key, key.as_str()).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.remove_parts(key).await?;
        match self.operator.delete(key.as_str()).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failure(key, &error)),
            _ => Ok(()),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectEntry>, StoreError> {
        let mut page = Page::new(&self.operator, prefix, after, limit);
        page.fill().await.map_err(|error| StoreError::Unlisted { reason: error.to_string() })?;
        let mut entries = Vec::new();
        for (key, size) in page.found {
            // Not every service tells sizes in its listing.
            let size = match size {
                Some(size) => Some(size),
                None => self.size(&key, key.as_str()).await?,
            };
            entries.extend(size.map(|size| ObjectEntry::object(key, size)));
        }
        Ok(entries)
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
