//! How far a walk in the order of organisations and digests is.
//!
//! It is measured by bytes: an organisation's counter says how many it stores, and its digests are spread
//! evenly over them. So it costs one read an organisation, and is as right for a walk over a share of the
//! digests, or for one that began in the middle.

use crate::content::ObjectEntry;
use crate::digest::Algorithm;
use crate::error::Error;
use crate::gc::Extent;
use crate::id::OrganisationId;
use crate::keys::object;
use crate::meta::MetaRead;
use crate::tenancy::usage::used_bytes;

/// The organisations of a walk, each with where it begins on it.
#[derive(Debug, Default)]
pub(super) struct Course {
    starts: Vec<(OrganisationId, u64)>,
    total: u64,
}

impl Course {
    /// Over these organisations, in the order of their ids.
    pub(super) async fn over(
        read: &dyn MetaRead,
        organisations: &[OrganisationId],
    ) -> Result<Self, Error> {
        let (mut starts, mut total) = (Vec::with_capacity(organisations.len()), 0_u64);
        for id in organisations {
            starts.push((*id, total));
            // One without a byte is a step, too.
            total = total.saturating_add(known_bytes(read, *id).await?).saturating_add(1);
        }
        Ok(Self { starts, total })
    }

    /// Where a walk stands at a digest ([`crate::digest::Digest::to_bytes`], of which the beginning is
    /// enough) of an organisation; at the first where it is empty.
    pub(super) fn at(&self, organisation: OrganisationId, digest: &[u8]) -> Option<Extent> {
        let next = self.starts.partition_point(|(id, _)| *id <= organisation);
        let last = next.checked_sub(1).and_then(|last| self.starts.get(last));
        let start = last.map_or(0, |(_, start)| *start);
        // One that is not on the course lies behind the one before it.
        let own = last.is_some_and(|(id, _)| *id == organisation);
        let length = self.start(next) - start;
        let within = if own { u64::from(place(digest)) } else { u64::from(u32::MAX) };
        let within = (u128::from(length) * u128::from(within)) >> u32::BITS;
        let within = u64::try_from(within).unwrap_or(length);
        Extent::of(start + within, self.total)
    }

    /// Where a walk over objects stands behind these; nowhere known where none of them is of a tenant.
    pub(super) fn behind_objects(&self, listed: &[ObjectEntry]) -> Option<Extent> {
        let object = listed.iter().rev().find_map(|entry| object::parse(&entry.key))?;
        let digest = object.digest.map(|digest| digest.to_bytes()).unwrap_or_default();
        self.at(object.organisation, &digest)
    }

    /// Where it stands behind all of an organisation.
    pub(super) fn behind(&self, organisation: OrganisationId) -> Option<Extent> {
        let next = self.starts.partition_point(|(id, _)| *id <= organisation);
        Extent::of(self.start(next), self.total)
    }

    fn start(&self, at: usize) -> u64 {
        self.starts.get(at).map_or(self.total, |(_, start)| *start)
    }
}

/// Where a digest lies among all, by its first bytes. Nearly all are of the first algorithm.
fn place(digest: &[u8]) -> u32 {
    match digest.split_first() {
        None => 0,
        Some((tag, _)) if *tag > Algorithm::Sha256.tag() => u32::MAX,
        Some((_, raw)) => {
            let mut first = [0; 4];
            for (to, from) in first.iter_mut().zip(raw) {
                *to = *from;
            }
            u32::from_be_bytes(first)
        }
    }
}

/// What an organisation stores; nothing where its counter is damaged, which is for `fsck` to say.
pub(crate) async fn known_bytes(
    read: &dyn MetaRead,
    organisation: OrganisationId,
) -> Result<u64, Error> {
    match used_bytes(read, organisation).await {
        Err(Error::Corrupted(_)) => Ok(0),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(starts: &[(u64, u64)], total: u64) -> Course {
        let starts = starts.iter().map(|(id, start)| (OrganisationId(*id), *start)).collect();
        Course { starts, total }
    }

    fn done(extent: Option<Extent>) -> u64 {
        extent.unwrap().done
    }

    #[test]
    fn a_walk_is_as_far_as_its_digest_is_in_what_its_organisation_stores() {
        let (course, sha256) =
            (course(&[(1, 0), (5, 100), (7, 300)], 301), Algorithm::Sha256.tag());
        let at = |id, digest: &[u8]| done(course.at(OrganisationId(id), digest));
        assert_eq!([at(1, &[]), at(1, &[sha256, 0x80]), at(1, &[sha256, 0xff, 0xff])], [0, 50, 99]);
        assert_eq!([at(5, &[]), at(5, &[sha256, 0x40])], [100, 150]);
        assert_eq!(
            at(5, &[Algorithm::Sha512.tag(), 0]),
            299,
            "behind those of the first algorithm"
        );
        assert_eq!(
            [done(course.behind(OrganisationId(5))), done(course.behind(OrganisationId(7)))],
            [300, 301]
        );
        // Those that are not on it are passed where they would lie.
        assert_eq!([at(0, &[sha256, 0x80]), at(6, &[]), at(9, &[])], [0, 299, 300]);
        assert_eq!(course.at(OrganisationId(9), &[]).unwrap().total, 301);
    }

    #[test]
    fn of_nothing_nothing_is_told() {
        assert_eq!(Course::default().at(OrganisationId(1), &[]), None);
        assert_eq!(Extent::of(3, 2), Some(Extent { done: 3, total: 3 }), "never more than all");
    }
}
