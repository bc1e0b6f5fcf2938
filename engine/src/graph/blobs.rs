//! Blobs as a repository serves them: look, read, mount.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::access::Action;
use crate::audit::EventKind;
use crate::change::{Change, Seen, retry};
use crate::content::{ObjectKey, ObjectRead, StoreError};
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::verified::{Whole, verified};
use crate::graph::{Repository, Scope, keep_content, link_blob};
use crate::id::RepositoryId;
use crate::keys;
use crate::meta::prefix_range;
use crate::records::{BlobRecord, BlobState, LinkRecord, LinkState};
use crate::seam::Timestamp;

/// A blob that a repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A blob opened for reading.
#[derive(Debug, Clone)]
pub struct Blob {
    repository: Repository,
    info: BlobInfo,
    object: ObjectKey,
}

/// How often a read looks again for an object that was moved under its feet.
const MOVES: usize = 3;
/// The most repositories looked at for one to mount from.
const MOUNT_CANDIDATES: usize = 32;

/// The rows of one digest: its link in a repository, and the organisation's content.
pub(crate) struct Rows {
    pub(crate) link: Seen<LinkRecord>,
    pub(crate) blob: Seen<BlobRecord>,
}

impl Repository {
    /// The rows of `digest` as seen from the repository `id`.
    pub(crate) async fn rows(
        &self,
        scope: &Scope,
        id: RepositoryId,
        digest: &Digest,
    ) -> Result<Rows, Error> {
        let keys =
            [keys::link(scope.organisation, digest, id), keys::blob(scope.organisation, digest)];
        let mut values = self.core.meta.get_many(&keys).await?.into_iter();
        let [link, blob] = keys;
        Ok(Rows {
            link: Seen::new(link, values.next().flatten())?,
            blob: Seen::new(blob, values.next().flatten())?,
        })
    }

    /// The blob's rows where it can be read here; rotten content answers as absent.
    async fn readable(&self, digest: &Digest) -> Result<(Rows, BlobInfo), Error> {
        let id = self.id()?;
        let rows = self.rows(&self.scope, id, digest).await?;
        let linked = rows.link.value.as_ref().is_some_and(|link| link.blob);
        let size = match &rows.blob.value {
            Some(blob) if linked && !matches!(blob.state, BlobState::Quarantined { .. }) => {
                blob.size
            }
            _ => return Err(Error::BlobUnknown { digest: *digest }),
        };
        Ok((rows, BlobInfo { digest: *digest, size }))
    }

    /// What is known of a blob, without reading it (a `HEAD`). Needs [`Action::Pull`].
    ///
    /// Where the caller may push here, the answer is a promise that a manifest may name the blob
    /// next: its lease is extended once less than half of it is left (DESIGN D6).
    pub async fn stat_blob(&self, digest: &Digest) -> Result<BlobInfo, Error> {
        self.demand(Action::Pull)?;
        let (mut rows, info) = self.readable(digest).await?;
        if !self.may(Action::Push).await? {
            return Ok(info);
        }
        retry!("a lease", attempt => {
            if attempt > 0 {
                rows = self.readable(digest).await?.0;
            }
            let now = self.core.now().await?;
            let lease = self.core.settings.lease;
            let Some(link) = &rows.link.value else {
                return Err(Error::BlobUnknown { digest: *digest }.into());
            };
            let live =
                matches!(rows.blob.value.as_ref().map(|blob| blob.state), Some(BlobState::Live));
            let fresh = link.leased_until > now.plus(lease / 2);
            if fresh && live && link.state == LinkState::Live {
                return Ok(());
            }
            let mut change = Change::new(&self.core);
            if !keep_content(&mut change, &rows.blob) {
                return Err(Error::BlobUnknown { digest: *digest }.into());
            }
            link_blob(&mut change, &rows.link, link.number, link.size, now, lease);
            change.commit().await
        })?;
        Ok(info)
    }

    /// Opens a blob for reading. Needs [`Action::Pull`].
    pub async fn blob(&self, digest: &Digest) -> Result<Blob, Error> {
        self.demand(Action::Pull)?;
        let (rows, info) = self.readable(digest).await?;
        let object = self.object(digest, &rows)?;
        Ok(Blob { repository: self.clone(), info, object })
    }

    fn object(&self, digest: &Digest, rows: &Rows) -> Result<ObjectKey, Error> {
        let blob = rows.blob.value.as_ref().ok_or(Error::BlobUnknown { digest: *digest })?;
        Ok(blob.object(self.scope.organisation, digest))
    }

