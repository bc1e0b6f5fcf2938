//! The bytes of an uploaded file on their way: hashed, copied for a look inside, and, where they are
//! many, streamed into an upload of the engine.

use std::io::{self, Write};

use bytes::Bytes;
use futures::{StreamExt, stream};
use multer::Field;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::id::SessionId;
use strongroom_engine::{BlobInfo, Chunk, Repository};
use strongroom_python::{DigestHasher, Digests};
use tempfile::SpooledTempFile;
use tokio::task::JoinHandle;

use crate::error::{Failure, internal};

/// Up to this size a file waits in memory, and nothing is stored before it is found right.
const IN_MEMORY_BYTES: usize = 1 << 20;
/// How much is hashed and copied in one step.
const BATCH_BYTES: usize = 512 << 10;

/// A file that came whole.
pub(super) struct Received {
    pub(super) digests: Digests,
    pub(super) file: SpooledTempFile,
    pub(super) size: u64,
}

/// A file's bytes. Dropping it before it is [`stored`](Self::store) ends the upload.
pub(super) struct Content {
    received: Option<Received>,
    place: Kept,
}

enum Kept {
    Memory(Vec<Bytes>),
    Upload(Upload),
}

impl Content {
    /// Takes the bytes of a form's field.
    pub(super) async fn take(
        repository: &Repository,
        mut field: Field<'_>,
        most: u64,
    ) -> Result<Self, Failure> {
        let mut copy = Copy::new();
        let mut head: Vec<Bytes> = Vec::new();
        let mut length = 0;
        while length <= IN_MEMORY_BYTES {
            let Some(bytes) = field.next().await.transpose()? else {
                let received = copy.finish().await?;
                return Ok(Self { received: Some(received), place: Kept::Memory(head) });
            };
            length += bytes.len();
            if length as u64 > most {
                return Err(large(&field, most).into());
            }
            copy.take(bytes.clone()).await?;
            head.push(bytes);
        }
        let upload = repository.start_upload(None, None).await?;
        let upload = Upload { repository: Some(repository.clone()), id: upload.id };
        let mut broken: Option<Failure> = None;
        let head = stream::iter(head.into_iter().map(Ok::<_, multer::Error>));
        let state = (field, &mut copy, &mut broken, length as u64);
        let rest = stream::try_unfold(state, move |(mut field, copy, broken, length)| async move {
            let Some(bytes) = field.next().await.transpose()? else { return Ok(None) };
            let length = length + bytes.len() as u64;
            if length > most {
                return Err(large(&field, most));
            }
            if let Err(failure) = copy.take(bytes.clone()).await {
                *broken = Some(failure);
                return Err(multer::Error::IncompleteFieldData { field_name: None });
            }
            Ok(Some((bytes, (field, copy, broken, length))))
        });
        let body = head.chain(rest);
        let appended = repository.append(upload.id, Chunk::default(), body).await;
        match (appended, broken) {
            (_, Some(failure)) => return Err(failure),
            (appended, None) => appended?,
        };
        let received = copy.finish().await?;
        Ok(Self { received: Some(received), place: Kept::Upload(upload) })
    }

    /// The file, for a look inside; once.
    pub(super) fn received(&mut self) -> Result<Received, Failure> {
        self.received.take().ok_or_else(|| internal("an uploaded file was looked at twice"))
    }

    /// Makes it a blob of the repository.
    pub(super) async fn store(
        self,
        repository: &Repository,
        sha256: &[u8; 32],
    ) -> Result<BlobInfo, Failure> {
        let digest: Digest = format!("sha256:{}", const_hex::encode(sha256))
            .parse()
            .map_err(|error| internal(&format!("a digest: {error}")))?;
        debug_assert_eq!(digest.algorithm(), Algorithm::Sha256);
        match self.place {
            Kept::Memory(parts) => {
                let length = parts.iter().map(|part| part.len() as u64).sum();
                let body = stream::iter(parts.into_iter().map(Ok::<_, strongroom_engine::Error>));
                Ok(repository.push_blob(&digest, Some(length), body).await?)
            }
            Kept::Upload(mut upload) => {
                let info = repository.finish_upload(upload.id, &digest).await?;
                upload.repository = None;
                Ok(info)
            }
        }
    }
}

fn large(field: &Field<'_>, limit: u64) -> multer::Error {
    let field_name = field.name().map(str::to_owned);
    multer::Error::FieldSizeExceeded { limit, field_name }
}

/// An upload under way, which nobody else can go on with: it is cancelled where it is dropped.
struct Upload {
    /// Taken once it is finished.
    repository: Option<Repository>,
    id: SessionId,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(repository) = self.repository.take() else { return };
        let id = self.id;
        // Without a runtime the process ends: it expires.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = repository.cancel_upload(id).await {
                    tracing::warn!(%id, %error, "a refused upload stays until it expires");
                }
            });
        }
    }
}

/// The copy being made, and what is hashed of it; on the blocking pool, one batch behind the stream,
/// so that no thread is held by a slow client.
struct Copy {
    batch: Vec<Bytes>,
    batched: usize,
    state: Option<State>,
    job: Option<JoinHandle<io::Result<State>>>,
}

struct State {
    hasher: DigestHasher,
    file: SpooledTempFile,
    size: u64,
}

impl Copy {
    fn new() -> Self {
        let file = SpooledTempFile::new(IN_MEMORY_BYTES * 2);
        let state = State { hasher: DigestHasher::default(), file, size: 0 };
        Self { batch: Vec::new(), batched: 0, state: Some(state), job: None }
    }

    async fn take(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.batched += bytes.len();
        self.batch.push(bytes);
        if self.batched >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let state = self.settled().await?;
        let batch = std::mem::take(&mut self.batch);
        self.batched = 0;
        self.job = Some(tokio::task::spawn_blocking(move || {
            let mut state = state;
            for bytes in batch {
                state.hasher.update(&bytes);
                state.file.write_all(&bytes)?;
                state.size += bytes.len() as u64;
            }
            Ok(state)
        }));
        Ok(())
    }

    async fn settled(&mut self) -> Result<State, Failure> {
        let failed =
            |error: &dyn std::fmt::Display| internal(&format!("copying an upload: {error}"));
        match (self.job.take(), self.state.take()) {
            (Some(job), _) => match job.await {
                Ok(Ok(state)) => Ok(state),
                Ok(Err(error)) => Err(failed(&error)),
                Err(error) => Err(failed(&error)),
            },
            (None, Some(state)) => Ok(state),
            (None, None) => Err(failed(&"its state is gone")),
        }
    }

    async fn finish(mut self) -> Result<Received, Failure> {
        self.flush().await?;
        let State { hasher, file, size } = self.settled().await?;
        Ok(Received { digests: hasher.finish(), file, size })
    }
}
