//! What is known of a project and is no content: yanks, status, where else it lies, and which names
//! deleted files had. Kept by the ids of organisation and registry, which never change, so that
//! nothing passes to the next owner of a name.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use strongroom_engine::access::Caller;
use strongroom_engine::audit::{Event, EventKind};
use strongroom_engine::extension::{Batch, Entry, Extension, Version};
use strongroom_engine::id::{OrganisationId, RegistryId};
use strongroom_engine::{Engine, Error, MAX_PAGE};
use strongroom_python::{FileName, ProjectName};

/// The namespace of the records.
pub const NAMESPACE: &str = "pypi";
/// The version of their encoding.
pub(crate) const FORMAT: u32 = 1;
/// How often a change that others overtook is made again.
pub(crate) const ATTEMPTS: usize = 16;

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
    /// The project of an upstream whose files are kept here, where it is not the registry's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl ProjectRecord {
    /// Whose files these are (PEP 708): what somebody said it tracks, or where they were fetched from.
    pub(crate) fn tracked(&self) -> &[String] {
        if self.tracks.is_empty() { self.origin.as_slice() } else { &self.tracks }
    }
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

    /// `file` is a name in its canonical spelling: two spellings are one name.
    fn deleted(&self, file: &str) -> Vec<u8> {
        self.key("deleted", &format!("/{file}"))
    }

    fn upstream_page(&self) -> Vec<u8> {
        self.key("upstream-page", "")
    }

    fn warned(&self) -> Vec<u8> {
        self.key("warned", "")
    }
}

/// The records of this frontend.
#[derive(Debug, Clone)]
pub(crate) struct Records(Extension);

impl Records {
    pub(crate) fn new(engine: &Engine) -> Self {
        Self(engine.extension(NAMESPACE))
    }

    /// The time by the store's clock, in milliseconds.
    pub(crate) async fn milliseconds(&self) -> Result<u64, Error> {
        Ok(self.0.now().await?.0)
    }

    /// The seconds since 1970.
    pub(crate) async fn seconds(&self) -> Result<u64, Error> {
        Ok(self.0.now().await?.0 / 1_000)
    }

    /// Writes a line about a project into the trail.
    pub(crate) async fn note(&self, caller: &Caller, of: &Of<'_>, line: &str) -> Result<(), Error> {
        let event = self.event(caller, of, line).await?;
        self.0.commit(Batch::new().event(event)).await
    }

    /// What is known of a project.
    pub(crate) async fn of(&self, of: &Of<'_>) -> Result<Seen, Error> {
        match self.0.get(of.project()).await? {
            None => Ok(Seen::default()),
            Some(entry) => read(entry),
        }
    }

    /// The sha256 digest that a file of this name had which was deleted, in hex: the name stands for no
    /// other bytes ever.
    pub(crate) async fn deleted(
        &self,
        of: &Of<'_>,
        file: &FileName,
    ) -> Result<Option<String>, Error> {
        let entry = self.0.get(of.deleted(&file.canonical())).await?;
        Ok(entry.map(|entry| text(&entry.value)))
    }

    /// The names of all files of a project that were deleted, in their canonical spelling, each with
    /// the digest that it stands for.
    pub(crate) async fn all_deleted(&self, of: &Of<'_>) -> Result<HashMap<String, String>, Error> {
        let prefix = of.deleted("");
        let (mut names, mut after) = (HashMap::new(), None);
        loop {
            let page = self.0.scan(&prefix, after.as_deref(), MAX_PAGE).await?;
            let found = page.items.iter().filter_map(|entry| {
                let name = entry.key.get(prefix.len()..)?;
                Some((text(name), text(&entry.value)))
            });
            names.extend(found);
            after = page.next;
            if after.is_none() {
                return Ok(names);
            }
        }
    }

    /// The page of a project at the upstream, as it was kept.
    pub(crate) async fn upstream_page(&self, of: &Of<'_>) -> Result<Option<Entry>, Error> {
        self.0.get(of.upstream_page()).await
    }

    /// Keeps the page of a project at the upstream. It is what was seen, not what anybody decided.
    pub(crate) async fn keep_upstream_page(
        &self,
        of: &Of<'_>,
        packed: Vec<u8>,
    ) -> Result<(), Error> {
        self.0.commit(Batch::new().put(of.upstream_page(), packed).bookkeeping()).await
    }

    /// Notes in the trail, once for ever, that a name which is looked up at the upstream looks like
    /// another one here; false where it was noted before.
    pub(crate) async fn warn(
        &self,
        caller: &Caller,
        of: &Of<'_>,
        other: &str,
    ) -> Result<bool, Error> {
        if self.0.get(of.warned()).await?.is_some() {
            return Ok(false);
        }
        let line = format!("it is looked up upstream, and its name looks like that of {other}");
        let event = self.event(caller, of, &line).await?;
        let batch = Batch::new().absent(of.warned()).put(of.warned(), other.to_owned());
        match self.0.commit(batch.event(event)).await {
            Ok(()) => Ok(true),
            Err(Error::Contended { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A line for the trail about a project.
    async fn event(&self, caller: &Caller, of: &Of<'_>, line: &str) -> Result<Event, Error> {
        let (organisation, registry) = of.tenant;
        let change = format!("project {}: {line}", of.project.normalised());
        let kind = EventKind::RegistryChanged { registry, change };
        Ok(Event::by(caller, organisation, self.0.now().await?, kind))
    }

    /// Keeps the name of a file that is about to be deleted, and forgets that it was yanked. A name
    /// that is kept already stays with the bytes it was kept with.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        of: &Of<'_>,
        (name, sha256): (&FileName, &str),
    ) -> Result<(), Error> {
        let line = format!("the file {name} is deleted");
        let name_row = (of.deleted(&name.canonical()), sha256.to_owned());
        let forget = |record: &mut ProjectRecord| drop(record.yanked.remove(name.as_str()));
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

    /// `more` is a row that is written where there is none: whoever writes one changes the record too, so
    /// of two the later sees the earlier's.
    async fn change_with(
        &self,
        caller: &Caller,
        of: &Of<'_>,
        line: &str,
        more: Option<(Vec<u8>, String)>,
        change: impl Fn(&mut ProjectRecord),
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let Seen { mut record, version } = self.of(of).await?;
            change(&mut record);
            record.format = FORMAT;
            let key = of.project();
            let value = serde_json::to_vec(&record)
                .map_err(|error| Error::Invalid(format!("a record has no JSON: {error}")))?;
            let batch = Batch::new().event(self.event(caller, of, line).await?);
            let batch = match version {
                Some(version) => batch.unchanged(key.clone(), version),
                None => batch.absent(key.clone()),
            };
            let batch = match &more {
                Some((key, value)) if self.0.get(key.clone()).await?.is_none() => {
                    batch.put(key.clone(), value.clone())
                }
                _ => batch,
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A moment as the specifications write it (ISO 8601, UTC).
pub(crate) fn time(milliseconds: u64) -> String {
    let at =
        i64::try_from(milliseconds).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.unwrap_or(jiff::Timestamp::MAX).to_string()
}
