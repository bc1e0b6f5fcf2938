//! Planning and applying a registry's rules, in pages that say where the next begins.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::look::{Look, open};
use super::rules::{RetentionRule, check};
use crate::Engine;
use crate::access::{Action, Caller};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::{MAX_PAGE, Page};
use crate::keys;
use crate::meta::prefix_range;
use crate::name::{OrganisationName, RegistryName, RepositoryName, RepositoryPath, Tag};
use crate::records::{NameRecord, Record};
use crate::tenancy::{Tenant, TenantRegistry, seen_registry};

/// About how many tags and manifests one page of a plan looks at.
const LOOKED_AT: u64 = 10_000;

/// Something that the rules let go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expiring {
    /// Where.
    pub repository: RepositoryName,
    /// The tag; none for a manifest that has none.
    pub tag: Option<Tag>,
    /// What the tag points at, or the manifest.
    pub digest: Digest,
    /// Whether the manifest goes too, with what refers to it and has no tag. With a tag it does
    /// where all its tags expire and no index here names it.
    pub manifest_too: bool,
    /// Why, in words.
    pub why: String,
}

/// What a run over the rules did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RetentionReport {
    /// Tags and manifests looked at.
    pub looked_at: u64,
    /// Tags removed, those that went with their manifest too.
    pub tags: u64,
    /// Manifests removed, those that referred to one too.
    pub manifests: u64,
    /// What was found to expire and then changed: the next run decides anew.
    pub changed: u64,
    /// Where a run that its budget ended goes on; none where it looked at everything.
    pub next: Option<String>,
}

/// Where in a registry a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) repository: String,
    /// None at its beginning.
    pub(super) stage: Option<Stage>,
}

/// Where in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Behind this tag.
    Tags(String),
    /// From the manifest of this number on.
    Untagged(u64),
}

impl Position {
    fn encode(&self) -> String {
        let bytes = postcard::to_stdvec(self).expect("texts have an encoding, and memory grows");
        const_hex::encode(bytes)
    }

    fn decode(text: &str) -> Result<Self, Error> {
        let position = const_hex::decode(text).ok().and_then(|b| postcard::from_bytes(&b).ok());
        position.ok_or_else(|| Error::Invalid(format!("{text:?} is no cursor of a retention run")))
    }

    fn start(after: Option<&str>) -> Result<Self, Error> {
        after.map_or_else(|| Ok(Self::at("")), Self::decode)
    }
}

impl Engine {
    /// What a registry's rules would remove now, and why; of other rules where `rules` are given, to
    /// see what they would do before they are set. For the registry's admins.
    ///
    /// At most `limit` things, from [`Page::next`] of the page before. A page may have fewer, or
    /// none, and not be the last. What else refers to a manifest that goes is not listed.
    pub async fn plan_retention(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
        rules: Option<&[RetentionRule]>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Expiring>, Error> {
        check(&[], rules.unwrap_or_default())?;
        let (tenant, registry) =
            seen_registry(&self.core, caller, organisation, registry, Action::Manage).await?;
        let limit = limit.clamp(1, MAX_PAGE);
        let walk = Walk { core: &self.core, caller, tenant: &tenant, registry: &registry, rules };
        let (mut items, mut looked_at) = (Vec::new(), 0);
        let mut at = Position::start(after)?;
        loop {
            let Some(repository) = walk.repository(&at).await? else {
                return Ok(Page { items, next: None });
            };
            if at.repository != repository.as_str() {
                at = Position::at(repository.as_str());
            }
            let stage = walk.plan(&repository, &mut at, limit, &mut items, &mut looked_at).await?;
            match stage {
                None => at = Position::at(&behind(&repository)),
                Some(stage) => at.stage = Some(stage),
            }
            if items.len() >= limit || looked_at >= LOOKED_AT {
                return Ok(Page { items, next: Some(at.encode()) });
            }
        }
    }

    /// Removes what a registry's rules let go, a commit for each; for the registry's admins, who are
    /// named in the lines. The collection does the same for all registries by itself.
    ///
    /// `budget` is about how many tags and manifests to look at; all where absent. Where it ended the
    /// run, [`RetentionReport::next`] is `after` for the next. Dropping the future is as a kill: what
    /// was removed stays so. A kill between a manifest and what referred to it leaves that to a rule
    /// on untagged manifests.
    pub async fn apply_retention(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
        after: Option<&str>,
        budget: Option<u64>,
    ) -> Result<RetentionReport, Error> {
        let (tenant, registry) =
            seen_registry(&self.core, caller, organisation, registry, Action::Manage).await?;
        let walk =
            Walk { core: &self.core, caller, tenant: &tenant, registry: &registry, rules: None };
        let mut report = RetentionReport::default();
        let mut at = Position::start(after)?;
        while let Some(repository) = walk.repository(&at).await? {
            if at.repository != repository.as_str() {
                at = Position::at(repository.as_str());
            }
            let path = walk.path(&repository)?;
            let from = at.stage.take();
            let left = in_repository(&self.core, caller, &path, from, budget, &mut report).await?;
            at = match left {
                None => Position::at(&behind(&repository)),
                stage => Position { repository: repository.to_string(), stage },
            };
            if budget.is_some_and(|budget| report.looked_at >= budget) {
                report.next = Some(at.encode());
                return Ok(report);
            }
        }
        Ok(report)
    }
}

/// The least name behind a repository's.
fn behind(repository: &RepositoryName) -> String {
    format!("{repository}\0")
}

/// Applies the rules of its registry to one repository; says where the budget ended it.
pub(super) async fn in_repository(
    core: &Arc<Core>,
    caller: &Caller,
    path: &RepositoryPath,
    from: Option<Stage>,
    budget: Option<u64>,
    report: &mut RetentionReport,
) -> Result<Option<Stage>, Error> {
    let Some(opened) = open(core, caller, path).await? else { return Ok(None) };
    // What is decided by these is committed only while they stand.
    let Some(settings) = opened.0.scope.registry_row.value.clone() else { return Ok(None) };
    if settings.retention.is_empty() {
        return Ok(None);
    }
    let look = Look::new(opened, &settings.immutable_tags, &settings.retention).await?;
    let mut next = from.or_else(|| look.first());
    while let Some(stage) = next {
        let found = look.step(&stage).await?;
        // A repository without anything in it costs a look too.
        report.looked_at += found.looked_at.max(1);
        for expiring in &found.expiring {
            look.remove(expiring, report).await?;
        }
        next = found.next;
        if budget.is_some_and(|budget| report.looked_at >= budget) {
            return Ok(next);
        }
    }
    Ok(None)
}

/// A walk over the repositories of a registry.
struct Walk<'a> {
    core: &'a Arc<Core>,
    caller: &'a Caller,
    tenant: &'a Tenant,
    registry: &'a TenantRegistry,
    rules: Option<&'a [RetentionRule]>,
}

