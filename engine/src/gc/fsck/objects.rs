//! Rows and objects: all that is promised is there, and what else is there is told.

use super::{Check, Invariant};
use crate::content::ObjectKey;
use crate::core::Core;
use crate::digest::Digest;
use crate::epoch;
use crate::error::Error;
use crate::gc::orphans::{PAGE_OBJECTS, Verdict, judge};
use crate::gc::{Extent, Progress};
use crate::id::OrganisationId;
use crate::keys;
use crate::records::{BlobRecord, BlobState, Record};
use crate::upload::hash_object;

/// How often an object that moves under the look is followed.
const MOVES: usize = 8;

impl Check<'_> {
    /// Looks at the object of a blob's row.
    pub(super) async fn object(
        &mut self,
        organisation: OrganisationId,
        digest: Digest,
        mut blob: BlobRecord,
    ) -> Result<(), Error> {
        for _ in 0..MOVES {
            // What goes may be gone; what is rotten is known to be.
            if matches!(blob.state, BlobState::Deleting { .. } | BlobState::Quarantined { .. }) {
                return Ok(());
            }
            let object = blob.object(organisation, &digest);
            let look = look_at(self.core, &object, blob.size, &digest, self.deep).await;
            let Some(problem) = look.problem() else { return Ok(()) };
            let row = self.core.meta.get(&keys::blob(organisation, &digest)).await?;
            let Some(now) = row.and_then(|row| BlobRecord::decode(&row).ok()) else {
                return Ok(());
            };
            let same = now.generation == blob.generation && now.settled == blob.settled;
            if same && !matches!(now.state, BlobState::Deleting { .. }) {
                let what = format!("the object {object} of {digest} {problem}");
                self.find(Invariant::I1, Some(organisation), what);
                return Ok(());
            }
            blob = now;
        }
        Ok(())
    }

    /// Counts what is in the bucket, and what nobody names, and asks whether it is the right one.
    pub(super) async fn bucket(&mut self) -> Result<(), Error> {
        self.report.waits_for_adopt = !epoch::Look::take(self.core).await?.agrees();
        let mut after: Option<ObjectKey> = None;
        loop {
            let entries = self.core.blobs.list("", after.as_ref(), PAGE_OBJECTS).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            after = Some(last.key.clone());
            let counts = &mut self.report.counts;
            for (entry, verdict) in entries.iter().zip(judge(self.core, &entries).await?) {
                if keys::object::parse_epoch(&entry.key).is_some() {
                    continue;
                }
                counts.objects.add(entry.size);
                match verdict {
                    Verdict::Named => {}
                    Verdict::Garbage | Verdict::Waste => counts.garbage.add(entry.size),
                    Verdict::Foreign => counts.foreign.add(entry.size),
                }
            }
            let (done, bytes) = (counts.objects.count, counts.objects.bytes);
            // What the rows name; garbage comes on top.
            let named = counts.contents.count + counts.copies.count + counts.uploads.count;
            let extent = Extent::of(done, named);
            (self.watch)(&Progress { phase: "objects", done, bytes, extent });
        }
    }
}

/// What a look at an object found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gc) enum Look {
    /// It is as it must be.
    Good,
    /// The store says that it is not there; a store that is not there itself says so too.
    Missing,
    /// It is there, and is not what it must be.
    Wrong(String),
    /// The store failed, which says nothing about the bytes: it may be away, refuse, or not get at
    /// one sector.
    Unread(String),
}

impl Look {
    pub(super) fn problem(self) -> Option<String> {
        match self {
            Self::Good => None,
            Self::Missing => Some("is missing".to_owned()),
            Self::Wrong(what) => Some(what),
            Self::Unread(why) => Some(format!("can't be read: {why}")),
        }
    }
}

/// Looks at an object. `read`: also hash its bytes.
pub(in crate::gc) async fn look_at(
    core: &Core,
    object: &ObjectKey,
    size: u64,
    digest: &Digest,
    read: bool,
) -> Look {
    match core.blobs.stat(object).await {
        Ok(None) => return Look::Missing,
        Ok(Some(found)) if found != size => {
            return Look::Wrong(format!("has {found} bytes, not {size}"));
        }
        Ok(Some(_)) => {}
        Err(error) => return Look::Unread(error.to_string()),
    }
    if !read {
        return Look::Good;
    }
    match hash_object(core, object, size, digest).await {
        Ok(found) if found == *digest => Look::Good,
        Ok(found) => Look::Wrong(format!("has the bytes of {found}")),
        // Gone or shorter since the look before.
        Err(Error::Corrupted(reason)) => Look::Wrong(reason),
        Err(error) => Look::Unread(error.to_string()),
    }
}
