//! Links: made with a lease, and removed in two looks.

use std::time::Duration;

use crate::change::{Attempt, Change, Seen};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::id::{Number, OrganisationId, RepositoryId};
use crate::keys;
use crate::meta::prefix_range;
use crate::records::{BlobRecord, BlobState, LinkRecord, LinkState};
use crate::seam::Timestamp;

/// The most manifests that a refusal names.
const NAMED: usize = 5;

/// Makes `change` hold a piece of content for whoever is about to link it: leans on a live row,
/// makes a condemned one live again (which defeats the collector). False where there is none to
/// hold: absent, beyond recall, or rotten.
pub(crate) fn keep_content(change: &mut Change<'_>, blob: &Seen<BlobRecord>) -> bool {
    match &blob.value {
        Some(record) => match record.state {
            BlobState::Live => {
                change.lean(blob);
                true
            }
            BlobState::Condemned { .. } => {
                change.replace(blob, &BlobRecord { state: BlobState::Live, ..record.clone() });
                true
            }
            BlobState::Deleting { .. } | BlobState::Quarantined { .. } => false,
        },
        None => false,
    }
}

/// The part of a lease for which it is not written anew: a moment, beside the lease, and long
/// beside the time between two pushes of what everybody pushes. Their manifests all lean on its
/// link, and would lose each time it is written.
const LEASE_GRAIN: u32 = 4096;

/// Makes `change` link a blob of `size` bytes, with a lease from now on.
///
/// `number_if_new` is not required to be free: two blobs of one repository that share a number (two
/// processes, the same millisecond, one chance in a million) share their edges, so each is kept for
/// whatever names the other. It errs towards keeping.
pub(crate) fn link_blob(
    change: &mut Change<'_>,
    link: &Seen<LinkRecord>,
    number_if_new: Number,
    size: u64,
    now: Timestamp,
    lease: Duration,
) {
    let leased_until = now.plus(lease);
    if let Some(old) = &link.value
        && old.blob
        && old.state == LinkState::Live
        && old.leased_until.plus(lease / LEASE_GRAIN) > leased_until
    {
        return change.lean(link);
    }
    let record = match &link.value {
        Some(old) => LinkRecord {
            blob: true,
            state: LinkState::Live,
            leased_until: leased_until.max(old.leased_until),
            ..old.clone()
        },
        None => LinkRecord {
            number: number_if_new,
            size,
            blob: true,
            manifest: None,
            state: LinkState::Live,
            leased_until,
        },
    };
    change.replace(link, &record);
}

/// The manifests of the repository that name `child`, a few of them.
pub(crate) async fn named_by(
    core: &Core,
    organisation: OrganisationId,
    repository: RepositoryId,
    digest: &Digest,
    child: Number,
) -> Result<Vec<Number>, Error> {
    let edges = prefix_range(&keys::edges(organisation, repository, child));
    let mut rows = core.meta.scan(edges, NAMED).await?;
    let wanted = prefix_range(&keys::wanted(organisation, repository, digest));
    rows.extend(core.meta.scan(wanted, NAMED).await?);
    Ok(rows.iter().filter_map(|(key, _)| keys::last_number(key).map(Number)).take(NAMED).collect())
}

/// How an attempt to remove a link ended.
#[derive(Debug)]
pub(crate) enum Unlinked {
    /// It may go: `change` requires the condemned link as returned and is yet to be committed.
    Condemned(Seen<LinkRecord>),
    /// Manifests name it; it is as it was.
    Named(Vec<Number>),
    /// It is not there, or somebody else changed it meanwhile.
    Lost,
}

/// The first two looks at a link that is to be removed: condemns it, durably, and then looks for
/// what names it. Whoever names or leases it from then on changes the row, so that the removal,
/// which requires the condemned row, can't follow.
pub(crate) async fn unlink(
    core: &Core,
    organisation: OrganisationId,
    repository: RepositoryId,
    digest: &Digest,
    link: &Seen<LinkRecord>,
) -> Result<Unlinked, Error> {
    let Some(record) = &link.value else { return Ok(Unlinked::Lost) };
    // Looking before condemning saves two commits for all that is in use.
    let names = named_by(core, organisation, repository, digest, record.number).await?;
    if !names.is_empty() {
        return Ok(Unlinked::Named(names));
    }
    let condemned = LinkRecord {
        state: LinkState::Condemned { nonce: core.seams.random_u64() },
        ..record.clone()
    };
    let mut change = Change::freeing(core);
    change.replace(link, &condemned);
    match change.commit().await {
        Ok(()) => {}
        Err(Attempt::Lost) => return Ok(Unlinked::Lost),
        Err(Attempt::Failed(error)) => return Err(error),
    }
    let seen: Seen<LinkRecord> = core.read(keys::link(organisation, digest, repository)).await?;
    if seen.value.as_ref() != Some(&condemned) {
        return Ok(Unlinked::Lost);
    }
    let names = named_by(core, organisation, repository, digest, record.number).await?;
    if names.is_empty() {
        return Ok(Unlinked::Condemned(seen));
    }
    let mut back = Change::freeing(core);
    back.replace(&seen, &LinkRecord { state: LinkState::Live, ..condemned });
    match back.commit().await {
        // Lost: somebody made it live already.
        Ok(()) | Err(Attempt::Lost) => Ok(Unlinked::Named(names)),
        Err(Attempt::Failed(error)) => Err(error),
    }
}
