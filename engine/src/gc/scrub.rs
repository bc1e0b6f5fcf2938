//! Reading all that is stored again, to find what rotted.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::Engine;
use crate::change::Seen;
use crate::content::ObjectKey;
use crate::copies::forget;
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::fsck::{Look, look_at};
use crate::gc::walk::{Pages, organisations};
use crate::gc::{Progress, Tally, Watch};
use crate::graph::quarantine;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::{Row, prefix_range};
use crate::name::OrganisationName;
use crate::records::{BlobRecord, BlobState, Body, CopyRecord, ManifestRecord, NameRecord, Record};

/// The `n`th of `of` shares of all content; the shares `1..=of` together are all of it, each piece
/// in exactly one, the same in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subset {
    n: u32,
    of: NonZeroU32,
}

impl Subset {
    /// Share `n`, from 1, of `of`; `None` where there is no such share.
    pub fn new(n: u32, of: u32) -> Option<Self> {
        let of = NonZeroU32::new(of)?;
        (n >= 1 && n <= of.get()).then_some(Self { n, of })
    }

    /// Whether a piece of content is of this share. Digests are spread evenly already.
    fn has(self, digest: &Digest) -> bool {
        let last = digest.raw().last_chunk::<4>().copied().unwrap_or_default();
        u32::from_be_bytes(last) % self.of == self.n - 1
    }
}

/// What to scrub.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ScrubOptions {
    /// Only this share; all where absent.
    pub subset: Option<Subset>,
    /// Only this organisation; everywhere where absent.
    pub organisation: Option<OrganisationName>,
    /// About the most bytes read in a second; no bound where absent.
    pub bytes_per_second: Option<u64>,
    /// How many objects in a row may be missing before the store itself is taken to be away (a
    /// disk that is not mounted has nothing); 64 where absent.
    pub missing_in_a_row: Option<usize>,
}

/// The default of [`ScrubOptions::missing_in_a_row`].
const MISSING_IN_A_ROW: usize = 64;
/// The most pieces of rotten content that a report names.
const NAMED: usize = 10_000;
/// What is said of content that is missing like all that was looked at.
const ALL_MISSING: &str = "is missing, as is all that was looked at: is the store there?";

/// Content whose bytes are not its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotten {
    /// Whose.
    pub organisation: OrganisationId,
    /// Which.
    pub digest: Digest,
    /// What is wrong with it.
    pub what: String,
    /// Whether it answers as absent now, so that a push heals it. Not so for a manifest whose
    /// bytes are in the metadata: that is the database's damage, and `adopt` rebuilds it.
    pub quarantined: bool,
}

/// What a scrub found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Content read and found right.
    pub good: Tally,
    /// Content found wrong in this run, the first 10,000 pieces of it.
    pub rotten: Vec<Rotten>,
    /// How many pieces of content were found wrong in this run.
    pub wrong: u64,
    /// Content found wrong before, which no push has healed yet.
    pub quarantined: Tally,
    /// Content that the store failed to read; nothing was done about it.
    pub unread: Tally,
}

impl Engine {
    /// Reads and hashes what is stored, while everybody works. What is missing, short or wrong is
    /// quarantined: from then on it answers as absent, and pushing it again heals it.
    ///
    /// A read that fails says nothing about the bytes: it is counted, and nothing is quarantined.
    /// What is missing is quarantined only while another object is found, which shows that the
    /// store is there. Fails with [`Error::NameUnknown`] where the organisation is not there, with
    /// [`Error::Unavailable`] where [`ScrubOptions::missing_in_a_row`] objects are missing, and
    /// where the metadata is away. Dropping the future ends the walk; what was quarantined stays so.
    pub async fn scrub(
        &self,
        options: &ScrubOptions,
        watch: Watch<'_>,
    ) -> Result<ScrubReport, Error> {
        let core = &*self.core;
        let (report, missing) = (ScrubReport::default(), Vec::new());
        let mut scrub = Scrub { core, options, watch, report, missing, found: None };
        for organisation in organisations(core, options.organisation.as_ref()).await? {
            scrub.contents(organisation).await?;
            scrub.manifests(organisation).await?;
            scrub.copies(organisation).await?;
        }
        scrub.settle_missing().await?;
        Ok(scrub.report)
    }
}

struct Scrub<'a> {
    core: &'a Core,
    options: &'a ScrubOptions,
    watch: Watch<'a>,
    report: ScrubReport,
    /// Content that was missing while no object was found yet.
    missing: Vec<(OrganisationId, Digest)>,
    /// The object that was found last: while it is there, the store is.
    found: Option<ObjectKey>,
}

