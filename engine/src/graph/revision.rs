//! Whether anything that is derived from a repository's manifests and tags is still right.

use sha2::{Digest as _, Sha256};

use crate::access::Action;
use crate::core::Core;
use crate::error::Error;
use crate::graph::{Repository, stripe_of_repository};
use crate::id::{OrganisationId, RepositoryId};
use crate::keys;
use crate::meta::{MAX_SCAN_ROWS, prefix_range};

/// What a repository's manifests, tags and referrers were at one moment. Two revisions of one
/// repository that are equal, got from one engine, mean that nothing of it changed between the two
/// moments; unequal ones mean that something may have. It says nothing to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Revision([u8; 16]);

impl Repository {
    /// The revision now: what is read after this call is of it, or of a later one. Cheap where this
    /// process alone has the store; else it costs a read of all tags and referrers. Needs
    /// [`Action::List`] or [`Action::Pull`].
    pub async fn revision(&self) -> Result<Revision, Error> {
        self.demand(Action::List)?;
        match &self.scope.repository {
            None => Ok(Revision::default()),
            Some((id, _)) => self.core.revision(self.scope.organisation, *id).await,
        }
    }
}

impl Core {
    /// As [`Repository::revision`], of a repository that is there.
    pub(crate) async fn revision(
        &self,
        organisation: OrganisationId,
        id: RepositoryId,
    ) -> Result<Revision, Error> {
        if !self.meta.is_shared() {
            return Ok(self.own_revision(id));
        }
        // Every row of a tag or referrer differs from what it replaces, by the number of its
        // manifest or the moment it was set, so no two states of the repository look alike.
        let mut hash = Sha256::new();
        for (rows, with_values) in
            [(keys::tags(organisation, id), true), (keys::all_referrers(organisation, id), false)]
        {
            let mut range = prefix_range(&rows);
            loop {
                let page = self.meta.scan(range.clone(), MAX_SCAN_ROWS).await?;
                let Some((last, _)) = page.last() else { break };
                range.start = [last.as_slice(), &[0]].concat();
                let full = page.len() == MAX_SCAN_ROWS;
                for (key, value) in &page {
                    let value: &[u8] = if with_values { value } else { &[] };
                    for part in [key.as_slice(), value] {
                        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                        hash.update(part);
                    }
                }
                if !full {
                    break;
                }
            }
        }
        let hash = hash.finalize();
        let mut revision = [0; 16];
        for (to, from) in revision.iter_mut().zip(hash) {
            *to = from;
        }
        Ok(Revision(revision))
    }

    /// Of all repositories of all registries, where all changes go through this process.
    pub(crate) fn own_revision_of_all(&self) -> Revision {
        Revision(u128::from(self.cache.epoch_of_all()).to_be_bytes())
    }

    /// The revision where all changes go through this process.
    pub(crate) fn own_revision(&self, id: RepositoryId) -> Revision {
        let epoch = self.cache.epoch_of(stripe_of_repository(id));
        let revision = (u128::from(id.0) << 64) | u128::from(epoch);
        Revision(revision.to_be_bytes())
    }
}
