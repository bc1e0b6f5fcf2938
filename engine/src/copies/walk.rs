//! The collection's walk: the organisations' links and copies side by side, in the order of digests.
//!
//! The collector asks for it page by page, and keeps the place: the budget of a run bounds it too.
//! What a repository has as a small manifest and has no copy is copied; a copy that no repository
//! has use for goes, its row first. Whoever pushes the manifest again in that moment finds the row
//! there still and copies nothing: the next walk does.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use crate::change::{Attempt, Change, Seen};
use crate::copies::Place;
use crate::copies::batch::{BATCH, Batch, small_manifests};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::CollectReport;
use crate::gc::walk::{Pages, behind};
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::{Key, Row, prefix_range};
use crate::records::{CopyRecord, LinkRecord, ManifestPlace, Record};

/// A walk over one organisation.
pub(crate) struct Walk<'a> {
    core: &'a Core,
    organisation: OrganisationId,
    dry_run: bool,
    links: Pages<'a>,
    /// From the copy of this digest on; the links of it may have been looked at in part.
    from: Key,
    end: Key,
    ended: bool,
}

/// The organisations to walk: these, and where they are `all` there are, those that are no more and have
/// copies still.
pub(crate) async fn domains(
    core: &Core,
    organisations: &[OrganisationId],
    all: bool,
) -> Result<Vec<OrganisationId>, Error> {
    let mut domains = organisations.to_vec();
    if !all {
        return Ok(domains);
    }
    let there: HashSet<_> = organisations.iter().copied().collect();
    let mut range = prefix_range(&keys::all_copies());
    loop {
        let rows = core.meta.scan(range.clone(), 1).await?;
        let Some((key, _)) = rows.first() else { break };
        // One that can't be read is passed over; `fsck` tells of it.
        range.start = match keys::parse_copy(key) {
            Some((organisation, _)) => {
                if !there.contains(&organisation) {
                    domains.push(organisation);
                }
                prefix_range(&keys::copies(organisation)).end
            }
            None => behind(key),
        };
    }
    // In the order of their rows, which is what a walk that goes on elsewhere counts on.
    domains.sort_unstable();
    Ok(domains)
}

impl<'a> Walk<'a> {
    /// Walks what of `range`, keys of copies, is the organisation's.
    pub(crate) fn new(
        core: &'a Core,
        organisation: OrganisationId,
        range: Range<Key>,
        dry_run: bool,
    ) -> Self {
        let link = |key: &Key| {
            keys::parse_copy(key).map(|(organisation, digest)| keys::blob(organisation, &digest))
        };
        let mut links = prefix_range(&keys::contents(organisation));
        links.start = link(&range.start).unwrap_or(links.start);
        links.end = link(&range.end).unwrap_or(links.end);
        let links = Pages::new(&*core.meta, links);
        let ended = range.is_empty();
        Self { core, organisation, dry_run, links, from: range.start, end: range.end, ended }
    }

    /// Looks at a page: how many links it had, and where the next begins. Nothing behind the last.
    pub(crate) async fn page(
        &mut self,
        report: &mut CollectReport,
    ) -> Result<Option<(u64, Key)>, Error> {
        if self.ended {
            return Ok(None);
        }
        let rows = self.links.next().await?;
        let mut wanted = BTreeMap::new();
        for row in &rows {
            if let Some((digest, place)) = small_manifest(row) {
                wanted.insert(digest, place);
            }
        }
        let last = rows.last().and_then(|(key, _)| keys::parse_content(key));
        let last = last.map(|(digest, _)| keys::copy(self.organisation, &digest));
        // The links of the last digest may go on in the next page: it is looked at there too.
        let next = last.unwrap_or_else(|| self.end.clone());
        self.ended = rows.is_empty();
        let end = if self.ended { self.end.clone() } else { behind(&next) };
        self.compare(self.from.clone()..end, &mut wanted, report).await?;
        self.copy(wanted, report).await?;
        self.from.clone_from(&next);
        Ok(Some((rows.len() as u64, next)))
    }

