//! Managing what is there: yanks, a project's status, and deleting. Each change has a line in the trail.

use strongroom_engine::access::{Action, Caller};
use strongroom_engine::name::{NameError, Reference, RepositoryPath, Tag};
use strongroom_engine::{Engine, Error, ManifestPush, Repository};
use strongroom_python::{ProjectName, Version};

use crate::artifact::{self, RELEASE, Release};
use crate::project::{File, Project, hex};
use crate::records::{Of, ProjectRecord, Records, Status};
use crate::routes::Place;

/// How often a change of a version that others overtook is made again.
const ATTEMPTS: usize = 64;

/// Manages the projects of an engine's registries.
#[derive(Debug, Clone)]
pub struct Manager {
    engine: Engine,
    records: Records,
}

/// Which of a project's files are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// All of them.
    All,
    /// Those of a version.
    Version(Version),
    /// The one of this name.
    Name(String),
}

/// A project as it is managed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    /// Its name in normal form.
    pub name: String,
    /// What is known of it beside its files.
    pub record: ProjectRecord,
    /// Its files, by version and then by name.
    pub files: Vec<ManagedFile>,
}

/// A file of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedFile {
    /// Its name.
    pub name: String,
    /// The version that it is of.
    pub version: String,
    /// The sha256 digest of its bytes, in hex.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
    /// When it was uploaded, as the specifications write it.
    pub uploaded: String,
    /// The project that it was fetched from, where nobody uploaded it here.
    pub upstream: Option<String>,
}

/// A project with what a change of it needs.
struct Held<'a> {
    repository: Repository,
    project: &'a ProjectName,
    found: Project,
}

impl<'a> Held<'a> {
    fn of(&self) -> Of<'a> {
        Of { tenant: self.repository.tenant(), project: self.project }
    }

    /// Those of the project's files that are meant, of `more` too.
    fn files<'s>(&'s self, which: &Files, more: &'s [File]) -> Result<Vec<&'s File>, Error> {
        let is = |file: &&File| match which {
            Files::All => true,
            Files::Version(version) => file.name.version() == version,
            Files::Name(name) => file.name.as_str() == name,
        };
        let files: Vec<&File> = self.found.files.iter().chain(more).filter(is).collect();
        if files.is_empty() {
            let project = self.project.normalised();
            let name = match which {
                Files::All => format!("a file of the project {project}"),
                Files::Version(version) => format!("the version {version} of {project}"),
                Files::Name(name) => format!("the file {} of {project}", name.escape_debug()),
            };
            return Err(Error::NameUnknown { name });
        }
        Ok(files)
    }
}

impl Manager {
    /// Manages what `engine` holds.
    pub fn new(engine: &Engine) -> Self {
        Self { engine: engine.clone(), records: Records::new(engine) }
    }

    /// A project as it is here: what is at an upstream is not looked at. Needs [`Action::Pull`].
    pub async fn project(
        &self,
        caller: &Caller,
        (place, project): (&Place, &ProjectName),
    ) -> Result<Managed, Error> {
        let repository =
            self.engine.repository(caller, &path(place, project)?, Action::Pull).await?;
        let found = Project::load(&repository, &self.records).await?;
        if !found.exists() {
            return Err(Error::NameUnknown { name: repository.path().to_string() });
        }
        let of = Of { tenant: repository.tenant(), project };
        let record = self.records.of(&of).await?.record;
        let files = found.files.into_iter().map(|file| ManagedFile {
            sha256: hex(&file.content),
            version: file.name.version().to_string(),
            name: file.name.to_string(),
            size: file.size,
            uploaded: file.uploaded,
            upstream: file.upstream,
        });
        let name = project.normalised().to_owned();
        Ok(Managed { name, record, files: files.collect() })
    }

    /// Yanks files (PEP 592: they stay, but are taken only by who asks for their very version); says how many. Needs [`Action::Delete`] and [`Action::Pull`].
    pub async fn yank(
        &self,
        caller: &Caller,
        (place, project): (&Place, &ProjectName),
        which: &Files,
        reason: &str,
    ) -> Result<usize, Error> {
        let reason = reason.to_owned();
        let line = |names: &str| format!("yanked {names}: {reason}");
        self.mark(caller, (place, project), which, line, |record, name| {
            record.yanked.insert(name.to_owned(), reason.clone());
        })
        .await
    }

    /// Takes a yank back; says of how many files. Needs [`Action::Delete`] and [`Action::Pull`].
    pub async fn unyank(
        &self,
        caller: &Caller,
        (place, project): (&Place, &ProjectName),
        which: &Files,
    ) -> Result<usize, Error> {
        let line = |names: &str| format!("took the yank of {names} back");
        self.mark(caller, (place, project), which, line, |record, name| {
            record.yanked.remove(name);
        })
        .await
    }

    /// Sets a project's status, and why it has it. Needs [`Action::Delete`] and [`Action::Pull`].
    pub async fn set_status(
        &self,
        caller: &Caller,
        (place, project): (&Place, &ProjectName),
        status: Status,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let held = self.hold(caller, place, project).await?;
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let line = format!("its status is {}{why}", status.as_str());
        let change = |record: &mut ProjectRecord| {
            record.status = status;
            record.reason = reason.map(str::to_owned);
        };
        self.records.change(caller, &held.of(), &line, change).await
    }

