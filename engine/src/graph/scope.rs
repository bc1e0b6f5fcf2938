//! From a repository's name to its ids, and the rows that every write there leans on.

use std::sync::Arc;

use crate::access::{Action, Caller, Decision, Target};
use crate::audit::{EventKind, RepositoryRef};
use crate::change::{Change, Seen};
use crate::core::Core;
use crate::error::Error;
use crate::graph::Repository;
use crate::graph::cache::stripe_of_organisation;
use crate::graph::known::{ReadRow, Standing};
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::name::RepositoryPath;
use crate::records::{Life, NameRecord, OrganisationRecord, RegistryRecord, RepositoryRecord};
use crate::seam::Timestamp;

/// What a repository's path leads to. Every commit that brings a row leans on these, so that nothing
/// comes in below what was renamed, changed or given up meanwhile (DESIGN D3). A commit that only
/// changes or removes rows which it requires as it read them needs it not: those are purged with
/// what was given up, and then it can't happen.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) organisation: OrganisationId,
    pub(crate) registry: RegistryId,
    pub(crate) organisation_row: Seen<OrganisationRecord>,
    pub(crate) registry_row: Seen<RegistryRecord>,
    pub(crate) repository_name_row: Seen<NameRecord>,
    /// Absent where nothing was pushed there yet.
    pub(crate) repository: Option<(RepositoryId, Seen<RepositoryRecord>)>,
    pub(crate) public: bool,
    pub(crate) sparse_indexes: bool,
    pub(crate) quota_bytes: Option<u64>,
}

impl Scope {
    /// What an authorizer is asked about.
    pub(crate) fn target<'a>(&self, path: &'a RepositoryPath) -> Target<'a> {
        Target {
            organisation: self.organisation,
            organisation_name: path.organisation(),
            registry: Some(self.registry),
            registry_name: Some(path.registry()),
            public: self.public,
            repository: Some(path.repository()),
        }
    }

    /// The rows that change where anything of it does. The rows of the two names above are not
    /// among them: a rename changes the record too.
    fn rows(&self) -> Vec<ReadRow> {
        let mut rows = vec![
            self.organisation_row.row(),
            self.registry_row.row(),
            self.repository_name_row.row(),
        ];
        rows.extend(self.repository.as_ref().map(|(_, row)| row.row()));
        rows
    }

    /// The repository, where something was pushed there.
    pub(crate) fn existing(&self, path: &RepositoryPath) -> Result<RepositoryId, Error> {
        match &self.repository {
            Some((id, _)) => Ok(*id),
            None => Err(Error::NameUnknown { name: path.to_string() }),
        }
    }

    /// Makes `change` require that organisation, registry and repository are as they were read,
    /// and create the repository, with its line, where it is not there yet.
    pub(crate) fn write(
        &self,
        repository: &Repository,
        change: &mut Change<'_>,
        now: Timestamp,
    ) -> RepositoryId {
        let (core, path) = (&repository.core, &repository.path);
        change.lean(&self.organisation_row);
        change.lean(&self.registry_row);
        if let Some((id, row)) = &self.repository {
            change.lean(row);
            return *id;
        }
        let id = RepositoryId(core.seams.random_u64().max(1));
        let record = RepositoryRecord {
            registry: self.registry,
            name: path.repository().to_string(),
            created_at: now,
        };
        change.replace(&self.repository_name_row, &NameRecord::Live(id.0));
        let key = keys::repository(self.organisation, id);
        change.absent(key.clone());
        change.put(key, &record);
        let kind = EventKind::RepositoryCreated { repository: self.reference(id, path) };
        change.event(repository.event(now, kind));
        change.touches(stripe_of_organisation(self.organisation));
        id
    }

    /// How events name the repository.
    pub(crate) fn reference(&self, id: RepositoryId, path: &RepositoryPath) -> RepositoryRef {
        RepositoryRef { id, registry: self.registry, path: path.to_string() }
    }
}

impl Core {
    /// What `path` leads to, and what is decided about it: names from the cache, the decision never.
    pub(crate) async fn scope(
        &self,
        caller: &Caller,
        path: &RepositoryPath,
        action: Action,
    ) -> Result<(Arc<Scope>, Decision), Error> {
        let scope = if self.meta.is_shared() {
            if let Some(known) = self.known.scopes.get(path.as_str()) {
                // Both read at once. Where the names changed, what was decided about them is void.
                let target = known.value.target(path);
                let (stands, decision) = futures::join!(
                    self.still_stands(&known.rows),
                    self.authorizer.decide(caller, action, &target)
                );
                if stands? {
                    return Ok((Arc::clone(&known.value), decision?));
                }
            }
            let scope = Arc::new(self.read_scope(path).await?);
            let standing = Standing { rows: scope.rows(), value: Arc::clone(&scope) };
            self.known.scopes.insert(path.as_str().into(), Arc::new(standing));
            scope
        } else {
            self.cache.scope(path.as_str(), || self.read_scope(path)).await?
        };
        let decision = self.authorizer.decide(caller, action, &scope.target(path)).await?;
        Ok((scope, decision))
    }

    /// What `path` leads to now.
    ///
    /// Fails with [`Error::NameUnknown`] where the organisation or registry is not there, or is
    /// being given up.
    pub(crate) async fn read_scope(&self, path: &RepositoryPath) -> Result<Scope, Error> {
        let unknown = || Error::NameUnknown { name: path.to_string() };
        let name_row: Seen<NameRecord> =
            self.read(keys::organisation_name(path.organisation().as_str())).await?;
        let Some(NameRecord::Live(organisation)) = name_row.value else { return Err(unknown()) };
        let organisation = OrganisationId(organisation);
        let organisation_row: Seen<OrganisationRecord> =
            self.read(keys::organisation(organisation)).await?;
        let quota_bytes = match &organisation_row.value {
            Some(record) if record.life == Life::Live => record.quota_bytes,
            _ => return Err(unknown()),
        };

        let name_row: Seen<NameRecord> =
            self.read(keys::registry_name(organisation, path.registry().as_str())).await?;
        let Some(NameRecord::Live(registry)) = name_row.value else { return Err(unknown()) };
        let registry = RegistryId(registry);
        let registry_row: Seen<RegistryRecord> =
            self.read(keys::registry(organisation, registry)).await?;
        let (public, sparse_indexes) = match &registry_row.value {
            Some(record) if record.life == Life::Live => (record.public, record.sparse_indexes),
            _ => return Err(unknown()),
        };

        let name = path.repository().as_str();
        let repository_name_row: Seen<NameRecord> =
            self.read(keys::repository_name(organisation, registry, name)).await?;
        let repository = match repository_name_row.value {
            Some(NameRecord::Live(id)) => {
                let id = RepositoryId(id);
                let row: Seen<RepositoryRecord> =
                    self.read(keys::repository(organisation, id)).await?;
                row.value.is_some().then_some((id, row))
            }
            _ => None,
        };
        Ok(Scope {
            organisation,
            registry,
            organisation_row,
            registry_row,
            repository_name_row,
            repository,
            public,
            sparse_indexes,
            quota_bytes,
        })
    }
}