    /// Leaves in `wanted` what has no copy, and removes copies that nobody wants.
    async fn compare(
        &self,
        range: Range<Key>,
        wanted: &mut BTreeMap<Digest, Place>,
        report: &mut CollectReport,
    ) -> Result<(), Error> {
        let mut pages = Pages::new(&*self.core.meta, range);
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, value) in rows {
                let Some((_, digest)) = keys::parse_copy(&key) else {
                    report.unreadable += 1;
                    continue;
                };
                let seen = Seen::<CopyRecord>::if_readable(key, Some(value));
                let stored = seen.value.as_ref().is_some_and(|copy| copy.stored);
                if wanted.contains_key(&digest) {
                    if stored {
                        wanted.remove(&digest);
                    }
                } else if !self.is_wanted(&digest).await? {
                    self.remove(&digest, &seen, report).await?;
                }
            }
        }
    }

    /// Whether any repository has the small manifest. A link that can't be read may.
    async fn is_wanted(&self, digest: &Digest) -> Result<bool, Error> {
        let links = prefix_range(&keys::blob(self.organisation, digest));
        let mut pages = Pages::new(&*self.core.meta, links);
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(false);
            }
            let wants = |(key, value): &Row| {
                let link = matches!(keys::parse_content(key), Some((_, Some(_))));
                link && LinkRecord::decode(value)
                    .map_or(true, |link| link.manifest == Some(ManifestPlace::Record))
            };
            if rows.iter().any(wants) {
                return Ok(true);
            }
        }
    }

    /// The row and then the object: a crash between the two leaves an orphan.
    async fn remove(
        &self,
        digest: &Digest,
        seen: &Seen<CopyRecord>,
        report: &mut CollectReport,
    ) -> Result<(), Error> {
        let size = seen.value.as_ref().map_or(0, |copy| copy.size);
        if self.dry_run {
            report.uncopied.add(size);
            return Ok(());
        }
        if !forget(self.core, seen).await? {
            return Ok(());
        }
        report.uncopied.add(size);
        if let Some(copy) = &seen.value {
            let object = copy.object(self.organisation, digest);
            if let Err(error) = self.core.blobs.delete(&object).await {
                report.failure(Some(digest), &error);
            }
        }
        Ok(())
    }

    async fn copy(
        &self,
        wanted: BTreeMap<Digest, Place>,
        report: &mut CollectReport,
    ) -> Result<(), Error> {
        let wanted: Vec<_> = wanted.into_iter().collect();
        for some in wanted.chunks(BATCH) {
            match self.copy_some(some, report).await {
                Ok(()) => {}
                // What room there is is kept for what frees some: the rest of the collection.
                Err(Error::StorageFull(reason)) => {
                    tracing::warn!(reason, "small manifests are not copied");
                    report.failed += 1;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn copy_some(
        &self,
        some: &[(Digest, Place)],
        report: &mut CollectReport,
    ) -> Result<(), Error> {
        self.core.require_room().await?;
        let manifests = small_manifests(self.core, self.organisation, some).await?;
        if self.dry_run {
            for one in &manifests {
                report.copied.add(one.bytes.len() as u64);
            }
            return Ok(());
        }
        let stored = Batch::begin(self.core, self.organisation, manifests).await?.store().await?;
        report.copied.count += stored.made.count;
        report.copied.bytes += stored.made.bytes;
        if let Some(error) = stored.refused {
            report.failure(None, &error);
        }
        Ok(())
    }
}

/// Removes the row of a copy, which is nobody's from then on; false where it changed meanwhile.
pub(crate) async fn forget(core: &Core, seen: &Seen<CopyRecord>) -> Result<bool, Error> {
    let mut change = Change::freeing(core);
    change.remove(seen);
    match change.commit().await {
        Ok(()) => Ok(true),
        Err(Attempt::Lost) => Ok(false),
        Err(Attempt::Failed(error)) => Err(error),
    }
}

/// The small manifest that a link is of, and where.
fn small_manifest((key, value): &Row) -> Option<(Digest, Place)> {
    let (digest, repository) = keys::parse_content(key)?;
    let link = LinkRecord::decode(value).ok()?;
    let place = Place { repository: repository?, number: link.number };
    (link.manifest == Some(ManifestPlace::Record)).then_some((digest, place))
}
