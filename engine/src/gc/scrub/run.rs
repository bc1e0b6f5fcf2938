//! One walk: the organisations' content, their small manifests, and the copies of those.

use std::cmp::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::place::{Part, Place, ScrubRecord};
use super::{ScrubOptions, ScrubReport};
use crate::change::Seen;
use crate::content::ObjectKey;
use crate::copies::forget;
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::course::Course;
use crate::gc::fsck::{Look, look_at};
use crate::gc::walk::{Pages, behind};
use crate::gc::{Extent, Progress, Tally, Watch};
use crate::graph::quarantine;
use crate::id::{OrganisationId, RepositoryId};
use crate::keys;
use crate::meta::{Key, prefix_range};
use crate::records::{BlobRecord, BlobState, Body, CopyRecord, ManifestRecord, Record};

/// The default of [`ScrubOptions::missing_in_a_row`].
const MISSING_IN_A_ROW: usize = 64;
/// What is said of content that is missing like all that was looked at.
const ALL_MISSING: &str = "is missing, as is all that was looked at: is the store there?";
/// The place is noted after so many pieces …
const NOTED_PIECES: u64 = 256;
/// … or so many bytes …
const NOTED_BYTES: u64 = 1 << 30;
/// … or so long: reading on costs more than the commit, and a kill costs no more than that again.
const NOTED_TIME: Duration = Duration::from_secs(30);