impl Walk<'_> {
    fn path(&self, repository: &RepositoryName) -> Result<RepositoryPath, Error> {
        let text = format!("{}/{}/{repository}", self.tenant.name, self.registry.name);
        text.parse().map_err(|_| Error::Corrupted(format!("{text} stands in rows as a name")))
    }

    /// The first repository from `at` on.
    async fn repository(&self, at: &Position) -> Result<Option<RepositoryName>, Error> {
        let names = keys::repository_names(self.tenant.id, self.registry.id);
        let mut range = prefix_range(&names);
        range.start = [names.as_slice(), at.repository.as_bytes()].concat();
        while range.start < range.end {
            let rows = self.core.meta.scan(range.clone(), 1).await?;
            let Some((key, value)) = rows.first() else { return Ok(None) };
            range.start = [key.as_slice(), &[0]].concat();
            if matches!(NameRecord::decode(value)?, NameRecord::Live(_)) {
                return repository_in(key, names.len()).map(Some);
            }
        }
        Ok(None)
    }

    /// Adds what expires in a repository; says where to go on in it.
    async fn plan(
        &self,
        repository: &RepositoryName,
        at: &mut Position,
        limit: usize,
        items: &mut Vec<Expiring>,
        looked_at: &mut u64,
    ) -> Result<Option<Stage>, Error> {
        let path = self.path(repository)?;
        let Some(opened) = open(self.core, self.caller, &path).await? else { return Ok(None) };
        let Some(settings) = opened.0.scope.registry_row.value.clone() else { return Ok(None) };
        let rules = self.rules.unwrap_or(&settings.retention);
        let look = Look::new(opened, &settings.immutable_tags, rules).await?;
        let mut next = at.stage.take().or_else(|| look.first());
        *looked_at += 1;
        while let Some(stage) = next {
            let found = look.step(&stage).await?;
            *looked_at += found.looked_at;
            items.extend(found.expiring);
            next = found.next;
            if *looked_at >= LOOKED_AT || items.len() >= limit {
                return Ok(next);
            }
        }
        Ok(None)
    }
}

/// The repository at the end of a name's key.
pub(super) fn repository_in(key: &[u8], at: usize) -> Result<RepositoryName, Error> {
    let name = key.get(at..).and_then(|name| std::str::from_utf8(name).ok());
    let name = name.and_then(|name| name.parse().ok());
    name.ok_or_else(|| Error::Corrupted("a repository's key is no name".to_owned()))
}