    /// Sets where a project lies elsewhere (PEP 708): the projects it has the same files as, and the
    /// addresses where it may be found too. Needs [`Action::Delete`] and [`Action::Pull`].
    pub async fn set_locations(
        &self,
        caller: &Caller,
        (place, project): (&Place, &ProjectName),
        tracks: &[String],
        alternate_locations: &[String],
    ) -> Result<(), Error> {
        let held = self.hold(caller, place, project).await?;
        for address in tracks.iter().chain(alternate_locations) {
            let good = address.parse::<http::Uri>().is_ok_and(|uri| {
                matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some()
            });
            if !good {
                let text = format!("{} is not the address of a project", address.escape_debug());
                return Err(Error::Invalid(text));
            }
        }
        let line = format!("it tracks {tracks:?}, and is found at {alternate_locations:?}");
        let change = |record: &mut ProjectRecord| {
            record.tracks = tracks.to_vec();
            record.alternate_locations = alternate_locations.to_vec();
        };
        self.records.change(caller, &held.of(), &line, change).await
    }

    /// Deletes files, those too that are not offered because their names stand for other bytes; says how
    /// many. Their names are never given to other bytes. Needs
    /// [`Action::Delete`], [`Action::Pull`] and [`Action::Push`]; refused where the tag of a version is
    /// immutable. Each file goes by itself: where the
    /// call fails between two, the rest stays.
    pub async fn delete(
        &self,
        caller: &Caller,
        (place, project): (&Place, &ProjectName),
        which: &Files,
    ) -> Result<usize, Error> {
        let held = self.hold(caller, place, project).await?;
        let files = held.files(which, &held.found.withheld)?;
        let path = held.repository.path();
        let push = self.engine.repository(caller, path, Action::Push).await?;
        let delete = self.engine.repository(caller, path, Action::Delete).await?;
        for file in &files {
            // Before the name is kept for what will not go.
            push.require_mutable(&tag_of(file)?)?;
        }
        for file in &files {
            // First the name, so that no crash lets other bytes have it.
            let sha256 = hex(&file.content);
            self.records.delete(caller, &held.of(), (&file.name, &sha256)).await?;
            take_out(&push, &delete, file).await?;
        }
        Ok(files.len())
    }

    async fn mark(
        &self,
        caller: &Caller,
        (place, project): (&Place, &ProjectName),
        which: &Files,
        line: impl Fn(&str) -> String,
        mark: impl Fn(&mut ProjectRecord, &str),
    ) -> Result<usize, Error> {
        let held = self.hold(caller, place, project).await?;
        let files = held.files(which, &[])?;
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let change = |record: &mut ProjectRecord| names.iter().for_each(|name| mark(record, name));
        self.records.change(caller, &held.of(), &line(&names.join(", ")), change).await?;
        Ok(names.len())
    }

    /// A project that is there, for who may delete in it and read it.
    async fn hold<'a>(
        &self,
        caller: &Caller,
        place: &Place,
        project: &'a ProjectName,
    ) -> Result<Held<'a>, Error> {
        let path = path(place, project)?;
        self.engine.repository(caller, &path, Action::Delete).await?;
        let repository = self.engine.repository(caller, &path, Action::Pull).await?;
        let found = Project::load(&repository, &self.records).await?;
        if !found.exists() {
            return Err(Error::NameUnknown { name: path.to_string() });
        }
        Ok(Held { repository, project, found })
    }
}

fn path(place: &Place, project: &ProjectName) -> Result<RepositoryPath, Error> {
    place.repository(project).map_err(|error: NameError| Error::Invalid(error.to_string()))
}

/// The tag of a file's version.
fn tag_of(file: &File) -> Result<Tag, Error> {
    let tag = file.name.version().tag();
    tag.parse().map_err(|error: NameError| Error::Invalid(error.to_string()))
}

/// Takes a file out of its version, and the version away with its last file.
async fn take_out(push: &Repository, delete: &Repository, file: &File) -> Result<(), Error> {
    let tag = tag_of(file)?;
    let gone = |error| match error {
        Error::ManifestUnknown { .. } => Ok(()),
        error => Err(error),
    };
    let mut attempts = 0;
    loop {
        attempts += 1;
        if attempts > ATTEMPTS {
            return Err(Error::Contended { what: "the version" });
        }
        let index = push.manifest_to_replace(&Reference::Tag(tag.clone())).await?;
        let index = index.filter(|index| index.artifact_type.as_deref() == Some(RELEASE));
        let Some(index) = index else { break };
        let Ok(release) = serde_json::from_slice::<Release>(&index.bytes) else { break };
        let before = release.manifests.len();
        let release = release.without(&file.manifest);
        if release.manifests.len() == before {
            break;
        }
        if release.manifests.is_empty() {
            // Whoever adds a file meanwhile replaced this index, so it is gone already.
            delete.delete_manifest(&index.digest).await.or_else(gone)?;
            continue;
        }
        let bytes = release.bytes(&file.name.version().to_string());
        let content_type = Some(artifact::INDEX.to_owned());
        let push_index =
            ManifestPush { bytes, content_type, digest: None, tags: vec![tag.clone()] };
        match push.push_manifest_over(&push_index, Some(index.digest)).await {
            Ok(_) | Err(Error::TagMoved { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    match delete.delete_manifest_with_referrers(&file.manifest).await {
        // Another index names it, which is no version's any more: collection's rules are for that.
        Ok(_) | Err(Error::ManifestUnknown { .. } | Error::InUse { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
