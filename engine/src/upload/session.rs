//! An upload's row: start, look, cancel, give up.

use std::sync::Arc;

use crate::access::Action;
use crate::audit::{Event, EventKind, UploadEnd};
use crate::change::{Attempt, Change, Seen, retry};
use crate::content::{ObjectKey, WriteState};
use crate::core::Core;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::Error;
use crate::graph::Repository;
use crate::id::{OrganisationId, SessionId};
use crate::keys;
use crate::records::SessionRecord;
use crate::room::Held;
use crate::upload::writers::Writing;

/// How an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: SessionId,
    /// How many bytes are durable: where to go on.
    pub offset: u64,
}

/// The most bytes reserved in one step: what a lie about a length can hold back.
pub(super) const MAX_RESERVE_BYTES: u64 = 1 << 30;

impl SessionRecord {
    /// Where the object lies while it is written.
    pub(crate) fn object(&self, organisation: OrganisationId, id: SessionId) -> ObjectKey {
        match &self.digest {
            Some(digest) => keys::object::settled(organisation, digest, id),
            None => keys::object::in_flight(organisation, id),
        }
    }
}

impl Repository {
    /// Starts an upload. Needs [`Action::Push`].
    ///
    /// `digest`, where it is known already, says which algorithm to hash with and lets the bytes go
    /// straight to their place; `length`, where it is known, reserves room for all of it, so that
    /// what has no room is refused at once.
    pub async fn start_upload(
        &self,
        digest: Option<&Digest>,
        length: Option<u64>,
    ) -> Result<Upload, Error> {
        let _room = self.room_for(length).await?;
        let (id, _) = self.start(digest, length).await?;
        Ok(Upload { id, offset: 0 })
    }

    /// Starts an upload whose digest will be of `algorithm`, so that its bytes are hashed with that
    /// as they come. Needs [`Action::Push`].
    pub async fn start_upload_of(&self, algorithm: Algorithm) -> Result<Upload, Error> {
        let _room = self.room_for(None).await?;
        let (id, _) = self.start_hashed(None, algorithm, None).await?;
        Ok(Upload { id, offset: 0 })
    }

    /// Holds the room that an upload is promised at its start.
    pub(super) async fn room_for(&self, length: Option<u64>) -> Result<Held, Error> {
        self.core.hold_room(length.unwrap_or(0).min(MAX_RESERVE_BYTES)).await
    }

    /// Starts an upload for which there is room.
    pub(super) async fn start(
        &self,
        digest: Option<&Digest>,
        length: Option<u64>,
    ) -> Result<(SessionId, Seen<SessionRecord>), Error> {
        let algorithm = digest.map_or(Algorithm::Sha256, Digest::algorithm);
        self.start_hashed(digest, algorithm, length).await
    }

    async fn start_hashed(
        &self,
        digest: Option<&Digest>,
        algorithm: Algorithm,
        length: Option<u64>,
    ) -> Result<(SessionId, Seen<SessionRecord>), Error> {
        self.demand(Action::Push)?;
        let max = self.core.settings.max_blob_bytes;
        if length.is_some_and(|length| length > max) {
            return Err(Error::BlobTooLarge { max });
        }
        let id = SessionId(self.core.seams.random_16());
        let reserved_bytes = length.unwrap_or(0).min(MAX_RESERVE_BYTES);
        let seen = retry!("an upload", attempt => {
            let scope = self.fresh_scope(attempt).await?;
            let now = self.core.now().await?;
            let mut change = Change::new(&self.core);
            let repository = scope.write(self, &mut change, now);
            let record = SessionRecord {
                repository,
                principal: self.caller.principal.as_str().to_owned(),
                epoch: 0,
                digest: digest.copied(),
                hash: Hasher::new(algorithm).save(),
                write: WriteState::default(),
                reserved_bytes,
                started_at: now,
                expires_at: now.plus(self.core.settings.upload_idle),
            };
            let key = keys::session(scope.organisation, id);
            change.absent(key.clone());
            change.put(key.clone(), &record);
            let delta = i64::try_from(reserved_bytes).unwrap_or(i64::MAX);
            change.use_bytes(scope.organisation, delta, scope.quota_bytes);
            let reference = scope.reference(repository, &self.path);
            let kind = EventKind::UploadStarted { repository: reference, session: id };
            change.event(self.event(now, kind));
            change.commit().await?;
            Ok(Seen::of(key, record))
        })?;
        Ok((id, seen))
    }

