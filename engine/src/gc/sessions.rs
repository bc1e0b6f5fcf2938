//! Uploads that nobody goes on with.

use crate::audit::{Event, EventKind, UploadEnd};
use crate::change::Seen;
use crate::core::Core;
use crate::error::Error;
use crate::gc::CollectReport;
use crate::id::{OrganisationId, SessionId};
use crate::keys;
use crate::meta::Row;
use crate::records::SessionRecord;
use crate::seam::Timestamp;
use crate::upload::give_up;

/// Gives up what expired of a page of uploads: first the row, so that no finishing commit can
/// follow, then the object.
pub(super) async fn expire(
    core: &Core,
    organisation: OrganisationId,
    rows: Vec<Row>,
    dry_run: bool,
    report: &mut CollectReport,
) -> Result<(), Error> {
    let now = core.now().await?;
    let prefix = keys::sessions(organisation).len();
    for (key, value) in rows {
        let id = key.get(prefix..).and_then(|id| id.try_into().ok()).map(SessionId);
        let (Some(id), Ok(seen)) = (id, Seen::<SessionRecord>::new(key, Some(value))) else {
            report.unreadable += 1;
            continue;
        };
        let Some(record) = &seen.value else { continue };
        if record.expires_at > now {
            continue;
        }
        if dry_run || expired(core, organisation, id, &seen, now).await? {
            report.uploads.add(record.reserved_bytes);
        }
    }
    Ok(())
}

/// Gives up one upload; false where somebody went on with it meanwhile.
async fn expired(
    core: &Core,
    organisation: OrganisationId,
    session: SessionId,
    seen: &Seen<SessionRecord>,
    now: Timestamp,
) -> Result<bool, Error> {
    let Some(record) = &seen.value else { return Ok(false) };
    let repository = core.reference_to(organisation, record.repository).await?;
    let kind = EventKind::UploadEnded { repository, session, reason: UploadEnd::Expired };
    let line = Event::by_system(organisation, now, kind);
    give_up(core, organisation, session, seen, line).await
}
