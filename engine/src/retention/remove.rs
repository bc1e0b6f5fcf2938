//! Removing what was found to expire, where it still is as it was found.

use super::look::{Look, TAGS_WITH_MANIFEST};
use super::run::{Expiring, RetentionReport};
use crate::audit::EventKind;
use crate::change::{Attempt, Change, Seen};
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::{Closely, Unlinked, unlink};
use crate::id::Number;
use crate::keys;
use crate::meta::prefix_range;
use crate::name::Tag;
use crate::records::{LinkRecord, ManifestRecord, MomentRecord, TagRecord};

impl Look<'_> {
    /// Removes one thing, and counts it.
    pub(super) async fn remove(
        &self,
        expiring: &Expiring,
        report: &mut RetentionReport,
    ) -> Result<(), Error> {
        if expiring.manifest_too {
            // Another of its tags may have taken the manifest along already, or a tag may have
            // come: then this tag alone is asked about.
            if let Some(tags) = self.remove_manifest(&expiring.digest).await? {
                report.tags += tags;
                report.manifests += 1;
                report.manifests += self.repository.delete_referrers(&expiring.digest).await?;
                return Ok(());
            }
        }
        match &expiring.tag {
            Some(tag) if self.remove_tag(tag).await? => report.tags += 1,
            _ => report.changed += 1,
        }
        Ok(())
    }

    /// Removes a tag that expires as it is now; false where it does not, or changed meanwhile.
    async fn remove_tag(&self, tag: &Tag) -> Result<bool, Error> {
        let repository = &self.repository;
        let (core, organisation) = (&*repository.core, repository.scope.organisation);
        let seen: Seen<TagRecord> =
            core.read(keys::tag(organisation, self.id, tag.as_str())).await?;
        let Some(record) = &seen.value else { return Ok(false) };
        let pulled: Seen<MomentRecord> =
            core.read(keys::pulled(organisation, self.id, record.number)).await?;
        let pulled_at = pulled.value.as_ref().map(|moment| moment.at);
        if self.judge.tag(tag.as_str(), record.pushed_at, pulled_at).is_none() {
            return Ok(false);
        }
        let now = core.now().await?;
        let mut change = Change::freeing(core);
        // The settings as they were read are among what this requires.
        repository.scope.write(repository, &mut change, now);
        change.lean(&pulled);
        change.remove(&seen);
        change.delete(keys::tag_of(organisation, self.id, record.number, tag.as_str()));
        change.touches_reference(self.id, tag.as_str());
        let kind = EventKind::TagDeleted {
            repository: repository.reference(self.id),
            tag: tag.to_string(),
            digest: record.digest,
        };
        change.event(repository.event(now, kind));
        done(change.commit().await)
    }

    /// Removes a manifest that expires as it is now, with its tags; says how many those were, and
    /// nothing where it stays.
    async fn remove_manifest(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let repository = &self.repository;
        let (core, organisation) = (&*repository.core, repository.scope.organisation);
        let seen: Seen<LinkRecord> = core.read(keys::link(organisation, digest, self.id)).await?;
        let Some(number) = seen.value.as_ref().filter(|l| l.manifest.is_some()).map(|l| l.number)
        else {
            return Ok(None);
        };
        // Looking before condemning saves two commits for what stays.
        if self.expires(number).await?.is_none() {
            return Ok(None);
        }
        let link = match unlink(core, organisation, self.id, digest, &seen, Closely::Digest).await?
        {
            Unlinked::Condemned(link) => link,
            Unlinked::Named(_) | Unlinked::Lost => return Ok(None),
        };
        // Whoever pushes or tags it from here on changes the condemned link, so this look holds.
        let Some((tags, moments)) = self.expires(number).await? else {
            return self.stays(&link).await;
        };
        let removed =
            repository.finish_delete(&repository.scope, self.id, digest, &link, &moments).await;
        match removed {
            Ok(()) => Ok(Some(tags)),
            Err(Attempt::Lost) => self.stays(&link).await,
            Err(Attempt::Failed(error)) => Err(error),
        }
    }

    async fn stays(&self, link: &Seen<LinkRecord>) -> Result<Option<u64>, Error> {
        done(self.repository.keep(link).await)?;
        Ok(None)
    }

    /// How many tags go with a manifest that goes, and the moments that this was decided by.
    async fn expires(
        &self,
        number: Number,
    ) -> Result<Option<(u64, Vec<Seen<MomentRecord>>)>, Error> {
        let (core, organisation) = (&self.repository.core, self.repository.scope.organisation);
        let moments = self.moments(number).await?;
        let pulled_at = moments.first().and_then(|seen| seen.value.as_ref()).map(|m| m.at);
        let tags = prefix_range(&keys::tags_of(organisation, self.id, number));
        let tags = core.meta.scan(tags, TAGS_WITH_MANIFEST + 1).await?.len();
        if tags > 0 {
            let all = self.all_expire(number, pulled_at).await?;
            return Ok(all.then_some((tags as u64, moments)));
        }
        let record: Seen<ManifestRecord> =
            core.read(keys::manifest(organisation, self.id, number)).await?;
        let Some(record) = &record.value else { return Ok(None) };
        Ok(self.is_left(number, record).await?.map(|(_, moments)| (0, moments)))
    }
}

/// Whether a commit happened; where others were first it did not, and nothing is wrong.
fn done(committed: Result<(), Attempt>) -> Result<bool, Error> {
    match committed {
        Ok(()) => Ok(true),
        Err(Attempt::Lost) => Ok(false),
        Err(Attempt::Failed(error)) => Err(error),
    }
}
