//! The list of a registry's projects, kept in memory with what it stands on.
//!
//! A registry may hold other things than Python projects; so each repository is looked into once, and
//! again when it changed. On a store that several processes share telling whether it changed costs as
//! much as looking, so there a list is good for some seconds; who may see it is asked every time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use strongroom_engine::id::{OrganisationId, RegistryId, RepositoryId};
use strongroom_engine::{Error, Listing, MAX_PAGE, Revision};
use strongroom_python::{ProjectName, look_alike};

use crate::artifact::RELEASE;
use crate::pages::{Both, html_projects, json_projects};

/// How long a list is good on a shared store.
const SHARED_FOR: Duration = Duration::from_secs(10);
/// The most registries whose lists are kept.
const MAX_LISTS: usize = 256;

/// A list as it was made.
#[derive(Debug)]
struct List {
    /// What each repository was, and whether it is a project.
    looked: HashMap<RepositoryId, (Option<Revision>, bool)>,
    names: Vec<String>,
    made: Instant,
    both: Arc<Both>,
}

/// The lists that are kept.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<HashMap<(OrganisationId, RegistryId), Arc<List>>>);

impl Lists {
    /// The list of projects now.
    pub(crate) async fn shown(&self, listing: &Listing) -> Result<Arc<Both>, Error> {
        let before = {
            let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lists.get(&listing.tenant()).cloned()
        };
        let mut looked = HashMap::new();
        let mut names = Vec::new();
        let mut after: Option<String> = None;
        let mut shared = false;
        loop {
            let page = listing.page(after.as_deref(), MAX_PAGE).await?;
            for one in page.items {
                let normal = ProjectName::parse(one.name.as_str())
                    .is_ok_and(|name| name.normalised() == one.name.as_str());
                if !normal {
                    continue;
                }
                if one.revision.is_none() {
                    shared = true;
                    if let Some(list) = before.as_ref().filter(|l| l.made.elapsed() < SHARED_FOR) {
                        return Ok(Arc::clone(&list.both));
                    }
                }
                let known = before.as_ref().and_then(|list| list.looked.get(&one.id));
                let is_project = match known {
                    Some((revision, is_project)) if !shared && *revision == one.revision => {
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
        let both = match before.filter(|list| list.names == names) {
            Some(list) => Arc::clone(&list.both),
            None => Arc::new(Both::new(json_projects(&names), html_projects(&names))),
        };
        let list = List { looked, names, made: Instant::now(), both: Arc::clone(&both) };
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= MAX_LISTS && !lists.contains_key(&listing.tenant()) {
            lists.clear();
        }
        lists.insert(listing.tenant(), Arc::new(list));
        Ok(both)
    }

    /// A project whose name would be taken for `project`'s.
    pub(crate) async fn look_alike(
        &self,
        listing: &Listing,
        project: &ProjectName,
    ) -> Result<Option<String>, Error> {
        self.shown(listing).await?;
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let list = lists.get(&listing.tenant());
        let names = list.into_iter().flat_map(|list| &list.names);
        let other = names.filter_map(|name| ProjectName::parse(name).ok());
        let mut others = other.filter(|other| look_alike(project, other));
        Ok(others.next().map(|other| other.normalised().to_owned()))
    }
}