    /// How an upload stands. Needs [`Action::Push`].
    ///
    /// Somebody else's upload, another repository's, and one that expired are
    /// [`Error::UploadUnknown`].
    pub async fn upload(&self, id: SessionId) -> Result<Upload, Error> {
        self.demand(Action::Push)?;
        let (_, record) = self.session(id).await?;
        Ok(Upload { id, offset: record.write.offset })
    }

    pub(super) async fn session(
        &self,
        id: SessionId,
    ) -> Result<(Seen<SessionRecord>, SessionRecord), Error> {
        let unknown = || Error::UploadUnknown { id: id.to_string() };
        let organisation = self.scope.organisation;
        let seen: Seen<SessionRecord> = self.core.read(keys::session(organisation, id)).await?;
        let record = seen.value.clone().ok_or_else(unknown)?;
        // The first upload of a new repository made it: the handle may be older.
        let repository = match &self.scope.repository {
            Some((repository, _)) => *repository,
            None => self.fresh_scope(1).await?.existing(&self.path).map_err(|_| unknown())?,
        };
        let now = self.core.now().await?;
        let own = record.repository == repository
            && record.principal == self.caller.principal.as_str()
            && record.expires_at > now;
        if own { Ok((seen, record)) } else { Err(unknown()) }
    }

    /// The session for a request that changes it, which is the only one of this process then.
    ///
    /// It is read twice: first, so that nobody but its owner learns whether it is being written
    /// (THREATS B5); and again when no other writer is left, as it is then.
    pub(super) async fn session_to_write(
        &self,
        id: SessionId,
    ) -> Result<(Arc<Writing>, Seen<SessionRecord>, SessionRecord), Error> {
        self.session(id).await?;
        let writing = self.core.writers.begin(id).ok_or(Error::UploadBusy { id })?;
        let (seen, record) = self.session(id).await?;
        Ok((writing, seen, record))
    }

    /// Gives an upload up. Needs [`Action::Push`].
    pub async fn cancel_upload(&self, id: SessionId) -> Result<(), Error> {
        self.demand(Action::Push)?;
        let (writing, seen, _) = self.session_to_write(id).await?;
        let given_up = self.give_up(id, &seen, UploadEnd::Cancelled).await?;
        drop(writing);
        if given_up { Ok(()) } else { Err(Error::UploadUnknown { id: id.to_string() }) }
    }

    /// Gives up an upload of this caller; see [`give_up`].
    pub(super) async fn give_up(
        &self,
        session: SessionId,
        seen: &Seen<SessionRecord>,
        reason: UploadEnd,
    ) -> Result<bool, Error> {
        let Some(record) = &seen.value else { return Ok(false) };
        // The first thing pushed to a new repository: the handle may not know its id.
        let repository = self.scope.reference(record.repository, &self.path);
        let now = self.core.now().await?;
        let line = self.event(now, EventKind::UploadEnded { repository, session, reason });
        give_up(&self.core, self.scope.organisation, session, seen, line).await
    }
}

/// Removes an upload's row, with a `line` for it, and then its object. False where the row changed meanwhile: somebody
/// went on with it or ended it, and nothing was done.
///
/// The row goes first: from then on no finishing commit can happen (it requires the row), so the
/// object is nobody's. A crash in between leaves it to the orphan sweep.
pub(crate) async fn give_up(
    core: &Core,
    organisation: OrganisationId,
    id: SessionId,
    seen: &Seen<SessionRecord>,
    line: Event,
) -> Result<bool, Error> {
    let Some(record) = &seen.value else { return Ok(false) };
    let mut change = Change::freeing(core);
    change.remove(seen);
    change.event(line);
    let reserved = i64::try_from(record.reserved_bytes).unwrap_or(i64::MAX);
    change.use_bytes(organisation, -reserved, None);
    match change.commit().await {
        Ok(()) => {}
        Err(Attempt::Lost) => return Ok(false),
        Err(Attempt::Failed(error)) => return Err(error),
    }
    let object = record.object(organisation, id);
    let mut taken_away = core.blobs.abort(&object, &record.write).await;
    if taken_away.is_ok() && record.digest.is_some() {
        // Its place is under its digest from the start: it may have been published there already.
        taken_away = core.blobs.delete(&object).await;
    }
    if let Err(error) = taken_away {
        tracing::warn!(%object, %error, "an upload's object stays for the orphan sweep");
    }
    Ok(true)
}
