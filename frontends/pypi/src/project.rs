//! A project as its repository has it: the files of its versions, derived from tags and manifests.
//!
//! Whoever may push there may write any manifest, so nothing is taken for a file whose name, project
//! and version do not agree with where it lies; nor is one offered under the name of a file that was deleted
//! and had other bytes.

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt, TryStreamExt, stream};
use strongroom_engine::digest::Digest;
use strongroom_engine::name::{Reference, Tag};
use strongroom_engine::{Error, MAX_PAGE, Repository};
use strongroom_python::{FileKind, FileName, ProjectName, Version};

use crate::artifact::{
    CORE_METADATA, CREATED, Descriptor, FILE, FileManifest, PROVENANCE, RELEASE, REQUIRES_PYTHON,
    Release, SDIST, TITLE, UPSTREAM, WHEEL,
};
use crate::records::{Of, Records, time};

/// How many manifests are read side by side.
const SIDE_BY_SIDE: usize = 16;

/// A file that is offered.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) name: FileName,
    /// The manifest that says so.
    pub(crate) manifest: Digest,
    /// The bytes.
    pub(crate) content: Digest,
    pub(crate) size: u64,
    /// When it was uploaded.
    pub(crate) uploaded: String,
    pub(crate) requires_python: Option<String>,
    /// The metadata file, where installers may resolve by it.
    pub(crate) metadata: Option<Digest>,
    /// The core metadata as JSON.
    pub(crate) config: Digest,
    /// The manifest of its provenance.
    pub(crate) provenance: Option<Digest>,
    /// The project at the upstream that it was fetched from.
    pub(crate) upstream: Option<String>,
}

/// A project's versions and files.
#[derive(Debug, Default)]
pub(crate) struct Project {
    /// In ascending order.
    pub(crate) versions: Vec<Version>,
    /// By version, then by name.
    pub(crate) files: Vec<File>,
    /// What is not offered: its name stands for other bytes, which were deleted.
    pub(crate) withheld: Vec<File>,
    pub(crate) by_name: HashMap<String, usize>,
}

impl Project {
    /// What a repository has; without versions where it is no project's.
    pub(crate) async fn load(repository: &Repository, records: &Records) -> Result<Self, Error> {
        let Ok(name) = ProjectName::parse(repository.path().repository().as_str()) else {
            return Ok(Self::default());
        };
        let mut after: Option<String> = None;
        // By version and then tag: `1.0` and `1.0.0` are equal and are two.
        let mut releases: BTreeMap<(Version, String), Vec<File>> = BTreeMap::new();
        loop {
            let page = repository.tags(after.as_deref(), MAX_PAGE).await?;
            let tags = page.items.into_iter().filter_map(|tag| {
                let version = Version::from_tag(tag.as_str()).ok()?;
                Some((tag, version))
            });
            let loaded = stream::iter(tags)
                .map(|(tag, version)| {
                    let name = &name;
                    async move {
                        let files = release(repository, name, &tag, &version).await?;
                        Ok::<_, Error>(files.map(|files| ((version, tag.to_string()), files)))
                    }
                })
                .buffered(SIDE_BY_SIDE);
            let loaded: Vec<_> = loaded.try_collect().await?;
            releases.extend(loaded.into_iter().flatten());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // After the files: a name is kept before its file goes, so whoever took its place here is known.
        let of = Of { tenant: repository.tenant(), project: &name };
        let deleted = records.all_deleted(&of).await?;
        let is_anothers = |file: &File| {
            !deleted.is_empty()
                && deleted
                    .get(&file.name.canonical())
                    .is_some_and(|sha256| *sha256 != hex(&file.content))
        };
        let mut project = Self::default();
        for ((version, _), mut files) in releases {
            project.versions.push(version);
            files.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
            for file in files {
                if is_anothers(&file) {
                    let (of, name) = (repository.path(), file.name.as_str());
                    tracing::info!(project = %of, file = name, "not offered: other bytes had its name");
                    project.withheld.push(file);
                } else {
                    project.add(file);
                }
            }
        }
        Ok(project)
    }

    /// Adds a file, unless there is one of its name: a name stands for one file, the first.
    pub(crate) fn add(&mut self, file: File) {
        let place = self.files.len();
        self.by_name.entry(file.name.as_str().to_owned()).or_insert_with(|| {
            self.files.push(file);
            place
        });
    }

    /// Whether there is such a project.
    pub(crate) fn exists(&self) -> bool {
        !self.versions.is_empty()
    }

    /// A file by its name.
    pub(crate) fn file(&self, name: &str) -> Option<&File> {
        self.files.get(*self.by_name.get(name)?)
    }

    /// The files of a version.
    pub(crate) fn of<'a>(&'a self, version: &'a Version) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.name.version() == version)
    }
}

