//! Names of distribution files: what they say of the file, parsed once.
//!
//! Wheels as the binary distribution format (PEP 427) has them, sdists as PEP 625. Neither a path
//! nor a character that ends a line or a header gets through.

use std::fmt;

use crate::name::{NameError, ProjectName};
use crate::quote::quote;
use crate::version::{Version, VersionError};

mod platform;

/// The most characters in a file's name: what file systems take.
const MAX_FILE_NAME: usize = 255;

/// Why a text is no distribution file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileNameError {
    /// There is nothing.
    #[error("the file name is empty")]
    Empty,
    /// There is too much.
    #[error("the file name has {got} bytes; at most {MAX_FILE_NAME} are allowed")]
    TooLong {
        /// How many there are.
        got: usize,
    },
    /// It has a character that no file name should have.
    #[error(
        "the file name {name} has the character {character}: a file name has printable ASCII, \
         without spaces, '/' and '\\'"
    )]
    Character {
        /// The name, quoted.
        name: String,
        /// The character, escaped.
        character: String,
    },
    /// It is neither a wheel nor an sdist.
    #[error("the file name {name} ends with neither .whl nor .tar.gz")]
    Extension {
        /// The name, quoted.
        name: String,
    },
    /// A wheel's name has not the right number of parts.
    #[error(
        "the wheel's name {name} has {got} parts between dashes; it has to be \
         project-version[-build]-python-abi-platform.whl"
    )]
    Parts {
        /// The name, quoted.
        name: String,
        /// How many there are.
        got: usize,
    },
    /// The project's part.
    #[error("in the file name {name}: {source}")]
    Project {
        /// The name, quoted.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The project's part of a wheel's name is not escaped.
    #[error(
        "in the wheel's name {name} the project has two separators in a row; write it with one \"_\""
    )]
    Separators {
        /// The name, quoted.
        name: String,
    },
    /// The version's part.
    #[error("in the file name {name}: {source}")]
    Version {
        /// The name, quoted.
        name: String,
        /// What is wrong with it.
        source: VersionError,
    },
    /// The build's part.
    #[error("in the wheel's name {name} the build tag {build} does not begin with a digit")]
    Build {
        /// The name, quoted.
        name: String,
        /// The build tag, quoted.
        build: String,
    },
    /// One of the sets of tags.
    #[error(
        "in the wheel's name {name} the {which} tag {tag} is not one or more of lower-case letters, \
         digits and '_', joined by '.'"
    )]
    Tag {
        /// The name, quoted.
        name: String,
        /// Python, ABI or platform.
        which: &'static str,
        /// The set of tags, quoted.
        tag: String,
    },
    /// The platform is none that installers know.
    #[error("in the wheel's name {name} the platform tag {tag} is not a known one{hint}")]
    Platform {
        /// The name, quoted.
        name: String,
        /// The tag, quoted.
        tag: String,
        /// What would be right, where that is known.
        hint: &'static str,
    },
    /// An sdist's name is not the one that its project and version have.
    #[error("the sdist is named {name}; for this project and version that has to be \"{wanted}\"")]
    Sdist {
        /// The name, quoted.
        name: String,
        /// What it has to be.
        wanted: String,
    },
    /// An sdist's name has no dash, or nothing before it.
    #[error("the sdist's name {name} is not project-version.tar.gz")]
    SdistParts {
        /// The name, quoted.
        name: String,
    },
}

/// What kind of distribution a file is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A built distribution, a zip archive.
    Wheel(WheelTags),
    /// A source distribution, a tar archive in gzip.
    Sdist,
}

impl FileKind {
    /// What an upload's form calls it (`filetype`), and the JSON API (`packagetype`).
    pub fn file_type(&self) -> &'static str {
        match self {
            Self::Wheel(_) => "bdist_wheel",
            Self::Sdist => "sdist",
        }
    }
}

/// Where a wheel can be installed. Each set has at least one tag, in the order of the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WheelTags {
    /// The build tag, which breaks ties; it begins with a digit.
    pub build: Option<String>,
    /// The interpreters.
    pub python: Vec<String>,
    /// The binary interfaces.
    pub abi: Vec<String>,
    /// The platforms.
    pub platform: Vec<String>,
}

impl WheelTags {
    /// Every single tag that the sets stand for, sorted, each once.
    pub fn expanded(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for python in &self.python {
            for abi in &self.abi {
                all.extend(self.platform.iter().map(|one| format!("{python}-{abi}-{one}")));
            }
        }
        all.sort();
        all.dedup();
        all
    }
}

/// A distribution file's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileName {
    text: String,
    project: ProjectName,
    version: Version,
    /// As written: folders inside the file repeat it.
    stem: String,
    kind: FileKind,
}

