//! Appending: a stream of bytes onto an upload.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::time::Instant;

use crate::access::Action;
use crate::audit::UploadEnd;
use crate::change::{Attempt, Change, Seen};
use crate::content::{Then, WriteState};
use crate::digest::Hasher;
use crate::error::Error;
use crate::graph::Repository;
use crate::id::SessionId;
use crate::records::SessionRecord;
use crate::room::Held;
use crate::upload::Upload;
use crate::upload::pipeline::{Checkpoint, CheckpointError, Pipeline};
use crate::upload::session::MAX_RESERVE_BYTES;
use crate::upload::writers::Writing;

/// What is known of a chunk before its bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chunk {
    /// Where in the blob it begins; where the upload stands, if absent.
    pub at: Option<u64>,
    /// How many bytes it has, if known.
    pub length: Option<u64>,
}

/// The most bytes reserved ahead of a stream of unknown length.
const RESERVE_AHEAD_BYTES: u64 = 64 << 20;

/// The shortest time between two looks at whether a checkpoint is due, whatever the setting says.
const MIN_CHECKPOINT_INTERVAL: Duration = Duration::from_millis(10);

/// The error of a body: whatever the frontend's stream fails with.
pub(super) type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// An upload being written to by this request.
pub(super) struct Open {
    pub(super) id: SessionId,
    pub(super) seen: Seen<SessionRecord>,
    pub(super) record: SessionRecord,
    pub(super) pipeline: Pipeline,
    quota_bytes: Option<u64>,
    /// The room on the disk for what is not durable yet, up to `room_until` of the blob.
    room: Held,
    room_until: u64,
    /// What was reserved before this request: for a length announced at the start, all of it.
    reserved_before: u64,
}

impl Repository {
    /// Appends the bytes of `body` to an upload; returns how it stands then, all of it durable.
    /// Needs [`Action::Push`].
    ///
    /// A chunk that does not begin where the upload stands is [`Error::OutOfOrder`] with the right
    /// offset; one that ends there was received before and is answered so, which makes repeating an
    /// append after a lost answer safe. Where `body` fails, or the future is dropped, the upload
    /// stands at the last checkpoint (at most [`crate::Settings::checkpoint_bytes`] or
    /// [`crate::Settings::checkpoint_interval`] ago), and a failed body's bytes are kept.
    pub async fn append<S, E>(&self, id: SessionId, chunk: Chunk, body: S) -> Result<Upload, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<SourceError>,
    {
        self.demand(Action::Push)?;
        let (writing, seen, record) = self.session_to_write(id).await?;
        let offset = record.write.offset;
        if let Some(at) = chunk.at {
            if received(at, chunk.length, offset) {
                return Ok(Upload { id, offset });
            }
            if at != offset {
                return Err(Error::OutOfOrder { offset, at });
            }
        }
        let mut open = self.open_session(id, seen, record, writing).await?;
        let streamed = self.stream(&mut open, chunk.length, body).await;
        // A body that broke off leaves good bytes; any other failure leaves the last checkpoint.
        if matches!(&streamed, Ok(()) | Err(Error::Source(_))) {
            self.checkpoint_last(&mut open).await?;
        }
        streamed?;
        Ok(Upload { id, offset: open.record.write.offset })
    }

    pub(super) async fn open_session(
        &self,
        id: SessionId,
        seen: Seen<SessionRecord>,
        record: SessionRecord,
        writing: Arc<Writing>,
    ) -> Result<Open, Error> {
        let room = self.core.room.hold_nothing();
        let record = self.started(id, record).await?;
        let nonce = self.core.seams.random_u64();
        let Some(write) = self.core.blobs.claim(&record.write, nonce)? else {
            return self.opened(id, seen, record, writing, room).await;
        };
        // Whoever wrote before, and may be at it still, can't commit from here on.
        let quota_bytes = self.scope.quota_bytes;
        let claimed = SessionRecord { write, ..record.clone() };
        let (seen, record) = self.commit_row(id, &seen, &record, claimed, quota_bytes).await?;
        self.opened(id, seen, record, writing, room).await
    }

    /// Opens an upload that nobody else can know of, and that holds `room` already.
    pub(super) async fn open_own(
        &self,
        id: SessionId,
        seen: Seen<SessionRecord>,
        record: SessionRecord,
        writing: Arc<Writing>,
        room: Held,
    ) -> Result<Open, Error> {
        let record = self.started(id, record).await?;
        self.opened(id, seen, record, writing, room).await
    }

