//! Deleting manifests and blobs: what a manifest names stays (I2), what nobody names goes.

use std::time::Duration;

use crate::access::Action;
use crate::audit::EventKind;
use crate::change::{Attempt, Change, Seen, retry};
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::tags::immutable;
use crate::graph::{Closely, Repository, Scope, Unlinked, tag_in, unlink};
use crate::id::{Number, RepositoryId};
use crate::keys;
use crate::meta::prefix_range;
use crate::records::{
    LinkRecord, LinkState, ManifestPlace, ManifestRecord, MomentRecord, Record, ReferrerRecord,
    TagRecord,
};

/// How many tags of a manifest are removed in one commit.
const TAGS_PER_COMMIT: usize = 256;
/// How many referrers are listed at a time; each may bring 256 KiB of annotations.
const REFERRERS_AT_ONCE: usize = 32;

impl Repository {
    /// Removes a manifest with its tags. Its referrers stay, and the blobs it named stay until
    /// collection finds that nothing names them. Needs [`Action::Delete`].
    ///
    /// Fails with [`Error::InUse`] where an index here names it, with [`Error::TagImmutable`] where a
    /// tag of it is immutable.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), Error> {
        self.demand(Action::Delete)?;
        self.delete_one(digest, false).await.map(drop)
    }

    /// Removes a manifest with its tags, and then what refers to it (signatures, attestations) and
    /// to that in turn; says how many referrers went along. Those stay that have a tag of their
    /// own or that an index here names, and what refers to those. Needs [`Action::Delete`].
    ///
    /// Fails with [`Error::InUse`] where an index here names the manifest itself; nothing is
    /// removed then. Each manifest goes in a commit of its own. Where the call fails or the future
    /// is dropped between two, the rest stays, and asking again goes on although the manifest is
    /// gone.
    pub async fn delete_manifest_with_referrers(&self, digest: &Digest) -> Result<u64, Error> {
        self.demand(Action::Delete)?;
        let unknown = match self.delete_one(digest, false).await {
            Ok(_) => None,
            Err(unknown @ Error::ManifestUnknown { .. }) => Some(unknown),
            Err(error) => return Err(error),
        };
        let removed = self.delete_referrers(digest).await?;
        match unknown {
            Some(unknown) if removed == 0 => Err(unknown),
            _ => Ok(removed),
        }
    }

    /// Removes what refers to `digest` and has no tag, and so on; says how many.
    pub(crate) async fn delete_referrers(&self, digest: &Digest) -> Result<u64, Error> {
        let scope = self.fresh_scope(1).await?;
        let id = scope.existing(&self.path)?;
        let mut removed = 0;
        let mut subjects = vec![*digest];
        while let Some(subject) = subjects.pop() {
            let all = keys::referrers(scope.organisation, id, &subject);
            let mut range = prefix_range(&all);
            loop {
                let rows = self.core.meta.scan(range.clone(), REFERRERS_AT_ONCE).await?;
                let Some((last, _)) = rows.last() else { break };
                range.start = [last.as_slice(), &[0]].concat();
                for (_, value) in &rows {
                    let referrer = ReferrerRecord::decode(value)?.digest;
                    match self.delete_one(&referrer, true).await {
                        Ok(true) => {
                            removed += 1;
                            subjects.push(referrer);
                        }
                        // Somebody else removed it: what referred to it is looked at all the same.
                        Err(Error::ManifestUnknown { .. }) => subjects.push(referrer),
                        Ok(false) | Err(Error::InUse { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(removed)
    }

    /// Removes one manifest; false where it has a tag and only one without was to be removed.
    pub(super) async fn delete_one(
        &self,
        digest: &Digest,
        only_untagged: bool,
    ) -> Result<bool, Error> {
        retry!("a manifest", attempt => {
            let scope = self.fresh_scope(attempt).await?;
            let id = scope.existing(&self.path)?;
            let key = keys::link(scope.organisation, digest, id);
            let seen: Seen<LinkRecord> = self.core.read(key).await?;
            let number = match &seen.value {
                Some(link) if link.manifest.is_some() => link.number,
                _ => {
                    let reference = digest.to_string();
                    return Err(Error::ManifestUnknown { reference }.into());
                }
            };
            if only_untagged && self.is_tagged(&scope, id, number).await? {
                return Ok(false);
            }
            if let Some(immutable) = self.immutable_tag(&scope, id, number).await? {
                return Err(immutable.into());
            }
            match unlink(&self.core, scope.organisation, id, digest, &seen, Closely::Digest).await? {
                Unlinked::Lost => Err(Attempt::Lost),
                Unlinked::Named(by) => Err(self.in_use(&scope, id, digest, &by).await?.into()),
                // Whoever tags it from here on changes the condemned link, so this look holds.
                Unlinked::Condemned(link)
                    if only_untagged && self.is_tagged(&scope, id, number).await? =>
                {
                    self.keep(&link).await?;
                    Ok(false)
                }
                Unlinked::Condemned(link) => {
                    if let Some(immutable) = self.immutable_tag(&scope, id, number).await? {
                        self.keep(&link).await?;
                        return Err(immutable.into());
                    }
                    self.finish_delete(&scope, id, digest, &link, &[]).await?;
                    Ok(true)
                }
            }
        })
    }

    async fn is_tagged(
        &self,
        scope: &Scope,
        id: RepositoryId,
        number: Number,
    ) -> Result<bool, Error> {
        let tags = prefix_range(&keys::tags_of(scope.organisation, id, number));
        Ok(!self.core.meta.scan(tags, 1).await?.is_empty())
    }

    /// The refusal of a manifest that an immutable tag points at.
    async fn immutable_tag(
        &self,
        scope: &Scope,
        id: RepositoryId,
        number: Number,
    ) -> Result<Option<Error>, Error> {
        let Some(registry) = &scope.registry_row.value else { return Ok(None) };
        if registry.immutable_tags.is_empty() {
            return Ok(None);
        }
        let all = keys::tags_of(scope.organisation, id, number);
        let mut range = prefix_range(&all);
        loop {
            let rows = self.core.meta.scan(range.clone(), TAGS_PER_COMMIT).await?;
            let Some((last, _)) = rows.last() else { return Ok(None) };
            range.start = [last.as_slice(), &[0]].concat();
            for (key, _) in &rows {
                let tag = tag_in(key, all.len())?;
                if let Some(pattern) = registry.immutable(tag.as_str()) {
                    return Ok(Some(immutable(&tag, pattern)));
                }
            }
        }
    }

    /// Makes a condemned link live again.
    pub(crate) async fn keep(&self, link: &Seen<LinkRecord>) -> Result<(), Attempt> {
        let Some(record) = &link.value else { return Ok(()) };
        let mut change = Change::freeing(&self.core);
        change.replace(link, &LinkRecord { state: LinkState::Live, ..record.clone() });
        match change.commit().await {
            // Lost: whoever tagged it did so already.
            Ok(()) | Err(Attempt::Lost) => Ok(()),
            failed @ Err(Attempt::Failed(_)) => failed,
        }
    }

    /// Removes a condemned manifest with its tags, where `moments` and the registry's settings are
    /// as they were read.
    pub(crate) async fn finish_delete(
        &self,
        scope: &Scope,
        id: RepositoryId,
        digest: &Digest,
        link: &Seen<LinkRecord>,
        moments: &[Seen<MomentRecord>],
    ) -> Result<(), Attempt> {
        let Some(record) = &link.value else { return Err(Attempt::Lost) };
        let (organisation, number) = (scope.organisation, record.number);
        let manifest: Seen<ManifestRecord> =
            self.core.read(keys::manifest(organisation, id, number)).await?;
        let Some(facts) = &manifest.value else {
            // Another delete of the same may have ended since the link was read.
            if !self.core.is_unchanged(link).await? {
                return Err(Attempt::Lost);
            }
            return Err(Error::Corrupted(format!("manifest {digest} has no record")).into());
        };
        // Tags first, in steps: a manifest may have very many. The last step takes the rest with
        // the manifest itself.
        let mut change = loop {
            let mut change = Change::freeing(&self.core);
            change.lean(link);
            // They say which tags may go.
            change.lean(&scope.registry_row);
            let tags = self.untag(scope, id, number, &mut change).await?;
            if tags < TAGS_PER_COMMIT {
                break change;
            }
            change.commit().await?;
        };
        let now = self.core.now().await?;
        scope.write(self, &mut change, now);
        if record.blob {
            let rest = LinkRecord {
                manifest: None,
                state: LinkState::Live,
                // Another row than before, also once the manifest is pushed again: who knows the old
                // one by its row must not take it for the new one.
                leased_until: record.leased_until.plus(Duration::from_millis(1)),
                ..record.clone()
            };
            change.replace(link, &rest);
        } else {
            change.remove(link);
        }
        change.remove(&manifest);
        change.delete(keys::pulled(organisation, id, number));
        change.delete(keys::repushed(organisation, id, number));
        for moment in moments {
            change.lean(moment);
        }
        for child in &facts.children {
            change.delete(match child.number {
                Some(child) => keys::edge(organisation, id, child, number),
                None => keys::wanted_by(organisation, id, &child.digest, number),
            });
        }
        if let Some(subject) = &facts.subject {
            let artifact_type = facts.artifact_type.as_deref().unwrap_or_default();
            change.delete(keys::referrer(organisation, id, subject, artifact_type, number));
        }
        if record.manifest == Some(ManifestPlace::Record) {
            let size = i64::try_from(facts.size).unwrap_or(i64::MAX);
            change.use_bytes(organisation, -size, None);
        }
        change.touches_reference(id, &digest.to_string());
        let repository = scope.reference(id, &self.path);
        let digest = *digest;
        change.event(self.event(now, EventKind::ManifestDeleted { repository, digest }));
        change.commit().await
    }

    /// Makes `change` remove up to [`TAGS_PER_COMMIT`] tags of a manifest; says how many.
    async fn untag(
        &self,
        scope: &Scope,
        id: RepositoryId,
        number: Number,
        change: &mut Change<'_>,
    ) -> Result<usize, Attempt> {
        let all = keys::tags_of(scope.organisation, id, number);
        let rows = self.core.meta.scan(prefix_range(&all), TAGS_PER_COMMIT).await?;
        for (key, _) in &rows {
            let tag = key.get(all.len()..).and_then(|tag| std::str::from_utf8(tag).ok());
            let tag = tag.ok_or_else(|| Error::Corrupted("a tag's key is no text".to_owned()))?;
            let seen: Seen<TagRecord> =
                self.core.read(keys::tag(scope.organisation, id, tag)).await?;
            change.delete(key.clone());
            if seen.value.as_ref().is_some_and(|tag| tag.number == number) {
                change.remove(&seen);
                change.touches_reference(id, tag);
            }
        }
        Ok(rows.len())
    }

    /// Removes a blob from this repository; other repositories keep it, and the bytes go when
    /// nobody has it any more. Needs [`Action::Delete`].
    ///
    /// Fails with [`Error::InUse`] where a manifest here names it.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<(), Error> {
        self.demand(Action::Delete)?;
        retry!("a blob", attempt => {
            let scope = self.fresh_scope(attempt).await?;
            let id = scope.existing(&self.path)?;
            let key = keys::link(scope.organisation, digest, id);
            let seen: Seen<LinkRecord> = self.core.read(key).await?;
            if !seen.value.as_ref().is_some_and(|link| link.blob) {
                return Err(Error::BlobUnknown { digest: *digest }.into());
            }
            let link = match unlink(&self.core, scope.organisation, id, digest, &seen, Closely::Digest).await? {
                Unlinked::Lost => return Err(Attempt::Lost),
                Unlinked::Named(by) => {
                    return Err(self.in_use(&scope, id, digest, &by).await?.into());
                }
                Unlinked::Condemned(link) => link,
            };
            let Some(record) = &link.value else { return Err(Attempt::Lost) };
            let now = self.core.now().await?;
            let mut change = Change::freeing(&self.core);
            scope.write(self, &mut change, now);
            if record.manifest.is_some() {
                let rest = LinkRecord { blob: false, state: LinkState::Live, ..record.clone() };
                change.replace(&link, &rest);
            } else {
                change.remove(&link);
            }
            let repository = scope.reference(id, &self.path);
            let digest = *digest;
            change.event(self.event(now, EventKind::BlobDeleted { repository, digest }));
            change.commit().await
        })
    }

    async fn in_use(
        &self,
        scope: &Scope,
        id: RepositoryId,
        digest: &Digest,
        by: &[Number],
    ) -> Result<Error, Error> {
        let mut digests = Vec::with_capacity(by.len());
        for number in by {
            let record = self.core.manifest_record(scope.organisation, id, *number).await?;
            digests.extend(record.map(|record| record.digest));
        }
        Ok(Error::InUse { digest: *digest, by: digests })
    }
}