/// The files of a version, as its tag has it; none where that is no release, or is gone meanwhile.
async fn release(
    repository: &Repository,
    name: &ProjectName,
    tag: &Tag,
    version: &Version,
) -> Result<Option<Vec<File>>, Error> {
    let reference = Reference::Tag(tag.clone());
    let index = match repository.stat_manifest(&reference).await {
        Ok(index) => index,
        Err(Error::ManifestUnknown { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if index.artifact_type.as_deref() != Some(RELEASE) || !index.kind.is_index() {
        return Ok(None);
    }
    let Ok(release) = serde_json::from_slice::<Release>(&index.bytes) else { return Ok(None) };
    let entries: Vec<Descriptor> = release.entries().collect();
    let files = stream::iter(entries)
        .map(|entry| async move { file(repository, &entry.digest).await })
        .buffered(SIDE_BY_SIDE);
    let files: Vec<Option<File>> = files.try_collect().await?;
    let ours = |file: &File| {
        file.name.project().normalised() == name.normalised()
            && file.name.version().tag() == version.tag()
    };
    Ok(Some(files.into_iter().flatten().filter(ours).collect()))
}

/// A file by the digest of its manifest; none where that is no file's.
async fn file(repository: &Repository, digest: &Digest) -> Result<Option<File>, Error> {
    let manifest = match repository.stat_manifest(&Reference::Digest(*digest)).await {
        Ok(manifest) => manifest,
        // An index names what is there; but where the registry takes sparse ones, not always.
        Err(Error::ManifestUnknown { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if manifest.artifact_type.as_deref() != Some(FILE) || manifest.kind.is_index() {
        return Ok(None);
    }
    let Some(mut file) = parse(*digest, &manifest.bytes, manifest.pushed_at.0) else {
        return Ok(None);
    };
    let attested = repository.referrers(digest, Some(PROVENANCE), None, 1).await?;
    file.provenance = attested.items.first().map(|referrer| referrer.digest);
    Ok(Some(file))
}

/// What a file's manifest says, where it is one.
pub(crate) fn parse(digest: Digest, bytes: &[u8], pushed_at: u64) -> Option<File> {
    let manifest: FileManifest = serde_json::from_slice(bytes).ok()?;
    let name = FileName::parse_published(manifest.annotation(TITLE)?).ok()?;
    let (content, rest) = manifest.layers.split_first()?;
    let wanted = match name.kind() {
        FileKind::Wheel(_) => WHEEL,
        FileKind::Sdist => SDIST,
    };
    // The pages offer a file by its sha256 alone.
    if content.media_type != wanted || !content.digest.to_string().starts_with("sha256:") {
        return None;
    }
    let metadata = rest.iter().find(|layer| layer.media_type == CORE_METADATA);
    let metadata = metadata.filter(|layer| layer.digest.to_string().starts_with("sha256:"));
    let created = manifest.annotation(CREATED).filter(|at| at.parse::<jiff::Timestamp>().is_ok());
    Some(File {
        manifest: digest,
        content: content.digest,
        size: content.size,
        uploaded: created.map_or_else(|| time(pushed_at), str::to_owned),
        requires_python: manifest.annotation(REQUIRES_PYTHON).map(str::to_owned),
        metadata: metadata.map(|layer| layer.digest),
        config: manifest.config.digest,
        provenance: None,
        upstream: manifest.annotation(UPSTREAM).map(str::to_owned),
        name,
    })
}

/// The hex digits of a sha256 digest.
pub(crate) fn hex(digest: &Digest) -> String {
    let text = digest.to_string();
    text.strip_prefix("sha256:").unwrap_or(&text).to_owned()
}
