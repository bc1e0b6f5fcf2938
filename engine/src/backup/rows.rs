//! The rows of one moment, as another store takes them.

use bytes::Bytes;

use super::ArchiveObject;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::walk::Pages;
use crate::id::OrganisationId;
use crate::keys::{self, object};
use crate::meta::{Key, MetaRead, prefix_range};
use crate::records::{BlobRecord, BlobState, Life, OrganisationRecord, Record, SessionRecord};

/// A row, and the object it names where that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) key: Key,
    pub(super) value: Bytes,
    pub(super) object: Option<ArchiveObject>,
}

/// The rows of a snapshot, but those that stay (`backup` tells which and why). Content is said to lie
/// under its digest, wherever it lies in its own store.
pub(super) struct SnapshotRows<'a> {
    view: &'a dyn MetaRead,
    pages: Pages<'a>,
    /// The organisation whose rows go in any order: its objects may be gone.
    deleted: Option<OrganisationId>,
    /// Uploads under way, left out.
    pub(super) uploads: u64,
    /// Rows of content that can't be read: carried as they are, without their objects.
    pub(super) unreadable: u64,
}

impl<'a> SnapshotRows<'a> {
    pub(super) fn new(view: &'a dyn MetaRead) -> Self {
        let mut range = prefix_range(b"");
        range.start = prefix_range(&keys::own()).end;
        let pages = Pages::new(view, range);
        Self { view, pages, deleted: None, uploads: 0, unreadable: 0 }
    }

    /// The next rows; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Carried>>, Error> {
        let rows = self.pages.next().await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut carried = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            carried.extend(self.carry(key, value).await?);
        }
        Ok(Some(carried))
    }

    async fn carry(&mut self, key: Key, value: Bytes) -> Result<Option<Carried>, Error> {
        let plain = |key, value| Ok(Some(Carried { key, value, object: None }));
        if let Some(organisation) = keys::parse_organisation(&key) {
            let record = OrganisationRecord::decode(&value);
            let deleted = record.is_ok_and(|record| record.life == Life::Deleting);
            self.deleted = deleted.then_some(organisation);
            return plain(key, value);
        }
        if let Some(organisation) = keys::parse_usage(&key) {
            let value = self.without_uploads(organisation, value).await?;
            return plain(key, value);
        }
        let (organisation, digest) = match (keys::parse_kind(&key), keys::parse_content(&key)) {
            (Some((_, b'u')), _) => {
                self.uploads += 1;
                return Ok(None);
            }
            (Some((organisation, b'd')), Some((digest, None))) => (organisation, digest),
            _ => return plain(key, value),
        };
        let Ok(record) = BlobRecord::decode(&value) else {
            self.unreadable += 1;
            return plain(key, value);
        };
        Ok(Some(self.content(organisation, key, value, &record, digest)))
    }

    fn content(
        &self,
        organisation: OrganisationId,
        key: Key,
        value: Bytes,
        record: &BlobRecord,
        digest: Digest,
    ) -> Carried {
        let needed = matches!(record.state, BlobState::Live | BlobState::Condemned { .. });
        if !needed || self.deleted == Some(organisation) {
            return Carried { key, value, object: None };
        }
        let settled = BlobRecord { settled: true, ..record.clone() };
        let value = if record.settled { value } else { settled.encode() };
        let place = object::settled(organisation, &digest, settled.generation);
        let object = ArchiveObject { key: place, size: settled.size, digest };
        Carried { key, value, object: Some(object) }
    }

    /// The counter less what uploads reserve, which are left out.
    async fn without_uploads(
        &self,
        organisation: OrganisationId,
        value: Bytes,
    ) -> Result<Bytes, Error> {
        // One that can't be read stays as it is, for `fsck` to find.
        let Ok(counter) = value.as_ref().try_into().map(i64::from_be_bytes) else {
            return Ok(value);
        };
        let mut reserved = 0_i64;
        let mut pages = Pages::new(self.view, prefix_range(&keys::sessions(organisation)));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                break;
            }
            for (_, row) in rows {
                let bytes = SessionRecord::decode(&row).map_or(0, |record| record.reserved_bytes);
                reserved = reserved.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
        }
        if reserved == 0 {
            return Ok(value);
        }
        Ok(Bytes::copy_from_slice(&counter.saturating_sub(reserved).to_be_bytes()))
    }
}

/// Whether a row that stands in a store already says that it has the object of `carried`.
pub(super) fn has_object(row: &[u8], carried: &Carried) -> bool {
    let (Ok(there), Ok(wanted)) = (BlobRecord::decode(row), BlobRecord::decode(&carried.value))
    else {
        return false;
    };
    matches!(there.state, BlobState::Live | BlobState::Condemned { .. })
        && (there.generation, there.size) == (wanted.generation, wanted.size)
}
