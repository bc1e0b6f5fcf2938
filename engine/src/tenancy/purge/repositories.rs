//! Repositories that were given up, in registries that stay; and what it takes to remove any.

use std::collections::HashSet;

use super::rows::{Pages, committed, maintained, remove, remove_graph, remove_sessions};
use super::{Purged, ROWS_PER_COMMIT};
use crate::change::{Change, Seen};
use crate::core::Core;
use crate::error::Error;
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::{Key, MAX_SCAN_ROWS, prefix_range};
use crate::records::{DoomedRecord, SessionRecord};
use crate::tenancy::usage::Homes;

/// The most repositories that one walk over the organisation's content takes along.
const AT_ONCE: usize = 10_000;

/// Which repositories are meant.
pub(super) enum Of<'a> {
    /// All of a registry.
    Registry(RegistryId, &'a mut Homes),
    /// These.
    These(&'a HashSet<RepositoryId>),
}

impl Of<'_> {
    /// Reads what it takes to tell of `repositories`.
    async fn learn(
        &mut self,
        core: &Core,
        organisation: OrganisationId,
        repositories: impl Iterator<Item = RepositoryId>,
    ) -> Result<(), Error> {
        match self {
            Self::Registry(_, homes) => homes.learn(core, organisation, repositories).await,
            Self::These(_) => Ok(()),
        }
    }

    fn has(&self, repository: RepositoryId) -> bool {
        match self {
            Self::Registry(id, homes) => homes.is_in(repository, *id),
            Self::These(these) => these.contains(&repository),
        }
    }
}

/// Removes what is left of an organisation's repositories that were given up.
pub(super) async fn purge_repositories(
    core: &Core,
    organisation: OrganisationId,
    purged: &mut Purged,
) -> Result<(), Error> {
    loop {
        let rows = core.meta.scan(prefix_range(&keys::all_doomed(organisation)), AT_ONCE).await?;
        let mut doomed: Vec<Seen<DoomedRecord>> = Vec::new();
        for (key, value) in rows {
            doomed.extend(purged.read::<DoomedRecord>(&key, value));
        }
        let these: HashSet<_> =
            doomed.iter().filter_map(|row| keys::last_number(&row.key).map(RepositoryId)).collect();
        if these.is_empty() {
            return Ok(());
        }
        let before = *purged;
        remove_links(core, organisation, &mut Of::These(&these), purged).await?;
        remove_uploads(core, organisation, &mut Of::These(&these), purged).await?;
        for repository in &these {
            remove_rows(core, organisation, *repository, purged).await?;
        }
        let event = maintained(core, organisation, "rows of deleted repositories", before, purged);
        let mut event = Some(event.await?);
        for rows in doomed.chunks(ROWS_PER_COMMIT) {
            let mut change = Change::freeing(core);
            for row in rows {
                change.remove(row);
            }
            if let Some(event) = event.take() {
                change.event(event);
            }
            committed(change).await?;
            purged.rows += rows.len() as u64;
        }
    }
}

/// Removes the links of some repositories: one walk over the organisation's content.
pub(super) async fn remove_links(
    core: &Core,
    organisation: OrganisationId,
    of: &mut Of<'_>,
    purged: &mut Purged,
) -> Result<(), Error> {
    let mut range = prefix_range(&keys::contents(organisation));
    loop {
        let rows = core.meta.scan(range.clone(), MAX_SCAN_ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range.start.clone_from(last);
        range.start.push(0);
        let repository = |key: &Key| keys::parse_content(key).and_then(|(_, link)| link);
        let linking: Vec<_> = rows.iter().filter_map(|(key, _)| repository(key)).collect();
        of.learn(core, organisation, linking.into_iter()).await?;
        let mut links: Vec<_> = rows
            .into_iter()
            .filter(|(key, _)| repository(key).is_some_and(|link| of.has(link)))
            .collect();
        while !links.is_empty() {
            let rest = links.split_off(links.len().min(ROWS_PER_COMMIT));
            remove(core, links, purged).await?;
            links = rest;
        }
    }
}

/// Ends the uploads to some repositories.
pub(super) async fn remove_uploads(
    core: &Core,
    organisation: OrganisationId,
    of: &mut Of<'_>,
    purged: &mut Purged,
) -> Result<(), Error> {
    let mut range = prefix_range(&keys::sessions(organisation));
    loop {
        let rows = core.meta.scan(range.clone(), ROWS_PER_COMMIT).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range.start.clone_from(last);
        range.start.push(0);
        let mut uploads = Vec::new();
        for (key, value) in rows {
            // One that can't be read expires with nobody, and is told by `fsck`.
            let row = purged.read::<SessionRecord>(&key, value.clone());
            let Some(record) = row.and_then(|row| row.value) else { continue };
            of.learn(core, organisation, std::iter::once(record.repository)).await?;
            if of.has(record.repository) {
                uploads.push((key, value));
            }
        }
        remove_sessions(core, organisation, &uploads, purged).await?;
    }
}

/// Removes all rows of one repository, and gives back what its manifests counted for.
pub(super) async fn remove_rows(
    core: &Core,
    organisation: OrganisationId,
    repository: RepositoryId,
    purged: &mut Purged,
) -> Result<(), Error> {
    let mut pages = Pages::new(prefix_range(&keys::repository_rows(organisation, repository)));
    while let Some(rows) = pages.next(core).await? {
        remove_graph(core, organisation, &rows, purged).await?;
    }
    Ok(())
}
