//! One collection, from the first organisation to the last object.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::Engine;
use crate::change::{Attempt, Change, Seen};
use crate::content::ObjectKey;
use crate::copies;
use crate::core::Core;
use crate::digest::Digest;
use crate::epoch::{self, Look};
use crate::error::Error;
use crate::gc::content::Content;
use crate::gc::course::Course;
use crate::gc::cursor::{CursorRecord, Phase};
use crate::gc::lease::Lease;
use crate::gc::links::Links;
use crate::gc::orphans::PAGE_OBJECTS;
use crate::gc::walk::{PAGE_ROWS, Pages, behind, organisations};
use crate::gc::{CollectReport, Extent, Progress, Watch, cursor, orphans, sessions};
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::{Key, Row, prefix_range};
use crate::name::OrganisationName;
use crate::records::LinkRecord;
use crate::retention;
use crate::tenancy::purge::{Bounds, Purged, purge, purge_on};

/// How long a run without a budget goes on, behind its walk, with tenants that were too large for a turn.
const PURGE_TIME: Duration = Duration::from_mins(10);

/// What to collect.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CollectOptions {
    /// Only tell what would be done.
    pub dry_run: bool,
    /// Only in this organisation; everywhere where absent.
    pub organisation: Option<OrganisationName>,
    /// Sweep the blob store also where it is of another epoch than the metadata, as after a restore
    /// of older ones: what was pushed since goes, unless [`Engine::adopt`] took it up before.
    pub despite_restore: bool,
    /// About how many rows and objects to look at, and again how many rows of deleted tenants to remove;
    /// the next run goes on there. All where absent, but of deleted tenants no more than ten minutes
    /// remove.
    pub budget: Option<u64>,
}

impl CollectOptions {
    /// Collects everything, everywhere.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Sweeps also what a restore of older metadata does not know.
    pub fn despite_restore(mut self) -> Self {
        self.despite_restore = true;
        self
    }

    /// Only tells what would be done.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }
}

/// A run over the content.
struct Run<'a> {
    core: &'a Core,
    options: &'a CollectOptions,
    watch: Watch<'a>,
    /// The right to do so, where others could.
    lease: Option<&'a Lease>,
    report: CollectReport,
    /// The organisations that are walked.
    course: Course,
}

impl Engine {
    /// First removes what the registries' retention rules let go ([`crate::retention`]). Then removes
    /// what nobody uses: links that are neither leased nor named, content without links,
    /// uploads that expired, objects that nothing names, and what is left of deleted tenants. Copies
    /// small manifests to the blob store where that was not done behind their push. Runs while
    /// everybody works, and next to other runs, and stops nobody.
    ///
    /// Content goes in two runs: the first marks it, and one after
    /// [`Settings::delete_delay`](crate::Settings::delete_delay) deletes its object and gives its bytes back. Needs no room in the
    /// blob store (where there is none, it copies no manifests). A run that finds where an earlier one was stopped begins there, and then does
    /// what lies before, so each complete run has looked at everything.
    ///
    /// On a store that several processes share one of them collects at a time:
    /// [`Error::Collecting`] tells another which.
    ///
    /// Where the metadata are older than the blob store, as after a restore, the objects that nothing
    /// names stay ([`CollectReport::refused`]) until [`Self::adopt`] has run.
    ///
    /// Fails with [`Error::NameUnknown`] where the organisation is not there, and where a store is
    /// away; what was done stays done. Dropping the future is as a kill: the next run goes on.
    pub async fn collect(
        &self,
        options: &CollectOptions,
        watch: Watch<'_>,
    ) -> Result<CollectReport, Error> {
        let core = &*self.core;
        let shared = core.meta.is_shared() && !options.dry_run;
        let lease = if shared { Some(Lease::take(&self.core).await?) } else { None };
        let (report, course) = (CollectReport::default(), Course::default());
        let mut run = Run { core, options, watch, lease: lease.as_ref(), report, course };
        let ended = match run.rules(&self.core).await {
            Ok(()) => run.all().await,
            failed => failed,
        };
        let report = run.report;
        // Also where it failed: another may have better luck at once.
        let given_back = match lease {
            Some(lease) => lease.give_back().await,
            None => Ok(()),
        };
        ended.and(given_back).map(|()| report)
    }

