//! Descriptors: how manifests point at content (image-spec, "OCI Content Descriptors").

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::json::{self, Object, Path};
use super::media_type::is_media_type;
use super::{Limits, ManifestError};
use crate::digest::Digest;

/// More URLs or features than this serve nobody.
const MAX_STRINGS: usize = 1_000;

const DESCRIPTOR: &[&str] =
    &["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"];
const PLATFORM: &[&str] =
    &["architecture", "os", "os.version", "os.features", "variant", "features"];

/// A pointer to content: what it is, its digest and its size.
///
/// Serialises as JSON in the specification's form, without what is empty; it is no form for
/// records, since fields that are left out can't be told apart in a compact encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is: `type/subtype` by RFC 6838.
    pub media_type: String,
    /// The content's digest.
    pub digest: Digest,
    /// The content's size in bytes, at most `i64::MAX`.
    pub size: u64,
    /// Where else the content can be had.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// What somebody wrote on it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself in base64, which was checked against digest and size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The artifact's type, where the content is an artifact's manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What an image runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// The processor, as in `GOARCH`.
    pub architecture: String,
    /// The system, as in `GOOS`.
    pub os: String,
    /// The system's version.
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// What the system must be able to do.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The processor's variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What the processor must be able to do (Docker's; reserved in OCI).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

impl Descriptor {
    pub(super) fn read(
        raw: &RawValue,
        path: &Path<'_>,
        limits: &Limits,
    ) -> Result<Self, ManifestError> {
        let object = Object::read(raw, path, DESCRIPTOR)?;
        let digest_path = path.field("digest");
        let digest = json::string(object.required(path, "digest")?, &digest_path)?
            .parse()
            .map_err(|error| digest_path.invalid(format!("is no digest: {error}")))?;
        let size = size(object.required(path, "size")?, &path.field("size"))?;
        let data = match object.optional("data") {
            Some(raw) => Some(data(raw, &path.field("data"), digest, size)?),
            None => None,
        };
        let annotations = match object.optional("annotations") {
            Some(raw) => json::annotations(raw, &path.field("annotations"), limits)?,
            None => BTreeMap::new(),
        };
        let platform = match object.optional("platform") {
            Some(raw) => Some(Platform::read(raw, &path.field("platform"))?),
            None => None,
        };
        object.required(path, "mediaType")?;
        Ok(Self {
            media_type: media_type(&object, path, "mediaType")?.unwrap_or_default(),
            digest,
            size,
            urls: strings(&object, path, "urls")?,
            annotations,
            data,
            artifact_type: media_type(&object, path, "artifactType")?,
            platform,
        })
    }
}

impl Platform {
    fn read(raw: &RawValue, path: &Path<'_>) -> Result<Self, ManifestError> {
        let object = Object::read(raw, path, PLATFORM)?;
        let required = |name| json::string(object.required(path, name)?, &path.field(name));
        let optional = |name| {
            object.optional(name).map(|raw| json::string(raw, &path.field(name))).transpose()
        };
        Ok(Self {
            architecture: required("architecture")?,
            os: required("os")?,
            os_version: optional("os.version")?,
            os_features: strings(&object, path, "os.features")?,
            variant: optional("variant")?,
            features: strings(&object, path, "features")?,
        })
    }
}

/// A field that is a media type, where it is there.
pub(super) fn media_type(
    object: &Object<'_>,
    path: &Path<'_>,
    name: &str,
) -> Result<Option<String>, ManifestError> {
    let Some(raw) = object.optional(name) else { return Ok(None) };
    let path = path.field(name);
    let text = json::string(raw, &path)?;
    if is_media_type(&text) {
        Ok(Some(text))
    } else {
        Err(path.invalid("must be a media type, `type/subtype` by RFC 6838, section 4.2"))
    }
}

fn strings(object: &Object<'_>, path: &Path<'_>, name: &str) -> Result<Vec<String>, ManifestError> {
    match object.optional(name) {
        Some(raw) => json::strings(raw, &path.field(name), MAX_STRINGS),
        None => Ok(Vec::new()),
    }
}

/// Only digits: `1.0`, `1e3` and `-0` are integers to some decoders and none to others.
fn size(raw: &RawValue, path: &Path<'_>) -> Result<u64, ManifestError> {
    let size = raw.get().parse::<u64>().ok().filter(|size| i64::try_from(*size).is_ok());
    size.ok_or_else(|| path.invalid(format!("must be an integer from 0 to {}", i64::MAX)))
}

fn data(
    raw: &RawValue,
    path: &Path<'_>,
    digest: Digest,
    size: u64,
) -> Result<String, ManifestError> {
    let text = json::string(raw, path)?;
    let bytes = BASE64_STANDARD
        .decode(&text)
        .map_err(|error| path.invalid(format!("must be base64 (RFC 4648, section 4): {error}")))?;
    if bytes.len() as u64 != size {
        return Err(path.invalid(format!("has {} bytes where size says {size}", bytes.len())));
    }
    let found = Digest::of(digest.algorithm(), &bytes);
    if found != digest {
        return Err(path.invalid(format!("is {found} where digest says {digest}")));
    }
    Ok(text)
}
