//! The collection's walk: the organisations' links and copies side by side, in the order of digests.
//!
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
use crate::gc::walk::{Pages, behind};
use crate::gc::{CollectReport, Progress, Watch};
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::{Key, Row, prefix_range};
use crate::records::{CopyRecord, LinkRecord, ManifestPlace, Record};

struct Walk<'a> {
    core: &'a Core,
    dry_run: bool,
    report: &'a mut CollectReport,
    watch: Watch<'a>,
}

/// Walks these organisations; `all`: they are all there are, so what others have goes.
pub(crate) async fn walk(
    core: &Core,
    organisations: &[OrganisationId],
    all: bool,
    dry_run: bool,
    report: &mut CollectReport,
    watch: Watch<'_>,
) -> Result<(), Error> {
    let mut walk = Walk { core, dry_run, report, watch };
    for organisation in organisations {
        walk.organisation(*organisation).await?;
    }
    if all {
        walk.gone(&organisations.iter().copied().collect()).await?;
    }
    Ok(())
}

impl Walk<'_> {
    async fn organisation(&mut self, organisation: OrganisationId) -> Result<(), Error> {
        let mut links = Pages::new(&*self.core.meta, prefix_range(&keys::contents(organisation)));
        let copies = prefix_range(&keys::copies(organisation));
        let (mut from, mut done) = (copies.start, 0);
        loop {
            let rows = links.next().await?;
            done += rows.len() as u64;
            let mut wanted = BTreeMap::new();
            for row in &rows {
                if let Some((digest, place)) = small_manifest(row) {
                    wanted.insert(digest, place);
                }
            }
            let last = rows.last().and_then(|(key, _)| keys::parse_content(key));
            let last = last.map(|(digest, _)| keys::copy(organisation, &digest));
            // The links of the last digest may go on in the next page: it is looked at there too.
            let next = last.unwrap_or_else(|| copies.end.clone());
            let end = if rows.is_empty() { copies.end.clone() } else { behind(&next) };
            self.compare(organisation, from..end, &mut wanted).await?;
            self.copy(organisation, wanted).await?;
            (self.watch)(&Progress { phase: "copies", done, bytes: self.report.copied.bytes });
            if rows.is_empty() {
                return Ok(());
            }
            from = next;
        }
    }

    /// Leaves in `wanted` what has no copy, and removes copies that nobody wants.
    async fn compare(
        &mut self,
        organisation: OrganisationId,
        range: Range<Key>,
        wanted: &mut BTreeMap<Digest, Place>,
    ) -> Result<(), Error> {
        let mut pages = Pages::new(&*self.core.meta, range);
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, value) in rows {
                let Some((_, digest)) = keys::parse_copy(&key) else {
                    self.report.unreadable += 1;
                    continue;
                };
                let seen = Seen::<CopyRecord>::if_readable(key, Some(value));
                let stored = seen.value.as_ref().is_some_and(|copy| copy.stored);
                if wanted.contains_key(&digest) {
                    if stored {
                        wanted.remove(&digest);
                    }
                } else if !self.is_wanted(organisation, &digest).await? {
                    self.remove(organisation, &digest, &seen).await?;
                }
            }
        }
    }

    /// Whether any repository has the small manifest. A link that can't be read may.
    async fn is_wanted(
        &self,
        organisation: OrganisationId,
        digest: &Digest,
    ) -> Result<bool, Error> {
        let links = prefix_range(&keys::blob(organisation, digest));
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
        &mut self,
        organisation: OrganisationId,
        digest: &Digest,
        seen: &Seen<CopyRecord>,
    ) -> Result<(), Error> {
        let size = seen.value.as_ref().map_or(0, |copy| copy.size);
        if self.dry_run {
            self.report.uncopied.add(size);
            return Ok(());
        }
        if !forget(self.core, seen).await? {
            return Ok(());
        }
        self.report.uncopied.add(size);
        if let Some(copy) = &seen.value {
            let object = copy.object(organisation, digest);
            if let Err(error) = self.core.blobs.delete(&object).await {
                self.report.failure(Some(digest), &error);
            }
        }
        Ok(())
    }

    async fn copy(
        &mut self,
        organisation: OrganisationId,
        wanted: BTreeMap<Digest, Place>,
    ) -> Result<(), Error> {
        let wanted: Vec<_> = wanted.into_iter().collect();
        for some in wanted.chunks(BATCH) {
            match self.copy_some(organisation, some).await {
                Ok(()) => {}
                // What room there is is kept for what frees some: the rest of the collection.
                Err(Error::StorageFull(reason)) => {
                    tracing::warn!(reason, "small manifests are not copied");
                    self.report.failed += 1;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn copy_some(
        &mut self,
        organisation: OrganisationId,
        some: &[(Digest, Place)],
    ) -> Result<(), Error> {
        self.core.require_room().await?;
        let manifests = small_manifests(self.core, organisation, some).await?;
        if self.dry_run {
            for one in &manifests {
                self.report.copied.add(one.bytes.len() as u64);
            }
            return Ok(());
        }
        let stored = Batch::begin(self.core, organisation, manifests).await?.store().await?;
        self.report.copied.count += stored.made.count;
        self.report.copied.bytes += stored.made.bytes;
        if let Some(error) = stored.refused {
            self.report.failure(None, &error);
        }
        Ok(())
    }

    /// Copies of organisations that are no more.
    async fn gone(&mut self, there: &HashSet<OrganisationId>) -> Result<(), Error> {
        let mut range = prefix_range(&keys::all_copies());
        loop {
            let rows = self.core.meta.scan(range.clone(), 1).await?;
            let Some((key, _)) = rows.first() else { return Ok(()) };
            let Some((organisation, _)) = keys::parse_copy(key) else {
                self.report.unreadable += 1;
                range.start = behind(key);
                continue;
            };
            let own = prefix_range(&keys::copies(organisation));
            range.start.clone_from(&own.end);
            if !there.contains(&organisation) {
                self.compare(organisation, own, &mut BTreeMap::new()).await?;
            }
        }
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
