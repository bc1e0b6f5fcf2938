//! Is everything as it must be? The invariants of `docs/architecture.md`, checked both ways between
//! rows and rows, and between rows and objects.
//!
//! The rows are those of one snapshot, so nothing that goes on meanwhile looks wrong. The bucket
//! has no snapshot: whatever is missing there is a finding only where its row says the same after
//! the look as before it (no key is used twice, so that is proof). Nothing is repaired.

mod contents;
mod copies;
mod lines;
mod objects;
mod people;
mod repository;
mod tenants;

use std::collections::HashSet;
use std::fmt;

use lines::Told;
pub(super) use objects::{Look, look_at};

use crate::Engine;
use crate::audit::trimmed_before;
use crate::audit::verify::verify;
use crate::core::Core;
use crate::error::Error;
use crate::gc::walk::{Pages, next_organisation};
use crate::gc::{Extent, Progress, Tally, Watch};
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::{Key, MetaRead, Row, prefix_range};
use crate::records::{FormatRecord, Life, NameRecord, OrganisationRecord, Record, RegistryRecord};

/// The most findings a report names.
const FINDINGS: usize = 10_000;

/// What to check.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct FsckOptions {
    /// Also read all bytes and hash them, instead of asking for sizes only.
    pub deep: bool,
}

impl FsckOptions {
    /// Reads and hashes all bytes too.
    pub fn deep(mut self) -> Self {
        self.deep = true;
        self
    }
}

/// Which promise does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Every acknowledged manifest, file and chart is readable and hashes right.
    I1,
    /// No committed manifest misses a blob.
    I2,
    /// A tag points to what was acknowledged.
    I3,
    /// No read crosses tenants: names, members and what they lead to agree.
    I4,
    /// The counter is the sum of its rows.
    I5,
    /// What nobody uses can be found and goes: no row keeps it without a reason.
    I6,
    /// The audit chain verifies, and has a line for what was pushed.
    I7,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which promise it breaks.
    pub invariant: Invariant,
    /// Whose it is; none for what belongs to no organisation.
    pub organisation: Option<OrganisationId>,
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.invariant)?;
        if let Some(organisation) = self.organisation {
            write!(f, " organisation {organisation}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FsckCounts {
    /// Rows of the metadata that were read.
    pub rows: u64,
    /// Organisations, those being deleted too.
    pub organisations: u64,
    /// Registries.
    pub registries: u64,
    /// Repositories.
    pub repositories: u64,
    /// Pieces of content, stored once in each organisation.
    pub contents: Tally,
    /// Links of repositories to content.
    pub links: u64,
    /// Manifests.
    pub manifests: u64,
    /// Manifests whose bytes are in the metadata.
    pub inline_manifests: Tally,
    /// Those of them whose copy is not in the bucket yet: a moment after their push, or until the
    /// next collection.
    pub uncopied_manifests: Tally,
    /// Copies of manifests in the bucket, one for each organisation that has the manifest.
    pub copies: Tally,
    /// Tags.
    pub tags: u64,
    /// Uploads under way, and what they reserve.
    pub uploads: Tally,
    /// Objects in the bucket, unfinished ones too.
    pub objects: Tally,
    /// Objects that no row names: a collection deletes them.
    pub garbage: Tally,
    /// Objects that are none of ours.
    pub foreign: Tally,
    /// Records that frontends keep.
    pub extension_records: u64,
    /// Lines of the audit trail.
    pub lines: u64,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FsckReport {
    /// What is wrong; at most 10,000.
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub wrong: u64,
    /// What there is.
    pub counts: FsckCounts,
    /// The bucket and the metadata are of different epochs, as after a restore: no orphan is swept until
    /// [`Engine::adopt`] has run. Nothing is wrong by that.
    pub waits_for_adopt: bool,
}

impl FsckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.wrong == 0
    }
}

/// A check under way.
struct Check<'a> {
    core: &'a Core,
    view: &'a dyn MetaRead,
    watch: Watch<'a>,
    deep: bool,
    /// About how many rows there are, those of the trail among them; 0 where the store can't tell.
    rows: u64,
    report: FsckReport,
}

