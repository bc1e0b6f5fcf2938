//! Making rotten content answer as absent, so that pushing it again heals it.

use crate::audit::{Event, EventKind};
use crate::change::{Attempt, Change, Seen};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::MAX_PAGE;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::{Key, Row, prefix_range};
use crate::records::{BlobRecord, BlobState, LinkRecord, Record};

/// Makes content answer as absent, with a line that says what is wrong with its object; false where
/// its row changed since it was read.
pub(crate) async fn quarantine(
    core: &Core,
    organisation: OrganisationId,
    digest: &Digest,
    seen: &Seen<BlobRecord>,
    what: &str,
) -> Result<bool, Error> {
    let Some(record) = &seen.value else { return Ok(false) };
    let now = core.now().await?;
    let mut change = Change::freeing(core);
    let state = BlobState::Quarantined { since: now };
    change.replace(seen, &BlobRecord { state, ..record.clone() });
    let kind = EventKind::ContentQuarantined {
        digest: *digest,
        size: record.size,
        problem: format!("its object {what}"),
    };
    change.event(Event::by_system(organisation, now, kind));
    match change.commit().await {
        Ok(()) => {}
        Err(Attempt::Lost) => return Ok(false),
        Err(Attempt::Failed(error)) => return Err(error),
    }
    forget_manifest(core, organisation, digest).await?;
    Ok(true)
}

/// Makes old what is cached of a manifest whose bytes are rotten. After the commit: whatever is
/// loaded from then on finds it absent, and every tag set before is among the rows.
async fn forget_manifest(
    core: &Core,
    organisation: OrganisationId,
    digest: &Digest,
) -> Result<(), Error> {
    let mut links = keys::blob(organisation, digest);
    let behind_links = prefix_range(&links).end;
    while let Some(rows) = page(core, &mut links, &behind_links).await? {
        for (key, value) in rows {
            let Some((_, Some(repository))) = keys::parse_content(&key) else { continue };
            // One that can't be read was never loaded from either.
            let Ok(link) = LinkRecord::decode(&value) else { continue };
            if link.manifest.is_none() {
                continue;
            }
            core.cache.forget_reference(repository, &digest.to_string());
            let all = keys::tags_of(organisation, repository, link.number);
            let (mut tags, behind_tags) = (all.clone(), prefix_range(&all).end);
            while let Some(rows) = page(core, &mut tags, &behind_tags).await? {
                for (key, _) in rows {
                    let tag = key.get(all.len()..).and_then(|tag| std::str::from_utf8(tag).ok());
                    if let Some(tag) = tag {
                        core.cache.forget_reference(repository, tag);
                    }
                }
            }
        }
    }
    Ok(())
}

/// The next rows from `from` on, which then stands behind them; none at the end.
async fn page(core: &Core, from: &mut Key, end: &Key) -> Result<Option<Vec<Row>>, Error> {
    let rows = core.meta.scan(from.clone()..end.clone(), MAX_PAGE).await?;
    let Some((last, _)) = rows.last() else { return Ok(None) };
    from.clone_from(last);
    from.push(0);
    Ok(Some(rows))
}
