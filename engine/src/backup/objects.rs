//! Bringing objects from one store to another, hashed on the way.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::ArchiveObject;
use crate::content::{BlobStore, ObjectKey, ObjectRead, StoreError, Then, WriteState};
use crate::digest::Hasher;
use crate::error::Error;
use crate::keys::object;

/// How many objects are brought at once: small ones cost a few fsyncs or a round trip each.
const AT_ONCE: usize = 8;
/// How much is read at a time.
const READ_BYTES: u64 = 1024 * 1024;
/// Objects up to this size are verified in memory and written whole.
const WHOLE_BYTES: u64 = READ_BYTES;
/// Larger ones are made durable each so many bytes.
const CHECKPOINT_BYTES: u64 = 64 * 1024 * 1024;

/// What came of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Brought {
    /// It was there already.
    There,
    /// Its file has a second name.
    Linked,
    /// Its bytes were read, hashed and written.
    Copied,
    /// It can't be had: why.
    Not(String),
}

/// Brings one object; clones share what they bring from and to.
pub(super) type Bring =
    Arc<dyn Fn(ArchiveObject) -> BoxFuture<'static, Result<Brought, Error>> + Send + Sync>;

/// Brings all of `objects`, several at once, and tells of each.
pub(super) async fn bring_all(
    objects: Vec<ArchiveObject>,
    bring: &Bring,
    mut told: impl FnMut(&ArchiveObject, &Brought) + Send,
) -> Result<(), Error> {
    let brought = objects.into_iter().map(|object| {
        let bring = Arc::clone(bring);
        async move {
            let brought = bring(object.clone()).await?;
            Ok::<_, Error>((object, brought))
        }
        .boxed()
    });
    let mut brought = stream::iter(brought).buffer_unordered(AT_ONCE);
    while let Some((object, brought)) = brought.try_next().await? {
        told(&object, &brought);
    }
    Ok(())
}

/// Where an object's bytes may lie in a living store: in flight as long as it was not settled. In this
/// order: what is gone from the first place had its second before.
pub(super) fn places(object: &ArchiveObject) -> Vec<ObjectKey> {
    let flying = object::parse(&object.key)
        .map(|parsed| object::in_flight(parsed.organisation, parsed.generation));
    flying.into_iter().chain([object.key.clone()]).collect()
}

