//! The repositories of a registry: listed, searched and given up.

use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::access::{Action, Caller};
use crate::audit::{EventKind, RepositoryRef};
use crate::change::{Seen, retry};
use crate::error::Error;
use crate::graph::Page;
use crate::id::RepositoryId;
use crate::keys;
use crate::meta::{MAX_SCAN_ROWS, prefix_range};
use crate::name::{OrganisationName, RegistryName, RepositoryName, RepositoryPath};
use crate::records::{DoomedRecord, NameRecord, Record, RepositoryRecord};
use crate::seam::Timestamp;
use crate::tenancy::registries::{registry_change, seen_registry};
use crate::tenancy::{page_rows, stored_name};

/// The longest text that names are searched for.
const MAX_FILTER: usize = 255;
/// The most names that one page of a search looks at.
const LOOKED_AT: usize = 10_000;

/// Which repositories to list; the default lists all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RepositoryFilter {
    /// Only those whose name begins so; costs what it finds.
    pub prefix: Option<String>,
    /// Only those whose name has this in it; looks at every name with the prefix.
    pub contains: Option<String>,
}

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryInfo {
    /// What never changes about it.
    pub id: RepositoryId,
    /// Its name in the registry.
    pub name: RepositoryName,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Engine {
    /// The repositories of a registry, for whoever may list it, in the order of their names; at most
    /// `limit`, from [`Page::next`] of the page before. A page may have fewer and not be the last.
    pub async fn repositories(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
        filter: &RepositoryFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RepositoryInfo>, Error> {
        let core = &*self.core;
        for text in [&filter.prefix, &filter.contains].into_iter().flatten() {
            if text.len() > MAX_FILTER {
                let why = format!("a search has at most {MAX_FILTER} characters");
                return Err(Error::Invalid(why));
            }
        }
        let (tenant, registry) =
            seen_registry(core, caller, organisation, registry, Action::List).await?;
        let names = keys::repository_names(tenant.id, registry.id);
        let prefix = filter.prefix.as_deref().unwrap_or_default().as_bytes();
        let mut range = prefix_range(&[names.as_slice(), prefix].concat());
        if let Some(after) = after {
            let behind = [names.as_slice(), after.as_bytes(), &[0]].concat();
            range.start = range.start.max(behind);
        }
        let limit = page_rows(limit);
        let (mut found, mut next, mut looked_at) = (Vec::new(), None, 0);
        while range.start < range.end && found.len() < limit {
            if looked_at >= LOOKED_AT {
                break;
            }
            let want = match filter.contains {
                Some(_) => MAX_SCAN_ROWS,
                None => limit - found.len(),
            };
            let rows = core.meta.scan(range.clone(), want).await?;
            if rows.is_empty() {
                next = None;
                break;
            }
            for (key, value) in rows {
                range.start = [key.as_slice(), &[0]].concat();
                looked_at += 1;
                let name = key.get(names.len()..).map(String::from_utf8_lossy).unwrap_or_default();
                next = Some(name.clone().into_owned());
                let fits = filter.contains.as_ref().is_none_or(|part| name.contains(part));
                if fits && let NameRecord::Live(id) = NameRecord::decode(&value)? {
                    found.push((RepositoryId(id), stored_name::<RepositoryName>(&name)?));
                }
                if found.len() == limit {
                    break;
                }
            }
        }
        let keys = found.iter().map(|(id, _)| keys::repository(tenant.id, *id)).collect();
        let records: Vec<Seen<RepositoryRecord>> = core.read_many(keys).await?;
        let mut items = Vec::new();
        for ((id, name), record) in found.into_iter().zip(records) {
            // One that was given up between the two reads is not listed.
            let Some(record) = record.value else { continue };
            items.push(RepositoryInfo { id, name, created_at: record.created_at });
        }
        Ok(Page { items, next })
    }

    /// Gives a repository up with all that is in it: from here on it answers as absent, and its rows
    /// and bytes go away behind, when the collector calls. Its name may be used again.
    ///
    /// Needs [`Action::Manage`] in its registry and not only [`Action::Delete`]: it takes immutable
    /// tags along, and whoever manages the registry could lift those first.
    pub async fn delete_repository(
        &self,
        caller: &Caller,
        path: &RepositoryPath,
    ) -> Result<(), Error> {
        let core = &*self.core;
        retry!("the repository", _attempt => {
            let (organisation, registry) = (path.organisation(), path.registry());
            let unknown = || Error::NameUnknown { name: path.to_string() };
            let seen = seen_registry(core, caller, organisation, registry, Action::Manage).await;
            let (tenant, registry) = seen.map_err(|error| match error {
                Error::NameUnknown { .. } => unknown(),
                other => other,
            })?;
            let name = path.repository().as_str();
            let name_row: Seen<NameRecord> =
                core.read(keys::repository_name(tenant.id, registry.id, name)).await?;
            let Some(NameRecord::Live(id)) = name_row.value else { return Err(unknown().into()) };
            let id = RepositoryId(id);
            let row: Seen<RepositoryRecord> = core.read(keys::repository(tenant.id, id)).await?;
            if row.value.is_none() {
                return Err(unknown().into());
            }
            let since = core.now().await?;
            let repository =
                RepositoryRef { id, registry: registry.id, path: path.to_string() };
            let kind = EventKind::RepositoryDeleted { repository };
            let mut change = registry_change(core, caller, &tenant, since, kind);
            change.frees();
            change.lean(&registry.row);
            // Every commit that brings something into it leans on this row.
            change.remove(&row);
            change.remove(&name_row);
            let doomed = DoomedRecord { registry: registry.id, name: name.to_owned(), since };
            change.put(keys::doomed(tenant.id, id), &doomed);
            change.commit().await
        })
    }
}
