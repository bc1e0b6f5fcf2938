//! Archives: wheels (zip) and sdists (tar in gzip), looked through without unpacking them anywhere.
//!
//! The raw records are read here and not by a crate that reads archives, since such a crate, as any
//! unpacker, passes over what must be seen: bytes that one reader takes and another does not. What is
//! accepted has one reading.

use std::io::{self, Read, Seek, SeekFrom};

use crate::file_name::{FileKind, FileName};
use crate::metadata::{CoreMetadata, MetadataError};
use crate::quote::quote;

mod budget;
#[cfg(any(test, feature = "testing"))]
pub mod hostile;
mod names;
mod sdist;
mod tar;
mod wheel;
mod zip;

pub(crate) use tar::TarFault;
pub(crate) use zip::ZipFault;

/// What an archive may cost to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most entries.
    pub entries: u64,
    /// The most bytes, unpacked, of all entries together.
    pub unpacked_bytes: u64,
    /// How many times the size of the file that may be; counts above `ratio_from_bytes` alone.
    pub ratio: u64,
    /// Unpacked bytes below which no ratio is looked at: small texts pack very well.
    pub ratio_from_bytes: u64,
    /// The most bytes of a metadata file, of `WHEEL` and of `entry_points.txt`: they are held in memory.
    pub metadata_bytes: u64,
    /// The most bytes of `RECORD`, which is held in memory.
    pub record_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 200_000,
            unpacked_bytes: 16 << 30,
            ratio: 50,
            ratio_from_bytes: 64 << 20,
            metadata_bytes: 4 << 20,
            record_bytes: 32 << 20,
        }
    }
}

/// What was found in a file that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspected {
    /// The metadata file, byte for byte.
    pub metadata_bytes: Vec<u8>,
    /// What it says.
    pub metadata: CoreMetadata,
    /// How many entries the archive has, folders included.
    pub entries: u64,
    /// How many bytes they have unpacked.
    pub unpacked_bytes: u64,
}

/// Why a file is refused. All but [`ArchiveError::Io`] are the uploader's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file could not be read: nothing is said about it.
    #[error("reading the file failed: {0}")]
    Io(io::Error),
    /// The zip archive's records.
    #[error("the wheel is no zip archive that every unpacker reads the same way: {0}")]
    Zip(ZipFault),
    /// The tar archive's records, or the gzip around them.
    #[error("the sdist is no tar.gz archive that every unpacker reads the same way: {0}")]
    Tar(TarFault),
    /// An entry's name.
    #[error("the archive has the name {name}, which {reason}")]
    Name {
        /// The name, quoted.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two entries of one name.
    #[error("the archive has {name} and {other}, which are one file to some or all systems")]
    Duplicate {
        /// One of the names, quoted.
        name: String,
        /// The other, quoted.
        other: String,
    },
    /// A file's name is also a folder's.
    #[error("the archive has {name} as a file and as a folder")]
    FileAndFolder {
        /// The name, quoted.
        name: String,
    },
    /// More entries than allowed.
    #[error("the archive has more than {max} entries")]
    TooManyEntries {
        /// How many are allowed.
        max: u64,
    },
    /// More bytes than allowed.
    #[error("the archive unpacks to more than {max} bytes")]
    TooLarge {
        /// How many are allowed.
        max: u64,
    },
    /// Too many bytes for so small a file.
    #[error("the archive unpacks to more than {ratio} times its size: it is taken for a bomb")]
    Bomb {
        /// How many times are allowed.
        ratio: u64,
    },
    /// One of the files that are held in memory.
    #[error("{name} has {got} bytes; at most {max} are allowed")]
    LargeMember {
        /// The name, quoted.
        name: String,
        /// How many it has.
        got: u64,
        /// How many are allowed.
        max: u64,
    },
    /// Something that has to be there.
    #[error("the archive has no {name}")]
    Missing {
        /// Its name, quoted.
        name: String,
    },
    /// More than one folder, or another one, where one of a given name has to be.
    #[error(
        "the archive has the folder {got}; it has to be {wanted}, and the only one of its kind"
    )]
    Folder {
        /// The folder, quoted.
        got: String,
        /// What it has to be, quoted.
        wanted: String,
    },
    /// `RECORD` and archive disagree.
    #[error("RECORD does not agree with the archive: {reason}")]
    Record {
        /// In what.
        reason: String,
    },
    /// `WHEEL`.
    #[error("WHEEL is not valid: {reason}")]
    Wheel {
        /// What is wrong.
        reason: String,
    },
    /// `entry_points.txt`.
    #[error("entry_points.txt is not valid: {reason}")]
    EntryPoints {
        /// What is wrong.
        reason: String,
    },
    /// A licence that the metadata name.
    #[error("the metadata name the licence file {file}, but the archive has no {wanted}")]
    LicenseFile {
        /// As the metadata have it, quoted.
        file: String,
        /// Where it has to be, quoted.
        wanted: String,
    },
    /// The metadata file by itself.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// Metadata of another file.
    #[error("the metadata in the file are of {inside}, but the file is named for {outside}")]
    OtherProject {
        /// Project and version that the metadata name.
        inside: String,
        /// Those of the file's name.
        outside: String,
    },
}

/// Looks through a whole file, from its first byte to its last. Blocks; an error of the reader is
/// [`ArchiveError::Io`] and says nothing about the file.
pub fn inspect(
    name: &FileName,
    mut file: impl Read + Seek,
    limits: &Limits,
) -> Result<Inspected, ArchiveError> {
    let size = file.seek(SeekFrom::End(0)).map_err(ArchiveError::Io)?;
    file.rewind().map_err(ArchiveError::Io)?;
    let found = match name.kind() {
        FileKind::Wheel(tags) => wheel::inspect(name, tags, file, size, limits)?,
        FileKind::Sdist => sdist::inspect(name, file, size, limits)?,
    };
    let of = &found.metadata;
    if of.name != *name.project() || of.version != *name.version() {
        return Err(ArchiveError::OtherProject {
            inside: format!("{} {}", of.name, of.version),
            outside: format!("{} {}", name.project(), name.version()),
        });
    }
    Ok(found)
}

/// Whether a folder's `project-version` is that of the file, in whatever spelling.
fn names_same(stem: &str, name: &FileName) -> bool {
    let Some((project, version)) = stem.rsplit_once('-') else { return false };
    let project = crate::name::ProjectName::parse(project);
    let version = crate::version::Version::parse(version);
    project.is_ok_and(|project| project == *name.project())
        && version.is_ok_and(|version| version == *name.version())
}

fn too_large(name: &str, got: u64, max: u64) -> ArchiveError {
    ArchiveError::LargeMember { name: quote(name), got, max }
}

#[cfg(test)]
mod tests;
