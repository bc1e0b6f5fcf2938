//! The list of a registry's projects, kept in memory with what it stands on.
//!
//! A registry may hold other things than Python projects; so each repository is looked into once, and
//! again when it changed. Where nothing at all changed since a list was made it is served as it is. On a
//! store that several processes share telling whether something changed costs as much as looking, so
//! there a list is good for some seconds; who may see it is asked every time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use strongroom_engine::id::{OrganisationId, RegistryId, RepositoryId};
use strongroom_engine::{Error, Listing, MAX_PAGE, Revision};
use strongroom_python::{ProjectName, look_alike, skeleton};
use tokio::sync::OnceCell;

use crate::artifact::RELEASE;
use crate::error::{Failure, aside};
use crate::pages::{Both, html_projects, json_projects};

/// How long a list is good on a shared store, and anywhere for a warning.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// The most registries whose lists are kept.
const MAX_LISTS: usize = 256;

/// A list as it was made.
#[derive(Debug)]
struct List {
    /// What all repositories were before it was made; none on a shared store.
    revision: Option<Revision>,
    /// What each repository was, and whether it is a project.
    looked: HashMap<RepositoryId, (Option<Revision>, bool)>,
    names: Vec<String>,
    /// The places of names, by what they look like.
    skeletons: HashMap<String, Vec<usize>>,
    /// Projects that came since, by this process.
    since: Mutex<Vec<ProjectName>>,
    made: Instant,
    both: OnceCell<Arc<Both>>,
}

impl List {
    fn is_recent(&self) -> bool {
        self.made.elapsed() < GOOD_FOR
    }

    async fn both(self: &Arc<Self>) -> Result<Arc<Both>, Failure> {
        let render = || {
            let list = Arc::clone(self);
            aside("rendering a list", move || {
                Arc::new(Both::new(json_projects(&list.names), html_projects(&list.names)))
            })
        };
        self.both.get_or_try_init(render).await.cloned()
    }

    fn look_alike(&self, project: &ProjectName) -> Option<String> {
        let places = self.skeletons.get(&project.skeleton()).into_iter().flatten();
        let names = places.filter_map(|place| ProjectName::parse(self.names.get(*place)?).ok());
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = names.chain(since.iter().cloned());
        let other = others.find(|other| look_alike(project, other));
        other.map(|other| other.normalised().to_owned())
    }
}

/// The lists that are kept.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<HashMap<(OrganisationId, RegistryId), Arc<List>>>);

impl Lists {
    /// The list of projects now.
    pub(crate) async fn shown(&self, listing: &Listing) -> Result<Arc<Both>, Failure> {
        self.now(listing).await?.both().await
    }

    /// A project whose name would be taken for `project`'s: of those some seconds ago, and those that
    /// this process let in since.
    pub(crate) async fn look_alike(
        &self,
        listing: &Listing,
        project: &ProjectName,
    ) -> Result<Option<String>, Error> {
        let list = match self.kept(listing).filter(|list| list.is_recent()) {
            Some(list) => list,
            None => self.now(listing).await?,
        };
        Ok(list.look_alike(project))
    }

    /// Says that a project is new.
    pub(crate) fn add(&self, tenant: (OrganisationId, RegistryId), project: &ProjectName) {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists.get(&tenant) {
            list.since.lock().unwrap_or_else(PoisonError::into_inner).push(project.clone());
        }
    }

    fn kept(&self, listing: &Listing) -> Option<Arc<List>> {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.get(&listing.tenant()).cloned()
    }

    /// The list as it is now; on a shared store, as it was some seconds ago.
    async fn now(&self, listing: &Listing) -> Result<Arc<List>, Error> {
        let (before, revision) = (self.kept(listing), listing.revision());
        let good = |list: &&Arc<List>| match revision {
            Some(_) => list.revision == revision,
            None => list.is_recent(),
        };
        if let Some(list) = before.as_ref().filter(good) {
            return Ok(Arc::clone(list));
        }
        let mut looked = HashMap::new();
        let mut names = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = listing.page(after.as_deref(), MAX_PAGE).await?;
            for one in page.items {
                let normal = ProjectName::parse(one.name.as_str())
                    .is_ok_and(|name| name.normalised() == one.name.as_str());
                if !normal {
                    continue;
                }
                let known = before.as_ref().and_then(|list| list.looked.get(&one.id));
                let is_project = match known {
                    Some((was, is_project)) if one.revision.is_some() && *was == one.revision => {
                        *is_project
                    }
                    _ => listing.holds(one.id, RELEASE).await?,
                };
                looked.insert(one.id, (one.revision, is_project));
                if is_project {
                    names.push(one.name.as_str().to_owned());
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(self.keep(listing, List::new(revision, looked, names, before)))
    }

    fn keep(&self, listing: &Listing, list: List) -> Arc<List> {
        let list = Arc::new(list);
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= MAX_LISTS && !lists.contains_key(&listing.tenant()) {
            lists.clear();
        }
        lists.insert(listing.tenant(), Arc::clone(&list));
        list
    }
}

impl List {
    fn new(
        revision: Option<Revision>,
        looked: HashMap<RepositoryId, (Option<Revision>, bool)>,
        names: Vec<String>,
        before: Option<Arc<Self>>,
    ) -> Self {
        // The pages of the same names are the same.
        let both = before.filter(|list| list.names == names).map(|list| list.both.clone());
        let mut skeletons: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, name) in names.iter().enumerate() {
            skeletons.entry(skeleton(name)).or_default().push(place);
        }
        let (since, made) = (Mutex::default(), Instant::now());
        let both = both.unwrap_or_default();
        Self { revision, looked, names, skeletons, since, made, both }
    }
}
