//! Manifests: parsed and judged by the image specification, before anything is stored.
//!
//! [`Manifest::parse`] takes the pushed bytes and gives the facts that the graph needs. It promises
//! that whatever it lets pass means the same to every decoder (no field twice, none in another
//! case, one kind only), that every descriptor is well formed and embedded data hash right; and
//! that anything else, however large or deep, ends in a typed error that names the place and the
//! rule, in time and memory that the [`Limits`] bound.
//!
//! What it never does: change or re-encode the bytes (unknown fields stay in what is stored), read
//! the store, or know whether what is named is there, and how deep it nests: the graph judges that
//! (invariant I2).

use std::collections::{BTreeMap, HashMap};

mod descriptor;
mod error;
mod json;
mod media_type;
#[cfg(test)]
mod tests;

pub use descriptor::{Descriptor, Platform};
pub use error::ManifestError;
pub use media_type::ManifestKind;

use crate::digest::Digest;
use json::{Object, Path};

/// `fsLayers` is schema 1's: beside the others it makes a second image of the same bytes.
const MANIFEST: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
];

/// How much of a manifest is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes. 4 MiB: what the distribution specification asks registries to take.
    pub max_bytes: usize,
    /// The most layers, or entries of an index. 10,000: twenty times the largest known, and an
    /// edge for each still fits one commit.
    pub max_children: usize,
    /// The most annotations in one object. 1,000.
    pub max_annotations: usize,
    /// The most bytes, keys and values, of the annotations of a descriptor, and of a manifest with
    /// a subject. 256 KiB: those are copied into each listing of referrers, whose page has 4 MiB.
    /// The annotations of other manifests have no bound but that of the manifest.
    pub max_annotation_bytes: usize,
    /// The deepest nesting of objects and arrays, in unknown fields too. 64: known ones need 5.
    pub max_json_depth: usize,
    /// The most levels of indexes, each naming the next, in one repository. 8: two are known.
    pub max_index_depth: usize,
    /// The longest chain of manifests, each the subject of the one before. 16: a signature of an
    /// attestation of an image makes two.
    pub max_subject_chain: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 4 * 1024 * 1024,
            max_children: 10_000,
            max_annotations: 1_000,
            max_annotation_bytes: 256 * 1024,
            max_json_depth: 64,
            max_index_depth: 8,
            max_subject_chain: 16,
        }
    }
}

/// The facts of a manifest.
///
/// ```
/// use strongroom_engine::manifest::{Limits, Manifest, ManifestKind};
///
/// let index = br#"{"schemaVersion": 2, "manifests": []}"#;
/// let manifest = Manifest::parse(index, None, &Limits::default())?;
/// assert_eq!(manifest.kind, ManifestKind::OciIndex);
/// # Ok::<_, strongroom_engine::manifest::ManifestError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Manifest {
    /// What it is.
    pub kind: ManifestKind,
    /// Its media type, which `Content-Type` says when it is served.
    pub media_type: String,
    /// What referrers are filtered by: the field, else an image's config media type.
    pub artifact_type: Option<String>,
    /// What it is about. May be missing from the repository; keeps nothing alive.
    pub subject: Option<Descriptor>,
    /// An image's config.
    pub config: Option<Descriptor>,
    /// An image's layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// An index's entries.
    pub manifests: Vec<Descriptor>,
    /// What somebody wrote on it.
    pub annotations: BTreeMap<String, String>,
}

/// As what a child is looked up in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChildKind {
    /// A blob.
    Blob,
    /// A manifest or an index.
    Manifest,
}

/// What a manifest names and must find in its repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Child {
    /// Where it is named, such as `$.layers[2]`.
    pub path: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// As what it is looked up.
    pub kind: ChildKind,
    /// Whether it may be missing, since clients fetch it elsewhere: a layer that its vendor
    /// alone gives out, or one with `urls`.
    pub foreign: bool,
}