/// A run, as far as it is.
pub(super) struct Run<'a> {
    core: &'a Core,
    options: &'a ScrubOptions,
    watch: Watch<'a>,
    place: Place,
    pub(super) report: ScrubReport,
    /// Content that was missing while no object was found yet.
    missing: Vec<(OrganisationId, Digest)>,
    /// The object that was found last: while it is there, the store is.
    found: Option<ObjectKey>,
    /// What was read since the place was noted, and when that was.
    unnoted: Tally,
    noted_at: Instant,
    /// All that there is, and how far in it the walk stands.
    course: Course,
    stands: Option<Extent>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        core: &'a Core,
        options: &'a ScrubOptions,
        watch: Watch<'a>,
        place: Place,
        report: ScrubReport,
    ) -> Self {
        let (missing, found, unnoted) = (Vec::new(), None, Tally::default());
        let noted_at = Instant::now();
        let (course, stands) = (Course::default(), None);
        Self {
            core,
            options,
            watch,
            place,
            report,
            missing,
            found,
            unnoted,
            noted_at,
            course,
            stands,
        }
    }

    /// All of these organisations, in the order of their ids, from `start` on.
    pub(super) async fn all(
        &mut self,
        organisations: &[OrganisationId],
        start: Option<ScrubRecord>,
    ) -> Result<(), Error> {
        self.course = Course::over(&*self.core.meta, organisations).await?;
        for organisation in organisations {
            for part in Part::ALL {
                let from = match &start {
                    Some(start) => {
                        match (*organisation, part).cmp(&(start.organisation, start.part)) {
                            Ordering::Less => continue,
                            Ordering::Equal => start.next.clone(),
                            Ordering::Greater => Key::default(),
                        }
                    }
                    None => Key::default(),
                };
                self.part(*organisation, part, from).await?;
            }
        }
        self.settle_missing().await
    }

    fn wants(&self, digest: &Digest) -> bool {
        self.options.subset.is_none_or(|subset| subset.has(digest))
    }

    /// One part of an organisation, from a key on.
    async fn part(
        &mut self,
        organisation: OrganisationId,
        part: Part,
        from: Key,
    ) -> Result<(), Error> {
        // Content comes first, and nearly all bytes are its.
        self.stands = match part {
            Part::Contents => self.course.at(organisation, &[]),
            Part::Manifests | Part::Copies => self.course.behind(organisation),
        };
        match part {
            Part::Contents => {
                self.rows(organisation, part, &keys::contents(organisation), from).await
            }
            Part::Manifests => self.manifests(organisation, from).await,
            Part::Copies => self.rows(organisation, part, &keys::copies(organisation), from).await,
        }
    }

    /// What the rows with this prefix say is stored, from a key on.
    async fn rows(
        &mut self,
        organisation: OrganisationId,
        part: Part,
        prefix: &[u8],
        from: Key,
    ) -> Result<(), Error> {
        let mut range = prefix_range(prefix);
        range.start = range.start.max(from);
        let mut pages = Pages::new(&*self.core.meta, range);
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, value) in rows {
                let read = match part {
                    Part::Contents => self.content_row(organisation, &key).await?,
                    Part::Manifests => self.body(organisation, &value).await,
                    Part::Copies => self.copy(organisation, &key, value).await?,
                };
                if read {
                    self.note(organisation, part, &key).await?;
                }
            }
        }
    }

    /// Writes now and then that all up to `last` was read. Not while it is open whether what is missing
    /// is: whoever goes on has to look at it again.
    async fn note(
        &mut self,
        organisation: OrganisationId,
        part: Part,
        last: &[u8],
    ) -> Result<(), Error> {
        let due = self.unnoted.count >= NOTED_PIECES
            || self.unnoted.bytes >= NOTED_BYTES
            || self.noted_at.elapsed() >= NOTED_TIME;
        if !due || !self.missing.is_empty() {
            return Ok(());
        }
        let at = ScrubRecord { organisation, part, next: behind(last) };
        self.place.save(self.core, &at).await?;
        (self.unnoted, self.noted_at) = (Tally::default(), Instant::now());
        Ok(())
    }

    /// Decides on what was missing: rotten where the store is known to be there, and told otherwise.
    async fn settle_missing(&mut self) -> Result<(), Error> {
        for (organisation, digest) in std::mem::take(&mut self.missing) {
            if self.found.is_some() {
                self.content(organisation, &digest, true).await?;
            } else {
                self.report.rotten(organisation, &digest, ALL_MISSING.to_owned(), false);
            }
        }
        Ok(())
    }

    /// Whether what was found before still is: else the store may have gone since.
    async fn is_store_there(&self) -> bool {
        let Some(object) = &self.found else { return false };
        matches!(self.core.blobs.stat(object).await, Ok(Some(_)))
    }

    /// Waits with what is missing until an object is found.
    fn hold_missing(&mut self, organisation: OrganisationId, digest: &Digest) -> Result<(), Error> {
        self.found = None;
        self.missing.push((organisation, *digest));
        let bound = self.options.missing_in_a_row.unwrap_or(MISSING_IN_A_ROW).max(1);
        if self.missing.len() < bound {
            return Ok(());
        }
        Err(Error::Unavailable(format!(
            "{bound} objects in a row are missing, {digest} the last of them; is the blob store's \
             disk mounted, or its bucket the right one? Nothing of these was quarantined"
        )))
    }

    /// The content that a row is of, where it is of this share; says whether it is.
    async fn content_row(
        &mut self,
        organisation: OrganisationId,
        key: &[u8],
    ) -> Result<bool, Error> {
        let Some((digest, None)) = keys::parse_content(key) else { return Ok(false) };
        if !self.wants(&digest) {
            return Ok(false);
        }
        self.stands = self.course.at(organisation, &digest.to_bytes());
        self.content(organisation, &digest, false).await?;
        if self.found.is_some() && !self.missing.is_empty() {
            self.settle_missing().await?;
        }
        Ok(true)
    }

    /// Reads an object, and counts it where it is good or could not be read. What is missing is wrong where the
    /// store is there, as it is where that is `sure`.
    async fn read(&mut self, object: ObjectKey, size: u64, digest: &Digest, sure: bool) -> Look {
        let look = look_at(self.core, &object, size, digest, true).await;
        match &look {
            Look::Good => {
                self.found = Some(object);
                self.report.good.add(size);
            }
            Look::Wrong(_) => self.found = Some(object),
            Look::Missing if sure || self.is_store_there().await => {
                return Look::Wrong("is missing".to_owned());
            }
            Look::Missing => {}
            Look::Unread(why) => {
                tracing::warn!(%digest, why, "an object could not be read");
                self.report.unread.add(size);
            }
        }
        look
    }

    /// Reads one object; where its row changes meanwhile (moved, pushed anew, given up) again.
    /// `sure`: the store is there, so what is missing is.
    async fn content(
        &mut self,
        organisation: OrganisationId,
        digest: &Digest,
        sure: bool,
    ) -> Result<(), Error> {
        loop {
            let seen: Seen<BlobRecord> =
                match self.core.read(keys::blob(organisation, digest)).await {
                    Err(Error::Corrupted(reason)) => {
                        self.report.rotten(organisation, digest, reason, false);
                        return Ok(());
                    }
                    other => other?,
                };
            let Some(record) = &seen.value else { return Ok(()) };
            let size = record.size;
            match record.state {
                BlobState::Deleting { .. } => return Ok(()),
                BlobState::Quarantined { .. } => {
                    self.report.quarantined.add(size);
                    return Ok(());
                }
                BlobState::Live | BlobState::Condemned { .. } => {}
            }
            let object = record.object(organisation, digest);
            match self.read(object, size, digest, sure).await {
                Look::Wrong(what) => {
                    if !quarantine(self.core, organisation, digest, &seen, &what).await? {
                        continue;
                    }
                    self.report.rotten(organisation, digest, what, true);
                }
                Look::Missing => return self.hold_missing(organisation, digest),
                Look::Good | Look::Unread(_) => {}
            }
            self.pace(size).await;
            return Ok(());
        }
    }

    /// The manifests whose bytes are in the metadata, repository by repository in the order of ids.
    async fn manifests(&mut self, organisation: OrganisationId, from: Key) -> Result<(), Error> {
        let mut repositories = prefix_range(&keys::repositories(organisation));
        if let Some(repository) = keys::repository_of(&from) {
            self.bodies(organisation, repository, from).await?;
            repositories.start = prefix_range(&keys::repository_rows(organisation, repository)).end;
        }
        loop {
            let first = self.core.meta.scan(repositories.clone(), 1).await?;
            let Some((key, _)) = first.first() else { return Ok(()) };
            let Some(repository) = keys::repository_of(key) else { return Ok(()) };
            repositories.start = prefix_range(&keys::repository_rows(organisation, repository)).end;
            // What was given up has no record any more, and is no content.
            if *key == keys::repository(organisation, repository) {
                self.bodies(organisation, repository, Key::default()).await?;
            }
        }
    }

    async fn bodies(
        &mut self,
        organisation: OrganisationId,
        repository: RepositoryId,
        from: Key,
    ) -> Result<(), Error> {
        let prefix = keys::manifests(organisation, repository);
        self.rows(organisation, Part::Manifests, &prefix, from).await
    }

    /// A manifest's bytes in its row; says whether there are any, and of this share.
    async fn body(&mut self, organisation: OrganisationId, row: &[u8]) -> bool {
        let Ok(record) = ManifestRecord::decode(row) else { return false };
        let (digest, Body::Inline(bytes)) = (record.digest, &record.body) else { return false };
        if !self.wants(&digest) {
            return false;
        }
        if Digest::of(digest.algorithm(), bytes) == digest {
            self.report.good.add(record.size);
            self.pace(record.size).await;
        } else {
            let what = "the bytes in the metadata are not its own".to_owned();
            self.report.rotten(organisation, &digest, what, false);
        }
        true
    }

    /// The copy of a manifest in the blob store; says whether there is one of this share. One that is wrong is
    /// forgotten: the next collection makes it anew, and sweeps its object.
    async fn copy(
        &mut self,
        organisation: OrganisationId,
        key: &[u8],
        row: Bytes,
    ) -> Result<bool, Error> {
        let Some((_, digest)) = keys::parse_copy(key) else { return Ok(false) };
        let seen = Seen::<CopyRecord>::if_readable(key.to_vec(), Some(row));
        let Some(copy) = seen.value.as_ref().filter(|copy| copy.stored) else { return Ok(false) };
        if !self.wants(&digest) {
            return Ok(false);
        }
        let size = copy.size;
        let object = copy.object(organisation, &digest);
        match self.read(object, size, &digest, false).await {
            Look::Wrong(what) => {
                if forget(self.core, &seen).await? {
                    let what = format!("its copy in the bucket {what}; it is made anew");
                    self.report.rotten(organisation, &digest, what, false);
                }
            }
            Look::Missing => {
                tracing::warn!(%digest, "a copy is missing, or the store is");
                self.report.unread.add(size);
            }
            Look::Good | Look::Unread(_) => {}
        }
        self.pace(size).await;
        Ok(true)
    }

    /// Says how far it is, and rests where the bytes come too fast.
    async fn pace(&mut self, size: u64) {
        self.unnoted.add(size);
        let report = &self.report;
        let done = report.good.count + report.unread.count + report.wrong;
        let (bytes, extent) = (report.good.bytes, self.stands);
        (self.watch)(&Progress { phase: "content", done, bytes, extent });
        if let Some(rate) = self.options.bytes_per_second {
            let millis = size.saturating_mul(1000) / rate.max(1);
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }
}
