//! The rules of all registries, applied by the collector.

use std::sync::Arc;

use super::run::{RetentionReport, in_repository, repository_in};
use crate::access::{Caller, PrincipalId};
use crate::change::{Attempt, Change, Seen};
use crate::core::Core;
use crate::error::Error;
use crate::gc::walk::{behind, organisations};
use crate::id::{OrganisationId, RegistryId};
use crate::keys;
use crate::meta::{Key, MAX_SCAN_ROWS, prefix_range};
use crate::name::RepositoryPath;
use crate::records::{
    Life, NameRecord, OrganisationRecord, Record, RegistryRecord, RetentionCursor,
};

/// Who the trail says did it.
const SYSTEM: &str = "system";

/// Applies the rules of every registry, from where the last run was stopped; about `budget` tags and
/// manifests. `goes_on` is asked before each repository.
pub(crate) async fn run_all(
    core: &Arc<Core>,
    budget: Option<u64>,
    goes_on: impl Fn() -> Result<(), Error>,
) -> Result<RetentionReport, Error> {
    let cursor: Seen<RetentionCursor> = match core.read(keys::RETENTION.to_vec()).await {
        Ok(cursor) => cursor,
        // A hint that can't be read is none.
        Err(Error::Corrupted(_)) => Seen::if_readable(keys::RETENTION.to_vec(), None),
        Err(error) => return Err(error),
    };
    let start = cursor.value.map(|cursor| cursor.next).unwrap_or_default();
    let caller = Caller::known(PrincipalId::new(SYSTEM)?);
    let mut report = RetentionReport::default();
    let everyone = organisations(core, None).await?;
    for organisation in everyone {
        if prefix_range(&keys::organisation_rows(organisation)).end <= start {
            continue;
        }
        let owner: Seen<OrganisationRecord> =
            match core.read(keys::organisation(organisation)).await {
                // What can't be read keeps no other's rules from being applied.
                Err(Error::Corrupted(_)) => continue,
                other => other?,
            };
        let Some(owner) = owner.value.filter(|owner| owner.life == Life::Live) else { continue };
        let mut registries = prefix_range(&keys::registries(organisation));
        loop {
            let rows = core.meta.scan(registries.clone(), MAX_SCAN_ROWS).await?;
            let Some((last, _)) = rows.last() else { break };
            registries.start = behind(last);
            for (key, value) in &rows {
                let Some(id) = keys::last_number(key).map(RegistryId) else { continue };
                let Ok(registry) = RegistryRecord::decode(value) else { continue };
                if registry.life != Life::Live || registry.retention.is_empty() {
                    continue;
                }
                let prefix = format!("{}/{}", owner.name, registry.name);
                let all = All { core, caller: &caller, budget, start: &start, goes_on: &goes_on };
                if !all.registry(organisation, id, &prefix, &mut report).await? {
                    return Ok(report);
                }
            }
        }
    }
    note(core, None).await?;
    Ok(report)
}

struct All<'a, F> {
    core: &'a Arc<Core>,
    caller: &'a Caller,
    budget: Option<u64>,
    start: &'a Key,
    goes_on: &'a F,
}

impl<F: Fn() -> Result<(), Error>> All<'_, F> {
    /// One registry; false where the budget ended the run.
    async fn registry(
        &self,
        organisation: OrganisationId,
        id: RegistryId,
        prefix: &str,
        report: &mut RetentionReport,
    ) -> Result<bool, Error> {
        let core = self.core;
        let names = keys::repository_names(organisation, id);
        let mut range = prefix_range(&names);
        range.start = range.start.max(self.start.clone());
        while range.start < range.end {
            let rows = core.meta.scan(range.clone(), MAX_SCAN_ROWS).await?;
            let Some((last, _)) = rows.last() else { break };
            range.start = behind(last);
            for (key, value) in &rows {
                if !matches!(NameRecord::decode(value), Ok(NameRecord::Live(_))) {
                    continue;
                }
                (self.goes_on)()?;
                let name = repository_in(key, names.len())?;
                let path: RepositoryPath = format!("{prefix}/{name}")
                    .parse()
                    .map_err(|_| Error::Corrupted(format!("{prefix}/{name} is no name")))?;
                // A repository is done whole: its cursor would be of tags that come and go.
                let done = in_repository(core, self.caller, &path, None, None, report).await;
                match done {
                    Ok(_) => {}
                    Err(Error::Corrupted(reason)) => {
                        tracing::error!(%path, reason, "the rules can't be applied here");
                    }
                    Err(error) => return Err(error),
                }
                if self.budget.is_some_and(|budget| report.looked_at >= budget) {
                    note(core, Some(behind(key))).await?;
                    report.next = Some(path.to_string());
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Writes where the next run begins, or that it begins at the beginning.
async fn note(core: &Core, next: Option<Key>) -> Result<(), Error> {
    let mut change = Change::freeing(core);
    match next {
        Some(next) => change.put(keys::RETENTION.to_vec(), &RetentionCursor { next }),
        None => change.delete(keys::RETENTION.to_vec()),
    }
    match change.commit().await {
        Ok(()) | Err(Attempt::Lost) => Ok(()),
        Err(Attempt::Failed(error)) => Err(error),
    }
}
