//! Walking rows in pages, and which organisations to walk.

use std::ops::Range;

use crate::change::Seen;
use crate::core::Core;
use crate::error::Error;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::{Key, MetaRead, Row};
use crate::name::OrganisationName;
use crate::records::NameRecord;
use crate::tenancy::purge::next_organisation;

/// How many rows are read at a time.
pub(crate) const PAGE_ROWS: usize = 1000;

/// The rows of a range, page by page.
pub(crate) struct Pages<'a> {
    read: &'a dyn MetaRead,
    range: Range<Key>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(read: &'a dyn MetaRead, range: Range<Key>) -> Self {
        Self { read, range }
    }

    /// The next rows; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Vec<Row>, Error> {
        if self.range.start >= self.range.end {
            return Ok(Vec::new());
        }
        let rows = self.read.scan(self.range.clone(), PAGE_ROWS).await?;
        match rows.last() {
            Some((last, _)) => self.range.start = behind(last),
            None => self.range.start.clone_from(&self.range.end),
        }
        Ok(rows)
    }
}

/// The first key behind `key`.
pub(crate) fn behind(key: &[u8]) -> Key {
    let mut next = key.to_vec();
    next.push(0);
    next
}

/// The one organisation asked for, or all, also those being deleted.
pub(crate) async fn organisations(
    core: &Core,
    only: Option<&OrganisationName>,
) -> Result<Vec<OrganisationId>, Error> {
    if let Some(name) = only {
        let row: Seen<NameRecord> = core.read(keys::organisation_name(name.as_str())).await?;
        return match row.value {
            Some(NameRecord::Live(id)) => Ok(vec![OrganisationId(id)]),
            _ => Err(Error::NameUnknown { name: name.to_string() }),
        };
    }
    let mut all = Vec::new();
    while let Some(id) = next_organisation(core, all.last().copied()).await? {
        all.push(id);
    }
    Ok(all)
}
