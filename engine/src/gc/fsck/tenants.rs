//! Names lead to records, and records are found by their names.

use super::{Check, Domain, Invariant, number_at};
use crate::error::Error;
use crate::gc::walk::Pages;
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::{Row, prefix_range};
use crate::records::{
    DoomedRecord, Life, NameRecord, OrganisationRecord, RegistryRecord, RepositoryRecord,
};

impl Check<'_> {
    pub(super) async fn organisation_names(&mut self) -> Result<(), Error> {
        let prefix = keys::organisation_names();
        let mut pages = Pages::new(self.view, prefix_range(&prefix));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in &rows {
                self.report.counts.rows += 1;
                let name = text(row.0.get(prefix.len()..));
                let Some(NameRecord::Live(id)) = self.decode(Invariant::I4, OrganisationId(0), row)
                else {
                    continue;
                };
                let id = OrganisationId(id);
                let record: Option<OrganisationRecord> = self.get(&keys::organisation(id)).await?;
                if record.is_none_or(|record| record.name != name) {
                    let what =
                        format!("the organisation's name {name} leads to another or to none");
                    self.find(Invariant::I4, Some(id), what);
                }
            }
        }
    }

    pub(super) async fn organisation_row(&mut self, domain: &Domain) -> Result<(), Error> {
        let key = keys::organisation_name(&domain.record.name);
        if self.get(&key).await? != Some(NameRecord::Live(domain.id.0)) {
            let what = format!("its name {} does not lead to it", domain.record.name);
            self.find(Invariant::I4, Some(domain.id), what);
        }
        Ok(())
    }

    pub(super) async fn registry_row(&mut self, domain: &Domain, row: &Row) -> Result<(), Error> {
        self.report.counts.registries += 1;
        let Some(record) = self.decode::<RegistryRecord>(Invariant::I4, domain.id, row) else {
            return Ok(());
        };
        let id = keys::last_number(&row.0);
        let name: Option<NameRecord> =
            self.get(&keys::registry_name(domain.id, &record.name)).await?;
        let leads = id.is_some_and(|id| name == Some(NameRecord::Live(id)));
        if !leads && record.life != Life::Deleting {
            let what = format!("the name of registry {} does not lead to it", record.name);
            self.find(Invariant::I4, Some(domain.id), what);
        }
        Ok(())
    }

    pub(super) async fn registry_name_row(
        &mut self,
        domain: &Domain,
        row: &Row,
    ) -> Result<(), Error> {
        let name = text(row.0.get(10..));
        let Some(NameRecord::Live(id)) = self.decode(Invariant::I4, domain.id, row) else {
            return Ok(());
        };
        let record: Option<RegistryRecord> =
            self.get(&keys::registry(domain.id, RegistryId(id))).await?;
        if record.is_none_or(|record| record.name != name) {
            let what = format!("the registry's name {name} leads to another or to none");
            self.find(Invariant::I4, Some(domain.id), what);
        }
        Ok(())
    }

    /// A repository that was given up has no record and no name any more.
    pub(super) async fn doomed_row(&mut self, domain: &Domain, row: &Row) -> Result<(), Error> {
        let record = self.decode::<DoomedRecord>(Invariant::I6, domain.id, row);
        let (Some(record), Some(id)) = (record, keys::last_number(&row.0)) else { return Ok(()) };
        let name = keys::repository_name(domain.id, record.registry, &record.name);
        let named = self.get(&name).await? == Some(NameRecord::Live(id));
        if named || self.has(&keys::repository(domain.id, RepositoryId(id))).await? {
            let what = format!("repository {} is given up and there all the same", record.name);
            self.find(Invariant::I4, Some(domain.id), what);
        }
        Ok(())
    }

    pub(super) async fn repository_name_row(
        &mut self,
        domain: &Domain,
        row: &Row,
    ) -> Result<(), Error> {
        let registry = number_at(&row.0, 10).map(RegistryId);
        let Some(NameRecord::Live(id)) = self.decode(Invariant::I4, domain.id, row) else {
            return Ok(());
        };
        let doomed = registry.is_some_and(|id| domain.doomed_registries.contains(&id));
        if doomed {
            return Ok(());
        }
        let name = text(row.0.get(18..));
        let record: Option<RepositoryRecord> =
            self.get(&keys::repository(domain.id, RepositoryId(id))).await?;
        let leads =
            record.is_some_and(|record| record.name == name && Some(record.registry) == registry);
        if !leads {
            let what = format!("the repository's name {name} leads to another or to none");
            self.find(Invariant::I4, Some(domain.id), what);
        }
        Ok(())
    }
}

pub(super) fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
