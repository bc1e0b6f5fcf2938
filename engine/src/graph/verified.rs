//! Whole reads that are verified on their way out (where
//! [`Settings::verify_reads`](crate::Settings::verify_reads) is set).
//!
//! One chunk is held back until the whole is hashed. Where the bytes are not the digest's own, it
//! never goes out: the stream ends in an error, so a client can't take what it has for the whole,
//! and the content is quarantined. It costs a core what hashing costs, and a pull from a local file
//! the ways of the kernel that send it without copying; so by default clients (who all compare
//! digests) and scrub find what rotted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::change::Seen;
use crate::content::{ObjectKey, ObjectRead, StoreError};
use crate::core::Core;
use crate::digest::{Digest, Hasher};
use crate::graph::quarantine;
use crate::id::OrganisationId;
use crate::keys;
use crate::records::{BlobRecord, BlobState};

/// How much of a file is read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// What is read, and what it must be.
pub(super) struct Whole {
    pub(super) core: Arc<Core>,
    pub(super) organisation: OrganisationId,
    pub(super) digest: Digest,
    pub(super) object: ObjectKey,
}

enum Source {
    File { file: Arc<File>, at: u64, end: u64 },
    Stream(BoxStream<'static, Result<Bytes, StoreError>>),
}

struct Verifying {
    whole: Whole,
    source: Source,
    hasher: Hasher,
    held: Option<Bytes>,
}

/// The same bytes, of which the last go out only once all are known to be right.
pub(super) fn verified(whole: Whole, read: ObjectRead) -> ObjectRead {
    let source = match read {
        ObjectRead::File { file, offset, length } => {
            Source::File { file: Arc::new(file), at: offset, end: offset.saturating_add(length) }
        }
        ObjectRead::Stream(stream) => Source::Stream(stream),
    };
    let hasher = Hasher::new(whole.digest.algorithm());
    let verifying = Verifying { whole, source, hasher, held: None };
    let chunks = stream::try_unfold(Some(verifying), |verifying| async move {
        match verifying {
            Some(verifying) => verifying.next().await,
            None => Ok(None),
        }
    });
    ObjectRead::Stream(chunks.boxed())
}

impl Verifying {
    /// The next chunk that may go out, and what is left to do.
    async fn next(mut self) -> Result<Option<(Bytes, Option<Self>)>, StoreError> {
        while let Some(bytes) = self.take().await? {
            if let Some(ready) = self.held.replace(bytes) {
                return Ok(Some((ready, Some(self))));
            }
        }
        if self.hasher.finish() == self.whole.digest {
            return Ok(self.held.map(|last| (last, None)));
        }
        self.whole.is_rotten().await;
        Err(StoreError::Rotten { key: self.whole.object })
    }

    /// Reads and hashes the next chunk, off the threads that serve.
    async fn take(&mut self) -> Result<Option<Bytes>, StoreError> {
        let hasher = self.hasher.clone();
        let key = self.whole.object.clone();
        let failed = move |reason: String| StoreError::Failed { key, reason, temporary: true };
        let taken = match &mut self.source {
            Source::File { at, end, .. } if *at >= *end => return Ok(None),
            Source::File { file, at, end } => {
                let (file, from) = (Arc::clone(file), *at);
                let length = usize::try_from(*end - from).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
                *at += length as u64;
                tokio::task::spawn_blocking(move || {
                    let mut bytes = vec![0; length];
                    file.read_exact_at(&mut bytes, from)?;
                    Ok::<_, std::io::Error>(hashed(hasher, bytes.into()))
                })
                .await
            }
            Source::Stream(stream) => {
                let Some(bytes) = stream.next().await.transpose()? else { return Ok(None) };
                tokio::task::spawn_blocking(move || Ok(hashed(hasher, bytes))).await
            }
        };
        let (hasher, bytes) = match taken {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("the read was given up".to_owned())),
        };
        self.hasher = hasher;
        Ok(Some(bytes))
    }
}

fn hashed(mut hasher: Hasher, bytes: Bytes) -> (Hasher, Bytes) {
    hasher.update(&bytes);
    (hasher, bytes)
}

impl Whole {
    /// Quarantines what was read, where its row still names it.
    async fn is_rotten(&self) {
        let (core, digest) = (&*self.core, &self.digest);
        let marked = async {
            let key = keys::blob(self.organisation, digest);
            let seen: Seen<BlobRecord> = core.read(key).await?;
            let named = seen.value.as_ref().is_some_and(|record| {
                record.object(self.organisation, digest) == self.object
                    && matches!(record.state, BlobState::Live | BlobState::Condemned { .. })
            });
            let problem = "has other bytes than its digest's, as a pull found";
            if named {
                quarantine(core, self.organisation, digest, &seen, problem).await
            } else {
                Ok(false)
            }
        };
        match marked.await {
            Ok(marked) => {
                tracing::error!(%digest, marked, "a pull was broken off: its bytes rotted");
            }
            Err(error) => tracing::error!(%digest, %error, "rotten content is not quarantined"),
        }
    }
}
