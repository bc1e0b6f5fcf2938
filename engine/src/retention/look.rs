//! What expires in one repository, found page by page.

use std::sync::Arc;

use super::judge::Judge;
use super::rules::RetentionRule;
use super::run::{Expiring, Position, Stage};
use crate::access::Caller;
use crate::change::Seen;
use crate::core::Core;
use crate::error::Error;
use crate::graph::{Repository, named_by, tag_in};
use crate::id::{Number, RepositoryId};
use crate::keys;
use crate::meta::{MAX_SCAN_ROWS, prefix_range};
use crate::name::{RepositoryPath, Tag};
use crate::pattern::Pattern;
use crate::records::{LinkRecord, ManifestRecord, MomentRecord, Record, TagRecord};
use crate::seam::Timestamp;

/// How many tags, or manifests, are looked at in one step.
pub(super) const AT_ONCE: usize = 64;
/// A manifest with more tags loses them one by one, and goes with the last.
pub(super) const TAGS_WITH_MANIFEST: usize = 128;

/// A repository under its registry's rules, as they were read.
pub(super) struct Look<'a> {
    pub(super) repository: Repository,
    pub(super) id: RepositoryId,
    pub(super) judge: Judge<'a>,
}

/// What was found in one step.
pub(super) struct Found {
    pub(super) expiring: Vec<Expiring>,
    pub(super) looked_at: u64,
    /// Where to go on in this repository; nothing at its end.
    pub(super) next: Option<Stage>,
}

