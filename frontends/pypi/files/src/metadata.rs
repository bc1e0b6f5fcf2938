//! Core metadata (`METADATA`, `PKG-INFO`): parsed strictly, since what installs decide by it.

use serde::{Deserialize, Serialize};

use crate::name::{NameError, ProjectName};
use crate::version::{Version, VersionError};

pub(crate) mod headers;
mod rules;

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

/// Why metadata is refused. Values are quoted, escaped and cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Bytes that are not UTF-8.
    #[error("the metadata is not UTF-8 at byte {at}: {near}")]
    NotUtf8 {
        /// Where, from 0.
        at: usize,
        /// The bytes there.
        near: String,
    },
    /// A control character among the fields; a carriage return alone is one.
    #[error("the metadata has a control character in the line {line}")]
    Control {
        /// The line.
        line: String,
    },
    /// A line that is no field, where fields are.
    #[error("the metadata's line {line} is not \"Field: value\"")]
    NoField {
        /// The line.
        line: String,
    },
    /// More fields than anybody needs.
    #[error("the metadata has more than {} fields", headers::MAX_FIELDS)]
    TooManyFields,
    /// A field that core metadata does not have.
    #[error("the metadata has the field {field}, which core metadata does not know")]
    Unknown {
        /// Its name.
        field: String,
    },
    /// A field twice that may be there once.
    #[error("the metadata has the field {field} more than once")]
    Repeated {
        /// Its name.
        field: String,
    },
    /// Several lines where one is allowed.
    #[error("the metadata's field {field} has several lines; it has to be one")]
    SeveralLines {
        /// Its name.
        field: String,
    },
    /// A field that has to be there.
    #[error("the metadata has no {field}")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A version of the format that is not known.
    #[error("the metadata has Metadata-Version {version}; known are 1.0 to 1.2 and 2.0 to 2.5")]
    FormatVersion {
        /// The version.
        version: String,
    },
    /// The project's name.
    #[error("in the metadata, {0}")]
    Name(NameError),
    /// The version.
    #[error("in the metadata, {0}")]
    Version(VersionError),
    /// A description among the fields and one as body.
    #[error("the metadata has a description as a field and another as its body")]
    TwoDescriptions,
    /// A value that its field does not take.
    #[error("the metadata's {field} {value} is not valid: {reason}")]
    Value {
        /// The field's name.
        field: &'static str,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl CoreMetadata {
    /// Reads `METADATA` or `PKG-INFO`.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        let (fields, body) = headers::split(bytes)?;
        rules::read(fields, body)
    }

    /// Whether the format is of this version or a later one.
    pub(crate) fn is_at_least(&self, wanted: (u32, u32)) -> bool {
        let numbers = self.metadata_version.split_once('.');
        let numbers = numbers.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        numbers.is_some_and(|version: (u32, u32)| version >= wanted)
    }

    /// Whether other files of the same version would say the same: from 2.2 on an sdist's metadata, less
    /// what is dynamic, hold for the wheels built from it, so that a registry may offer it by itself.
    pub fn is_reliable_in_sdist(&self) -> bool {
        self.is_at_least((2, 2))
    }
}

#[cfg(test)]
mod tests;
