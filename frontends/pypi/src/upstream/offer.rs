//! What is offered of a project: what is here, and beside it what the rules let through of the upstream.
//!
//! Whether a name is looked up is decided by what is here alone, before anything is asked: a name that
//! exists here in any form is the registry's own, unless its record says that its files were fetched, or its
//! managers that it tracks the upstream's. So nothing the upstream does can take a name over.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use moka::sync::Cache;
use strongroom_engine::extension::Version as RowVersion;
use strongroom_engine::{Error, Repository};
use strongroom_outbound::Target;
use strongroom_python::{ProjectName, Version};

use super::cache::{Failed, key};
use super::client::Fault;
use super::page::{Page, RemoteFile};
use super::rules::Rules;
use super::{Key, fetch};
use crate::Inner;
use crate::error::Failure;
use crate::gate::Asked;
use crate::pages::Shown;
use crate::project::{File, Project};
use crate::records::{Of, ProjectRecord, Seen, Status};

/// What a file takes in memory when it is shown, roughly.
const OF_A_FILE: usize = 3 << 10;

/// Whose a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The registry's own: it is looked up nowhere else.
    Own,
    /// The registry's own, and its managers say that it is the upstream's too.
    Tracks,
    /// Nothing of it is here but what was fetched.
    Follows,
}

/// What is offered of a project, and what that stands on.
struct Offer {
    local: Option<Arc<Shown>>,
    page: Option<Arc<Page>>,
    rules: RowVersion,
    /// From then on a file more is old enough, by the store's clock, in milliseconds.
    until: u64,
    shown: Arc<Shown>,
}

/// What was made of pages, kept in memory.
pub(super) struct Offers(Cache<Key, Arc<Offer>>);

impl Offers {
    pub(super) fn new(bytes: u64) -> Self {
        let weigh = |_: &Key, offer: &Arc<Offer>| {
            let files = offer.shown.files().len();
            u32::try_from(4096 + files * OF_A_FILE).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().weigher(weigh).max_capacity(bytes).build())
    }
}

/// A project as somebody who may read it sees it.
pub(crate) struct Seeing {
    pub(crate) shown: Arc<Shown>,
    /// By which a file that is not here may be fetched.
    pub(crate) fetching: Option<fetch::Fetching>,
    /// Why it is not known what the upstream has: so what is not here may be there.
    pub(crate) away: Option<Fault>,
}