/// The place that has the object whole, if one does.
pub(super) async fn find(
    store: &dyn BlobStore,
    object: &ArchiveObject,
) -> Result<Option<ObjectKey>, Error> {
    for place in places(object) {
        if store.stat(&place).await? == Some(object.size) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Copies the object from where it lies in `from` to its key in `to`, by way of `unfinished`, which
/// is nobody else's. Nothing is published whose bytes are not those of the digest.
pub(super) async fn copy(
    from: &dyn BlobStore,
    to: &dyn BlobStore,
    object: &ArchiveObject,
    unfinished: &ObjectKey,
) -> Result<Brought, Error> {
    let Some(place) = find(from, object).await? else {
        return Ok(Brought::Not(format!("{}: it is not there, or not whole", object.key)));
    };
    let source = match from.read(&place, 0..object.size).await {
        Ok(read) => Source::new(place, read, object),
        Err(StoreError::NotFound(_) | StoreError::WrongSize { .. }) => {
            return Ok(Brought::Not(format!("{}: it went away", object.key)));
        }
        Err(error) => return Err(error.into()),
    };
    if object.size <= WHOLE_BYTES {
        whole(source, to, object).await
    } else {
        streamed(source, to, object, unfinished).await
    }
}

async fn whole(
    mut source: Source,
    to: &dyn BlobStore,
    object: &ArchiveObject,
) -> Result<Brought, Error> {
    let mut parts = Vec::new();
    while let Some(bytes) = source.next().await? {
        parts.push(bytes);
    }
    if let Some(wrong) = source.wrong(object) {
        return Ok(wrong);
    }
    to.put(&object.key, parts.concat().into()).await?;
    Ok(Brought::Copied)
}

async fn streamed(
    source: Source,
    to: &dyn BlobStore,
    object: &ArchiveObject,
    unfinished: &ObjectKey,
) -> Result<Brought, Error> {
    let mut state = to.start(unfinished).await?;
    let written = write(source, to, object, unfinished, &mut state).await;
    if !matches!(written, Ok(Brought::Copied))
        && let Err(error) = to.abort(unfinished, &state).await
    {
        tracing::warn!(%unfinished, %error, "what was copied of an object stays");
    }
    written
}

async fn write(
    mut source: Source,
    to: &dyn BlobStore,
    object: &ArchiveObject,
    unfinished: &ObjectKey,
    state: &mut WriteState,
) -> Result<Brought, Error> {
    let mut writer = to.resume(unfinished, state).await?;
    let mut since = 0;
    while let Some(bytes) = source.next().await? {
        since += bytes.len() as u64;
        writer.write(vec![bytes]).await?;
        if since >= CHECKPOINT_BYTES {
            *state = writer.checkpoint(Then::Writes).await?;
            since = 0;
        }
    }
    *state = writer.checkpoint(Then::Finishes).await?;
    drop(writer);
    if let Some(wrong) = source.wrong(object) {
        return Ok(wrong);
    }
    let lies = to.finish(unfinished, state, &object.key).await?;
    if lies != object.key {
        to.settle(&lies, &object.key).await?;
    }
    if *unfinished == object.key {
        // A row that is not committed after all has the object brought again, from its beginning.
        to.tidy(&object.key, state).await?;
    } else {
        to.delete(unfinished).await?;
    }
    Ok(Brought::Copied)
}

/// The bytes of an object on their way, and what they hash to.
struct Source {
    place: ObjectKey,
    bytes: Way,
    hasher: Option<Hasher>,
}

enum Way {
    File { file: Arc<File>, at: u64, end: u64 },
    Stream(BoxStream<'static, Result<Bytes, StoreError>>),
}

impl Source {
    fn new(place: ObjectKey, read: ObjectRead, object: &ArchiveObject) -> Self {
        let bytes = match read {
            ObjectRead::File { file, offset, length } => {
                Way::File { file: Arc::new(file), at: offset, end: offset + length }
            }
            ObjectRead::Stream(stream) => Way::Stream(stream),
        };
        Self { place, bytes, hasher: Some(Hasher::new(object.digest.algorithm())) }
    }

    /// The next bytes, hashed. Reading and hashing leave the caller's thread, which has others to serve.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(mut hasher) = self.hasher.take() else {
            return Err(Error::Unavailable("an earlier read of this object failed".to_owned()));
        };
        let read: Box<dyn FnOnce() -> std::io::Result<Bytes> + Send> = match &mut self.bytes {
            Way::Stream(stream) => {
                let Some(bytes) = stream.try_next().await? else {
                    self.hasher = Some(hasher);
                    return Ok(None);
                };
                Box::new(move || Ok(bytes))
            }
            Way::File { at, end, .. } if *at >= *end => {
                self.hasher = Some(hasher);
                return Ok(None);
            }
            Way::File { file, at, end } => {
                let (file, from) = (Arc::clone(file), *at);
                let length = (*end - from).min(READ_BYTES);
                *at += length;
                Box::new(move || {
                    use std::os::unix::fs::FileExt;
                    let mut buffer = vec![0; usize::try_from(length).unwrap_or_default()];
                    file.read_exact_at(&mut buffer, from)?;
                    Ok(buffer.into())
                })
            }
        };
        let key = self.place.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let bytes = read()?;
            hasher.update(&bytes);
            Ok((bytes, hasher))
        });
        let hashed = hashed.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let (bytes, hasher) = hashed.map_err(|error| {
            Error::from(StoreError::Failed { key, reason: error.to_string(), temporary: true })
        })?;
        self.hasher = Some(hasher);
        Ok(Some(bytes))
    }

    /// What is wrong with all the bytes, if anything is.
    fn wrong(self, object: &ArchiveObject) -> Option<Brought> {
        let found = self.hasher?.finish();
        (found != object.digest)
            .then(|| Brought::Not(format!("{}: its bytes are those of {found}", object.key)))
    }
}

/// Whether the object at `place` has the bytes of its digest, by reading them.
pub(super) async fn is_right(
    store: &dyn BlobStore,
    place: &ObjectKey,
    object: &ArchiveObject,
) -> Result<bool, Error> {
    let read = match store.read(place, 0..object.size).await {
        Ok(read) => read,
        Err(StoreError::NotFound(_) | StoreError::WrongSize { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut source = Source::new(place.clone(), read, object);
    while source.next().await?.is_some() {}
    Ok(source.wrong(object).is_none())
}
