//! The catalog: the repositories that a caller may list, in the order of their full names.

use std::sync::Arc;

use crate::access::{Action, Caller, Decision};
use crate::audit::RepositoryRef;
use crate::change::Seen;
use crate::core::Core;
use crate::error::Error;
use crate::graph::{MAX_PAGE, Page};
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::{MAX_SCAN_ROWS, prefix_range};
use crate::name::{OrganisationName, RegistryName, RepositoryPath};
use crate::records::{
    Life, NameRecord, OrganisationRecord, Record, RegistryRecord, RepositoryRecord,
};

/// Lists repositories for one caller.
#[derive(Debug)]
pub struct Catalog {
    core: Arc<Core>,
    caller: Caller,
}

/// A registry whose repositories may be listed.
struct Listed {
    organisation: OrganisationId,
    registry: RegistryId,
    /// `organisation/registry/`: what the full names of its repositories begin with.
    prefix: String,
}

impl Catalog {
    pub(crate) fn new(core: Arc<Core>, caller: Caller) -> Self {
        Self { core, caller }
    }

    /// The repositories after the full name `after` (which need not exist) in the order of the
    /// bytes of their full names, at most `limit` and at most [`MAX_PAGE`].
    ///
    /// Only those in organisations that the caller is a member of, and only where the authorizer
    /// lets the caller list.
    pub async fn page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RepositoryPath>, Error> {
        let mut registries = self.registries().await?;
        // Full names are ordered as whole texts: `a-b/…` comes before `a/…`.
        registries.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        let limit = limit.min(MAX_PAGE);
        let mut items = Vec::new();
        for listed in registries {
            if items.len() > limit {
                break;
            }
            let all = keys::repository_names(listed.organisation, listed.registry);
            let mut range = prefix_range(&all);
            match after {
                Some(after) if after.starts_with(&listed.prefix) => {
                    let name = after.get(listed.prefix.len()..).unwrap_or_default();
                    range.start = [all.as_slice(), name.as_bytes(), &[0]].concat();
                }
                Some(after) if after > listed.prefix.as_str() => continue,
                _ => {}
            }
            let rows = self.core.meta.scan(range, limit + 1 - items.len()).await?;
            for (key, value) in rows {
                if !matches!(NameRecord::decode(&value)?, NameRecord::Live(_)) {
                    continue;
                }
                let name = key.get(all.len()..).and_then(|name| std::str::from_utf8(name).ok());
                let path = name.and_then(|name| format!("{}{name}", listed.prefix).parse().ok());
                items.push(
                    path.ok_or_else(|| {
                        Error::Corrupted("a repository's key is no name".to_owned())
                    })?,
                );
            }
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(RepositoryPath::to_string);
        Ok(Page { items, next })
    }

    async fn registries(&self) -> Result<Vec<Listed>, Error> {
        let memberships = keys::memberships(self.caller.principal.as_str());
        let rows = self.core.meta.scan(prefix_range(&memberships), MAX_SCAN_ROWS).await?;
        let mut listed = Vec::new();
        for (key, _) in rows {
            let Some(organisation) = keys::last_number(&key).map(OrganisationId) else { continue };
            let record: Seen<OrganisationRecord> =
                self.core.read(keys::organisation(organisation)).await?;
            let Some(record) = record.value.filter(|record| record.life == Life::Live) else {
                continue;
            };
            let name: OrganisationName = record.name.parse().map_err(damaged)?;
            self.registries_of(organisation, &name, &mut listed).await?;
        }
        Ok(listed)
    }

    async fn registries_of(
        &self,
        organisation: OrganisationId,
        organisation_name: &OrganisationName,
        listed: &mut Vec<Listed>,
    ) -> Result<(), Error> {
        let all = prefix_range(&keys::registries(organisation));
        for (key, value) in self.core.meta.scan(all, MAX_SCAN_ROWS).await? {
            let Some(registry) = keys::last_number(&key).map(RegistryId) else { continue };
            let record = RegistryRecord::decode(&value)?;
            if record.life != Life::Live {
                continue;
            }
            let registry_name: RegistryName = record.name.parse().map_err(damaged)?;
            let target = crate::access::Target {
                organisation,
                organisation_name,
                registry: Some(registry),
                registry_name: Some(&registry_name),
                public: record.public,
                repository: None,
            };
            let decision = self.core.authorizer.decide(&self.caller, Action::List, &target).await?;
            if decision == Decision::Allowed {
                let prefix = format!("{organisation_name}/{registry_name}/");
                listed.push(Listed { organisation, registry, prefix });
            }
        }
        Ok(())
    }
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