impl Scrub<'_> {
    fn wants(&self, digest: &Digest) -> bool {
        self.options.subset.is_none_or(|subset| subset.has(digest))
    }

    async fn contents(&mut self, organisation: OrganisationId) -> Result<(), Error> {
        let range = prefix_range(&keys::contents(organisation));
        let mut pages = Pages::new(&*self.core.meta, range);
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, _) in rows {
                if let Some((digest, None)) = keys::parse_content(&key)
                    && self.wants(&digest)
                {
                    self.content(organisation, &digest, false).await?;
                    if self.found.is_some() && !self.missing.is_empty() {
                        self.settle_missing().await?;
                    }
                }
            }
        }
    }

    /// Decides on what was missing: rotten where the store is known to be there, and told otherwise.
    async fn settle_missing(&mut self) -> Result<(), Error> {
        for (organisation, digest) in std::mem::take(&mut self.missing) {
            if self.found.is_some() {
                self.content(organisation, &digest, true).await?;
            } else {
                self.rotten(organisation, &digest, ALL_MISSING.to_owned(), false);
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
                        self.rotten(organisation, digest, reason, false);
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
            let wrong = match look_at(self.core, &object, size, digest, true).await {
                Look::Good => {
                    self.found = Some(object);
                    self.report.good.add(size);
                    None
                }
                Look::Wrong(what) => {
                    self.found = Some(object);
                    Some(what)
                }
                Look::Missing if sure || self.is_store_there().await => {
                    Some("is missing".to_owned())
                }
                Look::Missing => return self.hold_missing(organisation, digest),
                Look::Unread(why) => {
                    tracing::warn!(%digest, why, "content could not be read");
                    self.report.unread.add(size);
                    None
                }
            };
            if let Some(what) = wrong {
                if !quarantine(self.core, organisation, digest, &seen, &what).await? {
                    continue;
                }
                self.rotten(organisation, digest, what, true);
            }
            self.pace(size).await;
            return Ok(());
        }
    }

    /// The manifests whose bytes are in the metadata, found by their repositories' names.
    async fn manifests(&mut self, organisation: OrganisationId) -> Result<(), Error> {
        let mut registries =
            Pages::new(&*self.core.meta, prefix_range(&keys::registries(organisation)));
        loop {
            let rows = registries.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, _) in rows {
                let Some(registry) = keys::last_number(&key).map(crate::id::RegistryId) else {
                    continue;
                };
                let names = prefix_range(&keys::repository_names(organisation, registry));
                let mut names = Pages::new(&*self.core.meta, names);
                loop {
                    let rows = names.next().await?;
                    if rows.is_empty() {
                        break;
                    }
                    for (_, value) in rows {
                        if let Ok(NameRecord::Live(id)) = NameRecord::decode(&value) {
                            let repository = crate::id::RepositoryId(id);
                            let range = prefix_range(&keys::manifests(organisation, repository));
                            let mut pages = Pages::new(&*self.core.meta, range);
                            self.bodies(organisation, &mut pages).await?;
                        }
                    }
                }
            }
        }
    }

    async fn bodies(
        &mut self,
        organisation: OrganisationId,
        pages: &mut Pages<'_>,
    ) -> Result<(), Error> {
        loop {
            let rows: Vec<Row> = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (_, value) in rows {
                let Ok(record) = ManifestRecord::decode(&value) else { continue };
                let (digest, Body::Inline(bytes)) = (record.digest, &record.body) else { continue };
                if !self.wants(&digest) {
                    continue;
                }
                if Digest::of(digest.algorithm(), bytes) == digest {
                    self.report.good.add(record.size);
                    self.pace(record.size).await;
                } else {
                    let what = "the bytes in the metadata are not its own".to_owned();
                    self.rotten(organisation, &digest, what, false);
                }
            }
        }
    }

    /// The copies of manifests in the blob store. One that is wrong is forgotten: the next
    /// collection makes it anew, and sweeps its object.
    async fn copies(&mut self, organisation: OrganisationId) -> Result<(), Error> {
        let mut pages = Pages::new(&*self.core.meta, prefix_range(&keys::copies(organisation)));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, value) in rows {
                let Some((_, digest)) = keys::parse_copy(&key) else { continue };
                let seen = Seen::<CopyRecord>::if_readable(key, Some(value));
                let Some(copy) = seen.value.as_ref().filter(|copy| copy.stored) else { continue };
                if !self.wants(&digest) {
                    continue;
                }
                let size = copy.size;
                let object = copy.object(organisation, &digest);
                let wrong = match look_at(self.core, &object, size, &digest, true).await {
                    Look::Good => {
                        self.found = Some(object);
                        self.report.good.add(size);
                        None
                    }
                    Look::Wrong(what) => {
                        self.found = Some(object);
                        Some(what)
                    }
                    Look::Missing if self.is_store_there().await => Some("is missing".to_owned()),
                    look @ (Look::Missing | Look::Unread(_)) => {
                        tracing::warn!(%digest, ?look, "a copy could not be read");
                        self.report.unread.add(size);
                        None
                    }
                };
                if let Some(what) = wrong
                    && forget(self.core, &seen).await?
                {
                    let what = format!("its copy in the bucket {what}; it is made anew");
                    self.rotten(organisation, &digest, what, false);
                }
                self.pace(size).await;
            }
        }
    }

    fn rotten(
        &mut self,
        organisation: OrganisationId,
        digest: &Digest,
        what: String,
        quarantined: bool,
    ) {
        self.report.wrong += 1;
        if self.report.rotten.len() < NAMED {
            let digest = *digest;
            self.report.rotten.push(Rotten { organisation, digest, what, quarantined });
        }
    }

    /// Says how far it is, and rests where the bytes come too fast.
    async fn pace(&self, size: u64) {
        let report = &self.report;
        let done = report.good.count + report.unread.count + report.wrong;
        (self.watch)(&Progress { phase: "content", done, bytes: report.good.bytes });
        if let Some(rate) = self.options.bytes_per_second {
            let millis = size.saturating_mul(1000) / rate.max(1);
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }
}
