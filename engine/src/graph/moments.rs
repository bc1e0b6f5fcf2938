//! When manifests were pulled last: to the hour, in small rows of their own.

use std::collections::HashMap;
use std::time::Duration;

use crate::change::{Change, Seen};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::id::{OrganisationId, RepositoryId};
use crate::keys;
use crate::records::{LinkRecord, MomentRecord};
use crate::seam::Timestamp;

/// How long a moment stands before a later one is written.
const GRAIN: Duration = Duration::from_hours(1);

/// Whether a moment is to be written anew.
pub(crate) fn is_stale(moment: Option<&MomentRecord>, now: Timestamp) -> bool {
    moment.is_none_or(|moment| moment.at.plus(GRAIN) <= now)
}

/// Something that was pulled: where, and what.
pub(crate) type PulledFrom = (OrganisationId, RepositoryId, Digest);

/// Makes `change` note when manifests were pulled, of those whose last moment is an hour old; says how
/// many it notes. What was pulled as a blob is none of it.
///
/// It requires that each manifest is there, so that no row is left of one that went: such a change may
/// be lost, but never to a push.
pub(crate) async fn note_pulls(
    core: &Core,
    change: &mut Change<'_>,
    pulls: &HashMap<PulledFrom, Timestamp>,
) -> Result<usize, Error> {
    let pulls: Vec<_> = pulls.iter().collect();
    let links = pulls.iter().map(|((o, r, digest), _)| keys::link(*o, digest, *r)).collect();
    let links: Vec<Seen<LinkRecord>> = core.read_many(links).await?;
    let mut manifests = Vec::new();
    for (((organisation, repository, _), at), link) in pulls.into_iter().zip(links) {
        if let Some(link) = link.value.filter(|link| link.manifest.is_some()) {
            manifests.push((*organisation, *repository, link.number, *at));
        }
    }
    let moments = manifests.iter().map(|(o, r, number, _)| keys::pulled(*o, *r, *number)).collect();
    let moments: Vec<Seen<MomentRecord>> = core.read_many(moments).await?;
    let mut noted = 0;
    for ((organisation, repository, number, at), moment) in manifests.into_iter().zip(moments) {
        if is_stale(moment.value.as_ref(), at) {
            change.present(keys::manifest(organisation, repository, number));
            change.put(moment.key, &MomentRecord { at });
            noted += 1;
        }
    }
    Ok(noted)
}