/// What is known of the organisation that is walked.
struct Domain {
    id: OrganisationId,
    record: OrganisationRecord,
    /// Repositories that are being deleted, or whose registries are: their rows go in any order.
    doomed: HashSet<RepositoryId>,
    doomed_registries: HashSet<RegistryId>,
    /// How many members are admin of all of it.
    admins: u32,
    /// What the trail must tell of.
    told: Told,
    /// What the rows say should be in the counter, and what is.
    sum: i128,
    counter: i128,
}

impl Engine {
    /// Checks every invariant over all organisations, while everybody works; changes nothing.
    ///
    /// Fails where the metadata is away or the bucket can't be listed. What is wrong in what they
    /// answer is a finding, an object that can't be read too. Dropping the future ends the walk.
    pub async fn fsck(&self, options: &FsckOptions, watch: Watch<'_>) -> Result<FsckReport, Error> {
        let view = self.core.meta.snapshot().await?;
        let (core, view, deep) = (&*self.core, &*view, options.deep);
        let rows = view.about_rows().await?.unwrap_or(0);
        let mut check = Check { core, view, watch, deep, rows, report: FsckReport::default() };
        check.globals().await?;
        let mut after: Option<OrganisationId> = None;
        while let Some(id) = next_organisation(view, after).await? {
            after = Some(id);
            check.organisation(id).await?;
        }
        check.copies().await?;
        check.trails().await?;
        check.bucket().await?;
        Ok(check.report)
    }
}

