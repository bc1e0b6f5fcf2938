//! Links: made with a lease, and removed in two looks.

use std::time::Duration;

use bytes::Bytes;

use crate::change::{Attempt, Change, Seen};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::id::{Number, OrganisationId, RepositoryId};
use crate::keys;
use crate::meta::{Row, prefix_range};
use crate::records::{BlobRecord, BlobState, LinkRecord, LinkState, ManifestRecord};
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
/// `number_if_new` is not required to be free: two links of one repository that share a number (two
/// processes, the same millisecond, one chance in a million) share their edges, so collection keeps each
/// for whatever names the other. What is asked to be removed is told by its digest ([`Closely`]), and one
/// that becomes a manifest beside another of its number gets another number ([`renumber`]).
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

/// The manifests of the repository that name `child`, a few of them. Two links that share a number share
/// their edges, so what names the one is told of both: it errs towards keeping.
pub(crate) async fn named_by(
    core: &Core,
    organisation: OrganisationId,
    repository: RepositoryId,
    digest: &Digest,
    child: Number,
) -> Result<Vec<Number>, Error> {
    let edges = prefix_range(&keys::edges(organisation, repository, child));
    let mut found = numbers(&core.meta.scan(edges, NAMED).await?);
    found.extend(wanted_by(core, organisation, repository, digest).await?);
    found.truncate(NAMED);
    Ok(found)
}

/// The manifests that wait for a digest, a few of them.
async fn wanted_by(
    core: &Core,
    organisation: OrganisationId,
    repository: RepositoryId,
    digest: &Digest,
) -> Result<Vec<Number>, Error> {
    let wanted = prefix_range(&keys::wanted(organisation, repository, digest));
    Ok(numbers(&core.meta.scan(wanted, NAMED).await?))
}

/// The numbers that keys end in.
fn numbers(rows: &[Row]) -> Vec<Number> {
    rows.iter().filter_map(|(key, _)| keys::last_number(key).map(Number)).collect()
}

/// As [`named_by`], but only those that name this digest and not another with the same number: for
/// what somebody asked to remove, who would be told of manifests that have nothing to do with it.
async fn really_named_by(
    core: &Core,
    organisation: OrganisationId,
    repository: RepositoryId,
    digest: &Digest,
    child: Number,
) -> Result<Vec<Number>, Error> {
    let mut edges = prefix_range(&keys::edges(organisation, repository, child));
    let mut found = Vec::new();
    while found.len() < NAMED {
        let rows = core.meta.scan(edges.clone(), NAMED).await?;
        let Some((last, _)) = rows.last() else { break };
        edges.start = [last.as_slice(), &[0]].concat();
        for parent in numbers(&rows) {
            let record = core.manifest_record(organisation, repository, parent).await?;
            // One that is gone since names nothing; whoever removed it removed the edge too.
            if record.is_some_and(|record| record.children.iter().any(|c| c.digest == *digest)) {
                found.push(parent);
            }
        }
    }
    found.extend(wanted_by(core, organisation, repository, digest).await?);
    found.truncate(NAMED);
    Ok(found)
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

/// How closely it is looked what names a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closely {
    /// By its number: [`named_by`].
    Number,
    /// By its digest: [`really_named_by`].
    Digest,
}

impl Closely {
    async fn look(
        self,
        core: &Core,
        organisation: OrganisationId,
        repository: RepositoryId,
        digest: &Digest,
        child: Number,
    ) -> Result<Vec<Number>, Error> {
        match self {
            Self::Number => named_by(core, organisation, repository, digest, child).await,
            Self::Digest => really_named_by(core, organisation, repository, digest, child).await,
        }
    }
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
    closely: Closely,
) -> Result<Unlinked, Error> {
    let Some(record) = &link.value else { return Ok(Unlinked::Lost) };
    // Looking before condemning saves two commits for all that is in use.
    let names = closely.look(core, organisation, repository, digest, record.number).await?;
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
    let names = closely.look(core, organisation, repository, digest, record.number).await?;
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

/// Gives a link, which `change` writes, a number of its own in place of one that a manifest has: what
/// names it, not more than a few manifests, names it by that from then on. Whoever names it meanwhile
/// leans on the link. Fails where more do: one chance in a million was had twice.
pub(crate) async fn renumber(
    change: &mut Change<'_>,
    core: &Core,
    organisation: OrganisationId,
    repository: RepositoryId,
    digest: &Digest,
    (old, new): (Number, Number),
) -> Result<(), Error> {
    let parents = really_named_by(core, organisation, repository, digest, old).await?;
    if parents.len() >= NAMED {
        return Err(Error::Contended { what: "the number of a manifest" });
    }
    for parent in parents {
        let key = keys::manifest(organisation, repository, parent);
        let seen: Seen<ManifestRecord> = core.read(key).await?;
        let Some(mut record) = seen.value.clone() else { continue };
        let (mut names, mut shares) = (false, false);
        for child in record.children.iter_mut().filter(|child| child.number == Some(old)) {
            if child.digest == *digest {
                child.number = Some(new);
                names = true;
            } else {
                shares = true;
            }
        }
        if !names {
            continue;
        }
        change.replace(&seen, &record);
        change.put_raw(keys::edge(organisation, repository, new, parent), Bytes::new());
        if !shares {
            change.delete(keys::edge(organisation, repository, old, parent));
        }
        change.touches_reference(repository, &record.digest.to_string());
    }
    Ok(())
}