    /// Makes a blob of another repository of the same organisation readable here, without moving
    /// bytes. Needs [`Action::Push`] here; `from` was opened for [`Action::Pull`].
    ///
    /// False where `from` does not have it, or is of another organisation: content is not shared
    /// between tenants, the client then uploads it.
    pub async fn mount(&self, digest: &Digest, from: &Repository) -> Result<bool, Error> {
        self.demand(Action::Push)?;
        from.demand(Action::Pull)?;
        if from.scope.organisation != self.scope.organisation {
            return Ok(false);
        }
        match from.readable(digest).await {
            Ok(_) => self.mount_from(digest, from.id()?).await,
            Err(Error::BlobUnknown { .. } | Error::NameUnknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same from whichever repository of the organisation has it and lets the caller pull
    /// (the specification's mount without `from`). Looks at a few dozen at most.
    pub async fn mount_from_any(&self, digest: &Digest) -> Result<bool, Error> {
        self.demand(Action::Push)?;
        let organisation = self.scope.organisation;
        let links = prefix_range(&keys::blob(organisation, digest));
        let rows = self.core.meta.scan(links, MOUNT_CANDIDATES + 1).await?;
        let own = keys::blob(organisation, digest).len();
        for (key, _) in rows.iter().filter(|(key, _)| key.len() == own + 8) {
            let Some(candidate) = keys::last_number(key).map(RepositoryId) else { continue };
            let path = self.core.path_of(organisation, candidate).await?;
            let Some((_, path)) = path else { continue };
            let from = match self.core.open(&self.caller, &path, Action::Pull).await {
                Ok(from) => from,
                Err(Error::NameUnknown { .. } | Error::Denied { .. }) => continue,
                Err(error) => return Err(error),
            };
            if self.mount(digest, &from).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn mount_from(&self, digest: &Digest, from: RepositoryId) -> Result<bool, Error> {
        retry!("a mount", attempt => {
            let scope = self.fresh_scope(attempt).await?;
            let now = self.core.now().await?;
            let mut change = Change::new(&self.core);
            let id = scope.write(self, &mut change, now);
            let source_key = keys::link(scope.organisation, digest, from);
            let source: Seen<LinkRecord> = self.core.read(source_key).await?;
            if !source.value.as_ref().is_some_and(|link| link.blob) {
                return Ok(false);
            }
            let rows = self.rows(&scope, id, digest).await?;
            let already = rows.link.value.as_ref().is_some_and(|link| link.blob);
            let Some(blob) = &rows.blob.value else { return Ok(false) };
            if !keep_content(&mut change, &rows.blob) {
                return Ok(false);
            }
            if source.key != rows.link.key {
                change.lean(&source);
            }
            let (number, lease) = (self.core.next_number(now), self.core.settings.lease);
            link_blob(&mut change, &rows.link, number, blob.size, now, lease);
            if !already {
                let repository = scope.reference(id, &self.path);
                let kind = EventKind::BlobMounted { repository, from, digest: *digest };
                change.event(self.event(now, kind));
            }
            change.commit().await?;
            Ok(true)
        })
    }
}

impl BlobRecord {
    /// Where the bytes lie.
    pub(crate) fn object(
        &self,
        organisation: crate::id::OrganisationId,
        digest: &Digest,
    ) -> ObjectKey {
        if self.settled {
            keys::object::settled(organisation, digest, self.generation)
        } else {
            keys::object::in_flight(organisation, self.generation)
        }
    }

    /// A new record of content that was verified and is durable.
    pub(crate) fn stored(
        size: u64,
        generation: crate::id::SessionId,
        settled: bool,
        now: Timestamp,
    ) -> Self {
        Self { size, generation, settled, state: BlobState::Live, stored_at: now }
    }
}

impl Blob {
    /// Digest and size.
    pub fn info(&self) -> BlobInfo {
        self.info
    }

    /// Reads the bytes of `range` (start included, end not) and notes the pull in the trail.
    ///
    /// A local file is handed out open, for fast sending. What was opened stays whole even where
    /// the blob is deleted meanwhile. With [`Settings::verify_reads`](crate::Settings::verify_reads)
    /// a whole blob is a stream, which ends in an error before its last chunk where the bytes
    /// rotted.
    pub async fn read(&self, range: Range<u64>) -> Result<ObjectRead, Error> {
        let read = self.read_more(range).await?;
        self.repository.pulled(self.info.digest, None).await?;
        Ok(read)
    }

    /// The same without a line in the trail: for the further ranges of a pull that has its line.
    pub async fn read_more(&self, range: Range<u64>) -> Result<ObjectRead, Error> {
        let mut object = self.object.clone();
        for _ in 0..MOVES {
            match self.repository.core.blobs.read(&object, range.clone()).await {
                Ok(read) => {
                    let core = &self.repository.core;
                    if !core.settings.verify_reads || range != (0..self.info.size) {
                        return Ok(read);
                    }
                    let (core, digest) = (Arc::clone(core), self.info.digest);
                    let organisation = self.repository.scope.organisation;
                    return Ok(verified(Whole { core, organisation, digest, object }, read));
                }
                // Moved under its digest, or replaced, since the record was read.
                Err(StoreError::NotFound(missing)) => {
                    let (rows, _) = self.repository.readable(&self.info.digest).await?;
                    object = self.repository.object(&self.info.digest, &rows)?;
                    if object == missing {
                        return Err(Error::Corrupted(format!(
                            "the bytes of {} are not where they should be ({object})",
                            self.info.digest
                        )));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended { what: "a blob's place" })
    }

    /// A URL by which anybody may read the blob, ranges too, until `expires` from now, answered
    /// with `content_type`; notes the pull in the trail. `None` where the store can't make URLs.
    ///
    /// To be called right after [`Repository::blob`]: it leads to where the bytes lie now, which
    /// stay there for [`Settings::delete_delay`](crate::Settings::delete_delay), so `expires` is cut
    /// to that. Whoever has it needs no other right.
    pub async fn url(
        &self,
        expires: Duration,
        content_type: &str,
    ) -> Result<Option<String>, Error> {
        let core = &self.repository.core;
        if core.settings.verify_reads {
            return Ok(None);
        }
        let Some(presigner) = core.blobs.presigner() else { return Ok(None) };
        let expires = expires.min(core.settings.delete_delay);
        let url = presigner.presign(&self.object, expires, content_type).await?;
        self.repository.pulled(self.info.digest, None).await?;
        Ok(Some(url))
    }
}
