//! Rows removed in small commits.

use std::ops::Range;

use super::pass::Pass;
use super::{Purged, ROWS_PER_COMMIT};
use crate::audit::{Event, EventKind, UploadEnd};
use crate::change::{Attempt, Change};
use crate::core::Core;
use crate::error::Error;
use crate::id::{OrganisationId, SessionId};
use crate::keys;
use crate::meta::{Key, Row};
use crate::records::{Body, ManifestRecord, SessionRecord};

/// Removes the rows of uploads, gives back what they reserved, and then gives up their objects.
pub(super) async fn remove_sessions(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
    rows: &[Row],
) -> Result<(), Error> {
    let core = pass.core;
    let prefix = keys::sessions(organisation).len();
    for (key, value) in rows {
        let Some(row) = pass.purged.read::<SessionRecord>(key, value.clone()) else { continue };
        let session = key.get(prefix..).and_then(|id| id.try_into().ok()).map(SessionId);
        let (Some(record), Some(session)) = (&row.value, session) else { continue };
        let mut change = Change::freeing(core);
        change.remove(&row);
        let reserved = i64::try_from(record.reserved_bytes).unwrap_or(i64::MAX);
        change.use_bytes(organisation, -reserved, None);
        let repository = core.reference_to(organisation, record.repository).await?;
        let kind = EventKind::UploadEnded { repository, session, reason: UploadEnd::Purged };
        change.event(Event::by_system(organisation, core.now().await?, kind));
        match change.commit().await {
            Ok(()) => {}
            // It ended by itself meanwhile.
            Err(Attempt::Lost) => continue,
            Err(Attempt::Failed(error)) => return Err(error),
        }
        pass.removed(1);
        let object = record.object(organisation, session);
        let aborted = core.blobs.abort(&object, &record.write).await;
        pass.purged.deleted(&object, 0, aborted);
    }
    Ok(())
}

/// Removes rows of a repository, and gives back what its manifests counted for. They are required
/// as they were read: of two purges at once only one gives back.
pub(super) async fn remove_graph(
    pass: &mut Pass<'_>,
    organisation: OrganisationId,
    rows: &[Row],
) -> Result<(), Error> {
    let core = pass.core;
    let mut change = Change::freeing(core);
    let mut bytes = 0;
    for (key, value) in rows {
        if keys::is_manifest(key) {
            // What one counted for that can't be read is told by `fsck`: the counter's sum is off.
            let Some(seen) = pass.purged.read::<ManifestRecord>(key, value.clone()) else {
                change.delete(key.clone());
                continue;
            };
            if let Some(record) = &seen.value
                && matches!(record.body, Body::Inline(_))
            {
                bytes += i64::try_from(record.size).unwrap_or(i64::MAX);
            }
            change.remove(&seen);
        } else {
            change.delete(key.clone());
        }
    }
    change.use_bytes(organisation, -bytes, None);
    committed(change).await?;
    pass.removed(rows.len());
    Ok(())
}

/// Removes rows that nobody writes any more.
pub(super) async fn remove(pass: &mut Pass<'_>, rows: Vec<Row>) -> Result<(), Error> {
    let count = rows.len();
    let mut change = Change::freeing(pass.core);
    for (key, _) in rows {
        change.delete(key);
    }
    committed(change).await?;
    pass.removed(count);
    Ok(())
}

pub(super) async fn committed(change: Change<'_>) -> Result<(), Error> {
    match change.commit().await {
        Ok(()) => Ok(()),
        Err(Attempt::Lost) => Err(Error::Contended { what: "what is being deleted" }),
        Err(Attempt::Failed(error)) => Err(error),
    }
}

/// The line for what went since `before`.
pub(super) async fn maintained(
    core: &Core,
    organisation: OrganisationId,
    what: &str,
    before: Purged,
    now: &Purged,
) -> Result<Event, Error> {
    let kind = EventKind::Maintained {
        what: format!("removed {} {what}", now.rows - before.rows),
        objects: now.objects - before.objects,
        bytes: now.bytes - before.bytes,
    };
    Ok(Event::by_system(organisation, core.now().await?, kind))
}

/// Rows that are removed page by page: each page is the first of what is left behind the last.
pub(super) struct Pages {
    range: Range<Key>,
}

impl Pages {
    pub(super) fn new(range: Range<Key>) -> Self {
        Self { range }
    }

    pub(super) async fn next(&mut self, pass: &Pass<'_>) -> Result<Option<Vec<Row>>, Error> {
        let rows = pass.core.meta.scan(self.range.clone(), pass.page(ROWS_PER_COMMIT)).await?;
        let Some((last, _)) = rows.last() else { return Ok(None) };
        self.range.start.clone_from(last);
        self.range.start.push(0);
        Ok(Some(rows))
    }
}
