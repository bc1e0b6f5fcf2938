//! Verbs on Python projects. They are done in somebody's name and with their rights, for content stays
//! closed to the command line itself.

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;
use strongroom_engine::access::{Caller, PrincipalId};
use strongroom_pypi::manage::{Files, Manager};
use strongroom_pypi::records;
use strongroom_pypi::routes::Place;
use strongroom_python::{ProjectName, Version};

use super::Outcome;
use super::args::{RegistryPath, principal};
use crate::app::{App, console};
use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum PythonVerb {
    /// Yank files: installers take them only for who asks for their very version
    Yank {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        which: Which,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a yank back
    Unyank {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        which: Which,
    },
    /// Delete files for ever; their names are never given to other bytes
    Delete {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        which: Which,
    },
    /// Say whether a project takes files, and whether they are offered
    Status {
        #[command(flatten)]
        of: Of,
        /// Which
        #[arg(value_enum)]
        status: Status,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Say where a project lies elsewhere; what is not named is taken away
    Locations {
        #[command(flatten)]
        of: Of,
        /// The address of a project that has the same files
        #[arg(long, value_name = "URL")]
        tracks: Vec<String>,
        /// An address where it may be found as well
        #[arg(long, value_name = "URL")]
        alternate: Vec<String>,
    },
}

/// A project, and in whose name something is done to it.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct Of {
    /// ORGANISATION/REGISTRY
    path: RegistryPath,
    /// The project's name
    project: String,
    /// In whose name, and with whose rights: user:NAME or robot:NAME
    #[arg(long = "as", value_name = "WHO", value_parser = principal)]
    who: PrincipalId,
}

/// Which files; all of the project where none is named.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Those of a version
    #[arg(long)]
    version: Option<String>,
    /// One, by its name
    #[arg(long)]
    file: Option<String>,
    /// All of the project
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// As any
    Active,
    /// Nothing is added any more
    Archived,
    /// Nothing is offered: it is taken for dangerous
    Quarantined,
    /// Not cared for any more; it can be installed
    Deprecated,
}

impl From<Status> for records::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Archived => Self::Archived,
            Status::Quarantined => Self::Quarantined,
            Status::Deprecated => Self::Deprecated,
        }
    }
}

impl Which {
    fn files(self) -> Result<Files, Failure> {
        Ok(match (self.version, self.file) {
            (Some(version), _) => Files::Version(
                Version::parse(&version).map_err(|error| Failure::usage(error.to_string()))?,
            ),
            (None, Some(file)) => Files::Name(file),
            (None, None) => Files::All,
        })
    }
}

impl Of {
    fn parts(self) -> Result<(Caller, Place, ProjectName), Failure> {
        let project = ProjectName::parse(&self.project);
        let project = project.map_err(|error| Failure::usage(error.to_string()))?;
        let RegistryPath { organisation, registry } = self.path;
        let caller = Caller { origin: console().origin, ..Caller::known(self.who) };
        Ok((caller, Place { organisation, registry }, project))
    }
}

pub(super) async fn python(app: &App, verb: PythonVerb) -> Result<Outcome, Failure> {
    let manager = Manager::new(&app.engine);
    match verb {
        PythonVerb::Yank { of, which, reason } => {
            let ((caller, place, project), files) = (of.parts()?, which.files()?);
            let done = manager.yank(&caller, (&place, &project), &files, &reason).await?;
            Ok(counted("yanked", done))
        }
        PythonVerb::Unyank { of, which } => {
            let ((caller, place, project), files) = (of.parts()?, which.files()?);
            let done = manager.unyank(&caller, (&place, &project), &files).await?;
            Ok(counted("offered again", done))
        }
        PythonVerb::Delete { of, which } => {
            let ((caller, place, project), files) = (of.parts()?, which.files()?);
            let done = manager.delete(&caller, (&place, &project), &files).await?;
            Ok(counted("deleted", done))
        }
        PythonVerb::Status { of, status, reason } => {
            let (caller, place, project) = of.parts()?;
            let (of, status) = ((&place, &project), records::Status::from(status));
            manager.set_status(&caller, of, status, reason.as_deref()).await?;
            let text = format!("{} is {}", project.normalised(), status.as_str());
            let json = json!({ "project": project.normalised(), "status": status.as_str() });
            Ok(Outcome::new(text, json))
        }
        PythonVerb::Locations { of, tracks, alternate } => {
            let (caller, place, project) = of.parts()?;
            manager.set_locations(&caller, (&place, &project), &tracks, &alternate).await?;
            let json = json!({ "tracks": tracks, "alternate_locations": alternate });
            Ok(Outcome::new("set", json))
        }
    }
}

fn counted(what: &str, files: usize) -> Outcome {
    let text = if files == 1 { format!("1 file {what}") } else { format!("{files} files {what}") };
    Outcome::new(text, json!({ "files": files }))
}
