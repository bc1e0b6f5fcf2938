//! Finishing: verify, publish, and one commit that makes the blob.

use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::access::Action;
use crate::audit::{EventKind, UploadEnd};
use crate::change::{Change, Seen, retry};
use crate::content::{ObjectKey, ObjectRead, StoreError, Then, WriteState};
use crate::core::Core;
use crate::digest::{Digest, Hasher};
use crate::error::Error;
use crate::graph::{BlobInfo, Repository, keep_content, link_blob};
use crate::id::SessionId;
use crate::keys;
use crate::records::{BlobRecord, SessionRecord};
use crate::room::Held;
use crate::upload::Chunk;
use crate::upload::Started;
use crate::upload::append::{Open, SourceError, received};
use crate::upload::pipeline::CheckpointError;

/// How much of an object is read at a time to verify it.
const READ_BYTES: usize = 1 << 20;

/// An upload whose bytes are all durable.
struct Complete<'a> {
    id: SessionId,
    seen: &'a Seen<SessionRecord>,
    record: &'a SessionRecord,
    write: &'a WriteState,
    digest: Digest,
}

impl Repository {
    /// Finishes an upload: verifies that its bytes are those of `digest` and makes them a blob of
    /// this repository, durable when this returns. Needs [`Action::Push`].
    ///
    /// Bytes are neither copied nor read again, but where `digest` is of another algorithm than
    /// the one hashed as they came. A wrong digest leaves nothing behind. Finishing again after a
    /// lost answer is answered as finished.
    pub async fn finish_upload(&self, id: SessionId, digest: &Digest) -> Result<BlobInfo, Error> {
        let nothing = futures::stream::empty::<Result<Bytes, SourceError>>();
        let chunk = Chunk { at: None, length: Some(0) };
        self.finish_upload_with(id, chunk, nothing, digest).await
    }

    /// Appends a last chunk and finishes, with one commit for both.
    pub async fn finish_upload_with<S, E>(
        &self,
        id: SessionId,
        chunk: Chunk,
        body: S,
        digest: &Digest,
    ) -> Result<BlobInfo, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<SourceError>,
    {
        self.demand(Action::Push)?;
        let (writing, seen, record) = match self.session_to_write(id).await {
            Ok(found) => found,
            Err(Error::UploadUnknown { id }) => return self.finished_before(id, digest).await,
            Err(error) => return Err(error),
        };
        let offset = record.write.offset;
        // The last chunk was taken before, and its answer lost: there is nothing to append.
        let repeated = chunk.at.is_some_and(|at| received(at, chunk.length, offset));
        if let Some(at) = chunk.at.filter(|at| *at != offset && !repeated) {
            return Err(Error::OutOfOrder { offset, at });
        }
        // Where all the bytes come now, they are hashed as the digest wants it, and not read again.
        let hash = if offset == 0 { Hasher::new(digest.algorithm()).save() } else { record.hash };
        let record = SessionRecord { hash, ..record };
        let mut open = self.open_session(id, seen, record, writing).await?;
        if repeated {
            return self.complete(open, digest, None).await;
        }
        if let Err(error) = self.stream(&mut open, chunk.length, body).await {
            if matches!(error, Error::Source(_)) {
                self.checkpoint_last(&mut open).await?;
            }
            return Err(error);
        }
        self.complete(open, digest, None).await
    }

    /// Pushes a blob whose digest is known, whole. Needs [`Action::Push`].
    ///
    /// Nothing is left behind where it fails or the future is dropped. Where the repository has the blob already the bytes
    /// are still taken and verified: nobody learns what is here by what is asked of them.
    pub async fn push_blob<S, E>(
        &self,
        digest: &Digest,
        length: Option<u64>,
        body: S,
    ) -> Result<BlobInfo, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<SourceError>,
    {
        let (started, seen, room) = self.start_alone(digest, length).await?;
        match self.open_and_stream(started.id(), seen, room, length, body).await {
            Ok(open) => self.complete(open, digest, Some(started)).await,
            Err(error) => {
                started.give_up().await;
                Err(error)
            }
        }
    }

    async fn open_and_stream<S, E>(
        &self,
        id: SessionId,
        seen: Seen<SessionRecord>,
        room: Held,
        length: Option<u64>,
        body: S,
    ) -> Result<Open, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<SourceError>,
    {
        let writing = self.core.writers.begin(id).ok_or(Error::UploadBusy { id })?;
        let Some(record) = seen.value.clone() else {
            return Err(Error::UploadUnknown { id: id.to_string() });
        };
        let mut open = self.open_own(id, seen, record, writing, room).await?;
        self.stream(&mut open, length, body).await?;
        Ok(open)
    }

