//! The copies of small manifests in the blob store, so that it alone holds all content (DESIGN D5).
//!
//! A small manifest is durable with its record, in the metadata. Behind the push its bytes are
//! written to the blob store too, as any finished object of the organisation under their digest,
//! once for all repositories that have the manifest. Nobody is served from a copy: it is there for
//! [`crate::Engine::adopt`], which rebuilds from it a manifest that the metadata lost. Its bytes tell
//! its kind, so nothing else is kept beside them.
//!
//! The life of a copy is its row ([`CopyRecord`](crate::records::CopyRecord)): *coming* from before
//! its object's first byte, which makes it the intent that the sweep of orphans respects; *stored*
//! once the object is durable; gone before the object is deleted. A push only notes, in memory, what
//! it pushed; a task copies that in batches a moment later. What a kill or a full queue makes it
//! forget, and what the blob store refused, the next collection's walk finds and copies, and the
//! same walk removes copies of manifests that no repository has any more.
//!
//! Promises: no push waits for a copy or fails for one; one copy is made of a digest, whoever works
//! at it; a copy is never taken from bytes that are not those of its digest; it counts against no
//! quota, since the manifest did. The bytes kept free for collection and deletes stay free of copies.
//!
//! What it never does: remove the copy of a manifest that a repository has, as long as nobody pushes
//! it in that very moment (the next walk makes that one good).

mod batch;
mod rebuild;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use rebuild::{read_small, rebuild};
pub(crate) use walk::{Walk, domains, forget};

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::content::ObjectKey;
use crate::copies::batch::{BATCH, Batch, small_manifests};
use crate::core::Core;
use crate::digest::Digest;
use crate::epoch;
use crate::error::Error;
use crate::id::{Number, OrganisationId, RepositoryId};
use crate::keys;
use crate::records::CopyRecord;
use crate::tasks::repeat;

/// How many manifests may wait to be copied: about a second of pushes at full speed. Those beyond
/// are left to the collection.
const WAITING: usize = 16_384;
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Where a small manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) repository: RepositoryId,
    pub(crate) number: Number,
}

/// What was pushed just now and is to be copied.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    waiting: Mutex<Vec<(OrganisationId, Digest, Place)>>,
}

impl Copies {
    /// Notes a small manifest that was pushed.
    pub(crate) fn note(&self, organisation: OrganisationId, digest: Digest, place: Place) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push((organisation, digest, place));
        }
    }

    /// Whether any waits.
    fn any(&self) -> bool {
        !self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// All that waits, by organisation; of equal manifests one.
    fn take(&self) -> BTreeMap<OrganisationId, BTreeMap<Digest, Place>> {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let mut by_organisation: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (organisation, digest, place) in waiting {
            by_organisation.entry(organisation).or_default().insert(digest, place);
        }
        by_organisation
    }
}

impl CopyRecord {
    /// Where the copy lies: as all content of the organisation does.
    pub(crate) fn object(&self, organisation: OrganisationId, digest: &Digest) -> ObjectKey {
        keys::object::settled(organisation, digest, self.generation)
    }
}

/// Copies what was pushed, now and then, as long as the engine is there.
pub(crate) fn copy_pushed(core: &Arc<Core>) {
    let (pacing, weak) = (Arc::new(Pacing::default()), Arc::downgrade(core));
    repeat(core, "copying small manifests", move || copy_once(weak.clone(), Arc::clone(&pacing)));
}

/// What one round of copying leaves to the next.
#[derive(Debug, Default)]
struct Pacing {
    /// Beside the group's: it grows while the blob store fails.
    pause: Mutex<Duration>,
    /// Whether anything was copied since the epoch advanced.
    copied: AtomicBool,
}

async fn copy_once(core: Weak<Core>, pacing: Arc<Pacing>) -> ControlFlow<()> {
    let Some(group) = core.upgrade().map(|core| core.settings.copy_group) else {
        return ControlFlow::Break(());
    };
    let pause = *pacing.pause.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::time::sleep(pause.max(group)).await;
    let Some(core) = core.upgrade() else { return ControlFlow::Break(()) };
    if core.copies.any() {
        pacing.copied.store(true, Ordering::Relaxed);
    }
    let pause = match copy_and_advance(&core, &pacing.copied).await {
        Ok(()) => Duration::ZERO,
        Err(error) => {
            tracing::warn!(%error, "copies of small manifests wait for the blob store");
            pause.max(group).saturating_mul(2).min(LONGEST_PAUSE)
        }
    };
    *pacing.pause.lock().unwrap_or_else(PoisonError::into_inner) = pause;
    ControlFlow::Continue(())
}

/// Copies what waits; what was `copied` makes the epoch advance, not too often.
async fn copy_and_advance(core: &Core, copied: &AtomicBool) -> Result<(), Error> {
    copy_waiting(core).await?;
    if copied.load(Ordering::Relaxed) && epoch::advance_now_and_then(core).await? {
        copied.store(false, Ordering::Relaxed);
    }
    Ok(())
}

/// Copies all that waits. What could not be copied waits on.
pub(crate) async fn copy_waiting(core: &Core) -> Result<(), Error> {
    let mut ended = Ok(());
    for (organisation, waiting) in core.copies.take() {
        let waiting: Vec<_> = waiting.into_iter().collect();
        for some in waiting.chunks(BATCH) {
            let copied = copy_some(core, organisation, some).await;
            if copied.is_err() {
                for (digest, place) in some {
                    core.copies.note(organisation, *digest, *place);
                }
                ended = copied;
            }
        }
    }
    ended
}

async fn copy_some(
    core: &Core,
    organisation: OrganisationId,
    some: &[(Digest, Place)],
) -> Result<(), Error> {
    core.require_room().await?;
    let manifests = small_manifests(core, organisation, some).await?;
    let batch = Batch::begin(core, organisation, manifests).await?;
    match batch.store().await?.refused {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
