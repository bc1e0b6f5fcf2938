//! Manifests as a repository serves them.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::access::Action;
use crate::change::Seen;
use crate::content::ObjectRead;
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::Repository;
use crate::graph::cache::Named;
use crate::graph::known::{ReadRow, Standing};
use crate::id::{Number, OrganisationId, RepositoryId};
use crate::keys;
use crate::manifest::ManifestKind;
use crate::name::Reference;
use crate::records::{BlobRecord, BlobState, Body, LinkRecord, ManifestRecord, Record, TagRecord};
use crate::seam::Timestamp;

/// A manifest with its bytes, exactly as pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type: the `Content-Type` it is served with.
    pub media_type: Arc<str>,
    /// Which of the kinds it is.
    pub kind: ManifestKind,
    /// The bytes as pushed.
    pub bytes: Bytes,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// The artifact type, as the referrers API shows it.
    pub artifact_type: Option<String>,
    /// Everything it names, in its order, once each.
    pub children: Vec<Digest>,
    /// When it was pushed first.
    pub pushed_at: Timestamp,
}

impl Repository {
    /// A manifest by tag or digest, without a line in the trail (a `HEAD`). Needs
    /// [`Action::Pull`].
    pub async fn stat_manifest(&self, reference: &Reference) -> Result<Arc<StoredManifest>, Error> {
        self.demand(Action::Pull)?;
        let id = self.id()?;
        let text = match reference {
            Reference::Tag(tag) => Cow::Borrowed(tag.as_str()),
            Reference::Digest(digest) => Cow::Owned(digest.to_string()),
        };
        let organisation = self.scope.organisation;
        if self.core.meta.is_shared() {
            let standing = self.core.standing_manifest(organisation, id, reference, &text);
            return Box::pin(standing).await;
        }
        let load = || self.core.load_manifest(organisation, id, reference);
        self.core.cache.manifest(id, &text, load).await
    }