    /// Gives up an upload that can't be finished; what can't be taken away now expires.
    async fn abandon(&self, id: SessionId, seen: &Seen<SessionRecord>) {
        if let Err(error) = self.give_up(id, seen, UploadEnd::Failed).await {
            tracing::warn!(%id, %error, "a failed upload stays until it expires");
        }
    }

    /// The answer to finishing what is not under way: fine where the blob is here.
    async fn finished_before(&self, id: String, digest: &Digest) -> Result<BlobInfo, Error> {
        let scope = self.fresh_scope(1).await?;
        let Ok(repository) = scope.existing(&self.path) else {
            return Err(Error::UploadUnknown { id });
        };
        let rows = self.rows(&scope, repository, digest).await?;
        match rows.link.value {
            Some(link) if link.blob => Ok(BlobInfo { digest: *digest, size: link.size }),
            _ => Err(Error::UploadUnknown { id }),
        }
    }

    /// Goes on to its end where the future is dropped: until the commit is answered nobody may
    /// write to the object again, for the commit may yet come and name it.
    ///
    /// `started` is that of an upload which nobody can go on with: where finishing fails it ends.
    async fn complete(
        &self,
        open: Open,
        digest: &Digest,
        started: Option<Started>,
    ) -> Result<BlobInfo, Error> {
        let (repository, digest) = (self.clone(), *digest);
        let completing = tokio::spawn(async move {
            let completed = repository.complete_alone(open, &digest).await;
            match (&completed, started) {
                (Ok(_), Some(started)) => started.ended(),
                (Err(_), Some(started)) => started.give_up().await,
                (_, None) => {}
            }
            completed
        });
        let completed = completing.await;
        completed.unwrap_or_else(|error| Err(Error::Unavailable(format!("finishing: {error}"))))
    }

