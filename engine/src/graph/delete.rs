//! Deleting manifests and blobs: what a manifest names stays (I2), what nobody names goes.

use crate::access::Action;
use crate::audit::EventKind;
use crate::change::{Attempt, Change, Seen, retry};
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::{Repository, Scope, Unlinked, link, stripe_of_reference, unlink};
use crate::id::{Number, RepositoryId};
use crate::keys;
use crate::meta::prefix_range;
use crate::records::{LinkRecord, LinkState, ManifestPlace, ManifestRecord, TagRecord};

/// How many tags of a manifest are removed in one commit.
const TAGS_PER_COMMIT: usize = 256;

impl Repository {
    /// Removes a manifest with its tags. Its referrers stay, and the blobs it named stay until
    /// collection finds that nothing names them. Needs [`Action::Delete`].
    ///
    /// Fails with [`Error::InUse`] where an index here names it.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), Error> {
        self.demand(Action::Delete)?;
        retry!("a manifest", attempt => {
            let scope = self.fresh_scope(attempt).await?;
            let id = scope.existing(&self.path)?;
            let key = keys::link(scope.organisation, digest, id);
            let seen: Seen<LinkRecord> = self.core.read(key).await?;
            if seen.value.as_ref().is_none_or(|link| link.manifest.is_none()) {
                let reference = digest.to_string();
                return Err(Error::ManifestUnknown { reference }.into());
            }
            match unlink(&self.core, scope.organisation, id, digest, &seen).await? {
                Unlinked::Lost => Err(Attempt::Lost),
                Unlinked::Named(by) => Err(self.in_use(&scope, id, digest, &by).await?.into()),
                Unlinked::Condemned(link) => self.finish_delete(&scope, id, digest, &link).await,
            }
        })
    }

    async fn finish_delete(
        &self,
        scope: &Scope,
        id: RepositoryId,
        digest: &Digest,
        link: &Seen<LinkRecord>,
    ) -> Result<(), Attempt> {
        let Some(record) = &link.value else { return Err(Attempt::Lost) };
        let (organisation, number) = (scope.organisation, record.number);
        let manifest: Seen<ManifestRecord> =
            self.core.read(keys::manifest(organisation, id, number)).await?;
        let Some(facts) = &manifest.value else {
            return Err(Error::Corrupted(format!("manifest {digest} has no record")).into());
        };
        // Tags first, in steps: a manifest may have very many. The last step takes the rest with
        // the manifest itself.
        let mut change = loop {
            let mut change = Change::freeing(&self.core);
            change.lean(link);
            let tags = self.untag(scope, id, number, &mut change).await?;
            if tags < TAGS_PER_COMMIT {
                break change;
            }
            change.commit().await?;
        };
        let now = self.core.now().await?;
        scope.write(self, &mut change, now);
        if record.blob {
            let rest = LinkRecord { manifest: None, state: LinkState::Live, ..record.clone() };
            change.replace(link, &rest);
        } else {
            change.remove(link);
        }
        change.remove(&manifest);
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
        change.touches(link::stripe(id, digest));
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
                change.touches(stripe_of_reference(id, tag));
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
            let link = match unlink(&self.core, scope.organisation, id, digest, &seen).await? {
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
