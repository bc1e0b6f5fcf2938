//! Names: what organisations, registries, repositories and tags are called, parsed once.
//!
//! The grammar is the distribution specification's ("Pulling manifests"); a name of one component
//! has at most [`MAX_COMPONENT`] characters, a whole path at most [`MAX_PATH`], a tag at most
//! [`MAX_TAG`]. A value of these types is a name, everywhere; cloning one is cheap. What this room
//! never does: change a name to make it fit, or know which names are taken.
//!
//! ```
//! use strongroom_engine::name::{Reference, RepositoryPath};
//!
//! let path: RepositoryPath = "acme/main/team/app".parse()?;
//! assert_eq!(path.registry().as_str(), "main");
//! assert_eq!(path.repository().as_str(), "team/app");
//! assert!("acme/main/Team".parse::<RepositoryPath>().is_err());
//! assert!(matches!("1.0".parse(), Ok(Reference::Tag(_))));
//! # Ok::<(), strongroom_engine::name::NameError>(())
//! ```

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, DigestError};

mod grammar;

/// The most characters in the name of an organisation or a registry.
pub const MAX_COMPONENT: usize = 64;
/// The most characters in `organisation/registry/repository`: clients refuse longer ones.
pub const MAX_PATH: usize = 255;
/// The most characters in a tag.
pub const MAX_TAG: usize = 128;

/// What was being read when a [`NameError`] came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameKind {
    /// An [`OrganisationName`].
    Organisation,
    /// A [`RegistryName`].
    Registry,
    /// A [`RepositoryName`].
    Repository,
    /// A [`RepositoryPath`].
    Path,
    /// A [`Tag`].
    Tag,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Organisation => "organisation name",
            Self::Registry => "registry name",
            Self::Repository => "repository name",
            Self::Path => "repository path",
            Self::Tag => "tag",
        })
    }
}

/// Why a text is not such a name. Positions are bytes, counted from 0 at the start of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing.
    #[error("the {kind} is empty")]
    Empty {
        /// What was read.
        kind: NameKind,
    },
    /// There is too much.
    #[error("the {kind} has {got} characters; at most {max} are allowed")]
    TooLong {
        /// What was read.
        kind: NameKind,
        /// The most it may have.
        max: usize,
        /// What it has, in bytes of UTF-8.
        got: usize,
    },
    /// A letter is in upper case, where only lower case is allowed.
    #[error("{found:?} at byte {position} of the {kind} is in upper case; write {suggestion:?}")]
    UpperCase {
        /// What was read.
        kind: NameKind,
        /// Where.
        position: usize,
        /// The letter.
        found: char,
        /// The whole text in lower case.
        suggestion: String,
    },
    /// A character that never stands in such a name.
    #[error("{found:?} at byte {position} is not allowed in a {kind} ({allowed})")]
    Character {
        /// What was read.
        kind: NameKind,
        /// Where.
        position: usize,
        /// The character.
        found: char,
        /// What would be right.
        allowed: &'static str,
    },
    /// A component (or a tag) begins or ends with a character that may only stand inside.
    #[error(
        "{found:?} at byte {position} of the {kind}: a letter or digit must stand there \
         (in a tag `_` too), since separators only stand between two of them"
    )]
    Edge {
        /// What was read.
        kind: NameKind,
        /// Where.
        position: usize,
        /// The character.
        found: char,
    },
    /// Separators stand together that may not.
    #[error(
        "{found:?} at byte {position} of the {kind} is no separator; between letters and digits \
         stands one of `.`, `_`, `__`, or any number of `-`"
    )]
    Separator {
        /// What was read.
        kind: NameKind,
        /// Where the run of separators begins.
        position: usize,
        /// The run.
        found: String,
    },
    /// A `/` stands where a component should: at the start, at the end, or after another one.
    #[error("the {kind} has an empty component at byte {position}; one `/` stands between two")]
    EmptyComponent {
        /// What was read.
        kind: NameKind,
        /// Where the component should be.
        position: usize,
    },
    /// A path has fewer components than three.
    #[error(
        "the repository path has {got} components; \
         it is ORGANISATION/REGISTRY/REPOSITORY, such as `acme/backend/api`"
    )]
    TooFewComponents {
        /// How many it has.
        got: usize,
    },
    /// A reference has a colon, so it is a digest, but not a good one.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        text_serde!($name);
    };
}

/// Serde by way of the text, so that nothing that is read back escapes the grammar.
macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

name!(
    /// An organisation's name: one component of the grammar.
    OrganisationName,
    |text| grammar::component(NameKind::Organisation, text)
);
name!(
    /// A registry's name within its organisation: one component of the grammar.
    RegistryName,
    |text| grammar::component(NameKind::Registry, text)
);
name!(
    /// A repository's name within its registry: components with `/` between them.
    RepositoryName,
    |text| grammar::components(NameKind::Repository, text)
);
name!(
    /// A tag: what a client calls a manifest, for as long as it likes.
    Tag,
    grammar::tag
);

/// The whole name that a client uses: `organisation/registry/repository…`.
///
/// Ordered by organisation, then registry, then repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryPath {
    organisation: OrganisationName,
    registry: RegistryName,
    repository: RepositoryName,
    /// All three. It comes last: two paths are ordered by their parts.
    text: Arc<str>,
}

impl RepositoryPath {
    /// Puts a path together; fails only with [`NameError::TooLong`].
    pub fn new(
        organisation: OrganisationName,
        registry: RegistryName,
        repository: RepositoryName,
    ) -> Result<Self, NameError> {
        let text = [organisation.as_str(), registry.as_str(), repository.as_str()].join("/");
        let got = text.len();
        if got > MAX_PATH {
            return Err(NameError::TooLong { kind: NameKind::Path, max: MAX_PATH, got });
        }
        Ok(Self { organisation, registry, repository, text: text.into() })
    }

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The organisation.
    pub fn organisation(&self) -> &OrganisationName {
        &self.organisation
    }

    /// The registry, within the organisation.
    pub fn registry(&self) -> &RegistryName {
        &self.registry
    }

    /// The repository, within the registry.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RepositoryPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // The whole first, so that positions and suggestions speak of what the client sent.
        grammar::components(NameKind::Path, text)?;
        let mut parts = text.splitn(3, '/');
        let (Some(organisation), Some(registry), Some(repository)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(NameError::TooFewComponents { got: text.split('/').count() });
        };
        Ok(Self {
            organisation: organisation.parse()?,
            registry: registry.parse()?,
            // Components among those looked at.
            repository: RepositoryName(repository.into()),
            text: text.into(),
        })
    }
}

text_serde!(RepositoryPath);

/// How a manifest is asked for: by tag or by digest (a colon makes it a digest).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// By a name that may move.
    Tag(Tag),
    /// By its content.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains(':') {
            Ok(Self::Digest(text.parse()?))
        } else {
            Ok(Self::Tag(text.parse()?))
        }
    }
}

text_serde!(Reference);

#[cfg(test)]
mod tests;
