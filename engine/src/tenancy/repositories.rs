//! Repositories of a registry given up.

use crate::Engine;
use crate::access::{Action, Caller};
use crate::audit::{EventKind, RepositoryRef};
use crate::change::{Seen, retry};
use crate::error::Error;
use crate::id::RepositoryId;
use crate::keys;
use crate::name::RepositoryPath;
use crate::records::{DoomedRecord, NameRecord, RepositoryRecord};
use crate::tenancy::Meant;
use crate::tenancy::registries::{registry_change, seen_registry};

impl Engine {
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
        let mut meant = Meant::default();
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
            meant.is(id).ok_or_else(unknown)?;
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
