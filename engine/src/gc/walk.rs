//! Walking rows in pages, and which organisations to walk.

use std::ops::Range;

use crate::change::Seen;
use crate::core::Core;
use crate::error::Error;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::{Key, MetaRead, Row, prefix_range};
use crate::name::OrganisationName;
use crate::records::NameRecord;

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
    while let Some(id) = next_organisation(&*core.meta, all.last().copied()).await? {
        all.push(id);
    }
    Ok(all)
}

/// The organisation behind `after` in the order of ids; deleted ones too, and those whose record
/// can't be read.
pub(crate) async fn next_organisation(
    read: &dyn MetaRead,
    after: Option<OrganisationId>,
) -> Result<Option<OrganisationId>, Error> {
    let mut range = prefix_range(&keys::organisations());
    if let Some(after) = after {
        range.start = prefix_range(&keys::organisation_rows(after)).end;
    }
    let rows = read.scan(range, 1).await?;
    let Some((key, _)) = rows.first() else { return Ok(None) };
    // `o`, the id, …: the record is the first of an organisation's rows.
    let id = key.get(1..).and_then(|rest| rest.first_chunk::<8>().copied());
    let id = id.map(u64::from_be_bytes).map(OrganisationId);
    let id = id.ok_or_else(|| Error::Corrupted("a key of an organisation is too short".into()))?;
    Ok(Some(id))
}