impl Inner {
    /// What is offered of a project now. `repository` was opened for a pull.
    pub(crate) async fn seen(
        &self,
        asked: &Asked,
        repository: &Repository,
        name: &ProjectName,
    ) -> Result<Seeing, Failure> {
        let local = match self.pages.shown(&self.records, repository, name).await {
            Ok(shown) => Some(shown),
            Err(Error::NameUnknown { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let tenant = repository.tenant();
        let here = |local: Option<Arc<Shown>>| {
            let shown = local.filter(|shown| shown.exists()).ok_or_else(Failure::absent)?;
            Ok(Seeing { shown, fetching: None, away: None })
        };
        let Some((rules, version)) = self.source.upstreams.rules(tenant).await? else {
            return here(local);
        };
        let of = Of { tenant, project: name };
        let seen = self.records.of(&of).await?;
        let project = local.as_ref().map(|shown| &shown.project);
        let standing = standing(&rules, name, repository.exists(), &seen, project);
        match standing {
            Standing::Own => return here(local),
            Standing::Follows if !rules.let_in(name) => return Err(Failure::absent()),
            Standing::Tracks if !rules.let_in(name) => return here(local),
            Standing::Tracks | Standing::Follows => {}
        }
        let is_kept = project.is_some_and(Project::exists);
        let (page, away) = match self.source.page(&self.records, &rules, &of, is_kept).await {
            Ok(page) => (page, None),
            Err(Failed::Engine(error)) => return Err(error.into()),
            // What is here is offered; but that nothing is there would be a guess.
            Err(Failed::Upstream(fault)) if is_kept => (None, Some(fault)),
            Err(Failed::Upstream(fault)) => return Err(fault.into()),
        };
        if page.is_none() && !is_kept {
            return Err(Failure::absent());
        }
        if page.is_some() && standing == Standing::Follows {
            self.look_alike(asked, repository, &of).await?;
        }
        let now = self.records.milliseconds().await?;
        let fetching = fetch::Fetching { standing, rules: rules.clone() };
        let fetching = page.is_some().then_some(fetching);
        let key = key(&of);
        let same = |offer: &Arc<Offer>| {
            let pages = (&offer.page, &page);
            let locals = (&offer.local, &local);
            offer.rules == version
                && now < offer.until
                && matches!(pages, (None, None))
                    | matches!(pages, (Some(one), Some(other)) if Arc::ptr_eq(one, other))
                && matches!(locals, (None, None))
                    | matches!(locals, (Some(one), Some(other)) if Arc::ptr_eq(one, other))
        };
        if let Some(offer) = self.source.offers.0.get(&key).filter(same) {
            return Ok(Seeing { shown: Arc::clone(&offer.shown), fetching, away });
        }
        let deleted = self.records.all_deleted(&of).await?;
        let made = Making { rules: &rules, name, standing, now, deleted: &deleted };
        let (shown, until) = made.offer(local.as_deref(), &seen.record, page.as_deref())?;
        let shown = Arc::new(shown);
        let offer = Offer { local, page, rules: version, until, shown: Arc::clone(&shown) };
        self.source.offers.0.insert(key, Arc::new(offer));
        Ok(Seeing { shown, fetching, away })
    }

    /// Notes where a name that is looked up looks like one that is here. It is for the registry's people:
    /// whoever asked is not told, for they may not know what else is here.
    async fn look_alike(
        &self,
        asked: &Asked,
        repository: &Repository,
        of: &Of<'_>,
    ) -> Result<(), Failure> {
        let looked = key(of);
        if self.source.looked.contains_key(&looked) {
            return Ok(());
        }
        let path = repository.path();
        let (organisation, registry) = (path.organisation(), path.registry());
        let listing = match self.engine.listing(&asked.caller, organisation, registry).await {
            Ok(listing) => listing,
            // Somebody who may see more will ask.
            Err(Error::Denied { .. } | Error::NameUnknown { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Some(other) = self.lists.look_alike(&listing, of.project).await?
            && self.records.warn(&asked.caller, of, &other).await?
        {
            let project = of.project.normalised();
            tracing::warn!(project, %other, "a name that is looked up upstream looks like another's");
        }
        self.source.looked.insert(looked, ());
        Ok(())
    }
}

/// Whose a name is.
pub(super) fn standing(
    rules: &Rules,
    name: &ProjectName,
    exists: bool,
    seen: &Seen,
    project: Option<&Project>,
) -> Standing {
    let record = &seen.record;
    // What somebody took out of use stays so, whatever else could be had of it.
    if record.status == Status::Quarantined {
        return Standing::Own;
    }
    let there = rules.project(name).ok();
    let names = |tracked: &String| {
        let tracked: Option<Target> = format!("{}/", tracked.trim_end_matches('/')).parse().ok();
        tracked.is_some() && tracked == there
    };
    if record.tracks.iter().any(names) {
        return Standing::Tracks;
    }
    let has_own =
        project.is_some_and(|project| project.files.iter().any(|file| file.upstream.is_none()));
    match &record.origin {
        Some(_) if !has_own => Standing::Follows,
        None if !exists && seen.version.is_none() => Standing::Follows,
        _ => Standing::Own,
    }
}

/// What an offer is made by.
struct Making<'a> {
    rules: &'a Rules,
    name: &'a ProjectName,
    standing: Standing,
    now: u64,
    deleted: &'a HashMap<String, String>,
}

impl Making<'_> {
    /// What is shown, and when that is over.
    fn offer(
        &self,
        local: Option<&Shown>,
        record: &ProjectRecord,
        page: Option<&Page>,
    ) -> Result<(Shown, u64), Failure> {
        let mut record = record.clone();
        let mut until = u64::MAX;
        let none = Page::default();
        let page_or_none = page.unwrap_or(&none);
        let closed = page_or_none.status == Status::Quarantined;
        let mut project = Project::default();
        let mut versions: BTreeSet<Version> = BTreeSet::new();
        for file in local.iter().flat_map(|local| &local.project.files) {
            if file.upstream.is_some() {
                if closed || !self.is_old_enough(uploaded(file), &mut until) {
                    continue;
                }
                let there = page_or_none.files.iter().find(|one| one.name == file.name);
                if let Some(why) = there.and_then(|there| there.yanked.as_ref()) {
                    record.yanked.entry(file.name.to_string()).or_insert_with(|| why.clone());
                }
            }
            versions.insert(file.name.version().clone());
            project.add(file.clone());
        }
        if self.standing == Standing::Tracks {
            versions.extend(local.iter().flat_map(|local| local.project.versions.iter().cloned()));
        }
        // Two spellings of one name are one file, and the one that is here is it.
        let here: HashSet<String> =
            local.iter().flat_map(|l| &l.project.files).map(|file| file.name.canonical()).collect();
        let mut remote = Vec::new();
        for file in page_or_none.files.iter().filter(|_| !closed) {
            let name = file.name.canonical();
            if self.deleted.contains_key(&name) || here.contains(&name) {
                continue;
            }
            if !self.is_old_enough(file.uploaded, &mut until) {
                continue;
            }
            if let Some(why) = &file.yanked {
                record.yanked.insert(file.name.to_string(), why.clone());
            }
            versions.insert(file.name.version().clone());
            remote.push(RemoteFile::clone(file));
        }
        project.versions = versions.into_iter().collect();
        if self.standing == Standing::Follows {
            if record.status == Status::Active {
                (record.status, record.reason) = (page_or_none.status, page_or_none.reason.clone());
            }
            let there = self.rules.project(self.name);
            let there = there.map_err(|error| Failure::bad(error.to_string()))?.to_string();
            // What somebody said here of it comes first.
            if record.tracks.is_empty() {
                record.tracks = match page_or_none.tracks.as_slice() {
                    [] => vec![there],
                    tracks => tracks.to_vec(),
                };
            }
            if record.alternate_locations.is_empty() {
                record.alternate_locations.clone_from(&page_or_none.alternate_locations);
            }
        }
        Ok((Shown::beside(self.name, (project, record), remote), until))
    }

    /// Whether a file is out of its cool-down; notes when it will be.
    fn is_old_enough(&self, uploaded: Option<u64>, until: &mut u64) -> bool {
        let cool_down = self.rules.cool_down();
        if cool_down == 0 {
            return true;
        }
        // Without a time nothing says that it is old.
        let Some(uploaded) = uploaded else { return false };
        let from = uploaded.saturating_add(cool_down);
        if from > self.now {
            *until = (*until).min(from);
        }
        from <= self.now
    }
}

/// When a file was uploaded, in milliseconds.
fn uploaded(file: &File) -> Option<u64> {
    let at: jiff::Timestamp = file.uploaded.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::upstream(&fault.to_string())
    }
}
