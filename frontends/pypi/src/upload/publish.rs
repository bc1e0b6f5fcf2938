//! Letting a file in: its content, its manifest, and one conditional change of its version's tag.
//!
//! The index of the version is replaced by one that has the file as well, where nobody else did so
//! meanwhile; else what is there now is read, and all is decided anew. So of two uploads of one
//! version both end up in it, and of two files of one name the first.
//!
//! A version only gets more files here, so its tag may be immutable and yet take them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::try_join;
use serde_json::json;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::name::{Reference, Tag};
use strongroom_engine::{Error, ManifestPush, Repository, StoredManifest};
use strongroom_python::{CoreMetadata, Digests, FileKind, FileName, Provenance};

use super::content::Content;
use super::once;
use crate::Inner;
use crate::artifact::{
    self, CORE_METADATA, CREATED, Descriptor, INTEGRITY, METADATA_JSON, RELEASE, REQUIRES_PYTHON,
    Release, SDIST, TITLE, UPSTREAM, VERSION, WHEEL,
};
use crate::error::{Failure, internal};
use crate::project::{self, hex};
use crate::records::{Of, time};

/// How often a change of a version that others overtook is made again: each time somebody else's
/// upload of that version was let in.
const ATTEMPTS: usize = 256;

/// A file that was found right.
pub(crate) struct NewFile {
    pub(crate) name: FileName,
    pub(crate) digests: Digests,
    pub(crate) size: u64,
    /// Its metadata, read and as they are; none where they are older than today's rules.
    pub(crate) metadata: Option<(CoreMetadata, Bytes)>,
    /// What was sent of where it comes from (PEP 740).
    pub(crate) provenance: Option<Provenance>,
    /// Where it was fetched, where nobody uploaded it.
    pub(crate) origin: Option<Origin>,
}

/// Where a file was fetched.
pub(crate) struct Origin {
    /// The project there.
    pub(crate) project: String,
    /// When it was uploaded there, in milliseconds, where that is known.
    pub(crate) uploaded: Option<u64>,
    /// As the page there has it.
    pub(crate) requires_python: Option<String>,
}

impl NewFile {
    fn sha256(&self) -> String {
        const_hex::encode(self.digests.sha256)
    }

    /// The metadata file, where installers may take its word: an sdist's build could say something
    /// else before version 2.2 of the metadata (PEP 643).
    fn metadata_that_counts(&self) -> Option<Bytes> {
        let (metadata, bytes) = self.metadata.as_ref()?;
        let counts = match self.name.kind() {
            FileKind::Wheel(_) => true,
            FileKind::Sdist => metadata.is_reliable_in_sdist(),
        };
        counts.then(|| bytes.clone())
    }

    /// The config: the metadata, or what the name says where they can't be read.
    fn config(&self) -> serde_json::Result<Vec<u8>> {
        match &self.metadata {
            Some((metadata, _)) => serde_json::to_vec(metadata),
            None => serde_json::to_vec(&json!({
                "name": self.name.project().normalised(),
                "version": self.name.version().to_string(),
            })),
        }
    }

    fn requires_python(&self) -> Option<&String> {
        match (&self.metadata, &self.origin) {
            (Some((metadata, _)), _) => metadata.requires_python.as_ref(),
            (None, origin) => origin.as_ref()?.requires_python.as_ref(),
        }
    }
}

/// The state of a version before a change of it.
struct Before {
    digest: Option<Digest>,
    release: Release,
}

impl Before {
    async fn read(repository: &Repository, tag: &Tag) -> Result<Self, Failure> {
        let reference = Reference::Tag(tag.clone());
        let Some(manifest) = repository.manifest_to_replace(&reference).await? else {
            return Ok(Self { digest: None, release: Release { manifests: Vec::new() } });
        };
        let release = release_of(&manifest).ok_or_else(|| {
            let text = format!("the tag {tag} of this version holds something else than a release");
            Failure::new(http::StatusCode::CONFLICT, text)
        })?;
        Ok(Self { digest: Some(manifest.digest), release })
    }

    /// Whether the very file is there already; an error where another one is in its place. Not where the
    /// name is the file's own by `right`: what else stands under it is not offered.
    async fn has(
        &self,
        repository: &Repository,
        new: &NewFile,
        right: Right,
    ) -> Result<bool, Failure> {
        for entry in self.release.entries() {
            let reference = Reference::Digest(entry.digest);
            let Some(manifest) = repository.manifest_to_replace(&reference).await? else {
                continue;
            };
            let Some(old) = project::parse(entry.digest, &manifest.bytes, 0) else { continue };
            let is_same = hex(&old.content) == new.sha256();
            if !is_same && right == Right::ForEver {
                continue;
            }
            if old.name == new.name {
                if is_same {
                    return Ok(true);
                }
                return Err(Failure::bad(format!(
                    "File already exists ('{}', with sha256 '{}'): it is never replaced by other \
                     bytes; raise the version or the build number",
                    old.name,
                    hex(&old.content)
                )));
            }
            if old.name.canonical() == new.name.canonical() {
                return Err(Failure::bad(format!(
                    "File already exists in another spelling of its name, '{}'",
                    old.name
                )));
            }
        }
        Ok(false)
    }
}

fn release_of(manifest: &Arc<StoredManifest>) -> Option<Release> {
    let is_release = manifest.kind.is_index() && manifest.artifact_type.as_deref() == Some(RELEASE);
    is_release.then(|| serde_json::from_slice(&manifest.bytes).ok()).flatten()
}

