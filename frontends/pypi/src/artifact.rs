//! A Python package as OCI artifacts: what this frontend writes, and what it takes for a package.
//!
//! In the repository of a project, a version is an index under the version's tag
//! ([`strongroom_python::Version::tag`]) with the artifact type [`RELEASE`]; it lists an image manifest
//! of the artifact type [`FILE`] for each file. That has
//!
//! - the core metadata as JSON for its config,
//! - the file for its first layer, of the media type [`WHEEL`] or [`SDIST`],
//! - where installers may resolve by it, the metadata file for its second ([`CORE_METADATA`]),
//! - annotations: `org.opencontainers.image.title` (the file's name), `…version`, `…created`,
//!   [`REQUIRES_PYTHON`] where the metadata has it, and [`UPSTREAM`] where the file was fetched.
//!
//! Attestations are referrers of the file's manifest, of the artifact type [`PROVENANCE`].

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_engine::digest::Digest;

/// The artifact type of a version's index.
pub const RELEASE: &str = "application/vnd.strongroom.python.release.v1";
/// The artifact type of a file's manifest.
pub const FILE: &str = "application/vnd.strongroom.python.file.v1";
/// The artifact type of a file's provenance.
pub const PROVENANCE: &str = "application/vnd.strongroom.python.provenance.v1";
/// The media type of a file's config: its core metadata.
pub const METADATA_JSON: &str = "application/vnd.strongroom.python.metadata.v1+json";
/// The media type of a metadata file as it is in the distribution.
pub const CORE_METADATA: &str = "application/vnd.strongroom.python.core-metadata.v1";
/// The media type of a wheel.
pub const WHEEL: &str = "application/vnd.python.wheel";
/// The media type of a source distribution.
pub const SDIST: &str = "application/vnd.python.sdist.tar+gzip";
/// The media type of a provenance object (PEP 740).
pub const INTEGRITY: &str = "application/vnd.pypi.integrity.v1+json";
/// The annotation that says which Python a file takes.
pub const REQUIRES_PYTHON: &str = "vnd.strongroom.python.requires-python";
/// The annotation of a file's name.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The annotation of a version as it is written.
pub const VERSION: &str = "org.opencontainers.image.version";
/// The annotation of when a file was uploaded, at the upstream where it was fetched.
pub const CREATED: &str = "org.opencontainers.image.created";

/// The annotation of a file that was fetched from an upstream: the project's address there.
pub const UPSTREAM: &str = "vnd.strongroom.python.upstream";

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The empty descriptor's media type and bytes (image specification, "Guidance for an Empty
/// Descriptor").
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");

/// A piece of content that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size, annotations: BTreeMap::new() }
    }

    pub(crate) fn titled(mut self, title: &str) -> Self {
        self.annotations.insert(TITLE.to_owned(), title.to_owned());
        self
    }
}

/// The manifest of a file, as far as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileManifest {
    pub(crate) config: Descriptor,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl FileManifest {
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }
}

/// The manifest of a file that is uploaded.
pub(crate) fn file_manifest(
    config: &Descriptor,
    layers: &[Descriptor],
    annotations: &BTreeMap<&str, String>,
) -> Bytes {
    json_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "artifactType": FILE,
        "config": config,
        "layers": layers,
        "annotations": annotations,
    }))
}

/// The bytes of the empty descriptor.
pub(crate) fn empty() -> Bytes {
    Bytes::from_static(EMPTY.1)
}

/// The manifest of a file's provenance, which is `layer`.
pub(crate) fn provenance_manifest(
    layer: &Descriptor,
    subject: &Descriptor,
    created: &str,
) -> Bytes {
    let empty = Digest::of(strongroom_engine::digest::Algorithm::Sha256, EMPTY.1);
    json_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "artifactType": PROVENANCE,
        "config": Descriptor::new(EMPTY.0, empty, EMPTY.1.len() as u64),
        "layers": [layer],
        "subject": subject,
        "annotations": { CREATED: created },
    }))
}

/// The index of a version: its entries as they are written, so that what others put into them stays.
#[derive(Debug, Deserialize)]
pub(crate) struct Release {
    #[serde(default)]
    pub(crate) manifests: Vec<Value>,
}

impl Release {
    /// The entries, as far as they are read.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Descriptor> {
        self.manifests.iter().filter_map(|entry| serde_json::from_value(entry.clone()).ok())
    }

    /// The index with one entry more, the entries in the order of their titles.
    pub(crate) fn with(mut self, file: &Descriptor) -> Self {
        let mut entry = serde_json::to_value(file).unwrap_or_default();
        if let Value::Object(entry) = &mut entry {
            entry.insert("artifactType".to_owned(), FILE.into());
        }
        self.manifests.push(entry);
        let title = |entry: &Value| {
            let annotations = entry.get("annotations");
            annotations.and_then(|all| all.get(TITLE)?.as_str().map(str::to_owned))
        };
        self.manifests.sort_by_cached_key(title);
        self
    }

    /// The index without the entry of a digest.
    pub(crate) fn without(mut self, digest: &Digest) -> Self {
        let digest = digest.to_string();
        let is = |entry: &Value| entry.get("digest").and_then(Value::as_str) == Some(&digest);
        self.manifests.retain(|entry| !is(entry));
        self
    }

    /// The bytes of the index of this version.
    pub(crate) fn bytes(&self, version: &str) -> Bytes {
        json_bytes(&json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "artifactType": RELEASE,
            "manifests": self.manifests,
            "annotations": { VERSION: version },
        }))
    }
}

fn json_bytes(value: &Value) -> Bytes {
    value.to_string().into()
}
