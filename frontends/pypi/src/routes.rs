//! Paths: text in, a typed [`Operation`] out, and the table of what each one needs.
//!
//! Everything lies below `/pypi/ORGANISATION/REGISTRY/`. Escapes are undone once, for the whole
//! path; what comes out must pass the grammars of names, versions, digests and file names, and
//! nothing else of it is ever used.

use http::Method;
use percent_encoding::percent_decode_str;
use strongroom_engine::access::Action;
use strongroom_engine::digest::Digest;
use strongroom_engine::name::{NameError, OrganisationName, RegistryName, RepositoryPath};
use strongroom_identity::Access;
use strongroom_python::{FileName, ProjectName, Version};

/// A registry of Python projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The organisation.
    pub organisation: OrganisationName,
    /// The registry in it.
    pub registry: RegistryName,
}

impl Place {
    /// The repository of a project here.
    pub fn repository(&self, project: &ProjectName) -> Result<RepositoryPath, NameError> {
        let (organisation, registry) = (self.organisation.clone(), self.registry.clone());
        RepositoryPath::new(organisation, registry, project.normalised().parse()?)
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one for a request, and it is not kept")]
pub enum Operation {
    /// In one registry.
    In(Place, Task),
    /// Of trusted publishing, in one registry or in whichever has a rule.
    Trusted(Option<Place>, Step),
}

/// A step of trusted publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `GET _/oidc/audience`
    Audience,
    /// `POST _/oidc/mint-token`
    Mint,
}

/// What a request asks of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// `POST legacy/`
    Upload,
    /// `GET simple/`
    Projects,
    /// `GET simple/PROJECT/`
    Project(ProjectName),
    /// A page asked for by another spelling of its address: where it is.
    Elsewhere(String),
    /// `GET files/SHA256/FILE`
    File(Digest, FileName),
    /// `GET files/SHA256/FILE.metadata`
    Metadata(Digest, FileName),
    /// `GET integrity/PROJECT/VERSION/FILE/provenance`
    Provenance(ProjectName, Version, FileName),
    /// `GET pypi/PROJECT/json` and `pypi/PROJECT/VERSION/json`
    About(ProjectName, Option<Version>),
}

/// Why a path or method is none of this API's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// No endpoint has this form.
    #[error(
        "there is nothing here: below /pypi/ORGANISATION/REGISTRY/ are simple/ (for installers) \
         and legacy/ (for uploads)"
    )]
    NoEndpoint,
    /// The endpoint exists, but not with this method.
    #[error("{method} is not supported here; {allowed} are")]
    Method {
        /// What was sent.
        method: Method,
        /// What may be sent, as in the Allow header.
        allowed: &'static str,
    },
    /// The organisation's or registry's name is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

const READS: &str = "GET, HEAD";
/// Where trusted publishing is, at the top of the host and below each registry.
const TRUSTED: &str = "/_/oidc/";
/// What a file's core metadata are called beside it.
const METADATA: &str = ".metadata";

impl Operation {
    /// What `method` on `path` (as it stands in the request line) asks for.
    pub fn parse(method: &Method, path: &str) -> Result<Self, RouteError> {
        let path = percent_decode_str(path).decode_utf8().map_err(|_| RouteError::NoEndpoint)?;
        if let Some(step) = path.strip_prefix(TRUSTED) {
            let (step, allowed) = step_of(step).ok_or(RouteError::NoEndpoint)?;
            takes(method, allowed)?;
            return Ok(Self::Trusted(None, step));
        }
        let mut parts = path.split('/');
        if (parts.next(), parts.next()) != (Some(""), Some("pypi")) {
            return Err(RouteError::NoEndpoint);
        }
        let (Some(organisation), Some(registry), Some(kind)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(RouteError::NoEndpoint);
        };
        let rest: Vec<&str> = parts.collect();
        let place = || -> Result<Place, NameError> {
            Ok(Place { organisation: organisation.parse()?, registry: registry.parse()? })
        };
        if let ("_", ["oidc", step]) = (kind, rest.as_slice()) {
            let (step, allowed) = step_of(step).ok_or(RouteError::NoEndpoint)?;
            takes(method, allowed)?;
            return Ok(Self::Trusted(Some(place()?), step));
        }
        let (task, allowed) = task(&path, kind, &rest).ok_or(RouteError::NoEndpoint)?;
        takes(method, allowed)?;
        Ok(Self::In(place()?, task))
    }

