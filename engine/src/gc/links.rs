//! A repository's link to content: kept while it is leased or named, then removed.
//!
//! Why nothing that is wanted goes: removing takes two commits, `condemned` and gone, with a look
//! for names in between ([`unlink`]). Whoever names the link leans on it `live` or makes it so. Was
//! that committed before `condemned`, the look finds the edge; after, the row is not the condemned
//! one any more, and the removal, which requires that, can't follow. A lease changes the row too.

use std::collections::HashMap;

use crate::audit::{Event, EventKind};
use crate::change::{Attempt, Change, Seen};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::CollectReport;
use crate::graph::{Closely, Unlinked, named_by, unlink};
use crate::id::{OrganisationId, RepositoryId};
use crate::keys;
use crate::records::{LinkRecord, LinkState};
use crate::seam::Timestamp;

/// Looks at the links of one organisation.
pub(super) struct Links<'a> {
    core: &'a Core,
    organisation: OrganisationId,
    now: Timestamp,
    dry_run: bool,
    /// The repositories whose record was there: an id is never used twice, and a link is written
    /// no earlier than its repository, so one look is enough.
    homes: HashMap<RepositoryId, bool>,
}

impl<'a> Links<'a> {
    pub(super) fn new(
        core: &'a Core,
        organisation: OrganisationId,
        now: Timestamp,
        dry_run: bool,
    ) -> Self {
        Self { core, organisation, now, dry_run, homes: HashMap::new() }
    }

    /// Takes the link away where nothing wants it. Says whether it needs the content still.
    pub(super) async fn look(
        &mut self,
        digest: &Digest,
        repository: RepositoryId,
        seen: &Seen<LinkRecord>,
        report: &mut CollectReport,
    ) -> Result<bool, Error> {
        let Some(record) = &seen.value else { return Ok(false) };
        if !self.has_home(repository).await? {
            return self.remove(digest, repository, seen, false, report).await;
        }
        // What is a manifest stays until somebody deletes it; a deletion that broke off left it
        // condemned.
        let manifest_only = record.manifest.is_some() && !record.blob;
        if manifest_only || record.leased_until > self.now {
            self.revive(seen).await?;
            return Ok(record.needs_content());
        }
        if self.dry_run {
            let (core, organisation) = (self.core, self.organisation);
            let names = named_by(core, organisation, repository, digest, record.number).await?;
            if !names.is_empty() {
                return Ok(record.needs_content());
            }
            return self.remove(digest, repository, seen, true, report).await;
        }
        let closely = Closely::Number;
        match unlink(self.core, self.organisation, repository, digest, seen, closely).await? {
            Unlinked::Condemned(condemned) => {
                self.remove(digest, repository, &condemned, true, report).await
            }
            Unlinked::Named(_) => {
                self.revive(seen).await?;
                Ok(record.needs_content())
            }
            // Somebody uses it just now: the next collection looks again.
            Unlinked::Lost => Ok(true),
        }
    }

    async fn has_home(&mut self, repository: RepositoryId) -> Result<bool, Error> {
        if let Some(known) = self.homes.get(&repository) {
            return Ok(*known);
        }
        let row = self.core.meta.get(&keys::repository(self.organisation, repository)).await?;
        self.homes.insert(repository, row.is_some());
        Ok(row.is_some())
    }

    /// Makes a link live that a run or a deletion before left condemned.
    async fn revive(&self, seen: &Seen<LinkRecord>) -> Result<(), Error> {
        let Some(record) = seen.value.as_ref().filter(|link| link.state != LinkState::Live) else {
            return Ok(());
        };
        if self.dry_run {
            return Ok(());
        }
        let mut change = Change::freeing(self.core);
        change.replace(seen, &LinkRecord { state: LinkState::Live, ..record.clone() });
        match change.commit().await {
            Ok(()) | Err(Attempt::Lost) => Ok(()),
            Err(Attempt::Failed(error)) => Err(error),
        }
    }

    /// Removes the link as it was seen; where its manifest stays, only what makes it a blob.
    async fn remove(
        &self,
        digest: &Digest,
        repository: RepositoryId,
        seen: &Seen<LinkRecord>,
        keep_manifest: bool,
        report: &mut CollectReport,
    ) -> Result<bool, Error> {
        let Some(record) = &seen.value else { return Ok(false) };
        let rest = LinkRecord { blob: false, state: LinkState::Live, ..record.clone() };
        let stays = record.manifest.is_some() && keep_manifest;
        if !self.dry_run {
            let mut change = Change::freeing(self.core);
            if stays {
                change.replace(seen, &rest);
            } else {
                change.remove(seen);
            }
            let repository = self.core.reference_to(self.organisation, repository).await?;
            let kind = EventKind::LinkCollected { repository, digest: *digest, size: record.size };
            change.event(Event::by_system(self.organisation, self.now, kind));
            match change.commit().await {
                Ok(()) => {}
                Err(Attempt::Lost) => return Ok(true),
                Err(Attempt::Failed(error)) => return Err(error),
            }
        }
        report.links.add(record.size);
        Ok(stays && rest.needs_content())
    }
}