    async fn complete_alone(&self, mut open: Open, digest: &Digest) -> Result<BlobInfo, Error> {
        let checkpoint = match open.pipeline.checkpoint(Then::Finishes).await {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                if matches!(error, CheckpointError::Sync(_)) {
                    self.abandon(open.id, &open.seen).await;
                }
                return Err(error.into());
            }
        };
        let hashed = checkpoint.hasher.filter(|hasher| hasher.algorithm() == digest.algorithm());
        let verified = hashed.is_some();
        if let Some(found) = hashed.map(Hasher::finish).filter(|found| found != digest) {
            self.abandon(open.id, &open.seen).await;
            return Err(Error::DigestMismatch { wanted: *digest, found });
        }
        let complete = Complete {
            id: open.id,
            seen: &open.seen,
            record: &open.record,
            write: &checkpoint.write,
            digest: *digest,
        };
        let mut place = None;
        if !verified {
            let object = self.publish(&complete).await?;
            let found = hash_object(&self.core, &object, complete.write.offset, digest).await?;
            if found != *digest {
                self.abandon(open.id, &open.seen).await;
                self.core.blobs.delete(&object).await?;
                return Err(Error::DigestMismatch { wanted: *digest, found });
            }
            place = Some(object);
        }
        self.commit_blob(&complete, place).await
    }

    async fn publish(&self, complete: &Complete<'_>) -> Result<ObjectKey, Error> {
        let organisation = self.scope.organisation;
        let unfinished = complete.record.object(organisation, complete.id);
        let finished = keys::object::settled(organisation, &complete.digest, complete.id);
        let object = self.core.blobs.finish(&unfinished, complete.write, &finished).await?;
        if object == finished || complete.record.digest.is_none() {
            return Ok(object);
        }
        // It was announced as another digest than it is finished as; no row says that place.
        self.core.blobs.settle(&object, &finished).await?;
        Ok(finished)
    }

    /// The commit that makes the blob: until it, nobody sees it; from it on, it is durable.
    async fn commit_blob(
        &self,
        complete: &Complete<'_>,
        mut place: Option<ObjectKey>,
    ) -> Result<BlobInfo, Error> {
        let (digest, size) = (complete.digest, complete.write.offset);
        let mut used = false;
        let result = retry!("a blob", attempt => {
            let scope = self.fresh_scope(attempt).await?;
            if attempt > 0 && !self.core.is_unchanged(complete.seen).await? {
                return Err(Error::UploadBusy { id: complete.id }.into());
            }
            let now = self.core.now().await?;
            let mut change = Change::new(&self.core);
            let id = scope.write(self, &mut change, now);
            let rows = self.rows(&scope, id, &digest).await?;
            used = !keep_content(&mut change, &rows.blob);
            if used {
                let object = match &place {
                    Some(object) => object,
                    None => place.insert(self.publish(complete).await?),
                };
                let settled =
                    *object == keys::object::settled(scope.organisation, &digest, complete.id);
                let record = BlobRecord::stored(size, complete.id, settled, now);
                change.replace(&rows.blob, &record);
            }
            // What was there before (rotten, or on its way out) was counted, and is replaced.
            let before = rows.blob.value.as_ref().filter(|_| used).map_or(0, |blob| blob.size);
            let stored = if used { size } else { 0 };
            let delta = i128::from(stored)
                - i128::from(before)
                - i128::from(complete.record.reserved_bytes);
            let delta = i64::try_from(delta).unwrap_or(i64::MIN);
            change.use_bytes(scope.organisation, delta, scope.quota_bytes);
            change.remove(complete.seen);
            let (number, lease) = (self.core.next_number(now), self.core.settings.lease);
            link_blob(&mut change, &rows.link, number, size, now, lease);
            let repository = scope.reference(id, &self.path);
            change.event(self.event(now, EventKind::BlobPushed { repository, digest, size }));
            change.commit().await
        });
        match result {
            Ok(()) => {
                self.tidy(complete, place.as_ref(), used).await;
                Ok(BlobInfo { digest, size })
            }
            // Another request finished or ended the upload first.
            Err(Error::UploadBusy { .. }) => {
                self.finished_before(complete.id.to_string(), &digest).await
            }
            Err(error) => Err(error),
        }
    }

    /// Takes away what the commit made garbage: the unfinished object, and the finished one too
    /// unless it is `used`, because the organisation had the content already.
    async fn tidy(&self, complete: &Complete<'_>, finished: Option<&ObjectKey>, used: bool) {
        let unfinished = complete.record.object(self.scope.organisation, complete.id);
        if used && finished == Some(&unfinished) {
            if complete.record.digest.is_none() {
                self.core.moves.begin(&self.core, self.scope.organisation, complete.digest);
            }
            if let Err(error) = self.core.blobs.tidy(&unfinished, complete.write).await {
                tracing::warn!(%unfinished, %error, "what was left of an upload stays for the sweep");
            }
            return;
        }
        let mut tidied = self.core.blobs.abort(&unfinished, complete.write).await;
        if let (Ok(()), Some(object), false) = (&tidied, finished, used) {
            tidied = self.core.blobs.delete(object).await;
        }
        if let Err(error) = tidied {
            tracing::warn!(%unfinished, %error, "an object stays for the orphan sweep");
        }
    }
}

/// Reads an object whole and hashes it with the algorithm of `like`.
pub(crate) async fn hash_object(
    core: &Core,
    object: &ObjectKey,
    size: u64,
    like: &Digest,
) -> Result<Digest, Error> {
    let mut hasher = Hasher::new(like.algorithm());
    match core.blobs.read(object, 0..size).await? {
        ObjectRead::Stream(mut stream) => {
            while let Some(bytes) = stream.next().await {
                let bytes = bytes?;
                hasher = blocking(move || {
                    hasher.update(&bytes);
                    Ok(hasher)
                })
                .await?;
            }
            Ok(hasher.finish())
        }
        ObjectRead::File { file, offset, length } => {
            let key = object.clone();
            blocking(move || {
                use std::os::unix::fs::FileExt;
                let mut buffer = vec![0; READ_BYTES];
                let mut done = 0;
                while done < length {
                    let want = usize::try_from(length - done).unwrap_or(READ_BYTES);
                    let part = buffer.get_mut(..want.min(READ_BYTES)).unwrap_or_default();
                    file.read_exact_at(part, offset + done).map_err(|error| {
                        let key = key.clone();
                        // It was long enough when it was opened.
                        Error::from(if error.kind() == std::io::ErrorKind::UnexpectedEof {
                            StoreError::WrongSize { key, expected: length, found: done }
                        } else {
                            let reason = error.to_string();
                            StoreError::Failed { key, reason, temporary: false }
                        })
                    })?;
                    hasher.update(part);
                    done += u64::try_from(part.len()).unwrap_or(u64::MAX);
                }
                Ok(hasher.finish())
            })
            .await
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Error::Unavailable("the work was given up".to_owned())),
    }
}
