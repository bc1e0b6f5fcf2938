//! Repositories that were given up, in registries that stay; and what it takes to remove any.

use std::collections::HashSet;

use super::pass::{Pass, PurgeRecord, Stage, Thing, rest};
use super::registries::{remove_repositories, strip_members};
use super::rows::{Pages, committed, maintained, remove, remove_graph, remove_sessions};
use super::{Purged, ROWS_PER_COMMIT};
use crate::change::{Change, Seen};
use crate::core::Core;
use crate::error::Error;
use crate::graph::stripe_of_organisation;
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::{Key, MAX_SCAN_ROWS, prefix_range};
use crate::records::{DoomedRecord, Life, RegistryRecord, SessionRecord};
use crate::tenancy::usage::Homes;

/// The most repositories that one walk over the organisation's content takes along: eight bytes of
/// the row that keeps its place each.
const AT_ONCE: usize = 4096;

/// Which repositories are meant.
enum Of {
    /// All of a registry.
    Registry(RegistryId, Homes),
    /// These.
    These(HashSet<RepositoryId>),
}

impl Of {
    fn new(thing: &Thing) -> Self {
        match thing {
            Thing::Registry(id) => Self::Registry(*id, Homes::default()),
            Thing::Repositories(these) => Self::These(these.iter().copied().collect()),
        }
    }

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

/// Removes what is left of an organisation's repositories that were given up; false where the turn
/// ended before.
pub(super) async fn purge_repositories(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
) -> Result<bool, Error> {
    let all = prefix_range(&keys::all_doomed(organisation));
    loop {
        let rows = pass.core.meta.scan(all.clone(), AT_ONCE).await?;
        let these: Vec<_> =
            rows.iter().filter_map(|(key, _)| keys::last_number(key).map(RepositoryId)).collect();
        if these.is_empty() {
            return Ok(true);
        }
        let (thing, stage) = (Thing::Repositories(these), Stage::Links);
        let at = PurgeRecord { thing, stage, next: Key::default() };
        if !purge_thing(pass, organisation, at).await? {
            return Ok(false);
        }
    }
}

/// Removes something of an organisation that stays, from where that stands; false where the turn
/// ended before. What is given up gets nothing new, so what lies behind its place stays clean.
pub(super) async fn purge_thing(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
    mut at: PurgeRecord,
) -> Result<bool, Error> {
    let before = pass.purged;
    let what = match &at.thing {
        Thing::Registry(_) => "rows of a deleted registry",
        Thing::Repositories(_) => "rows of deleted repositories",
    };
    // Links and uploads are found by their repository's record, so they go before it. The content
    // itself stays for the collection: other registries may link it.
    let mut of = Of::new(&at.thing);
    loop {
        let done = match (at.stage, &at.thing) {
            (Stage::Members, Thing::Registry(id)) => {
                strip_members(pass, organisation, *id, &mut at.next).await?
            }
            (Stage::Members, Thing::Repositories(_)) => true,
            (Stage::Links, _) => remove_links(pass, organisation, &mut of, &mut at.next).await?,
            (Stage::Uploads, _) => {
                remove_uploads(pass, organisation, &mut of, &mut at.next).await?
            }
            (Stage::Rows, Thing::Registry(id)) => {
                remove_repositories(pass, organisation, *id).await?
            }
            (Stage::Rows, Thing::Repositories(these)) => {
                remove_rows_of(pass, organisation, these).await?
            }
        };
        if !done {
            rest(pass, organisation, Some(&at), what, before).await?;
            return Ok(false);
        }
        let Some(next) = at.stage.next() else { break };
        (at.stage, at.next) = (next, Key::default());
    }
    finish(pass, organisation, &at.thing, what, before).await?;
    Ok(true)
}

/// Removes the records that say that something is being removed, and its place.
async fn finish(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
    thing: &Thing,
    what: &str,
    before: Purged,
) -> Result<(), Error> {
    let core = pass.core;
    let mut change = Change::freeing(core);
    change.delete(keys::purge(organisation));
    let mut records = 0;
    match thing {
        Thing::Registry(id) => {
            let row: Seen<RegistryRecord> = core.read(keys::registry(organisation, *id)).await?;
            // Another process may have removed it.
            if row.value.as_ref().is_some_and(|record| record.life == Life::Deleting) {
                change.remove(&row);
                records = 1;
            }
            change.touches(stripe_of_organisation(organisation));
        }
        Thing::Repositories(these) => {
            let keys: Vec<_> = these.iter().map(|id| keys::doomed(organisation, *id)).collect();
            let rows = core.meta.get_many(&keys).await?;
            for (key, row) in keys.into_iter().zip(rows).filter(|(_, row)| row.is_some()) {
                change.remove(&Seen::<DoomedRecord>::if_readable(key, row));
                records += 1;
            }
        }
    }
    if records > 0 || pass.purged.rows > before.rows {
        change.event(maintained(core, organisation, what, before, &pass.purged).await?);
    }
    committed(change).await?;
    pass.removed(records);
    Ok(())
}

/// Removes the links of some repositories from `next` on: one walk over the organisation's content.
/// False where the turn ended before, at `next`.
async fn remove_links(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
    of: &mut Of,
    next: &mut Key,
) -> Result<bool, Error> {
    let mut range = prefix_range(&keys::contents(organisation));
    range.start = range.start.max(std::mem::take(next));
    loop {
        let rows = pass.core.meta.scan(range.clone(), pass.page(MAX_SCAN_ROWS)).await?;
        let Some((last, _)) = rows.last() else { return Ok(true) };
        range.start.clone_from(last);
        range.start.push(0);
        let looked_at = rows.len();
        let repository = |key: &Key| keys::parse_content(key).and_then(|(_, link)| link);
        let linking: Vec<_> = rows.iter().filter_map(|(key, _)| repository(key)).collect();
        of.learn(pass.core, organisation, linking.into_iter()).await?;
        let mut links: Vec<_> = rows
            .into_iter()
            .filter(|(key, _)| repository(key).is_some_and(|link| of.has(link)))
            .collect();
        pass.looked_at(looked_at - links.len());
        while !links.is_empty() {
            let rest = links.split_off(links.len().min(ROWS_PER_COMMIT));
            remove(pass, links).await?;
            links = rest;
        }
        if pass.is_spent() {
            *next = range.start;
            return Ok(false);
        }
    }
}

/// Ends the uploads to some repositories, from `next` on. False where the turn ended before, at `next`.
async fn remove_uploads(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
    of: &mut Of,
    next: &mut Key,
) -> Result<bool, Error> {
    let mut range = prefix_range(&keys::sessions(organisation));
    range.start = range.start.max(std::mem::take(next));
    loop {
        let rows = pass.core.meta.scan(range.clone(), pass.page(ROWS_PER_COMMIT)).await?;
        let Some((last, _)) = rows.last() else { return Ok(true) };
        range.start.clone_from(last);
        range.start.push(0);
        let mut uploads = Vec::new();
        for (key, value) in rows {
            // One that can't be read expires with nobody, and is told by `fsck`.
            let row = pass.purged.read::<SessionRecord>(&key, value.clone());
            let Some(record) = row.and_then(|row| row.value) else { continue };
            of.learn(pass.core, organisation, std::iter::once(record.repository)).await?;
            if of.has(record.repository) {
                uploads.push((key, value));
            } else {
                pass.looked_at(1);
            }
        }
        remove_sessions(pass, organisation, &uploads).await?;
        if pass.is_spent() {
            *next = range.start;
            return Ok(false);
        }
    }
}

async fn remove_rows_of(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
    repositories: &[RepositoryId],
) -> Result<bool, Error> {
    for repository in repositories {
        if !remove_rows(pass, organisation, *repository).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes all rows of one repository, and gives back what its manifests counted for. False where
/// the turn ended before.
pub(super) async fn remove_rows(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
    repository: RepositoryId,
) -> Result<bool, Error> {
    let mut pages = Pages::new(prefix_range(&keys::repository_rows(organisation, repository)));
    while let Some(rows) = pages.next(pass).await? {
        remove_graph(pass, organisation, &rows).await?;
        if pass.is_spent() {
            return Ok(false);
        }
    }
    Ok(true)
}
