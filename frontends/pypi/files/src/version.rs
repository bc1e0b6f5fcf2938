//! Versions (PEP 440), and the tags that stand for them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::quote::quote;

/// The most characters in a version: a tag has no more than 128, and a file name has other parts.
pub(crate) const MAX_VERSION: usize = 100;

/// Why a text is no version, or no version's tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// It is not of PEP 440's grammar.
    #[error("{version} is not a version of PEP 440, such as 1.0, 2.0rc1 or 1.0.post1")]
    Grammar {
        /// The text, quoted.
        version: String,
    },
    /// There is too much.
    #[error("the version has {got} characters; at most {MAX_VERSION} are allowed")]
    TooLong {
        /// How many there are.
        got: usize,
    },
    /// It is not the tag of a version in its normal form.
    #[error("{tag} is not the tag of a version in its normal form")]
    Tag {
        /// The text, quoted.
        tag: String,
    },
}

/// A version, ordered as PEP 440 says. It shows itself in its normal form; two that differ only in
/// trailing zeros are equal, as installers compare them, but show themselves differently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(pep440_rs::Version);

impl Version {
    /// Reads a version in any spelling that PEP 440 allows.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let got = text.chars().count();
        if got > MAX_VERSION {
            return Err(VersionError::TooLong { got });
        }
        // The parser takes spaces around it, which no file name and no field should have.
        if text.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(VersionError::Grammar { version: quote(text) });
        }
        let version: pep440_rs::Version =
            text.parse().map_err(|_| VersionError::Grammar { version: quote(text) })?;
        let version = Self(version);
        // The normal form is what is kept, and may be the longer one: `1a` is `1a0`.
        let got = version.to_string().len();
        if got > MAX_VERSION {
            return Err(VersionError::TooLong { got });
        }
        Ok(version)
    }

    /// Whether it is a pre-release or a development release, which installers pass over.
    pub fn is_prerelease(&self) -> bool {
        self.0.any_prerelease()
    }

    /// Whether it has a local part (`+…`).
    pub fn is_local(&self) -> bool {
        self.0.is_local()
    }

    /// The tag that stands for it: the normal form with `__` for `!` and `_` for `+`.
    pub fn tag(&self) -> String {
        self.to_string().replace('!', "__").replace('+', "_")
    }

    /// The version that a tag stands for.
    pub fn from_tag(tag: &str) -> Result<Self, VersionError> {
        let refused = || VersionError::Tag { tag: quote(tag) };
        let version = Self::parse(&tag.replacen("__", "!", 1).replacen('_', "+", 1));
        version.ok().filter(|version| version.tag() == tag).ok_or_else(refused)
    }

    /// As the rest of the world's crates have it.
    pub fn as_pep440(&self) -> &pep440_rs::Version {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        Self::parse(&text)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests;