    async fn started(&self, id: SessionId, record: SessionRecord) -> Result<SessionRecord, Error> {
        if record.write != WriteState::default() {
            return Ok(record);
        }
        let write = self.core.blobs.start(&record.object(self.scope.organisation, id)).await?;
        Ok(SessionRecord { write, ..record })
    }

    async fn opened(
        &self,
        id: SessionId,
        seen: Seen<SessionRecord>,
        record: SessionRecord,
        writing: Arc<Writing>,
        room: Held,
    ) -> Result<Open, Error> {
        let object = record.object(self.scope.organisation, id);
        let writer = self.core.blobs.resume(&object, &record.write).await?;
        // A program that could not read the state went on without it, and left it behind the
        // bytes: then they are read again at the end.
        let fits = |hasher: &Hasher| hasher.hashed() == record.write.offset;
        let hasher = Hasher::restore(&record.hash).filter(fits);
        let pipeline = Pipeline::new(writer, hasher, writing, record.write.offset);
        let (quota_bytes, reserved_before) = (self.scope.quota_bytes, record.reserved_bytes);
        let room_until = record.write.offset.saturating_add(room.bytes());
        Ok(Open { id, seen, record, pipeline, quota_bytes, room, room_until, reserved_before })
    }

    /// Takes all of `body`, with a checkpoint now and then. On return not all is durable.
    pub(super) async fn stream<S, E>(
        &self,
        open: &mut Open,
        length: Option<u64>,
        body: S,
    ) -> Result<(), Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<SourceError>,
    {
        let settings = &self.core.settings;
        let interval = settings.checkpoint_interval.max(MIN_CHECKPOINT_INTERVAL);
        let begin = open.pipeline.taken();
        let mut body = pin!(body);
        let mut checkpoint_due = Instant::now() + interval;
        loop {
            let next = tokio::time::timeout_at(checkpoint_due, body.next()).await;
            match next {
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(Error::Source(error.into())),
                Ok(Some(Ok(bytes))) => {
                    self.take(open, bytes, begin, length).await?;
                }
                Err(_elapsed) => {}
            }
            let ahead = open.pipeline.taken().saturating_sub(open.record.write.offset);
            let (due, full) =
                (Instant::now() >= checkpoint_due, ahead >= settings.checkpoint_bytes);
            if due || full {
                if ahead > 0 && (due || !self.advance(open).await?) {
                    self.checkpoint(open).await?;
                }
                checkpoint_due = Instant::now() + interval;
            }
        }
        let found = open.pipeline.taken() - begin;
        match length {
            Some(wanted) if wanted != found => Err(Error::LengthMismatch { wanted, found }),
            _ => Ok(()),
        }
    }

    async fn take(
        &self,
        open: &mut Open,
        bytes: Bytes,
        begin: u64,
        length: Option<u64>,
    ) -> Result<(), Error> {
        let after = open.pipeline.taken() + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let max = self.core.settings.max_blob_bytes;
        if after > max {
            return Err(Error::BlobTooLarge { max });
        }
        if let Some(wanted) = length.filter(|length| after - begin > *length) {
            return Err(Error::LengthMismatch { wanted, found: after - begin });
        }
        let rest = length.map_or(RESERVE_AHEAD_BYTES, |length| begin + length - after);
        let ahead = rest.min(MAX_RESERVE_BYTES);
        if after > open.room_until {
            self.hold_room(open, after, ahead).await?;
        }
        if after > open.record.reserved_bytes {
            self.reserve(open, after, ahead).await?;
        }
        open.pipeline.take(bytes, self.core.writers.batch_bytes()).await
    }