impl Check<'_> {
    fn find(
        &mut self,
        invariant: Invariant,
        organisation: Option<OrganisationId>,
        what: impl Into<String>,
    ) {
        self.report.wrong += 1;
        if self.report.findings.len() < FINDINGS {
            self.report.findings.push(Finding { invariant, organisation, what: what.into() });
        }
    }

    /// A row's record; one that can't be read is a finding.
    fn decode<T: Record>(
        &mut self,
        invariant: Invariant,
        organisation: OrganisationId,
        (key, value): &Row,
    ) -> Option<T> {
        match T::decode(value) {
            Ok(record) => Some(record),
            Err(error) => {
                let what = format!("row {}: {error}", const_hex::encode(key));
                self.find(invariant, Some(organisation), what);
                None
            }
        }
    }

    /// Another row's record; one that can't be read is found where its own turn comes.
    async fn get<T: Record>(&self, key: &Key) -> Result<Option<T>, Error> {
        Ok(self.view.get(key).await?.and_then(|row| T::decode(&row).ok()))
    }

    async fn has(&self, key: &Key) -> Result<bool, Error> {
        Ok(self.view.get(key).await?.is_some())
    }

    fn progress(&self, phase: &'static str) {
        let counts = &self.report.counts;
        let extent = Extent::of(counts.rows + counts.lines, self.rows);
        let (done, bytes) = (counts.rows, counts.contents.bytes);
        (self.watch)(&Progress { phase, done, bytes, extent });
    }

    async fn organisation(&mut self, id: OrganisationId) -> Result<(), Error> {
        self.report.counts.organisations += 1;
        let Some(record) = self.get::<OrganisationRecord>(&keys::organisation(id)).await? else {
            self.find(Invariant::I4, Some(id), "rows of an organisation without its record");
            return Ok(());
        };
        if record.life == Life::Deleting {
            // Its rows go in steps; nothing about them is promised any more.
            return Ok(());
        }
        let mut domain = Domain {
            id,
            record,
            doomed: HashSet::new(),
            doomed_registries: HashSet::new(),
            admins: 0,
            told: Told::since(trimmed_before(self.view, id).await?),
            sum: 0,
            counter: 0,
        };
        self.doom(&mut domain).await?;
        let mut pages = Pages::new(self.view, prefix_range(&keys::organisation_rows(id)));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                self.row(&mut domain, row).await?;
            }
            self.progress("records");
        }
        if domain.sum != domain.counter {
            let what =
                format!("the counter says {} bytes, the rows {}", domain.counter, domain.sum);
            self.find(Invariant::I5, Some(id), what);
        }
        if domain.admins != domain.record.admins {
            let (said, are) = (domain.record.admins, domain.admins);
            let what = format!("the record says {said} admins, {are} members are");
            self.find(Invariant::I4, Some(id), what);
        }
        self.lines(domain).await
    }

    /// Which repositories go, by themselves or with their registries.
    async fn doom(&mut self, domain: &mut Domain) -> Result<(), Error> {
        let mut pages = Pages::new(self.view, prefix_range(&keys::all_doomed(domain.id)));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                break;
            }
            let ids = rows.iter().filter_map(|(key, _)| keys::last_number(key));
            domain.doomed.extend(ids.map(RepositoryId));
        }
        let mut pages = Pages::new(self.view, prefix_range(&keys::registries(domain.id)));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, value) in rows {
                let deleting = RegistryRecord::decode(&value)
                    .is_ok_and(|record| record.life == Life::Deleting);
                let (true, Some(registry)) = (deleting, keys::last_number(&key)) else { continue };
                let registry = RegistryId(registry);
                domain.doomed_registries.insert(registry);
                let names = prefix_range(&keys::repository_names(domain.id, registry));
                let mut names = Pages::new(self.view, names);
                loop {
                    let rows = names.next().await?;
                    if rows.is_empty() {
                        break;
                    }
                    for (_, value) in rows {
                        if let Ok(NameRecord::Live(id)) = NameRecord::decode(&value) {
                            domain.doomed.insert(RepositoryId(id));
                        }
                    }
                }
            }
        }
    }

    async fn row(&mut self, domain: &mut Domain, row: &Row) -> Result<(), Error> {
        self.report.counts.rows += 1;
        let (key, value) = row;
        match key.get(9) {
            Some(b'a') => self.organisation_row(domain).await,
            Some(b'c') => {
                match value.as_ref().try_into().map(i64::from_be_bytes) {
                    Ok(counter) => domain.counter = counter.into(),
                    Err(_) => self.find(Invariant::I5, Some(domain.id), "the counter's form"),
                }
                Ok(())
            }
            Some(b'd') => self.content_row(domain, row).await,
            Some(b'g') => self.registry_row(domain, row).await,
            Some(b'h') => self.registry_name_row(domain, row).await,
            Some(b'm') => self.member_row(domain, row).await,
            Some(b'n') => self.repository_name_row(domain, row).await,
            Some(b'r') => self.repository_rows(domain, row).await,
            Some(b'u') => self.session_row(domain, row).await,
            Some(b'x') => self.doomed_row(domain, row).await,
            _ => {
                let what = format!("row {} is of no known kind", const_hex::encode(key));
                self.find(Invariant::I6, Some(domain.id), what);
                Ok(())
            }
        }
    }

    async fn globals(&mut self) -> Result<(), Error> {
        if self.get::<FormatRecord>(&keys::FORMAT.to_vec()).await?.is_none() {
            self.find(Invariant::I1, None, "the record of the store's format is missing");
        }
        self.organisation_names().await?;
        self.memberships().await?;
        self.extensions().await
    }

    async fn trails(&mut self) -> Result<(), Error> {
        let mut range = prefix_range(b"l");
        loop {
            let rows = self.view.scan(range.clone(), 1).await?;
            let Some(id) = rows.first().and_then(|(key, _)| number_at(key, 1)) else {
                return Ok(());
            };
            let id = OrganisationId(id);
            range.start = prefix_range(&keys::audit_chains(id)).end;
            let verified = verify(self.core, id).await?;
            self.report.counts.lines += verified.lines;
            for problem in verified.problems {
                self.find(Invariant::I7, Some(id), problem.to_string());
            }
            self.progress("trail");
        }
    }
}

/// The eight bytes of a key from `at` on.
fn number_at(key: &[u8], at: usize) -> Option<u64> {
    let bytes = key.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*bytes))
}
