//! The catalog: the repositories that a caller may list, in the order of their full names.

use std::sync::Arc;

use crate::access::{Action, Caller, Decision, Target};
use crate::audit::RepositoryRef;
use crate::change::Seen;
use crate::core::Core;
use crate::error::Error;
use crate::graph::{MAX_PAGE, Page};
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::{Key, MAX_SCAN_ROWS, prefix_range};
use crate::name::{OrganisationName, RegistryName, RepositoryPath};
use crate::records::{
    Life, NameRecord, OrganisationRecord, Record, RegistryRecord, RepositoryRecord,
};

/// The most registries one page looks into: one whose registries are empty ends, and says where
/// the next one begins.
const REGISTRIES_PER_PAGE: usize = 1000;

/// Lists repositories for one caller.
#[derive(Debug)]
pub struct Catalog {
    core: Arc<Core>,
    caller: Caller,
}

/// An organisation or registry in which repositories may be listed, by how their full names begin.
struct Below<T> {
    /// `organisation/` or `organisation/registry/`.
    prefix: String,
    of: T,
}

impl<T> Below<T> {
    /// Whether full names that begin so come behind `after`, some of them at least.
    fn is_ahead(&self, after: Option<&str>) -> bool {
        after.is_none_or(|after| {
            after < self.prefix.as_str() || after.starts_with(self.prefix.as_str())
        })
    }
}

/// A page being filled.
struct Filling {
    items: Vec<RepositoryPath>,
    limit: usize,
    /// How many registries it looked into.
    looked_into: usize,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.items.len() > self.limit
    }
}

impl Catalog {
    pub(crate) fn new(core: Arc<Core>, caller: Caller) -> Self {
        Self { core, caller }
    }

    /// The repositories after the full name `after` (which need not exist) in the order of the
    /// bytes of their full names, at most `limit` and at most [`MAX_PAGE`]. A page may have fewer
    /// and not be the last: that one has no [`Page::next`].
    ///
    /// Only those in organisations that the caller is a member of, and only where the authorizer
    /// lets the caller list. A page reads the names of the caller's organisations, and beyond them
    /// only what lies between `after` and its own end.
    pub async fn page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RepositoryPath>, Error> {
        let limit = limit.min(MAX_PAGE);
        let mut page = Filling { items: Vec::new(), limit, looked_into: 0 };
        for organisation in self.organisations(after).await? {
            for registry in self.registries(&organisation, after).await? {
                if page.looked_into == REGISTRIES_PER_PAGE {
                    // All names before this were looked at, and all of this registry come behind it.
                    let next = Some(registry.prefix);
                    return Ok(Page { items: page.items, next });
                }
                page.looked_into += 1;
                if self.may_list(&organisation, &registry).await? {
                    self.repositories(&organisation, &registry, after, &mut page).await?;
                }
                if page.is_full() {
                    page.items.truncate(limit);
                    let next = page.items.last().map(RepositoryPath::to_string);
                    return Ok(Page { items: page.items, next });
                }
            }
        }
        Ok(Page { items: page.items, next: None })
    }

    /// The caller's organisations that have names behind `after`, in the order of full names.
    async fn organisations(
        &self,
        after: Option<&str>,
    ) -> Result<Vec<Below<(OrganisationId, OrganisationName)>>, Error> {
        let memberships = keys::memberships(self.caller.principal.as_str());
        let mut range = prefix_range(&memberships);
        let mut found = Vec::new();
        loop {
            let rows = self.core.meta.scan(range.clone(), MAX_SCAN_ROWS).await?;
            let Some((last, _)) = rows.last() else { break };
            range.start = behind(last);
            let ids: Vec<_> = rows
                .iter()
                .filter_map(|(key, _)| keys::last_number(key).map(OrganisationId))
                .collect();
            let keys = ids.iter().map(|id| keys::organisation(*id)).collect();
            let records: Vec<Seen<OrganisationRecord>> = self.core.read_many(keys).await?;
            for (id, seen) in ids.into_iter().zip(records) {
                let Some(record) = seen.value.filter(|record| record.life == Life::Live) else {
                    continue;
                };
                let prefix = format!("{}/", record.name);
                let below = Below { prefix, of: (id, record.name.parse().map_err(damaged)?) };
                if below.is_ahead(after) {
                    found.push(below);
                }
            }
        }
        // Full names are ordered as whole texts: `a-b/…` comes before `a/…`.
        found.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        Ok(found)
    }

