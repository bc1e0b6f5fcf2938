//! A small manifest that the metadata lost, written anew from an object that has its bytes.
//!
//! That it was here is known from its link, which says its number too: the tags, and the manifests
//! that name it, find it again. What it names is read from its bytes, and found by its links.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::audit::{Event, EventKind};
use crate::change::{Change, Seen, retry};
use crate::content::{ObjectEntry, ObjectRead};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::walk::Pages;
use crate::gc::{AdoptReport, Progress, Watch};
use crate::graph::put_manifest;
use crate::id::{OrganisationId, RepositoryId};
use crate::keys;
use crate::manifest::Manifest;
use crate::meta::prefix_range;
use crate::records::{
    Body, ChildRecord, CopyRecord, LinkRecord, LinkState, ManifestPlace, ManifestRecord,
    OrganisationRecord, Record,
};

/// How many objects of one digest are tried.
const TRIED: usize = 100;

/// A link that says that a small manifest is here.
struct Linked {
    organisation: OrganisationId,
    repository: RepositoryId,
    digest: Digest,
    link: LinkRecord,
}

/// Forgets copies that are not there, so that they are made anew, and rebuilds the organisation's
/// small manifests whose record is lost or damaged.
pub(crate) async fn rebuild(
    core: &Core,
    organisation: OrganisationId,
    dry_run: bool,
    report: &mut AdoptReport,
    watch: Watch<'_>,
) -> Result<(), Error> {
    let mut links = Pages::new(&*core.meta, prefix_range(&keys::contents(organisation)));
    let mut done = 0;
    loop {
        let rows = links.next().await?;
        if rows.is_empty() {
            break;
        }
        done += rows.len() as u64;
        for (key, value) in rows {
            let Some((digest, Some(repository))) = keys::parse_content(&key) else { continue };
            let Ok(link) = LinkRecord::decode(&value) else { continue };
            if link.manifest == Some(ManifestPlace::Record) {
                Linked { organisation, repository, digest, link }
                    .see(core, dry_run, report)
                    .await?;
            }
        }
        let bytes = report.rebuilt.bytes;
        watch(&Progress { phase: "manifests", done, bytes, extent: None });
    }
    forget_lost(core, organisation, dry_run, report).await
}

impl Linked {
    async fn see(&self, core: &Core, dry_run: bool, report: &mut AdoptReport) -> Result<(), Error> {
        let key = keys::manifest(self.organisation, self.repository, self.link.number);
        if is_whole(core.meta.get(&key).await?, &self.digest) {
            return Ok(());
        }
        let Some(bytes) = self.bytes(core).await? else {
            report.lost.add(self.link.size);
            return Ok(());
        };
        if dry_run || self.write(core, &bytes).await? {
            report.rebuilt.add(self.link.size);
        }
        Ok(())
    }

