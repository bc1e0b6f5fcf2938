//! Where a scrub stands, so that the next one of the same share goes on there.

use serde::{Deserialize, Serialize};

use super::Subset;
use crate::change::{Attempt, Change};
use crate::core::Core;
use crate::error::Error;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::Key;
use crate::records::Record;

/// What is read of an organisation, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Part {
    /// Content in the blob store.
    Contents,
    /// Manifests whose bytes are in the metadata.
    Manifests,
    /// Their copies in the blob store.
    Copies,
}

impl Part {
    pub(super) const ALL: [Self; 3] = [Self::Contents, Self::Manifests, Self::Copies];
}

/// The row of [`keys::scrub`]. A hint only: a scrub from the beginning is as right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScrubRecord {
    pub(crate) organisation: OrganisationId,
    pub(crate) part: Part,
    /// The first key of that part that was not read.
    pub(crate) next: Key,
}

impl Record for ScrubRecord {
    const KIND: &'static str = "scrub";
}

/// Which scrub it is: each share, of everything or of one organisation, has a place of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    organisation: Option<OrganisationId>,
    subset: Subset,
}

impl Place {
    pub(super) fn of(organisation: Option<OrganisationId>, subset: Subset) -> Self {
        Self { organisation, subset }
    }

    fn key(self) -> Key {
        // No organisation has the id 0.
        let organisation = self.organisation.unwrap_or(OrganisationId(0));
        keys::scrub(organisation, self.subset.n, self.subset.of.get())
    }

    /// Where the last one was stopped; nothing where it came to its end.
    pub(super) async fn load(self, core: &Core) -> Result<Option<ScrubRecord>, Error> {
        let row = core.meta.get(&self.key()).await?;
        // A hint that can't be read is no hint.
        Ok(row.and_then(|row| ScrubRecord::decode(&row).ok()))
    }

    pub(super) async fn save(self, core: &Core, at: &ScrubRecord) -> Result<(), Error> {
        let mut change = Change::freeing(core);
        change.put(self.key(), at);
        noted(change.commit().await)
    }

    /// It came to its end.
    pub(super) async fn clear(self, core: &Core) -> Result<(), Error> {
        let mut change = Change::freeing(core);
        change.delete(self.key());
        noted(change.commit().await)
    }
}

/// A hint that found no room is none.
fn noted(committed: Result<(), Attempt>) -> Result<(), Error> {
    match committed {
        Ok(()) | Err(Attempt::Lost | Attempt::Failed(Error::StorageFull(_))) => Ok(()),
        Err(Attempt::Failed(error)) => Err(error),
    }
}
