//! The repositories of one registry, for whoever may list there, and whether they hold what a package
//! format is looking for.

use std::sync::Arc;

use crate::Engine;
use crate::access::{Action, Caller};
use crate::core::Core;
use crate::error::Error;
use crate::graph::{MAX_PAGE, Page, Revision};
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::{prefix_range, range_behind};
use crate::name::{OrganisationName, RegistryName, RepositoryName};
use crate::records::{NameRecord, Record, TagRecord};
use crate::tenancy::seen_registry;

/// How many tags of a repository are looked at for what it holds.
const LOOKED_AT: usize = 16;

/// The repositories of one registry. Like a repository's handle it is for one request.
#[derive(Debug, Clone)]
pub struct Listing {
    core: Arc<Core>,
    organisation: OrganisationId,
    registry: RegistryId,
}

/// One repository of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name in the registry.
    pub name: RepositoryName,
    /// Which it is.
    pub id: RepositoryId,
    /// Its revision; none on a store that several processes share, where telling it costs a read.
    pub revision: Option<Revision>,
}

impl Engine {
    /// The repositories of a registry, for whoever may list there.
    pub async fn listing(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        name: &RegistryName,
    ) -> Result<Listing, Error> {
        let core = Arc::clone(&self.core);
        let (tenant, registry) =
            seen_registry(&core, caller, organisation, name, Action::List).await?;
        Ok(Listing { core, organisation: tenant.id, registry: registry.id })
    }
}

impl Listing {
    /// The organisation and the registry, by what never changes of them.
    pub fn tenant(&self) -> (OrganisationId, RegistryId) {
        (self.organisation, self.registry)
    }

    /// The repositories after `after` (which need not exist) in the order of their names' bytes, at
    /// most `limit` and at most [`MAX_PAGE`].
    pub async fn page(&self, after: Option<&str>, limit: usize) -> Result<Page<Listed>, Error> {
        let all = keys::repository_names(self.organisation, self.registry);
        let Some(range) = range_behind(&all, after) else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let limit = limit.clamp(1, MAX_PAGE);
        let rows = self.core.meta.scan(range, limit).await?;
        let full = rows.len() == limit;
        let shared = self.core.meta.is_shared();
        let mut items = Vec::with_capacity(rows.len());
        let mut last = None;
        for (key, value) in &rows {
            let name = key.get(all.len()..).and_then(|name| std::str::from_utf8(name).ok());
            let no_name = || Error::Corrupted("a repository's key is no name".to_owned());
            let name = name.ok_or_else(no_name)?;
            last = Some(name.to_owned());
            let NameRecord::Live(id) = NameRecord::decode(value)? else { continue };
            let id = RepositoryId(id);
            let revision = (!shared).then(|| self.core.own_revision(id));
            items.push(Listed { name: name.parse().map_err(|_| no_name())?, id, revision });
        }
        Ok(Page { items, next: last.filter(|_| full) })
    }

    /// Whether one of a repository's first few tags points at a manifest of this artifact type.
    pub async fn holds(&self, id: RepositoryId, artifact_type: &str) -> Result<bool, Error> {
        let tags = prefix_range(&keys::tags(self.organisation, id));
        for (_, value) in self.core.meta.scan(tags, LOOKED_AT).await? {
            let number = TagRecord::decode(&value)?.number;
            let record = self.core.manifest_record(self.organisation, id, number).await?;
            if record.is_some_and(|record| record.artifact_type.as_deref() == Some(artifact_type)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
