//! Core metadata (`METADATA`, `PKG-INFO`): parsed strictly, since what installs decide by it.

use serde::{Deserialize, Serialize};

use crate::name::ProjectName;
use crate::version::Version;

/// Core metadata, versions 1.0 to 2.5. Serialised, it has the names of its JSON form (PEP 566);
/// deserialise only what was serialised here: it checks names and version, not the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CoreMetadata {
    /// The version of the metadata's own format, such as `2.4`.
    pub metadata_version: String,
    /// The project.
    pub name: ProjectName,
    /// The version.
    pub version: Version,
    /// One line on what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The long description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How the description is to be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description_content_type: Option<String>,
    /// Key words, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keywords: Option<String>,
    /// The home page's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_page: Option<String>,
    /// An address to download from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_url: Option<String>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Their mail addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author_email: Option<String>,
    /// Who keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintainer: Option<String>,
    /// Their mail addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintainer_email: Option<String>,
    /// The licence as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The licence as an SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_expression: Option<String>,
    /// Paths of the licences' texts, below the folder of licences (wheels) or the top (sdists).
    #[serde(default, rename = "license_file", skip_serializing_if = "Vec::is_empty")]
    pub license_files: Vec<String>,
    /// Trove classifiers.
    #[serde(default, rename = "classifier", skip_serializing_if = "Vec::is_empty")]
    pub classifiers: Vec<String>,
    /// Platforms, as free text.
    #[serde(default, rename = "platform", skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// Platforms that a binary was built for, as free text.
    #[serde(default, rename = "supported_platform", skip_serializing_if = "Vec::is_empty")]
    pub supported_platforms: Vec<String>,
    /// Which Python it takes: version specifiers, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_python: Option<String>,
    /// What it depends on: requirements of PEP 508, as written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_dist: Vec<String>,
    /// What it depends on outside of Python.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_external: Vec<String>,
    /// `label, address`.
    #[serde(default, rename = "project_url", skip_serializing_if = "Vec::is_empty")]
    pub project_urls: Vec<String>,
    /// The extras that can be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provides_extra: Vec<String>,
    /// Projects that it contains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provides_dist: Vec<String>,
    /// Projects that it stands in for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obsoletes_dist: Vec<String>,
    /// Fields that a wheel may give another value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dynamic: Vec<String>,
}

/// Why metadata is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Interim: nothing is read yet.
    #[error("metadata is not read yet")]
    Unread,
}

impl CoreMetadata {
    /// Reads `METADATA` or `PKG-INFO`.
    pub fn parse(_bytes: &[u8]) -> Result<Self, MetadataError> {
        Err(MetadataError::Unread)
    }
}
