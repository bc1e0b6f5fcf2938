//! Names of projects: as given and as they are compared, and which of them look alike.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::quote::quote;

/// The most characters in a project's name: with its version and tags it must fit a file name.
pub(crate) const MAX_NAME: usize = 128;

/// Why a text is no project's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing.
    #[error("the project name is empty")]
    Empty,
    /// There is too much.
    #[error("the project name has {got} characters; at most {MAX_NAME} are allowed")]
    TooLong {
        /// How many there are.
        got: usize,
    },
    /// It is not of the grammar.
    #[error(
        "{name} is not a project name: it consists of ASCII letters, digits, '.', '-' and '_', and \
         begins and ends with a letter or digit"
    )]
    Grammar {
        /// The name, quoted.
        name: String,
    },
}

/// A project's name: as somebody wrote it, and in the normal form by which it is found. Two
/// are equal, and ordered, by their normal form.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName {
    given: String,
    normal: String,
}

impl ProjectName {
    /// Reads a name in any spelling.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong { got: text.chars().count() });
        }
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let at_ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let ends = at_ends(text.bytes().next()) && at_ends(text.bytes().next_back());
        if !ends || !text.bytes().all(inside) {
            return Err(NameError::Grammar { name: quote(text) });
        }
        Ok(Self { given: text.to_owned(), normal: normalise(text) })
    }

    /// The name as it was given.
    pub fn as_given(&self) -> &str {
        &self.given
    }

    /// The normal form (PEP 503): lower case, each run of separators one `-`.
    pub fn normalised(&self) -> &str {
        &self.normal
    }

    /// The normal form as file names have it: with `_` for `-`.
    pub fn in_file_names(&self) -> String {
        self.normal.replace('-', "_")
    }

    /// What the name looks like: see [`skeleton`].
    pub fn skeleton(&self) -> String {
        skeleton(&self.normal)
    }
}

fn normalise(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '.' | '-' | '_' if normal.ends_with('-') => {}
            '.' | '-' | '_' => normal.push('-'),
            other => normal.push(other.to_ascii_lowercase()),
        }
    }
    normal
}

/// What a name looks like at a glance: separators left out, and characters that are taken for each
/// other made one. Names with equal skeletons are confusable; the skeleton is for comparing, not for showing.
pub fn skeleton(name: &str) -> String {
    let letters: String = name
        .chars()
        .filter(|character| !matches!(character, '.' | '-' | '_'))
        .map(|character| match character.to_ascii_lowercase() {
            '0' => 'o',
            '1' | 'i' => 'l',
            '5' => 's',
            other => other,
        })
        .collect();
    letters.replace("rn", "m").replace("vv", "w")
}

/// Whether two different names would be taken for each other.
pub fn look_alike(one: &ProjectName, other: &ProjectName) -> bool {
    one != other && one.skeleton() == other.skeleton()
}

impl PartialEq for ProjectName {
    fn eq(&self, other: &Self) -> bool {
        self.normal == other.normal
    }
}

impl Eq for ProjectName {}

impl PartialOrd for ProjectName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ProjectName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.normal.cmp(&other.normal)
    }
}

impl std::hash::Hash for ProjectName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.normal.hash(state);
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl fmt::Debug for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.given, f)
    }
}

impl std::str::FromStr for ProjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ProjectName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<ProjectName> for String {
    fn from(name: ProjectName) -> Self {
        name.given
    }
}

#[cfg(test)]
mod tests;
