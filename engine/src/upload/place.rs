//! Small objects written whole: the bodies of manifests too large for the metadata.

use bytes::Bytes;

use crate::change::{Change, Seen};
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::{Repository, Scope};
use crate::keys;
use crate::records::{BlobRecord, SessionRecord};
use crate::seam::Timestamp;
use crate::upload::Started;

/// Bytes that are durable in the blob store and that no fact names yet; their intent row stands.
/// Dropping it takes them away, unless a commit named them.
#[derive(Debug)]
pub(crate) struct Placed {
    started: Started,
    seen: Seen<SessionRecord>,
    size: u64,
}

impl Placed {
    /// Takes the bytes away unless a commit named them (and so ended their intent).
    pub(crate) async fn discard_unused(self) {
        self.started.give_up().await;
    }

    /// Makes `change` name the bytes as the organisation's content, and end their intent.
    pub(crate) fn publish(
        &self,
        scope: &Scope,
        blob: &Seen<BlobRecord>,
        change: &mut Change<'_>,
        now: Timestamp,
    ) {
        // What was there before (rotten, or on its way out) was counted, and is replaced.
        let before = blob.value.as_ref().map_or(0, |blob| blob.size);
        change.replace(blob, &BlobRecord::stored(self.size, self.started.id(), true, now));
        change.remove(&self.seen);
        let reserved = self.seen.value.as_ref().map_or(0, |record| record.reserved_bytes);
        let delta = i128::from(self.size) - i128::from(before) - i128::from(reserved);
        let delta = i64::try_from(delta).unwrap_or(i64::MIN);
        change.use_bytes(scope.organisation, delta, scope.quota_bytes);
    }
}

impl Repository {
    /// Writes `bytes`, verified to be those of `digest`, durably under its key.
    pub(crate) async fn place(&self, digest: &Digest, bytes: Bytes) -> Result<Placed, Error> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (started, seen, _room) = self.start_alone(digest, Some(size)).await?;
        let key = keys::object::settled(self.scope.organisation, digest, started.id());
        if let Err(error) = self.core.blobs.put(&key, bytes).await {
            started.give_up().await;
            return Err(error.into());
        }
        Ok(Placed { started, seen, size })
    }
}