    /// Whether a path belongs to this API.
    pub fn owns(path: &str) -> bool {
        path == "/pypi" || path.starts_with("/pypi/") || path.starts_with(TRUSTED)
    }

    /// What the operation demands of its caller: the one table of permissions. For an upload it is
    /// demanded once the file's name has come, which says in which repository.
    pub const fn access(&self) -> Access {
        let task = match self {
            Self::In(_, task) => task,
            // What is shown is the question itself, and what is told the same to all.
            Self::Trusted(..) => return Access::Open,
        };
        match task {
            Task::Upload => Access::Allowed(Action::Push),
            Task::Projects => Access::Allowed(Action::List),
            Task::Project(_)
            | Task::File(..)
            | Task::Metadata(..)
            | Task::Provenance(..)
            | Task::About(..) => Access::Allowed(Action::Pull),
            // It says nothing but how the address is spelled.
            Task::Elsewhere(_) => Access::Open,
        }
    }

    /// The operation's name in logs and metrics.
    pub const fn label(&self) -> &'static str {
        let task = match self {
            Self::In(_, task) => task,
            Self::Trusted(_, Step::Audience) => return "pypi_audience",
            Self::Trusted(_, Step::Mint) => return "pypi_mint_token",
        };
        match task {
            Task::Upload => "pypi_upload",
            Task::Projects => "pypi_projects",
            Task::Project(_) => "pypi_project",
            Task::Elsewhere(_) => "pypi_elsewhere",
            Task::File(..) => "pypi_file",
            Task::Metadata(..) => "pypi_metadata",
            Task::Provenance(..) => "pypi_provenance",
            Task::About(..) => "pypi_json",
        }
    }
}

fn step_of(name: &str) -> Option<(Step, &'static str)> {
    match name {
        "audience" => Some((Step::Audience, READS)),
        "mint-token" => Some((Step::Mint, "POST")),
        _ => None,
    }
}

fn takes(method: &Method, allowed: &'static str) -> Result<(), RouteError> {
    if allowed.split(", ").any(|one| one == method.as_str()) {
        return Ok(());
    }
    Err(RouteError::Method { method: method.clone(), allowed })
}

fn task(path: &str, kind: &str, rest: &[&str]) -> Option<(Task, &'static str)> {
    let project = |text: &str| ProjectName::parse(text).ok();
    let slash = || Task::Elsewhere(format!("{path}/"));
    let task = match (kind, rest) {
        // Clients are told to end it with a slash; some people forget it.
        ("legacy", [] | [""]) => return Some((Task::Upload, "POST")),
        ("simple", [""]) => Task::Projects,
        ("simple", []) => slash(),
        ("simple", [name] | [name, ""]) => {
            let project = project(name)?;
            match (rest.len(), project.normalised() == *name) {
                (2, true) => Task::Project(project),
                (1, true) => slash(),
                (2, false) => Task::Elsewhere(format!("../{}/", project.normalised())),
                _ => Task::Elsewhere(format!("{}/", project.normalised())),
            }
        }
        ("files", [sha256, file]) => {
            let digest = format!("sha256:{sha256}").parse().ok()?;
            match file.strip_suffix(METADATA) {
                Some(file) => Task::Metadata(digest, FileName::parse_published(file).ok()?),
                None => Task::File(digest, FileName::parse_published(file).ok()?),
            }
        }
        ("integrity", [name, version, file, "provenance"]) => Task::Provenance(
            project(name)?,
            Version::parse(version).ok()?,
            FileName::parse_published(file).ok()?,
        ),
        ("pypi", [name, "json"]) => Task::About(project(name)?, None),
        ("pypi", [name, version, "json"]) => {
            Task::About(project(name)?, Some(Version::parse(version).ok()?))
        }
        _ => return None,
    };
    Some((task, READS))
}

#[cfg(test)]
mod tests;
