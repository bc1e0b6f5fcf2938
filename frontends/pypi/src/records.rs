//! What is known of a project and is no content: yanks, status, where else it lies, and which names
//! deleted files had. Kept by the ids of organisation and registry, which never change, so that
//! nothing passes to the next owner of a name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strongroom_engine::access::Caller;
use strongroom_engine::audit::{Event, EventKind};
use strongroom_engine::extension::{Batch, Entry, Extension, Version};
use strongroom_engine::id::{OrganisationId, RegistryId};
use strongroom_engine::{Engine, Error};
use strongroom_python::ProjectName;

/// The namespace of the records.
pub const NAMESPACE: &str = "pypi";
/// The version of their encoding.
const FORMAT: u32 = 1;
/// How often a change that others overtook is made again.
const ATTEMPTS: usize = 16;

/// Whether a project's files may be installed and added to (PEP 792).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As any.
    #[default]
    Active,
    /// Nothing is added any more.
    Archived,
    /// Nothing is offered: it is taken for dangerous.
    Quarantined,
    /// It is not cared for any more; it can be installed.
    Deprecated,
}

impl Status {
    /// Its name in the specification.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Archived => "archived",
            Self::Quarantined => "quarantined",
            Self::Deprecated => "deprecated",
        }
    }
}

/// What is known of a project beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectRecord {
    pub(crate) format: u32,
    /// Its status …
    pub status: Status,
    /// … and why it has that.
    pub reason: Option<String>,
    /// The names of files that were yanked (PEP 592), each with its reason, which may be empty.
    pub yanked: BTreeMap<String, String>,
    /// Addresses of the projects elsewhere that this one has the same files as (PEP 708).
    pub tracks: Vec<String>,
    /// Addresses where it may be found as well (PEP 708).
    pub alternate_locations: Vec<String>,
}

/// A project's record as it was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) record: ProjectRecord,
    /// None where there is no row.
    pub(crate) version: Option<Version>,
}

/// A project, by what never changes of where it lies.
#[derive(Debug, Clone)]
pub(crate) struct Of<'a> {
    pub(crate) tenant: (OrganisationId, RegistryId),
    pub(crate) project: &'a ProjectName,
}

impl Of<'_> {
    fn key(&self, kind: &str, rest: &str) -> Vec<u8> {
        let ((organisation, registry), project) = (self.tenant, self.project.normalised());
        format!("{kind}/{:016x}/{:016x}/{project}{rest}", organisation.0, registry.0).into_bytes()
    }

    fn project(&self) -> Vec<u8> {
        self.key("project", "")
    }

    fn deleted(&self, file: &str) -> Vec<u8> {
        self.key("deleted", &format!("/{file}"))
    }
}

/// The records of this frontend.
#[derive(Debug, Clone)]
pub(crate) struct Records(Extension);

impl Records {
    pub(crate) fn new(engine: &Engine) -> Self {
        Self(engine.extension(NAMESPACE))
    }

    pub(crate) async fn now(&self) -> Result<String, Error> {
        Ok(time(self.0.now().await?.0))
    }

    /// What is known of a project.
    pub(crate) async fn of(&self, of: &Of<'_>) -> Result<Seen, Error> {
        match self.0.get(of.project()).await? {
            None => Ok(Seen::default()),
            Some(entry) => read(entry),
        }
    }

    /// The digest that a file of this name had which was deleted.
    pub(crate) async fn deleted(&self, of: &Of<'_>, file: &str) -> Result<Option<String>, Error> {
        let entry = self.0.get(of.deleted(file)).await?;
        Ok(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
    }

    /// Keeps the name of a file that is about to be deleted, and forgets that it was yanked.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        of: &Of<'_>,
        file: (&str, &str),
    ) -> Result<(), Error> {
        let (name, sha256) = file;
        let line = format!("the file {name} is deleted");
        let name_row = (of.deleted(name), sha256.to_owned());
        let forget = |record: &mut ProjectRecord| drop(record.yanked.remove(name));
        self.change_with(caller, of, &line, Some(name_row), forget).await
    }

    /// Changes what is known of a project, with a line in the trail.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        of: &Of<'_>,
        line: &str,
        change: impl Fn(&mut ProjectRecord),
    ) -> Result<(), Error> {
        self.change_with(caller, of, line, None, change).await
    }

    async fn change_with(
        &self,
        caller: &Caller,
        of: &Of<'_>,
        line: &str,
        more: Option<(Vec<u8>, String)>,
        change: impl Fn(&mut ProjectRecord),
    ) -> Result<(), Error> {
        let (organisation, registry) = of.tenant;
        for _ in 0..ATTEMPTS {
            let Seen { mut record, version } = self.of(of).await?;
            change(&mut record);
            record.format = FORMAT;
            let key = of.project();
            let value = serde_json::to_vec(&record)
                .map_err(|error| Error::Invalid(format!("a record has no JSON: {error}")))?;
            let kind = EventKind::RegistryChanged {
                registry,
                change: format!("project {}: {line}", of.project.normalised()),
            };
            let now = self.0.now().await?;
            let batch = Batch::new().event(Event::by(caller, organisation, now, kind));
            let batch = match version {
                Some(version) => batch.unchanged(key.clone(), version),
                None => batch.absent(key.clone()),
            };
            let batch = match &more {
                Some((key, value)) => batch.put(key.clone(), value.clone()),
                None => batch,
            };
            match self.0.commit(batch.put(key, value)).await {
                Err(Error::Contended { .. }) => {}
                other => return other,
            }
        }
        Err(Error::Contended { what: "a project's record" })
    }
}

fn read(entry: Entry) -> Result<Seen, Error> {
    let record: ProjectRecord = serde_json::from_slice(&entry.value)
        .map_err(|error| Error::Corrupted(format!("a project's record: {error}")))?;
    if record.format > FORMAT {
        let text = "a project's record was written by a later version of Strongroom";
        return Err(Error::Corrupted(text.to_owned()));
    }
    Ok(Seen { record, version: Some(entry.version) })
}

/// A moment as the specifications write it (ISO 8601, UTC).
pub(crate) fn time(milliseconds: u64) -> String {
    let at =
        i64::try_from(milliseconds).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.unwrap_or(jiff::Timestamp::MAX).to_string()
}