    /// The registries of an organisation that have names behind `after`, in the order of full
    /// names, whether or not the caller may list there.
    async fn registries(
        &self,
        organisation: &Below<(OrganisationId, OrganisationName)>,
        after: Option<&str>,
    ) -> Result<Vec<Below<(RegistryId, RegistryName, bool)>>, Error> {
        let mut range = prefix_range(&keys::registries(organisation.of.0));
        let mut found = Vec::new();
        loop {
            let rows = self.core.meta.scan(range.clone(), MAX_SCAN_ROWS).await?;
            let Some((last, _)) = rows.last() else { break };
            range.start = behind(last);
            for (key, value) in &rows {
                let Some(registry) = keys::last_number(key).map(RegistryId) else { continue };
                let record = RegistryRecord::decode(value)?;
                if record.life != Life::Live {
                    continue;
                }
                let prefix = format!("{}{}/", organisation.prefix, record.name);
                let name = record.name.parse().map_err(damaged)?;
                let below = Below { prefix, of: (registry, name, record.public) };
                if below.is_ahead(after) {
                    found.push(below);
                }
            }
        }
        found.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        Ok(found)
    }

    async fn may_list(
        &self,
        organisation: &Below<(OrganisationId, OrganisationName)>,
        registry: &Below<(RegistryId, RegistryName, bool)>,
    ) -> Result<bool, Error> {
        let (id, name, public) = &registry.of;
        let target = Target {
            organisation: organisation.of.0,
            organisation_name: &organisation.of.1,
            registry: Some(*id),
            registry_name: Some(name),
            public: *public,
            repository: None,
        };
        let decision = self.core.authorizer.decide(&self.caller, Action::List, &target).await?;
        Ok(decision == Decision::Allowed)
    }

    /// Fills the page with a registry's repositories behind `after`, up to one more than it takes.
    async fn repositories(
        &self,
        organisation: &Below<(OrganisationId, OrganisationName)>,
        registry: &Below<(RegistryId, RegistryName, bool)>,
        after: Option<&str>,
        page: &mut Filling,
    ) -> Result<(), Error> {
        let all = keys::repository_names(organisation.of.0, registry.of.0);
        let mut range = prefix_range(&all);
        if let Some(name) = after.and_then(|after| after.strip_prefix(registry.prefix.as_str())) {
            range.start = behind(&[all.as_slice(), name.as_bytes()].concat());
        }
        while !page.is_full() && range.start < range.end {
            let want = page.limit + 1 - page.items.len();
            let rows = self.core.meta.scan(range.clone(), want).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            range.start = behind(last);
            for (key, value) in &rows {
                if !matches!(NameRecord::decode(value)?, NameRecord::Live(_)) {
                    continue;
                }
                let name = key.get(all.len()..).and_then(|name| std::str::from_utf8(name).ok());
                let path = name.and_then(|name| format!("{}{name}", registry.prefix).parse().ok());
                let no_name = || Error::Corrupted("a repository's key is no name".to_owned());
                page.items.push(path.ok_or_else(no_name)?);
            }
        }
        Ok(())
    }
}

/// The first key behind `key`.
fn behind(key: &[u8]) -> Key {
    [key, &[0]].concat()
}

fn damaged(error: impl std::fmt::Display) -> Error {
    Error::Corrupted(error.to_string())
}

impl Core {
    /// How a line that is written now names a repository.
    pub(crate) async fn reference_to(
        &self,
        organisation: OrganisationId,
        id: RepositoryId,
    ) -> Result<RepositoryRef, Error> {
        // Names that can't be read any more must not keep a line from being written.
        let path = match self.path_of(organisation, id).await {
            Err(Error::Corrupted(_)) => None,
            other => other?,
        };
        let gone = RepositoryRef { id, registry: RegistryId(0), path: String::new() };
        Ok(path.map_or(gone, |(registry, path)| RepositoryRef {
            id,
            registry,
            path: path.to_string(),
        }))
    }

    /// The registry and the full name of a repository now; none where it, its registry or its
    /// organisation is gone.
    pub(crate) async fn path_of(
        &self,
        organisation: OrganisationId,
        repository: RepositoryId,
    ) -> Result<Option<(RegistryId, RepositoryPath)>, Error> {
        let owner: Seen<OrganisationRecord> = self.read(keys::organisation(organisation)).await?;
        let row: Seen<RepositoryRecord> =
            self.read(keys::repository(organisation, repository)).await?;
        let (Some(owner), Some(record)) = (owner.value, row.value) else { return Ok(None) };
        let registry: Seen<RegistryRecord> =
            self.read(keys::registry(organisation, record.registry)).await?;
        let Some(registry) = registry.value.filter(|registry| registry.life == Life::Live) else {
            return Ok(None);
        };
        if owner.life != Life::Live {
            return Ok(None);
        }
        let path = format!("{}/{}/{}", owner.name, registry.name, record.name);
        let path = path.parse().map_err(damaged)?;
        Ok(Some((record.registry, path)))
    }
}
