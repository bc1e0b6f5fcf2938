//! Verbs on Python projects. They are done in somebody's name and with their rights, for content stays
//! closed to the command line itself.

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_engine::access::{Caller, PrincipalId};
use strongroom_engine::pattern::Pattern;
use strongroom_http::auth::Secret;
use strongroom_outbound::Target;
use strongroom_pypi::manage::{Files, Manager};
use strongroom_pypi::records;
use strongroom_pypi::routes::Place;
use strongroom_pypi::upstream::NewUpstream;
use strongroom_python::{ProjectName, Version};

use super::args::{RegistryPath, principal};
use super::{Hidden, Outcome};
use crate::app::{App, console};
use crate::config::Span;
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
    /// Look after the index that a registry fetches from
    #[command(subcommand)]
    Upstream(UpstreamVerb),
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it is not kept")]
pub(crate) enum UpstreamVerb {
    /// Set the index that names are looked up in which are not the registry's own; what is not named here
    /// is taken away
    Set {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        /// The index: `https://HOST/simple/`
        url: Target,
        /// Only names like this, as `acme-*`; may be given again
        #[arg(long, value_name = "PATTERN")]
        allow: Vec<Pattern>,
        /// No names like this; may be given again
        #[arg(long, value_name = "PATTERN")]
        deny: Vec<Pattern>,
        /// Offer files only once they are so many days old
        #[arg(long, value_name = "DAYS", default_value_t = 0)]
        cool_down: u32,
        /// How long a page counts as fresh, as 10m
        #[arg(long, value_name = "TIME")]
        fresh: Option<Span>,
        /// Who we are there; `__token__` for a token
        #[arg(long, value_name = "NAME")]
        username: Option<String>,
        /// Take the password for it from the first line of standard input; else it stays
        #[arg(long, requires = "username")]
        #[serde(skip)]
        password_stdin: bool,
        #[arg(skip)]
        password: Option<Hidden>,
    },
    /// Show what is set
    Show {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
    },
    /// Fetch nothing any more; what was fetched stays
    Remove {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
    },
}

/// A project, and in whose name something is done to it.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct Of {
    /// ORGANISATION/REGISTRY
    pub(crate) path: RegistryPath,
    /// The project's name
    pub(crate) project: String,
    /// In whose name, and with whose rights: user:NAME or robot:NAME; at a server elsewhere it is
    /// whoever signed in there
    #[arg(long = "as", value_name = "WHO", value_parser = principal)]
    pub(crate) who: Option<PrincipalId>,
}

/// Which files; all of the project where none is named.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Those of a version
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// One, by its name
    #[arg(long)]
    pub(crate) file: Option<String>,
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
        let who = self.who.ok_or_else(|| {
            Failure::usage("say in whose name: --as user:NAME; content is closed to the console")
        })?;
        let caller = Caller { origin: console().origin, ..Caller::known(who) };
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
        PythonVerb::Upstream(verb) => upstream(app, verb).await,
    }
}

async fn upstream(app: &App, verb: UpstreamVerb) -> Result<Outcome, Failure> {
    let by = console();
    let place = |RegistryPath { organisation, registry }| Place { organisation, registry };
    match verb {
        UpstreamVerb::Set {
            path, url, allow, deny, cool_down, fresh, username, password, ..
        } => {
            let new = NewUpstream {
                url,
                allow,
                deny,
                cool_down_days: cool_down,
                fresh_seconds: fresh.map(seconds),
                username,
                password: password.map(|Hidden(password)| Secret::new(password)),
            };
            let set = app.upstreams.set(&by, &place(path.clone()), &new, None).await?;
            Ok(Outcome::new(format!("{path} fetches from {}\n", set.url), json!(set)))
        }
        UpstreamVerb::Show { path } => {
            let set = app.upstreams.get(&by, &place(path)).await?;
            Ok(shown(json!(set)))
        }
        UpstreamVerb::Remove { path } => {
            app.upstreams.remove(&by, &place(path.clone()), None).await?;
            Ok(Outcome::new(format!("{path} fetches nothing\n"), json!({ "removed": path })))
        }
    }
}

/// A time in whole seconds.
pub(crate) fn seconds(span: Span) -> u32 {
    u32::try_from(span.duration().as_secs()).unwrap_or(u32::MAX)
}

/// An upstream, a line for each thing that is set.
pub(crate) fn shown(upstream: Value) -> Outcome {
    let fields = upstream.as_object().into_iter().flatten();
    let lines = fields.map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}  {}\n", strongroom_http::log::clean(&value))
    });
    Outcome::new(lines.collect::<String>(), upstream)
}

fn counted(what: &str, files: usize) -> Outcome {
    let text = if files == 1 { format!("1 file {what}") } else { format!("{files} files {what}") };
    Outcome::new(text, json!({ "files": files }))
}