    /// The bytes, from whichever object has them.
    async fn bytes(&self, core: &Core) -> Result<Option<Bytes>, Error> {
        let prefix = keys::object::generations(self.organisation, &self.digest);
        for entry in core.blobs.list(&prefix, None, TRIED).await? {
            if entry.size == self.link.size
                && let Some(bytes) = read_small(core, &entry).await
                && Digest::of(self.digest.algorithm(), &bytes) == self.digest
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Writes the record and all that hangs on it; false where it is whole or gone by now.
    ///
    /// The organisation paid for the manifest when it was pushed, and the counter has it still.
    async fn write(&self, core: &Core, bytes: &Bytes) -> Result<bool, Error> {
        let (organisation, repository, digest) = (self.organisation, self.repository, &self.digest);
        retry!("a manifest to rebuild", attempt => {
            let owner: Seen<OrganisationRecord> =
                core.read(keys::organisation(organisation)).await?;
            let link: Seen<LinkRecord> =
                core.read(keys::link(organisation, digest, repository)).await?;
            let key = keys::manifest(organisation, repository, self.link.number);
            let raw = core.meta.get(&key).await?;
            let gone = owner.value.is_none() || link.value.as_ref() != Some(&self.link);
            if gone || is_whole(raw.clone(), digest) {
                return Ok(false);
            }
            let damaged = Seen::<ManifestRecord>::if_readable(key, raw);
            let before = damaged.value.as_ref().filter(|record| record.digest == *digest);
            let media_type = before.map(|record| Arc::clone(&record.media_type));
            let manifest =
                Manifest::parse(bytes, media_type.as_deref(), &core.settings.manifest)?;
            let now = core.now().await?;
            let pushed_at = before.map_or(now, |record| record.pushed_at);
            let mut change = Change::new(core);
            change.lean(&owner);
            change.lean(&link);
            let children = self.children(core, &manifest, &mut change).await?;
            let missing = children.iter().filter(|child| child.number.is_none()).count();
            let record = ManifestRecord {
                digest: *digest,
                media_type: manifest.media_type.as_str().into(),
                kind: manifest.kind,
                size: self.link.size,
                artifact_type: manifest.artifact_type.clone(),
                subject: manifest.subject.as_ref().map(|subject| subject.digest),
                children,
                pushed_at,
                body: Body::Inline(bytes.to_vec()),
            };
            // Requires the row as it was: absent, or damaged.
            change.lean(&damaged);
            put_manifest(&mut change, organisation, repository, self.link.number, &manifest, &record);
            change.touches_reference(repository, &digest.to_string());
            let missing = u64::try_from(missing).unwrap_or(u64::MAX);
            let kind = EventKind::ManifestRebuilt { repository, digest: *digest, missing };
            change.event(Event::by_system(organisation, now, kind));
            change.commit().await?;
            Ok(true)
        })
    }

    /// What the manifest names, held by `change`; what is not linked here is named as a sparse
    /// manifest names it.
    async fn children(
        &self,
        core: &Core,
        manifest: &Manifest,
        change: &mut Change<'_>,
    ) -> Result<Vec<ChildRecord>, Error> {
        let mut children: Vec<ChildRecord> = Vec::new();
        for child in manifest.children().filter(|child| !child.foreign) {
            if children.iter().any(|known| known.digest == child.digest) {
                continue;
            }
            let key = keys::link(self.organisation, &child.digest, self.repository);
            let link: Seen<LinkRecord> = core.read(key).await?;
            match &link.value {
                Some(record) if record.state != LinkState::Live => {
                    let live = LinkRecord { state: LinkState::Live, ..record.clone() };
                    change.replace(&link, &live);
                }
                _ => change.lean(&link),
            }
            let number = link.value.map(|link| link.number);
            children.push(ChildRecord { digest: child.digest, number });
        }
        Ok(children)
    }
}

/// Whether the row is the manifest's record, with its bytes.
fn is_whole(row: Option<Bytes>, digest: &Digest) -> bool {
    let Some(Ok(record)) = row.map(|row| ManifestRecord::decode(&row)) else { return false };
    match &record.body {
        Body::Inline(bytes) => {
            record.digest == *digest && Digest::of(digest.algorithm(), bytes) == *digest
        }
        Body::Stored => false,
    }
}

/// The bytes of a small object, where they can be read.
pub(crate) async fn read_small(core: &Core, entry: &ObjectEntry) -> Option<Bytes> {
    match core.blobs.read(&entry.key, 0..entry.size).await.ok()? {
        ObjectRead::Stream(stream) => {
            Some(stream.try_collect::<Vec<_>>().await.ok()?.concat().into())
        }
        ObjectRead::File { file, offset, length } => {
            let read = tokio::task::spawn_blocking(move || {
                use std::os::unix::fs::FileExt;
                let mut bytes = vec![0; usize::try_from(length).ok()?];
                file.read_exact_at(&mut bytes, offset).ok()?;
                Some(Bytes::from(bytes))
            });
            read.await.ok()?
        }
    }
}

/// Removes the rows of copies whose object is not there: the next collection makes them anew.
async fn forget_lost(
    core: &Core,
    organisation: OrganisationId,
    dry_run: bool,
    report: &mut AdoptReport,
) -> Result<(), Error> {
    let mut pages = Pages::new(&*core.meta, prefix_range(&keys::copies(organisation)));
    loop {
        let rows = pages.next().await?;
        if rows.is_empty() {
            return Ok(());
        }
        for (key, value) in rows {
            let Some((_, digest)) = keys::parse_copy(&key) else { continue };
            let seen = Seen::<CopyRecord>::if_readable(key, Some(value));
            let Some(copy) = seen.value.as_ref().filter(|copy| copy.stored) else { continue };
            let found = core.blobs.stat(&copy.object(organisation, &digest)).await?;
            if found == Some(copy.size) {
                continue;
            }
            report.forgotten.add(copy.size);
            if !dry_run {
                super::walk::forget(core, &seen).await?;
            }
        }
    }
}