    /// A manifest by tag or digest for whoever is about to put another in its place, so that it must
    /// not be given out; none where there is none, or no repository. Past the cache. Needs
    /// [`Action::Push`].
    pub async fn manifest_to_replace(
        &self,
        reference: &Reference,
    ) -> Result<Option<Arc<StoredManifest>>, Error> {
        self.demand(Action::Push)?;
        let scope = self.fresh_scope(1).await?;
        let Ok(id) = scope.existing(&self.path) else { return Ok(None) };
        match self.core.load_manifest(scope.organisation, id, reference).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Error::ManifestUnknown { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A manifest by tag or digest (a `GET`); notes the pull in the trail. Needs
    /// [`Action::Pull`].
    pub async fn manifest(&self, reference: &Reference) -> Result<Arc<StoredManifest>, Error> {
        let manifest = self.stat_manifest(reference).await?;
        let tag = match reference {
            Reference::Tag(tag) => Some(tag.as_str()),
            Reference::Digest(_) => None,
        };
        self.pulled(manifest.digest, tag).await?;
        Ok(manifest)
    }
}

impl Core {
    /// A manifest of a store that others write to: what was read before, where its rows still say
    /// so; one read either way, and the manifest's only where they do not.
    async fn standing_manifest(
        &self,
        organisation: OrganisationId,
        repository: RepositoryId,
        reference: &Reference,
        text: &str,
    ) -> Result<Arc<StoredManifest>, Error> {
        if let Some(known) = self.known.manifests.get(&Named(repository, text))
            && self.still_stands(&known.rows).await?
        {
            return Ok(Arc::clone(&known.value));
        }
        let mut last = None;
        loop {
            let (number, rows) = self.place_of(organisation, repository, reference).await?;
            if let Some(value) = self.load_number(organisation, repository, number).await? {
                let standing = Standing { rows, value: Arc::clone(&value) };
                self.known.manifests.insert((repository, text.into()), Arc::new(standing));
                return Ok(value);
            }
            // As in `load_manifest`: only where it stands still it is really gone.
            if last.replace(number) == Some(number) {
                return Err(Error::ManifestUnknown { reference: reference.to_string() });
            }
        }
    }

    /// The number of a manifest, and the rows that change where it is another, is gone, or rots.
    async fn place_of(
        &self,
        organisation: OrganisationId,
        repository: RepositoryId,
        reference: &Reference,
    ) -> Result<(Number, Vec<ReadRow>), Error> {
        let unknown = || Error::ManifestUnknown { reference: reference.to_string() };
        let mut rows = Vec::new();
        let digest = match reference {
            Reference::Tag(tag) => {
                let key = keys::tag(organisation, repository, tag.as_str());
                let seen: Seen<TagRecord> = self.read(key).await?;
                rows.push(seen.row());
                seen.value.ok_or_else(unknown)?.digest
            }
            Reference::Digest(digest) => *digest,
        };
        let keys =
            vec![keys::link(organisation, &digest, repository), keys::blob(organisation, &digest)];
        let mut values = self.meta.get_many(&keys).await?.into_iter();
        rows.extend(keys.into_iter().map(|key| (key, values.next().flatten())));
        let link = rows.iter().rev().nth(1).and_then(|(_, link)| link.as_deref());
        let link = LinkRecord::decode(link.ok_or_else(unknown)?)?;
        if link.manifest.is_none() {
            return Err(unknown());
        }
        Ok((link.number, rows))
    }

    /// Reads a manifest past the cache.
    pub(crate) async fn load_manifest(
        &self,
        organisation: OrganisationId,
        repository: RepositoryId,
        reference: &Reference,
    ) -> Result<Arc<StoredManifest>, Error> {
        let mut last = None;
        loop {
            let number = self.number_of(organisation, repository, reference).await?;
            let found = self.load_number(organisation, repository, number).await?;
            if let Some(manifest) = found {
                return Ok(manifest);
            }
            // A tag may have moved on, and what it pointed at may be gone, between the two reads:
            // it is there all the time. Only where it stands still its manifest is really gone.
            if last.replace(number) == Some(number) {
                return Err(Error::ManifestUnknown { reference: reference.to_string() });
            }
        }
    }

    async fn number_of(
        &self,
        organisation: OrganisationId,
        repository: RepositoryId,
        reference: &Reference,
    ) -> Result<Number, Error> {
        let unknown = || Error::ManifestUnknown { reference: reference.to_string() };
        match reference {
            Reference::Tag(tag) => {
                let key = keys::tag(organisation, repository, tag.as_str());
                let row = self.meta.get(&key).await?.ok_or_else(unknown)?;
                Ok(TagRecord::decode(&row)?.number)
            }
            Reference::Digest(digest) => {
                let key = keys::link(organisation, digest, repository);
                let row = self.meta.get(&key).await?.ok_or_else(unknown)?;
                let link = LinkRecord::decode(&row)?;
                link.manifest.map(|_| link.number).ok_or_else(unknown)
            }
        }
    }

    async fn load_number(
        &self,
        organisation: OrganisationId,
        repository: RepositoryId,
        number: Number,
    ) -> Result<Option<Arc<StoredManifest>>, Error> {
        let record = self.manifest_record(organisation, repository, number).await?;
        let Some(record) = record else { return Ok(None) };
        let bytes = match record.body {
            Body::Inline(bytes) => Bytes::from(bytes),
            Body::Stored => match self.stored_body(organisation, &record.digest).await? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        Ok(Some(Arc::new(StoredManifest {
            digest: record.digest,
            media_type: record.media_type,
            kind: record.kind,
            bytes,
            subject: record.subject,
            artifact_type: record.artifact_type,
            children: record.children.iter().map(|child| child.digest).collect(),
            pushed_at: record.pushed_at,
        })))
    }

    /// The record of the manifest `number`.
    pub(crate) async fn manifest_record(
        &self,
        organisation: OrganisationId,
        repository: RepositoryId,
        number: Number,
    ) -> Result<Option<ManifestRecord>, Error> {
        let row = self.meta.get(&keys::manifest(organisation, repository, number)).await?;
        Ok(row.map(|row| ManifestRecord::decode(&row)).transpose()?)
    }

    /// The bytes of a manifest that is too large for the metadata; none where they are rotten.
    /// Bounded by [`crate::manifest::Limits`], and verified, since they are held in memory anyway.
    async fn stored_body(
        &self,
        organisation: OrganisationId,
        digest: &Digest,
    ) -> Result<Option<Bytes>, Error> {
        let Some(row) = self.meta.get(&keys::blob(organisation, digest)).await? else {
            return Ok(None);
        };
        let blob = BlobRecord::decode(&row)?;
        if matches!(blob.state, BlobState::Quarantined { .. }) {
            return Ok(None);
        }
        let object = blob.object(organisation, digest);
        let bytes = collect(self.blobs.read(&object, 0..blob.size).await?).await?;
        if Digest::of(digest.algorithm(), &bytes) != *digest {
            return Err(Error::Corrupted(format!(
                "the bytes of manifest {digest} are not its own"
            )));
        }
        Ok(Some(bytes))
    }
}

/// The whole of a bounded read.
async fn collect(read: ObjectRead) -> Result<Bytes, Error> {
    match read {
        ObjectRead::Stream(stream) => {
            let parts: Vec<Bytes> = stream.try_collect().await?;
            Ok(Bytes::from(parts.concat()))
        }
        ObjectRead::File { file, offset, length } => {
            let read = tokio::task::spawn_blocking(move || {
                use std::os::unix::fs::FileExt;
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
                file.read_exact_at(&mut bytes, offset).map(|()| bytes)
            });
            match read.await {
                Ok(Ok(bytes)) => Ok(Bytes::from(bytes)),
                Ok(Err(error)) => Err(Error::Unavailable(error.to_string())),
                Err(_) => Err(Error::Unavailable("the read was given up".to_owned())),
            }
        }
    }
}