    /// Gives room that removed rows held back in the metadata to the system, as far as its store
    /// can; returns the bytes given back. Commits wait while it works.
    pub async fn compact(&self) -> Result<u64, Error> {
        Ok(self.core.meta.compact().await?)
    }
}

impl Run<'_> {
    async fn all(&mut self) -> Result<(), Error> {
        let mut left = false;
        if self.keeps_cursor() {
            let rows = self.options.budget.unwrap_or(u64::MAX);
            left = self.tenants(purge(self.core, Bounds { rows, ..Bounds::default() })).await?;
        }
        let domains = organisations(self.core, self.options.organisation.as_ref()).await?;
        self.course = Course::over(&*self.core.meta, &domains).await?;
        self.walk(&domains).await?;
        // A tenant that is too large for its turn waits until all others had theirs.
        if left && self.options.budget.is_none() {
            left = self.tenants(purge_on(self.core, PURGE_TIME)).await?;
        }
        self.report.complete &= !left;
        Ok(())
    }

    /// What the registries' rules let go: links only, so that the walk behind finds the rest.
    async fn rules(&mut self, core: &Arc<Core>) -> Result<(), Error> {
        if !self.keeps_cursor() {
            return Ok(());
        }
        let goes_on = || self.lease.map_or(Ok(()), Lease::check);
        let done = retention::run_all(core, self.options.budget, goes_on).await?;
        self.report.expired_tags = done.tags;
        self.report.expired_manifests = done.manifests;
        let (phase, done) = ("retention", done.looked_at);
        (self.watch)(&Progress { phase, done, bytes: 0, extent: None });
        Ok(())
    }

    /// Whether rows saw all that was done to the bucket, so that they tell what is garbage in it.
    async fn may_sweep(&self) -> Result<bool, Error> {
        let despite = self.options.despite_restore;
        let agreed = despite || Look::take(self.core).await?.agrees();
        if self.options.dry_run || !agreed {
            return Ok(agreed);
        }
        if despite {
            epoch::unite(self.core).await.or_else(unless_full)?;
        }
        epoch::advance(self.core).await.or_else(|error| unless_full(error).map(|()| agreed))
    }

    /// What is left of deleted tenants; says whether the bounds left some of it.
    async fn tenants(
        &mut self,
        purge: impl Future<Output = Result<Purged, Error>>,
    ) -> Result<bool, Error> {
        let purged = match purge.await {
            Ok(purged) => purged,
            // Another run is at it.
            Err(Error::Contended { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.report.tenant_rows += purged.rows;
        self.report.tenant_objects.count += purged.objects;
        self.report.tenant_objects.bytes += purged.bytes;
        self.report.unreadable += purged.unreadable;
        self.report.failed += purged.failed;
        let (done, bytes) = (self.report.tenant_rows, self.report.tenant_objects.bytes);
        (self.watch)(&Progress { phase: "tenants", done, bytes, extent: None });
        Ok(purged.left)
    }

    /// Everything, from where the last run was stopped on, and then what lies before.
    async fn walk(&mut self, domains: &[OrganisationId]) -> Result<(), Error> {
        let cursor = if self.keeps_cursor() { cursor::load(self.core).await? } else { None };
        self.report.resumed = cursor.is_some();
        let start = cursor.unwrap_or_else(CursorRecord::start);
        for late in [true, false] {
            for phase in Phase::ALL {
                let Some((from, to)) = start.part(phase, late) else { continue };
                if !self.phase(phase, domains, from, to).await? {
                    return Ok(());
                }
            }
        }
        self.report.complete = true;
        if self.keeps_cursor() {
            cursor::clear(self.core).await?;
        }
        Ok(())
    }

    /// One phase between two keys; false where the budget ended it.
    async fn phase(
        &mut self,
        phase: Phase,
        domains: &[OrganisationId],
        from: Key,
        to: Option<Key>,
    ) -> Result<bool, Error> {
        if phase == Phase::Objects {
            return self.objects(domains, from, to).await;
        }
        let domains = match phase {
            Phase::Copies => {
                let all = self.options.organisation.is_none();
                copies::domains(self.core, domains, all).await?
            }
            _ => domains.to_vec(),
        };
        for domain in &domains {
            let all = match phase {
                Phase::Uploads => keys::sessions(*domain),
                Phase::Copies => keys::copies(*domain),
                _ => keys::contents(*domain),
            };
            let mut range = prefix_range(&all);
            range.start = range.start.max(from.clone());
            if let Some(to) = &to {
                range.end = range.end.min(to.clone());
            }
            let goes_on = match phase {
                Phase::Uploads => self.uploads(*domain, range).await?,
                Phase::Copies => self.copies(*domain, range).await?,
                _ => self.domain(*domain, range).await?,
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The uploads of one organisation; false where the budget ended it.
    async fn uploads(&mut self, domain: OrganisationId, range: Range<Key>) -> Result<bool, Error> {
        let mut pages = Pages::new(&*self.core.meta, range);
        loop {
            let rows = pages.next().await?;
            let Some((last, _)) = rows.last() else { return Ok(true) };
            let next = behind(last);
            self.report.looked_at += rows.len() as u64;
            let dry_run = self.options.dry_run;
            sessions::expire(self.core, domain, rows, dry_run, &mut self.report).await?;
            self.note(Phase::Uploads, next).await?;
            self.tell("uploads", self.report.uploads.bytes, None);
            if self.is_spent() {
                return Ok(false);
            }
        }
    }

    /// The copies of one organisation; false where the budget ended it. Before the objects: what copies
    /// give up is among them.
    async fn copies(&mut self, domain: OrganisationId, range: Range<Key>) -> Result<bool, Error> {
        let start = range.start.clone();
        let mut walk = copies::Walk::new(self.core, domain, range, self.options.dry_run);
        while let Some((rows, next)) = walk.page(&mut self.report).await? {
            self.report.looked_at += rows;
            if rows > 0 {
                self.note(Phase::Copies, next.clone()).await?;
            }
            let at = self.stands(domain, &keys::copies(domain), &next);
            self.tell("copies", self.report.copied.bytes, at);
            // As with content: more links of one digest than a page has must not keep the walk.
            if self.is_spent() && next > start {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The objects behind `from`, up to `to`; false where the budget ended it.
    async fn objects(
        &mut self,
        domains: &[OrganisationId],
        from: Key,
        to: Option<Key>,
    ) -> Result<bool, Error> {
        let prefix = match (&self.options.organisation, domains.first()) {
            (Some(_), Some(domain)) => keys::object::domain(*domain),
            _ => String::new(),
        };
        if !self.may_sweep().await? {
            self.report.refused = true;
            return Ok(true);
        }
        let mut after = String::from_utf8(from).ok().and_then(ObjectKey::new);
        loop {
            let blobs = &self.core.blobs;
            let mut entries = blobs.list(&prefix, after.as_ref(), PAGE_OBJECTS).await?;
            if let Some(to) = &to {
                entries.retain(|entry| entry.key.as_str().as_bytes() <= to.as_slice());
            }
            let Some(last) = entries.last().map(|entry| entry.key.clone()) else {
                return Ok(true);
            };
            self.report.looked_at += entries.len() as u64;
            let dry_run = self.options.dry_run;
            orphans::sweep(self.core, &entries, dry_run, &mut self.report).await?;
            self.note(Phase::Objects, last.as_str().as_bytes().to_vec()).await?;
            let at = self.course.behind_objects(&entries);
            self.tell("objects", self.report.orphans.bytes, at);
            after = Some(last);
            if self.is_spent() {
                return Ok(false);
            }
        }
    }

    fn keeps_cursor(&self) -> bool {
        !self.options.dry_run && self.options.organisation.is_none()
    }

    fn is_spent(&self) -> bool {
        self.options.budget.is_some_and(|budget| self.report.looked_at >= budget)
    }

    fn tell(&self, phase: &'static str, bytes: u64, extent: Option<Extent>) {
        (self.watch)(&Progress { phase, done: self.report.looked_at, bytes, extent });
    }

    /// How far a walk over keys that are digests behind `prefix` is, before `next`.
    fn stands(&self, domain: OrganisationId, prefix: &[u8], next: &[u8]) -> Option<Extent> {
        match next.strip_prefix(prefix) {
            Some(digest) => self.course.at(domain, digest),
            None => self.course.behind(domain),
        }
    }

    /// The content of one organisation; false where the budget ended it.
    async fn domain(&mut self, domain: OrganisationId, range: Range<Key>) -> Result<bool, Error> {
        let now = self.core.now().await?;
        let mut links = Links::new(self.core, domain, now, self.options.dry_run);
        let start = range.start.clone();
        let mut pages = Pages::new(&*self.core.meta, range);
        // The rows of a digest are its blob's and then its links': the blob is decided last.
        let mut open: Option<(Digest, bool)> = None;
        loop {
            let rows = pages.next().await?;
            let (end, nothing) = (rows.len() < PAGE_ROWS, rows.is_empty());
            self.report.looked_at += rows.len() as u64;
            for (key, value) in rows {
                self.row(domain, &mut links, (key, value), &mut open).await?;
            }
            if end && let Some((digest, needed)) = open.take() {
                self.close(domain, digest, needed).await?;
            }
            // What is still open is looked at again by whoever goes on here.
            let next = match &open {
                Some((digest, _)) => keys::blob(domain, digest),
                None => prefix_range(&keys::contents(domain)).end,
            };
            if !nothing {
                self.note(Phase::Contents, next.clone()).await?;
            }
            let at = self.stands(domain, &keys::contents(domain), &next);
            self.tell("content", self.report.deleted.bytes, at);
            if end {
                return Ok(true);
            }
            // A digest with more links than a page has must not keep the walk in its place.
            if self.is_spent() && next > start {
                return Ok(false);
            }
        }
    }

    async fn row(
        &mut self,
        domain: OrganisationId,
        links: &mut Links<'_>,
        (key, value): Row,
        open: &mut Option<(Digest, bool)>,
    ) -> Result<(), Error> {
        let Some((digest, repository)) = keys::parse_content(&key) else {
            self.report.unreadable += 1;
            return Ok(());
        };
        if let Some((before, needed)) = open.take_if(|(before, _)| *before != digest) {
            self.close(domain, before, needed).await?;
        }
        let (_, needed) = open.get_or_insert((digest, false));
        if let Some(repository) = repository {
            if let Ok(seen) = Seen::<LinkRecord>::new(key, Some(value)) {
                *needed |= links.look(&digest, repository, &seen, &mut self.report).await?;
            } else {
                self.report.unreadable += 1;
                *needed = true;
            }
        }
        Ok(())
    }

    async fn close(
        &mut self,
        organisation: OrganisationId,
        digest: Digest,
        needed: bool,
    ) -> Result<(), Error> {
        let content = Content { core: self.core, organisation, digest };
        let (now, dry_run) = (self.core.now().await?, self.options.dry_run);
        match content.look(needed, now, dry_run, &mut self.report).await {
            // A row that can't be read stays, and so does what it may name.
            Err(Error::Corrupted(reason)) => {
                tracing::error!(%digest, reason, "a blob's row can't be read");
                self.report.unreadable += 1;
                Ok(())
            }
            other => other,
        }
    }

    /// Writes where the run stands; fails where another has the right to collect now.
    async fn note(&self, phase: Phase, next: Key) -> Result<(), Error> {
        if let Some(lease) = self.lease {
            lease.check()?;
        }
        if !self.keeps_cursor() {
            return Ok(());
        }
        let mut change = Change::freeing(self.core);
        cursor::save(&mut change, phase, next);
        match change.commit().await {
            Ok(()) | Err(Attempt::Lost) => Ok(()),
            Err(Attempt::Failed(error)) => Err(error),
        }
    }
}

/// A full disk has no room for the next epoch, and is what the sweep makes room on: it goes on in the
/// one that is.
fn unless_full(error: Error) -> Result<(), Error> {
    match error {
        Error::StorageFull(reason) => {
            tracing::warn!(reason, "the epoch stays, for want of room");
            Ok(())
        }
        error => Err(error),
    }
}