impl Manifest {
    /// Parses and judges `bytes`, as they were pushed with this `Content-Type`.
    ///
    /// Without `mediaType`, which Docker's kinds must have, the content type tells the kind;
    /// without either, the fields do.
    pub fn parse(
        bytes: &[u8],
        content_type: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, ManifestError> {
        if bytes.len() > limits.max_bytes {
            return Err(ManifestError::TooLarge { size: bytes.len(), max: limits.max_bytes });
        }
        let content_type = match content_type {
            Some(header) => ManifestKind::of_content_type(header)?,
            None => None,
        };
        let root = Path::Root;
        let object = Object::read(json::document(bytes, limits)?, &root, MANIFEST)?;
        let kind = kind(&object, content_type)?;
        check_shape(&object, kind)?;

        let descriptor = |name: &'static str| {
            let raw = object.optional(name);
            raw.map(|raw| Descriptor::read(raw, &root.field(name), limits)).transpose()
        };
        let descriptors = |name: &'static str| {
            let path = root.field(name);
            let Some(raw) = object.optional(name) else { return Ok(Vec::new()) };
            let items = json::array(raw, &path, limits.max_children)?;
            let read = |(at, raw)| Descriptor::read(raw, &path.item(at), limits);
            items.into_iter().enumerate().map(read).collect()
        };
        let config = descriptor("config")?;
        let subject = descriptor("subject")?;
        let max_annotation_bytes = match &subject {
            Some(_) => limits.max_annotation_bytes,
            None => limits.max_bytes,
        };
        let of_root = Limits { max_annotation_bytes, ..limits.clone() };
        let manifest = Self {
            kind,
            media_type: kind.media_type().to_owned(),
            artifact_type: artifact_type(&object, config.as_ref())?,
            subject,
            config,
            layers: descriptors("layers")?,
            manifests: descriptors("manifests")?,
            annotations: match object.optional("annotations") {
                Some(raw) => json::annotations(raw, &root.field("annotations"), &of_root)?,
                None => BTreeMap::new(),
            },
        };
        manifest.check_contradictions()?;
        Ok(manifest)
    }

    /// All that must be in the repository for this manifest to be committed: the config, the
    /// layers, the entries. The subject is no child. One digest may come several times.
    pub fn children(&self) -> impl Iterator<Item = Child> {
        let config = self.config.iter().map(|config| ("$.config".to_owned(), config, false));
        let layers = self.layers.iter().enumerate().map(|(at, layer)| {
            let foreign = media_type::is_foreign_layer(&layer.media_type) || !layer.urls.is_empty();
            (format!("$.layers[{at}]"), layer, foreign)
        });
        let blobs = config.chain(layers).map(|(path, blob, foreign)| Child {
            path,
            digest: blob.digest,
            size: blob.size,
            kind: ChildKind::Blob,
            foreign,
        });
        let entries = self.manifests.iter().enumerate().map(|(at, entry)| Child {
            path: format!("$.manifests[{at}]"),
            digest: entry.digest,
            size: entry.size,
            // BuildKit's cache is an index of layers.
            kind: match ManifestKind::of(&entry.media_type) {
                Some(_) => ChildKind::Manifest,
                None => ChildKind::Blob,
            },
            foreign: false,
        });
        blobs.chain(entries)
    }

    fn check_contradictions(&self) -> Result<(), ManifestError> {
        let mut seen = HashMap::new();
        for child in self.children() {
            let digest = child.digest;
            let first = seen.entry(digest).or_insert_with(|| child.clone());
            if (first.size, first.kind) != (child.size, child.kind) {
                let (first, second) = (first.path.clone(), child.path);
                return Err(ManifestError::Contradiction { digest, first, second });
            }
        }
        Ok(())
    }
}

/// Which kind it is, by content type, `mediaType` and fields, which must agree.
fn kind(
    object: &Object<'_>,
    content_type: Option<ManifestKind>,
) -> Result<ManifestKind, ManifestError> {
    let root = Path::Root;
    let version = object.required(&root, "schemaVersion")?;
    match version.get() {
        "2" => {}
        "1" => return Err(ManifestError::Schema1),
        _ => return Err(root.field("schemaVersion").invalid("must be the integer 2")),
    }
    let media_type = match object.optional("mediaType") {
        Some(raw) => Some(ManifestKind::named(&json::string(raw, &root.field("mediaType"))?)?),
        None => None,
    };
    match (content_type, media_type) {
        (Some(content_type), Some(media_type)) if content_type != media_type => {
            Err(ManifestError::MediaTypeMismatch {
                content_type: content_type.media_type(),
                media_type: media_type.media_type(),
            })
        }
        (_, Some(kind)) => Ok(kind),
        (Some(kind), None) if kind.is_oci() => Ok(kind),
        (Some(_), None) => Err(root.field("mediaType").invalid("is required in Docker manifests")),
        (None, None) => {
            let has = |name| object.present(name).is_some();
            match (has("config") || has("layers"), has("manifests")) {
                (true, false) => Ok(ManifestKind::OciImage),
                (false, true) => Ok(ManifestKind::OciIndex),
                _ => Err(ManifestError::UnknownKind),
            }
        }
    }
}

/// What the kind wants is there, and nothing that only the other kinds have.
fn check_shape(object: &Object<'_>, kind: ManifestKind) -> Result<(), ManifestError> {
    let (required, foreign): (&[&str], &[&str]) = if kind.is_index() {
        (&["manifests"], &["config", "layers", "fsLayers"])
    } else {
        (&["config", "layers"], &["manifests", "fsLayers"])
    };
    for name in foreign {
        if object.present(name).is_some() {
            let rule = format!("must not stand in a {}", kind.media_type());
            return Err(Path::Root.field(name).invalid(rule));
        }
    }
    for name in required {
        object.required(&Path::Root, name)?;
    }
    Ok(())
}

fn artifact_type(
    object: &Object<'_>,
    config: Option<&Descriptor>,
) -> Result<Option<String>, ManifestError> {
    let declared = descriptor::media_type(object, &Path::Root, "artifactType")?;
    match config {
        Some(config) if declared.is_none() && config.media_type == media_type::EMPTY => {
            let rule = "is required where the config is the empty descriptor";
            Err(Path::Root.field("artifactType").invalid(rule))
        }
        Some(config) => Ok(declared.or_else(|| Some(config.media_type.clone()))),
        None => Ok(declared),
    }
}
