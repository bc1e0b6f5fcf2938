//! One batch of copies: an intent for each, their bytes side by side, and a commit that they are
//! there.

use bytes::Bytes;
use futures::StreamExt;

use crate::change::{Attempt, Change, Seen, retry};
use crate::content::StoreError;
use crate::copies::Place;
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::Tally;
use crate::id::{OrganisationId, SessionId};
use crate::keys;
use crate::records::{Body, CopyRecord, Life, ManifestRecord, OrganisationRecord, Record};
use crate::seam::Timestamp;

/// The most manifests in a batch: with 64 KiB each, 4 MiB of memory.
pub(super) const BATCH: usize = 64;
/// How many objects are written at a time.
const WRITES: usize = 8;

/// A small manifest, read.
pub(super) struct Manifest {
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
}

/// The small manifests at these places that are there still, and whole.
pub(super) async fn small_manifests(
    core: &Core,
    organisation: OrganisationId,
    places: &[(Digest, Place)],
) -> Result<Vec<Manifest>, Error> {
    let manifest = |place: &Place| keys::manifest(organisation, place.repository, place.number);
    let rows: Vec<_> = places.iter().map(|(_, place)| manifest(place)).collect();
    let rows = core.meta.get_many(&rows).await?;
    let read = places.iter().zip(rows).filter_map(|((digest, _), row)| {
        let record = ManifestRecord::decode(&row?).ok()?;
        let Body::Inline(bytes) = record.body else { return None };
        // A damaged one is found by `fsck`; its copy, if there is one, is what heals it.
        let whole = Digest::of(digest.algorithm(), &bytes) == *digest;
        whole.then(|| Manifest { digest: *digest, bytes: bytes.into() })
    });
    Ok(read.collect())
}

/// Copies whose intents are committed.
pub(super) struct Batch<'a> {
    core: &'a Core,
    organisation: OrganisationId,
    coming: Vec<Coming>,
}

struct Coming {
    manifest: Manifest,
    seen: Seen<CopyRecord>,
    record: CopyRecord,
}

/// How a batch ended.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) made: Tally,
    /// Why some could not be written; they have no row.
    pub(super) refused: Option<StoreError>,
}

impl<'a> Batch<'a> {
    /// Commits an intent for each of the manifests that has no copy and that nobody is copying. None
    /// where the organisation is not there any more.
    pub(super) async fn begin(
        core: &'a Core,
        organisation: OrganisationId,
        manifests: Vec<Manifest>,
    ) -> Result<Self, Error> {
        let keys: Vec<_> =
            manifests.iter().map(|small| keys::copy(organisation, &small.digest)).collect();
        let begun: Vec<Option<CopyRecord>> = retry!("copies of manifests", attempt => {
            let owner: Seen<OrganisationRecord> =
                core.read(keys::organisation(organisation)).await?;
            if owner.value.as_ref().is_none_or(|owner| owner.life != Life::Live) {
                return Ok(Vec::new());
            }
            let now = core.now().await?;
            let mut change = Change::new(core);
            let rows = core.meta.get_many(&keys).await?;
            let mut begun = Vec::with_capacity(manifests.len());
            for ((key, row), small) in keys.iter().zip(rows).zip(&manifests) {
                let seen = Seen::<CopyRecord>::if_readable(key.clone(), row);
                let due = seen.value.as_ref().is_none_or(|copy| is_stale(core, copy, now));
                let record = due.then(|| CopyRecord {
                    size: u64::try_from(small.bytes.len()).unwrap_or(u64::MAX),
                    generation: SessionId(core.seams.random_16()),
                    stored: false,
                    at: now,
                });
                if let Some(record) = &record {
                    change.replace(&seen, record);
                }
                begun.push(record);
            }
            if begun.iter().any(Option::is_some) {
                change.lean(&owner);
                change.commit().await?;
            }
            Ok(begun)
        })?;
        let begun = manifests.into_iter().zip(keys).zip(begun);
        let coming = begun.filter_map(|((manifest, key), record)| {
            let record = record?;
            Some(Coming { manifest, seen: Seen::of(key, record.clone()), record })
        });
        Ok(Self { core, organisation, coming: coming.collect() })
    }

    /// Writes the objects and then says so. What can't be written has no row any more, so that it is
    /// tried again; its object, should it be there, is an orphan.
    ///
    /// Dropping the future leaves intents, which are begun anew after a while.
    pub(super) async fn store(self) -> Result<Stored, Error> {
        let Self { core, organisation, coming } = self;
        let writes = coming.into_iter().map(|coming| async move {
            let object = coming.record.object(organisation, &coming.manifest.digest);
            let written = core.blobs.put(&object, coming.manifest.bytes.clone()).await;
            (coming, written)
        });
        let written: Vec<_> =
            futures::stream::iter(writes).buffer_unordered(WRITES).collect().await;
        let mut stored = Stored::default();
        let mut ends = Vec::with_capacity(written.len());
        for (coming, written) in written {
            let there = written.is_ok();
            stored.refused = written.err().or(stored.refused);
            ends.push((coming, there));
        }
        if ends.is_empty() {
            return Ok(stored);
        }
        let now = core.now().await?;
        if !say(core, &ends, now).await? {
            // Somebody else changed one of the rows: each by itself.
            let mut own = Vec::with_capacity(ends.len());
            for end in ends {
                if say(core, std::slice::from_ref(&end), now).await? {
                    own.push(end);
                } else {
                    let object = end.0.record.object(organisation, &end.0.manifest.digest);
                    if let Err(error) = core.blobs.delete(&object).await {
                        tracing::warn!(%object, %error, "a copy stays for the orphan sweep");
                    }
                }
            }
            ends = own;
        }
        for (coming, _) in ends.iter().filter(|(_, there)| *there) {
            stored.made.add(coming.record.size);
        }
        Ok(stored)
    }
}

/// Whether a copy is on its way for so long that a kill must have left it: longer than a slow pull
/// takes. One that comes still is not counted and takes its object away itself.
fn is_stale(core: &Core, copy: &CopyRecord, now: Timestamp) -> bool {
    !copy.stored && now >= copy.at.plus(core.settings.delete_delay)
}

/// Commits how copies ended; false where a row is not as it was left, and nothing was said then.
async fn say(core: &Core, ends: &[(Coming, bool)], now: Timestamp) -> Result<bool, Error> {
    // What was begun is ended, whichever way.
    let mut change = Change::freeing(core);
    for (coming, there) in ends {
        if *there {
            let stored = CopyRecord { stored: true, at: now, ..coming.record.clone() };
            change.replace(&coming.seen, &stored);
        } else {
            change.remove(&coming.seen);
        }
    }
    match change.commit().await {
        Ok(()) => Ok(true),
        Err(Attempt::Lost) => Ok(false),
        Err(Attempt::Failed(error)) => Err(error),
    }
}
