//! The bytes of a file on their way, from a client or an upstream: hashed, copied for a look inside, and,
//! where they are many, streamed into an upload of the engine.

use std::io::{self, Read, Seek, Write};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::id::SessionId;
use strongroom_engine::{BlobInfo, Chunk, Error, Repository};
use strongroom_python::{DigestHasher, Digests, Others};
use tempfile::SpooledTempFile;
use tokio::task::JoinHandle;

use crate::error::{Failure, internal};

/// How much is hashed and copied in one step.
const BATCH_BYTES: usize = 512 << 10;

/// Where the copy goes.
pub(crate) trait Place: Read + Write + Seek + Send + 'static {}

impl<T: Read + Write + Seek + Send + 'static> Place for T {}

/// A place that stays in memory as long as the file is small.
pub(super) fn spool(in_memory: usize) -> Box<dyn Place> {
    Box::new(SpooledTempFile::new(in_memory.saturating_mul(2)))
}

/// How a file is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taking {
    /// The most bytes.
    pub(crate) most: u64,
    /// More than these stream into an upload.
    pub(crate) in_memory: usize,
    /// The digests beside SHA-256.
    pub(crate) others: Others,
}

/// A file that came whole.
pub(crate) struct Received {
    pub(crate) digests: Digests,
    pub(crate) file: Box<dyn Place>,
    pub(crate) size: u64,
}

impl Received {
    /// Computes the digests anew: fields behind the file claimed others than those before it.
    pub(super) fn rehash(&mut self, others: Others) -> io::Result<()> {
        self.file.rewind()?;
        let mut hasher = DigestHasher::new(others);
        let mut buffer = vec![0; BATCH_BYTES];
        loop {
            match self.file.read(&mut buffer)? {
                0 => break,
                read => hasher.update(buffer.get(..read).unwrap_or_default()),
            }
        }
        self.digests = hasher.finish();
        Ok(())
    }
}

/// A file's bytes. Dropping it before it is [`stored`](Self::store) ends the upload.
pub(crate) struct Content {
    received: Option<Received>,
    place: Kept,
}

enum Kept {
    Memory(Vec<Bytes>),
    /// In the copy alone; taken from there once it was looked into.
    Copy(Option<Box<dyn Place>>),
    Upload(Upload),
}

impl Content {
    /// Takes the bytes of a file as they come, and a copy of them into `place`.
    pub(crate) async fn take<S>(
        repository: &Repository,
        bytes: S,
        taking: Taking,
        place: Box<dyn Place>,
    ) -> Result<Self, Failure>
    where
        S: Stream<Item = Result<Bytes, Failure>> + Send,
    {
        let Taking { most, in_memory, others } = taking;
        let mut stream = std::pin::pin!(bytes);
        let mut copy = Copy::new(others, place);
        let mut head: Vec<Bytes> = Vec::new();
        let mut length = 0;
        while length <= in_memory {
            let Some(bytes) = stream.next().await.transpose()? else {
                let received = copy.finish().await?;
                return Ok(Self { received: Some(received), place: Kept::Memory(head) });
            };
            length += bytes.len();
            if length as u64 > most {
                return Err(Failure::too_large(most));
            }
            copy.take(bytes.clone()).await?;
            head.push(bytes);
        }
        if !repository.exists() {
            // An upload makes its repository; what may be refused must leave none.
            while let Some(bytes) = stream.next().await.transpose()? {
                length += bytes.len();
                if length as u64 > most {
                    return Err(Failure::too_large(most));
                }
                copy.take(bytes).await?;
            }
            let received = copy.finish().await?;
            return Ok(Self { received: Some(received), place: Kept::Copy(None) });
        }
        let upload = repository.start_upload(None, None).await?;
        let upload = Upload { repository: Some(repository.clone()), id: upload.id };
        let mut broken: Option<Failure> = None;
        let head = stream::iter(head.into_iter().map(Ok::<_, io::Error>));
        let state = (stream, &mut copy, &mut broken, length as u64);
        let rest = stream::unfold(Some(state), move |state| async move {
            let (mut stream, copy, broken, length) = state?;
            let taken = match stream.next().await? {
                Ok(bytes) if length + bytes.len() as u64 > most => Err(Failure::too_large(most)),
                Ok(bytes) => copy.take(bytes.clone()).await.map(|()| bytes),
                Err(failure) => Err(failure),
            };
            match taken {
                Ok(bytes) => {
                    let length = length + bytes.len() as u64;
                    Some((Ok(bytes), Some((stream, copy, broken, length))))
                }
                Err(failure) => {
                    *broken = Some(failure);
                    Some((Err(io::Error::other("the file broke off")), None))
                }
            }
        });
        let appended = repository.append(upload.id, Chunk::default(), head.chain(rest)).await;
        match (appended, broken) {
            (_, Some(failure)) => return Err(failure),
            (appended, None) => appended?,
        };
        let received = copy.finish().await?;
        Ok(Self { received: Some(received), place: Kept::Upload(upload) })
    }

    /// The file, for a look inside; once.
    pub(crate) fn received(&mut self) -> Result<Received, Failure> {
        self.received.take().ok_or_else(|| internal("an uploaded file was looked at twice"))
    }

    /// Takes the file back that was looked into.
    pub(crate) fn give_back(&mut self, file: Box<dyn Place>) {
        if let Kept::Copy(kept) = &mut self.place {
            *kept = Some(file);
        }
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
                let body = stream::iter(parts.into_iter().map(Ok::<_, Error>));
                Ok(repository.push_blob(&digest, Some(length), body).await?)
            }
            Kept::Copy(file) => {
                let file = file.ok_or_else(|| internal("the copy of an upload is gone"))?;
                Ok(repository.push_blob(&digest, None, read_back(file)).await?)
            }
            Kept::Upload(mut upload) => {
                let info = repository.finish_upload(upload.id, &digest).await?;
                upload.repository = None;
                Ok(info)
            }
        }
    }
}

/// A copy from its beginning.
fn read_back(mut file: Box<dyn Place>) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    let rewound = file.rewind().map(|()| file);
    stream::try_unfold(Some(rewound), |file| async move {
        let failed = |error: &dyn std::fmt::Display| Error::Unavailable(error.to_string());
        let Some(file) = file.transpose().map_err(|error| failed(&error))? else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || {
            let (mut file, mut bytes) = (file, vec![0; BATCH_BYTES]);
            let read = file.read(&mut bytes)?;
            bytes.truncate(read);
            Ok::<_, io::Error>((Bytes::from(bytes), file))
        });
        let (bytes, file) = match read.await {
            Ok(read) => read.map_err(|error| failed(&error))?,
            Err(error) => return Err(failed(&error)),
        };
        Ok((!bytes.is_empty()).then_some((bytes, Some(Ok(file)))))
    })
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
    file: Box<dyn Place>,
    size: u64,
}

impl Copy {
    fn new(others: Others, file: Box<dyn Place>) -> Self {
        let state = State { hasher: DigestHasher::new(others), file, size: 0 };
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
