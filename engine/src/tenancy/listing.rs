//! The repositories of one registry, for whoever may list there: in pages, searched, and whether they hold
//! what a package format is looking for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::access::{Action, Caller};
use crate::change::Seen;
use crate::core::Core;
use crate::error::Error;
use crate::graph::{Page, Revision};
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::meta::{MAX_SCAN_ROWS, prefix_range, range_behind};
use crate::name::{OrganisationName, RegistryName, RepositoryName};
use crate::records::{NameRecord, Record, RepositoryRecord, TagRecord};
use crate::seam::Timestamp;
use crate::tenancy::{page_rows, seen_registry};

/// How many tags of a repository are looked at for what it holds.
const TAGS_LOOKED_AT: usize = 16;
/// The longest text that names are searched for.
const MAX_FILTER: usize = 255;
/// The most names that one page of a search looks at.
const NAMES_LOOKED_AT: usize = 10_000;

/// The repositories of one registry. Like a repository's handle it is for one request.
#[derive(Debug, Clone)]
pub struct Listing {
    core: Arc<Core>,
    organisation: OrganisationId,
    registry: RegistryId,
}

/// Which repositories to list; the default lists all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RepositoryFilter {
    /// Only those whose name begins so; costs what it finds.
    pub prefix: Option<String>,
    /// Only those whose name has this in it; looks at every name with the prefix.
    pub contains: Option<String>,
}

impl RepositoryFilter {
    fn check(&self) -> Result<(), Error> {
        let texts = [&self.prefix, &self.contains];
        if texts.into_iter().flatten().any(|text| text.len() > MAX_FILTER) {
            let why = format!("a search has at most {MAX_FILTER} characters");
            return Err(Error::Invalid(why));
        }
        Ok(())
    }
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

/// A repository of a registry, as its record tells of it.
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

    /// What all repositories are at this moment, in the sense of [`Revision`]: where two are equal, no
    /// repository changed between the two moments. None on a store that several processes share.
    pub fn revision(&self) -> Option<Revision> {
        (!self.core.meta.is_shared()).then(|| self.core.own_revision_of_all())
    }

    /// The repositories after `after` (which need not exist) in the order of their names' bytes, at
    /// most `limit` and at most [`crate::MAX_PAGE`].
    pub async fn page(&self, after: Option<&str>, limit: usize) -> Result<Page<Listed>, Error> {
        let shared = self.core.meta.is_shared();
        let Page { items, next } = self.names(&RepositoryFilter::default(), after, limit).await?;
        let listed = |(name, id)| {
            let revision = (!shared).then(|| self.core.own_revision(id));
            Listed { name, id, revision }
        };
        Ok(Page { items: items.into_iter().map(listed).collect(), next })
    }

    /// As [`Self::page`], but those that `filter` lets pass, with what their records tell. A page may
    /// have fewer than `limit` and not be the last.
    pub async fn infos(
        &self,
        filter: &RepositoryFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RepositoryInfo>, Error> {
        let found = self.names(filter, after, limit).await?;
        let keys = found.items.iter().map(|(_, id)| keys::repository(self.organisation, *id));
        let records: Vec<Seen<RepositoryRecord>> = self.core.read_many(keys.collect()).await?;
        let mut items = Vec::with_capacity(records.len());
        for ((name, id), record) in found.items.into_iter().zip(records) {
            // One that was given up between the two reads is not listed.
            let Some(record) = record.value else { continue };
            items.push(RepositoryInfo { id, name, created_at: record.created_at });
        }
        Ok(Page { items, next: found.next })
    }

    /// Whether one of a repository's first few tags points at a manifest of this artifact type.
    pub async fn holds(&self, id: RepositoryId, artifact_type: &str) -> Result<bool, Error> {
        let tags = prefix_range(&keys::tags(self.organisation, id));
        for (_, value) in self.core.meta.scan(tags, TAGS_LOOKED_AT).await? {
            let number = TagRecord::decode(&value)?.number;
            let record = self.core.manifest_record(self.organisation, id, number).await?;
            if record.is_some_and(|record| record.artifact_type.as_deref() == Some(artifact_type)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The names behind `after` that the filter lets pass.
    async fn names(
        &self,
        filter: &RepositoryFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<(RepositoryName, RepositoryId)>, Error> {
        filter.check()?;
        let (limit, mut items) = (page_rows(limit), Vec::new());
        let all = keys::repository_names(self.organisation, self.registry);
        let prefix = filter.prefix.as_deref().unwrap_or_default().as_bytes();
        let mut range = prefix_range(&[all.as_slice(), prefix].concat());
        let Some(behind) = range_behind(&all, after) else { return Ok(Page { items, next: None }) };
        range.start = range.start.max(behind.start);
        let mut looked_at = 0;
        loop {
            let want = match filter.contains {
                Some(_) => MAX_SCAN_ROWS,
                // One more tells whether there are more.
                None => limit - items.len() + 1,
            };
            if range.is_empty() {
                return Ok(Page { items, next: None });
            }
            let rows = self.core.meta.scan(range.clone(), want).await?;
            let (count, mut last) = (rows.len(), None);
            for (at, (key, value)) in rows.into_iter().enumerate() {
                looked_at += 1;
                let name = key.get(all.len()..).and_then(|name| std::str::from_utf8(name).ok());
                let no_name = || Error::Corrupted("a repository's key is no name".to_owned());
                let name = name.ok_or_else(no_name)?;
                let fits = filter.contains.as_ref().is_none_or(|part| name.contains(part));
                if fits && let NameRecord::Live(id) = NameRecord::decode(&value)? {
                    items.push((name.parse().map_err(|_| no_name())?, RepositoryId(id)));
                }
                last = Some(name.to_owned());
                range.start = [key.as_slice(), &[0]].concat();
                if items.len() == limit {
                    let more = at + 1 < count || count == want;
                    return Ok(Page { items, next: last.filter(|_| more) });
                }
            }
            if count < want {
                return Ok(Page { items, next: None });
            }
            if looked_at >= NAMES_LOOKED_AT {
                return Ok(Page { items, next: last });
            }
        }
    }
}
