//! How deep indexes nest and how long subjects are chained: bounded when a manifest is pushed, so
//! that whoever walks the graph (a client, a copy, a rule) ends.
//!
//! The levels are found by walking rows, not kept in them: a sparse index may get what it names
//! later, and a subject may come after its referrers, so a level that was kept would be wrong
//! then. For the same reason a push looks both ways, at what it names and at what names it. Content
//! never changes, so what was looked at needs no requirement in the commit.

use std::collections::BTreeSet;

use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::MAX_PAGE;
use crate::id::{Number, OrganisationId, RepositoryId};
use crate::keys;
use crate::manifest::{Limits, ManifestError};
use crate::meta::prefix_range;
use crate::records::{ChildRecord, LinkRecord, ManifestRecord, Record, ReferrerRecord};

/// How many manifests are read at once: each may be some hundred KiB.
const READ_AT_ONCE: usize = 16;
/// The most things of one level that are followed: ten of the largest indexes side by side.
const MAX_FOLLOWED: usize = 100_000;

/// Where a new manifest comes to stand in its repository's graph.
pub(super) struct Place<'a> {
    pub(super) core: &'a Core,
    pub(super) organisation: OrganisationId,
    pub(super) repository: RepositoryId,
    pub(super) digest: &'a Digest,
}

impl Place<'_> {
    /// Fails where a new index with these `children` makes indexes nest deeper than is taken.
    pub(super) async fn check_index(
        &self,
        children: &[ChildRecord],
        limits: &Limits,
    ) -> Result<(), Error> {
        let max = limits.max_index_depth;
        let levels = 1 + self.levels_below(children, max).await? + self.levels_above(max).await?;
        within(levels, max, "$.manifests", "levels of indexes inside each other")
    }

    /// Fails where a new manifest with this `subject` makes a chain longer than is taken.
    pub(super) async fn check_subject(
        &self,
        subject: &Digest,
        limits: &Limits,
    ) -> Result<(), Error> {
        let max = limits.max_subject_chain;
        let steps = self.steps_to_the_last(*subject, max).await?;
        let steps = steps + self.steps_from_the_first(max).await?;
        within(steps, max, "$.subject", "subjects in a chain")
    }

    /// How many levels of indexes there are below an index with these children; no more than one
    /// over `max` are counted.
    async fn levels_below(&self, children: &[ChildRecord], max: usize) -> Result<usize, Error> {
        let mut level = BTreeSet::new();
        self.resolve(children, &mut level).await?;
        for levels in 0..max {
            let numbers: Vec<_> = level.iter().copied().collect();
            let mut next = BTreeSet::new();
            let mut found = false;
            for some in numbers.chunks(READ_AT_ONCE) {
                for record in self.records(some).await? {
                    if record.kind.is_index() {
                        found = true;
                        self.resolve(&record.children, &mut next).await?;
                    }
                }
            }
            if !found {
                return Ok(levels);
            }
            level = next;
        }
        Ok(max)
    }

    /// How many levels of indexes name the new one, from a time when it was not there.
    async fn levels_above(&self, max: usize) -> Result<usize, Error> {
        let mut level = self.wanting(self.digest).await?;
        for levels in 0..max {
            if level.is_empty() {
                return Ok(levels);
            }
            let mut next = BTreeSet::new();
            let numbers: Vec<_> = level.into_iter().collect();
            for some in numbers.chunks(READ_AT_ONCE) {
                for record in self.records(some).await? {
                    next.extend(self.wanting(&record.digest).await?);
                }
            }
            for number in numbers {
                let edges = keys::edges(self.organisation, self.repository, number);
                next.extend(self.numbers(&edges).await?);
            }
            few(&next)?;
            level = next;
        }
        Ok(max)
    }

    /// How many subjects follow each other from the new manifest on, `subject` being its own.
    async fn steps_to_the_last(&self, mut subject: Digest, max: usize) -> Result<usize, Error> {
        for steps in 1..=max {
            let key = keys::link(self.organisation, &subject, self.repository);
            let Some(row) = self.core.meta.get(&key).await? else { return Ok(steps) };
            let number = LinkRecord::decode(&row)?.number;
            let record = self.core.manifest_record(self.organisation, self.repository, number);
            match record.await?.and_then(|record| record.subject) {
                Some(next) => subject = next,
                None => return Ok(steps),
            }
        }
        Ok(max + 1)
    }

    /// How many manifests refer to each other up to the new one, which came after them.
    async fn steps_from_the_first(&self, max: usize) -> Result<usize, Error> {
        let mut level = BTreeSet::from([self.digest.to_bytes()]);
        for steps in 0..max {
            let mut next = BTreeSet::new();
            for subject in level.iter().filter_map(|bytes| Digest::from_bytes(bytes)) {
                let all = keys::referrers(self.organisation, self.repository, &subject);
                for (_, value) in self.core.meta.scan(prefix_range(&all), MAX_PAGE).await? {
                    next.insert(ReferrerRecord::decode(&value)?.digest.to_bytes());
                }
                few(&next)?;
            }
            if next.is_empty() {
                return Ok(steps);
            }
            level = next;
        }
        Ok(max)
    }

    /// The records of the manifests among `numbers`.
    async fn records(&self, numbers: &[Number]) -> Result<Vec<ManifestRecord>, Error> {
        let key = |number: &Number| keys::manifest(self.organisation, self.repository, *number);
        let rows = self.core.read_many(numbers.iter().map(key).collect()).await?;
        Ok(rows.into_iter().filter_map(|row| row.value).collect())
    }

    /// Adds the numbers of `children` to `level`, also of those that came after what names them.
    async fn resolve(
        &self,
        children: &[ChildRecord],
        level: &mut BTreeSet<Number>,
    ) -> Result<(), Error> {
        level.extend(children.iter().filter_map(|child| child.number));
        let late = children.iter().filter(|child| child.number.is_none());
        let key =
            |child: &ChildRecord| keys::link(self.organisation, &child.digest, self.repository);
        let late: Vec<_> = late.map(key).collect();
        if !late.is_empty() {
            let links = self.core.read_many::<LinkRecord>(late).await?;
            level.extend(links.into_iter().filter_map(|link| Some(link.value?.number)));
        }
        few(level)
    }

    /// The manifests that named `child` when it was not there.
    async fn wanting(&self, child: &Digest) -> Result<BTreeSet<Number>, Error> {
        let wanted = keys::wanted(self.organisation, self.repository, child);
        Ok(self.numbers(&wanted).await?.into_iter().collect())
    }

    /// The numbers at the ends of the keys that begin with `prefix`, a page of them.
    async fn numbers(&self, prefix: &[u8]) -> Result<Vec<Number>, Error> {
        let rows = self.core.meta.scan(prefix_range(prefix), MAX_PAGE).await?;
        Ok(rows.iter().filter_map(|(key, _)| keys::last_number(key).map(Number)).collect())
    }
}

fn within(found: usize, max: usize, path: &str, what: &'static str) -> Result<(), Error> {
    if found > max {
        return Err(ManifestError::TooMany { path: path.to_owned(), what, max }.into());
    }
    Ok(())
}

/// Fails where a level has more in it than is followed.
fn few<T>(level: &BTreeSet<T>) -> Result<(), Error> {
    within(level.len(), MAX_FOLLOWED, "$", "manifests and blobs in one level around it")
}