/// What a file has of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// It may have it, where no other file does.
    WhereFree,
    /// It had it, and was deleted: nothing else ever has it.
    ForEver,
}

/// What a file has of its name; an error where that is a deleted file's of other bytes.
pub(crate) async fn name_of_deleted(
    service: &Inner,
    repository: &Repository,
    new: &NewFile,
) -> Result<Right, Failure> {
    let of = Of { tenant: repository.tenant(), project: new.name.project() };
    match service.records.deleted(&of, &new.name).await? {
        None => Ok(Right::WhereFree),
        Some(deleted) if deleted == new.sha256() => Ok(Right::ForEver),
        Some(_) => Err(Failure::bad(format!(
            "File already exists: {} was uploaded with other bytes and deleted; a file name is used \
             once, so raise the version or the build number",
            new.name
        ))),
    }
}

/// Lets a file in.
pub(crate) async fn publish(
    service: &Inner,
    repository: &Repository,
    content: Content,
    new: &NewFile,
) -> Result<(), Failure> {
    let version = new.name.version();
    let tag: Tag = version.tag().parse().map_err(|error| {
        Failure::bad(format!("the version {version} is too long for a tag: {error}"))
    })?;
    let mut before = Before::read(repository, &tag).await?;
    // After the version was read: a name is kept before its file is taken out.
    let right = name_of_deleted(service, repository, new).await?;
    if before.has(repository, new, right).await? {
        return Ok(());
    }
    let file = Box::pin(push_file(service, repository, content, new)).await?;
    for _ in 0..ATTEMPTS {
        let index = before.release.with(&file).bytes(&version.to_string());
        let push = manifest_push(index, artifact::INDEX, vec![tag.clone()]);
        match repository.push_manifest_beyond(&push, before.digest).await {
            Ok(_) => return Ok(()),
            Err(Error::TagMoved { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        before = Before::read(repository, &tag).await?;
        let right = name_of_deleted(service, repository, new).await?;
        if before.has(repository, new, right).await? {
            return Ok(());
        }
    }
    Err(Error::Contended { what: "the version" }.into())
}

/// Stores all of a file but its place in the version; returns its entry there.
async fn push_file(
    service: &Inner,
    repository: &Repository,
    content: Content,
    new: &NewFile,
) -> Result<Descriptor, Failure> {
    let config =
        new.config().map_err(|error| internal(&format!("core metadata as JSON: {error}")))?;
    let push_metadata = async {
        match new.metadata_that_counts() {
            Some(metadata) => push_small(repository, CORE_METADATA, metadata).await.map(Some),
            None => Ok(None),
        }
    };
    // Side by side, so that their commits share a sync of the disk.
    let (stored, metadata, config) = try_join!(
        content.store(repository, &new.digests.sha256),
        push_metadata,
        push_small(repository, METADATA_JSON, config.into()),
    )?;
    let media_type = match new.name.kind() {
        FileKind::Wheel(_) => WHEEL,
        FileKind::Sdist => SDIST,
    };
    let name = new.name.as_str();
    let mut layers = vec![Descriptor::new(media_type, stored.digest, new.size).titled(name)];
    layers.extend(metadata.map(|metadata| metadata.titled(&format!("{name}.metadata"))));
    let uploaded = new.origin.as_ref().and_then(|origin| origin.uploaded);
    let created = time(match uploaded {
        Some(uploaded) => uploaded,
        None => service.records.milliseconds().await?,
    });
    let mut annotations = BTreeMap::from([
        (TITLE, name.to_owned()),
        (VERSION, new.name.version().to_string()),
        (CREATED, created.clone()),
    ]);
    if let Some(requires) = new.requires_python() {
        annotations.insert(REQUIRES_PYTHON, requires.clone());
    }
    if let Some(origin) = &new.origin {
        annotations.insert(UPSTREAM, origin.project.clone());
    }
    let manifest = artifact::file_manifest(&config, &layers, &annotations);
    let size = manifest.len() as u64;
    let push = manifest_push(manifest, artifact::IMAGE, Vec::new());
    let pushed = repository.push_manifest(&push).await?;
    let subject = Descriptor::new(artifact::IMAGE, pushed.digest, size);
    if let Some(provenance) = &new.provenance {
        push_provenance(repository, provenance, &subject, &created).await?;
    }
    Ok(subject.titled(name))
}

async fn push_provenance(
    repository: &Repository,
    provenance: &Provenance,
    subject: &Descriptor,
    created: &str,
) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(provenance)
        .map_err(|error| internal(&format!("a provenance as JSON: {error}")))?;
    let (layer, _) = try_join!(
        push_small(repository, INTEGRITY, bytes.into()),
        push_small(repository, "", artifact::empty()),
    )?;
    let manifest = artifact::provenance_manifest(&layer, subject, created);
    repository.push_manifest(&manifest_push(manifest, artifact::IMAGE, Vec::new())).await?;
    Ok(())
}

async fn push_small(
    repository: &Repository,
    media_type: &str,
    bytes: Bytes,
) -> Result<Descriptor, Failure> {
    let (digest, size) = (Digest::of(Algorithm::Sha256, &bytes), bytes.len() as u64);
    repository.push_blob(&digest, Some(size), once(bytes)).await?;
    Ok(Descriptor::new(media_type, digest, size))
}

fn manifest_push(bytes: Bytes, content_type: &str, tags: Vec<Tag>) -> ManifestPush {
    ManifestPush { bytes, content_type: Some(content_type.to_owned()), digest: None, tags }
}
