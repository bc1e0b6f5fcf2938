//! Media types: the four kinds of manifests, and what other types say about content.

use super::ManifestError;

/// What a manifest is, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ManifestKind {
    /// `application/vnd.oci.image.manifest.v1+json`.
    OciImage,
    /// `application/vnd.oci.image.index.v1+json`.
    OciIndex,
    /// `application/vnd.docker.distribution.manifest.v2+json`.
    DockerImage,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`.
    DockerList,
}

impl ManifestKind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::OciImage, Self::OciIndex, Self::DockerImage, Self::DockerList];

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OciImage => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::DockerImage => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    /// The kind that has exactly this media type.
    pub fn of(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == media_type)
    }

    /// Whether it lists manifests instead of naming a config and layers.
    pub const fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    /// Whether it may leave `mediaType` out: Docker's kinds may not.
    pub(super) const fn is_oci(self) -> bool {
        matches!(self, Self::OciImage | Self::OciIndex)
    }

    /// The kind that a media type from outside names, or why there is none.
    pub(super) fn named(media_type: &str) -> Result<Self, ManifestError> {
        match media_type {
            "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws" => {
                Err(ManifestError::Schema1)
            }
            _ => Self::of(media_type).ok_or_else(|| ManifestError::UnsupportedMediaType {
                found: media_type.chars().take(100).collect(),
            }),
        }
    }

    /// The kind that a `Content-Type` header names: parameters are ignored, case is too (RFC 9110,
    /// 8.3.1), and an empty header says nothing.
    pub(super) fn of_content_type(header: &str) -> Result<Option<Self>, ManifestError> {
        let essence = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence.is_empty() {
            return Ok(None);
        }
        Self::named(&essence).map(Some)
    }
}

/// The media type of the empty descriptor, `{}` (image-spec, "Guidance for an Empty Descriptor").
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Whether a layer of this type is one that its own vendor gives out.
pub(super) fn is_foreign_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
}

/// Whether this is `type/subtype` by RFC 6838, section 4.2, without parameters.
pub(super) fn is_media_type(text: &str) -> bool {
    let restricted_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
            && name.len() <= 127
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    text.split_once('/').is_some_and(|(kind, sub)| restricted_name(kind) && restricted_name(sub))
}