impl FileName {
    /// Reads the name of a file that somebody uploads.
    pub fn parse(text: &str) -> Result<Self, FileNameError> {
        let name = Self::parse_published(text)?;
        match &name.kind {
            FileKind::Wheel(tags) => platform::check(text, &tags.platform)?,
            FileKind::Sdist => {
                let wanted = format!("{}-{}.tar.gz", name.project.in_file_names(), name.version);
                if text != wanted {
                    return Err(FileNameError::Sdist { name: quote(text), wanted });
                }
            }
        }
        Ok(name)
    }

    /// Reads the name of a file that another index has published, perhaps before today's rules: an
    /// sdist may spell its project in another way, a wheel may be for a platform not known here.
    pub fn parse_published(text: &str) -> Result<Self, FileNameError> {
        if text.is_empty() {
            return Err(FileNameError::Empty);
        }
        if text.len() > MAX_FILE_NAME {
            return Err(FileNameError::TooLong { got: text.len() });
        }
        let bad = |character: &char| !character.is_ascii_graphic() || "/\\".contains(*character);
        if let Some(character) = text.chars().find(bad) {
            let character = character.escape_default().to_string();
            return Err(FileNameError::Character { name: quote(text), character });
        }
        if let Some(stem) = text.strip_suffix(".whl") {
            return wheel(text, stem);
        }
        if let Some(stem) = text.strip_suffix(".tar.gz") {
            return sdist(text, stem);
        }
        Err(FileNameError::Extension { name: quote(text) })
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The project, as the name spells it.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// The version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// What kind of file it is.
    pub fn kind(&self) -> &FileKind {
        &self.kind
    }

    /// Project and version as written, with the dash between: what folders inside repeat.
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// One spelling for all names that say the same: project and version in normal form, tags sorted.
    pub fn canonical(&self) -> String {
        let stem = format!("{}-{}", self.project.in_file_names(), self.version);
        match &self.kind {
            FileKind::Sdist => format!("{stem}.tar.gz"),
            FileKind::Wheel(tags) => {
                let build =
                    tags.build.as_ref().map(|build| format!("-{build}")).unwrap_or_default();
                let set = |tags: &[String]| {
                    let mut tags = tags.to_vec();
                    tags.sort();
                    tags.dedup();
                    tags.join(".")
                };
                let (python, abi, platform) =
                    (set(&tags.python), set(&tags.abi), set(&tags.platform));
                format!("{stem}{build}-{python}-{abi}-{platform}.whl")
            }
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn wheel(text: &str, stem: &str) -> Result<FileName, FileNameError> {
    let parts: Vec<&str> = stem.split('-').collect();
    let (project, version, build, [python, abi, platform]) = match *parts.as_slice() {
        [project, version, python, abi, platform] => {
            (project, version, None, [python, abi, platform])
        }
        [project, version, build, python, abi, platform] => {
            (project, version, Some(build), [python, abi, platform])
        }
        _ => return Err(FileNameError::Parts { name: quote(text), got: parts.len() }),
    };
    let written = format!("{project}-{version}");
    if project.contains("__") {
        return Err(FileNameError::Separators { name: quote(text) });
    }
    let project = read_project(text, project)?;
    let version = read_version(text, version)?;
    if let Some(build) = build.filter(|build| !build.starts_with(|c: char| c.is_ascii_digit())) {
        return Err(FileNameError::Build { name: quote(text), build: quote(build) });
    }
    let tags = WheelTags {
        build: build.map(str::to_owned),
        python: tag_set(text, "Python", python)?,
        abi: tag_set(text, "ABI", abi)?,
        platform: tag_set(text, "platform", platform)?,
    };
    let (text, kind) = (text.to_owned(), FileKind::Wheel(tags));
    Ok(FileName { text, project, version, stem: written, kind })
}

fn sdist(text: &str, stem: &str) -> Result<FileName, FileNameError> {
    let (project, version) = stem
        .rsplit_once('-')
        .filter(|(project, _)| !project.is_empty())
        .ok_or_else(|| FileNameError::SdistParts { name: quote(text) })?;
    let project = read_project(text, project)?;
    let version = read_version(text, version)?;
    let (text, stem, kind) = (text.to_owned(), stem.to_owned(), FileKind::Sdist);
    Ok(FileName { text, project, version, stem, kind })
}

fn read_project(text: &str, project: &str) -> Result<ProjectName, FileNameError> {
    ProjectName::parse(project)
        .map_err(|source| FileNameError::Project { name: quote(text), source })
}

fn read_version(text: &str, version: &str) -> Result<Version, FileNameError> {
    Version::parse(version).map_err(|source| FileNameError::Version { name: quote(text), source })
}

fn tag_set(text: &str, which: &'static str, set: &str) -> Result<Vec<String>, FileNameError> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let fits = |tag: &str| !tag.is_empty() && tag.bytes().all(inside);
    if !set.split('.').all(fits) {
        return Err(FileNameError::Tag { name: quote(text), which, tag: quote(set) });
    }
    Ok(set.split('.').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests;