    /// Holds room on the disk up to `needed` bytes of the blob, and `ahead` more where there is
    /// that much.
    async fn hold_room(&self, open: &mut Open, needed: u64, ahead: u64) -> Result<(), Error> {
        for until in [needed.saturating_add(ahead), needed] {
            match self.core.hold_room(until.saturating_sub(open.room_until)).await {
                Err(Error::StorageFull(_)) if until > needed => {}
                Err(error) => return Err(error),
                Ok(more) => {
                    open.room.join(more);
                    open.room_until = until;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reserves `needed` bytes of the organisation's quota for the blob, and `ahead` more where it
    /// leaves room.
    async fn reserve(&self, open: &mut Open, needed: u64, ahead: u64) -> Result<(), Error> {
        for reserved_bytes in [needed.saturating_add(ahead), needed] {
            let record = SessionRecord { reserved_bytes, ..open.record.clone() };
            match self.commit_session(open, record).await {
                Err(Error::QuotaExceeded { .. }) if reserved_bytes > needed => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// Lets the row say what is durable already, while the rest is on its way, so that a stream which
    /// fills the way never waits for it to be empty. Waits until a quarter of what may be lost is free
    /// again; false where the store can't tell, or that is not to be had so.
    async fn advance(&self, open: &mut Open) -> Result<bool, Error> {
        let stays = self.core.settings.checkpoint_bytes / 4 * 3;
        let least = open.pipeline.taken().saturating_sub(stays);
        let checkpoint = match open.pipeline.advance(least).await {
            Ok(Some(checkpoint)) => checkpoint,
            Ok(None) => return Ok(false),
            Err(error) => return Err(self.not_durable(open.id, &open.seen, error).await?),
        };
        let enough = checkpoint.write.offset >= least;
        let reserved_bytes = open.record.reserved_bytes;
        self.keep_checkpoint(open, checkpoint, |_| reserved_bytes).await?;
        Ok(enough)
    }

    /// Makes what came durable, and the row say so.
    async fn checkpoint(&self, open: &mut Open) -> Result<(), Error> {
        let reserved_bytes = open.record.reserved_bytes;
        self.checkpoint_with(open, Then::Writes, |_| reserved_bytes).await
    }

    /// The last checkpoint of a request: what was reserved ahead of its stream is given back, since
    /// nobody may ever come to use it.
    pub(super) async fn checkpoint_last(&self, open: &mut Open) -> Result<(), Error> {
        let before = open.reserved_before;
        self.checkpoint_with(open, Then::Rests, |offset| before.max(offset)).await
    }

    async fn checkpoint_with(
        &self,
        open: &mut Open,
        then: Then,
        reserve: impl FnOnce(u64) -> u64,
    ) -> Result<(), Error> {
        let checkpoint = match open.pipeline.checkpoint(then).await {
            Ok(checkpoint) => checkpoint,
            Err(error) => return Err(self.not_durable(open.id, &open.seen, error).await?),
        };
        self.keep_checkpoint(open, checkpoint, reserve).await
    }

    /// What becomes of an upload whose bytes could not be made durable.
    async fn not_durable(
        &self,
        id: SessionId,
        seen: &Seen<SessionRecord>,
        error: CheckpointError,
    ) -> Result<Error, Error> {
        match error {
            CheckpointError::Sync(error) => {
                // What was written is garbage, whatever a later sync would say.
                self.give_up(id, seen, UploadEnd::Failed).await?;
                Ok(error.into())
            }
            CheckpointError::Write(error) => Ok(error),
        }
    }

    async fn keep_checkpoint(
        &self,
        open: &mut Open,
        Checkpoint { hasher, write }: Checkpoint,
        reserve: impl FnOnce(u64) -> u64,
    ) -> Result<(), Error> {
        let hash = hasher.map_or_else(|| open.record.hash.clone(), |hasher| hasher.save());
        open.room.keep(open.room_until.saturating_sub(write.offset));
        let reserved_bytes = reserve(write.offset);
        let record = SessionRecord { hash, write, reserved_bytes, ..open.record.clone() };
        self.commit_session(open, record).await
    }

    /// Commits a new state of the session; the first of two writers wins.
    async fn commit_session(&self, open: &mut Open, record: SessionRecord) -> Result<(), Error> {
        let (seen, before, quota) = (&open.seen, &open.record, open.quota_bytes);
        (open.seen, open.record) = self.commit_row(open.id, seen, before, record, quota).await?;
        Ok(())
    }

    async fn commit_row(
        &self,
        id: SessionId,
        seen: &Seen<SessionRecord>,
        before: &SessionRecord,
        mut record: SessionRecord,
        quota_bytes: Option<u64>,
    ) -> Result<(Seen<SessionRecord>, SessionRecord), Error> {
        let now = self.core.now().await?;
        record.epoch += 1;
        record.expires_at = now.plus(self.core.settings.upload_idle);
        let mut change = Change::new(&self.core);
        change.replace(seen, &record);
        let (new, old) = (record.reserved_bytes, before.reserved_bytes);
        let delta = i64::try_from(i128::from(new) - i128::from(old)).unwrap_or(i64::MAX);
        change.use_bytes(self.scope.organisation, delta, quota_bytes);
        match change.commit().await {
            Ok(()) => Ok((Seen::of(seen.key.clone(), record.clone()), record)),
            Err(Attempt::Lost) => Err(Error::UploadBusy { id }),
            Err(Attempt::Failed(error)) => Err(error),
        }
    }
}

/// Whether a chunk is the one that came last: its answer was lost, and it is sent again. Any other
/// that came before is out of order, and its sender must hear where the upload stands.
pub(super) fn received(at: u64, length: Option<u64>, offset: u64) -> bool {
    length.is_some_and(|length| length > 0 && at.checked_add(length) == Some(offset))
}