/// A repository for the rules to work in: what is written there leans on the settings as they were
/// read with it.
pub(super) async fn open(
    core: &Arc<Core>,
    caller: &Caller,
    path: &RepositoryPath,
) -> Result<Option<(Repository, RepositoryId)>, Error> {
    let scope = match core.read_scope(path).await {
        Ok(scope) => Arc::new(scope),
        Err(Error::NameUnknown { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(id) = scope.existing(path) else { return Ok(None) };
    Ok(Some((Repository::by_rule(core, caller, path, scope), id)))
}

impl<'a> Look<'a> {
    pub(super) async fn new(
        (repository, id): (Repository, RepositoryId),
        immutable: &'a [Pattern],
        rules: &'a [RetentionRule],
    ) -> Result<Self, Error> {
        let now = repository.core.now().await?;
        let name = repository.path.repository().as_str();
        let mut judge = Judge::new(immutable, rules, name, now);
        if judge.counts() {
            let all = keys::tags(repository.scope.organisation, id);
            let mut range = prefix_range(&all);
            loop {
                let rows = repository.core.meta.scan(range.clone(), MAX_SCAN_ROWS).await?;
                let Some((last, _)) = rows.last() else { break };
                range.start = [last.as_slice(), &[0]].concat();
                for (key, value) in &rows {
                    let tag = tag_in(key, all.len())?;
                    judge.count(tag.as_str(), TagRecord::decode(value)?.pushed_at);
                }
            }
        }
        Ok(Self { repository, id, judge })
    }

    /// Where to begin in a repository.
    pub(super) fn first(&self) -> Option<Stage> {
        if self.judge.is_about_tags() {
            return Some(Stage::Tags(String::new()));
        }
        self.untagged()
    }

    fn untagged(&self) -> Option<Stage> {
        self.judge.is_about_untagged().then_some(Stage::Untagged(0))
    }

    /// One step from `stage` on.
    pub(super) async fn step(&self, stage: &Stage) -> Result<Found, Error> {
        match stage {
            Stage::Tags(after) => self.tags(after).await,
            Stage::Untagged(from) => self.manifests(*from).await,
        }
    }

    async fn tags(&self, after: &str) -> Result<Found, Error> {
        let (core, organisation) = (&self.repository.core, self.repository.scope.organisation);
        let all = keys::tags(organisation, self.id);
        let mut range = prefix_range(&all);
        if !after.is_empty() {
            range.start = [all.as_slice(), after.as_bytes(), &[0]].concat();
        }
        let rows = core.meta.scan(range, AT_ONCE).await?;
        let mut tags = Vec::new();
        for (key, value) in &rows {
            tags.push((tag_in(key, all.len())?, TagRecord::decode(value)?));
        }
        let moments = tags.iter().map(|(_, tag)| keys::pulled(organisation, self.id, tag.number));
        let moments: Vec<Seen<MomentRecord>> = core.read_many(moments.collect()).await?;
        let mut expiring = Vec::new();
        for ((tag, record), pulled) in tags.iter().zip(&moments) {
            let pulled_at = pulled.value.as_ref().map(|moment| moment.at);
            let Some(why) = self.judge.tag(tag.as_str(), record.pushed_at, pulled_at) else {
                continue;
            };
            let last = self.all_expire(record.number, pulled_at).await?;
            let named = || async {
                let number = record.number;
                named_by(core, organisation, self.id, &record.digest, number).await
            };
            let manifest_too = last && named().await?.is_empty();
            expiring.push(Expiring {
                repository: self.repository.path.repository().clone(),
                tag: Some(tag.clone()),
                digest: record.digest,
                manifest_too,
                why,
            });
        }
        let next = match tags.last() {
            Some((last, _)) if tags.len() == AT_ONCE => Some(Stage::Tags(last.to_string())),
            _ => self.untagged(),
        };
        Ok(Found { expiring, looked_at: rows.len() as u64, next })
    }

    /// Whether every tag of a manifest expires; no where it has very many.
    pub(super) async fn all_expire(
        &self,
        number: Number,
        pulled_at: Option<Timestamp>,
    ) -> Result<bool, Error> {
        let (core, organisation) = (&self.repository.core, self.repository.scope.organisation);
        let all = keys::tags_of(organisation, self.id, number);
        let rows = core.meta.scan(prefix_range(&all), TAGS_WITH_MANIFEST + 1).await?;
        if rows.len() > TAGS_WITH_MANIFEST {
            return Ok(false);
        }
        let mut tags: Vec<Tag> = Vec::new();
        for (key, _) in &rows {
            tags.push(tag_in(key, all.len())?);
        }
        let keys = tags.iter().map(|tag| keys::tag(organisation, self.id, tag.as_str()));
        let records: Vec<Seen<TagRecord>> = core.read_many(keys.collect()).await?;
        Ok(tags.iter().zip(records).all(|(tag, seen)| {
            // One that moved on meanwhile points elsewhere, and keeps nothing here.
            seen.value.filter(|record| record.number == number).is_none_or(|record| {
                self.judge.tag(tag.as_str(), record.pushed_at, pulled_at).is_some()
            })
        }))
    }

    async fn manifests(&self, from: u64) -> Result<Found, Error> {
        let (core, organisation) = (&self.repository.core, self.repository.scope.organisation);
        let mut range = prefix_range(&keys::manifests(organisation, self.id));
        range.start = keys::manifest(organisation, self.id, Number(from));
        let rows = core.meta.scan(range, AT_ONCE).await?;
        let (mut expiring, mut next) = (Vec::new(), None);
        for (key, value) in &rows {
            let Some(number) = keys::last_number(key).map(Number) else { continue };
            next = number.0.checked_add(1).map(Stage::Untagged);
            let record = ManifestRecord::decode(value)?;
            if let Some((why, _)) = self.is_left(number, &record).await? {
                expiring.push(Expiring {
                    repository: self.repository.path.repository().clone(),
                    tag: None,
                    digest: record.digest,
                    manifest_too: true,
                    why,
                });
            }
        }
        let next = next.filter(|_| rows.len() == AT_ONCE);
        Ok(Found { expiring, looked_at: rows.len() as u64, next })
    }

    /// Why a manifest goes as one without a tag, with the moments that this was decided by.
    pub(super) async fn is_left(
        &self,
        number: Number,
        record: &ManifestRecord,
    ) -> Result<Option<(String, Vec<Seen<MomentRecord>>)>, Error> {
        let (core, organisation) = (&self.repository.core, self.repository.scope.organisation);
        let moments = self.moments(number).await?;
        let at = moments.iter().filter_map(|seen| seen.value.as_ref()).map(|moment| moment.at);
        let used_at = at.fold(record.pushed_at, Timestamp::max);
        let Some(why) = self.judge.untagged(used_at) else { return Ok(None) };
        let tags = prefix_range(&keys::tags_of(organisation, self.id, number));
        if !core.meta.scan(tags, 1).await?.is_empty() {
            return Ok(None);
        }
        if !named_by(core, organisation, self.id, &record.digest, number).await?.is_empty() {
            return Ok(None);
        }
        if let Some(subject) = &record.subject {
            let link: Seen<LinkRecord> =
                core.read(keys::link(organisation, subject, self.id)).await?;
            if link.value.is_some_and(|link| link.manifest.is_some()) {
                return Ok(None);
            }
        }
        Ok(Some((why, moments)))
    }

    /// When a manifest was pulled and pushed again last.
    pub(super) async fn moments(&self, number: Number) -> Result<Vec<Seen<MomentRecord>>, Error> {
        let organisation = self.repository.scope.organisation;
        let keys = vec![
            keys::pulled(organisation, self.id, number),
            keys::repushed(organisation, self.id, number),
        ];
        self.repository.core.read_many(keys).await
    }
}

impl Position {
    /// Where a repository begins.
    pub(super) fn at(repository: &str) -> Self {
        Self { repository: repository.to_owned(), stage: None }
    }
}
