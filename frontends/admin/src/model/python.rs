//! Python projects, and the index that a registry fetches from.

use serde::{Deserialize, Serialize};
use strongroom_engine::pattern::Pattern;
use strongroom_outbound::Target;
use strongroom_pypi::manage::Managed;
use strongroom_pypi::records;
use strongroom_pypi::upstream::Upstream;
use utoipa::ToSchema;

/// The index that names are looked up in which are not the registry's own.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PythonUpstream {
    /// What stands before the names of projects in their addresses.
    #[schema(value_type = String)]
    pub(crate) url: Target,
    /// Only names like one of these are looked up; all where there is none.
    #[schema(value_type = Vec<String>)]
    pub(crate) allow: Vec<Pattern>,
    /// Names like one of these are not.
    #[schema(value_type = Vec<String>)]
    pub(crate) deny: Vec<Pattern>,
    /// Files are offered once they are so many days old.
    pub(crate) cool_down_days: u32,
    /// How long a page counts as fresh, in seconds.
    pub(crate) fresh_seconds: u32,
    /// Who we are there, where it asks.
    pub(crate) username: Option<String>,
}

impl From<Upstream> for PythonUpstream {
    fn from(of: Upstream) -> Self {
        let Upstream { url, allow, deny, cool_down_days, fresh_seconds, username } = of;
        Self { url, allow, deny, cool_down_days, fresh_seconds, username }
    }
}

/// An index to fetch from. It has no Debug.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPythonUpstream {
    /// `https://HOST/simple/`, without a user or password.
    #[schema(value_type = String, max_length = 2048)]
    pub(crate) url: Target,
    /// Only names like one of these, as `acme-*`; all where there is none.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 64)]
    pub(crate) allow: Vec<Pattern>,
    /// No names like one of these.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 64)]
    pub(crate) deny: Vec<Pattern>,
    /// Offer files only once they are so many days old.
    #[serde(default)]
    #[schema(maximum = 3650)]
    pub(crate) cool_down_days: u32,
    /// How long a page counts as fresh, in seconds; ten minutes where absent.
    #[serde(default)]
    #[schema(maximum = 604_800)]
    pub(crate) fresh_seconds: Option<u32>,
    /// Who we are there; nobody where absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 4096)]
    pub(crate) username: Option<String>,
    /// The password or token for it. It is never shown.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 4096)]
    pub(crate) password: Option<String>,
}

/// Whether a project takes files, and whether they are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PythonStatus {
    Active,
    Archived,
    Quarantined,
    Deprecated,
}

impl From<records::Status> for PythonStatus {
    fn from(status: records::Status) -> Self {
        match status {
            records::Status::Active => Self::Active,
            records::Status::Archived => Self::Archived,
            records::Status::Quarantined => Self::Quarantined,
            records::Status::Deprecated => Self::Deprecated,
        }
    }
}

impl From<PythonStatus> for records::Status {
    fn from(status: PythonStatus) -> Self {
        match status {
            PythonStatus::Active => Self::Active,
            PythonStatus::Archived => Self::Archived,
            PythonStatus::Quarantined => Self::Quarantined,
            PythonStatus::Deprecated => Self::Deprecated,
        }
    }
}

/// A Python project, as far as it is here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PythonProject {
    pub(crate) name: String,
    pub(crate) status: PythonStatus,
    /// Why it has that status.
    pub(crate) reason: Option<String>,
    /// Addresses of projects elsewhere that it has the same files as.
    pub(crate) tracks: Vec<String>,
    /// Addresses where it may be found as well.
    pub(crate) alternate_locations: Vec<String>,
    /// The project at an upstream that its files were fetched from, where the name is not the registry's own.
    pub(crate) origin: Option<String>,
    /// By version and then by name.
    pub(crate) files: Vec<PythonFile>,
}

/// A file of a Python project.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PythonFile {
    pub(crate) name: String,
    pub(crate) version: String,
    /// In hexadecimal.
    pub(crate) sha256: String,
    pub(crate) size: u64,
    #[schema(format = DateTime)]
    pub(crate) uploaded_at: String,
    pub(crate) yanked: bool,
    /// Why it was yanked, where somebody said it.
    pub(crate) yanked_reason: Option<String>,
    /// The project at the upstream that it was fetched from.
    pub(crate) upstream: Option<String>,
}

impl From<Managed> for PythonProject {
    fn from(of: Managed) -> Self {
        let Managed { name, record, files } = of;
        let files = files.into_iter().map(|file| {
            let yanked = record.yanked.get(&file.name);
            PythonFile {
                yanked: yanked.is_some(),
                yanked_reason: yanked.filter(|reason| !reason.is_empty()).cloned(),
                name: file.name,
                version: file.version,
                sha256: file.sha256,
                size: file.size,
                uploaded_at: file.uploaded,
                upstream: file.upstream,
            }
        });
        Self {
            name,
            files: files.collect(),
            status: record.status.into(),
            reason: record.reason,
            tracks: record.tracks,
            alternate_locations: record.alternate_locations,
            origin: record.origin,
        }
    }
}

/// A status to be set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetPythonStatus {
    pub(crate) status: PythonStatus,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub(crate) reason: Option<String>,
}

/// Where a project lies elsewhere (PEP 708).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetPythonLocations {
    /// Addresses of projects elsewhere that it has the same files as.
    #[serde(default)]
    #[schema(max_items = 32)]
    pub(crate) tracks: Vec<String>,
    /// Addresses where it may be found as well.
    #[serde(default)]
    #[schema(max_items = 32)]
    pub(crate) alternate_locations: Vec<String>,
}

/// Whether files are yanked: installers take such only for who asks for their very version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetYanked {
    pub(crate) yanked: bool,
    /// Why they are.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub(crate) reason: Option<String>,
}
