//! The records of a zip archive, such as every unpacker reads in the same way.
//!
//! Some unpackers believe the central directory, some the local headers as they come, and each has its
//! own idea of where the directory is. So: local records lie end to end from byte 0 to the directory, the
//! directory ends where the end records begin, these end the file; each local header says what the
//! directory says; and what leaves room for two readings (data descriptors, comments, ZIP64 fields that
//! nothing asks for, a Unicode name of its own) is refused.

use std::io::{BufReader, Read, Seek, SeekFrom};

use super::ArchiveError;
use super::budget::Budget;
use super::names::Names;
use crate::quote::{quote, quote_bytes};

mod end;
mod extra;
mod member;
mod record;

pub(super) use member::copy;
use record::{CENTRAL, LOCAL, Record};

/// The bit of a folder in the attributes, as DOS has them.
const DOS_FOLDER: u32 = 0x10;
/// The bit of a volume's name there: no file at all to some unpackers, a file to others.
const DOS_VOLUME: u32 = 0x08;

/// What is wrong with the records. Names are quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZipFault {
    /// It does not end as a zip archive ends.
    #[error("it does not end with an end-of-central-directory record without a comment")]
    NoEnd,
    /// The end records contradict each other, or what they point to.
    #[error("its end records are wrong: {0}")]
    End(&'static str),
    /// A record of another kind, or none, where one has to be.
    #[error(
        "at byte {at} there is no {wanted}: the file has bytes that belong to no record, or lacks some"
    )]
    NotThere {
        /// Where, from 0.
        at: u64,
        /// What has to be there.
        wanted: &'static str,
    },
    /// Local header and central directory disagree.
    #[error("for {name} the local header and the central directory have another {what}")]
    Mismatch {
        /// The name in the directory.
        name: String,
        /// In what they disagree.
        what: &'static str,
    },
    /// Something that leaves room for two readings.
    #[error("{name} has {what}, which is not allowed")]
    Refused {
        /// The entry.
        name: String,
        /// What it has.
        what: &'static str,
    },
    /// Its bytes are not what its headers say.
    #[error("the bytes of {name} are not what its header says: {what}")]
    Bytes {
        /// The entry.
        name: String,
        /// In what.
        what: &'static str,
    },
}

impl From<ZipFault> for ArchiveError {
    fn from(fault: ZipFault) -> Self {
        Self::Zip(fault)
    }
}

/// An entry whose records agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Without the final `/` of a folder.
    pub(super) name: String,
    pub(super) folder: bool,
    pub(super) size: u64,
    packed: u64,
    deflated: bool,
    crc: u32,
    /// Where its bytes begin.
    data: u64,
}

/// Reads and compares all records. The entries are in the order of their bytes.
pub(super) fn entries(
    file: &mut (impl Read + Seek),
    size: u64,
    budget: &mut Budget,
) -> Result<Vec<Entry>, ArchiveError> {
    let end = end::read(file, size)?;
    file.seek(SeekFrom::Start(end.directory)).map_err(ArchiveError::Io)?;
    let mut names = Names::new(true);
    let mut records = Vec::new();
    let mut at = end.directory;
    let mut directory = BufReader::new(Read::take(&mut *file, end.after - end.directory));
    for _ in 0..end.entries {
        budget.entry()?;
        let (record, length) = Record::central(&mut directory, at, end.after)?;
        at += length;
        records.push(record);
    }
    if at != end.after {
        return Err(
            ZipFault::End("they say another size of the directory than its records have").into()
        );
    }
    records.sort_by_key(|record| record.offset);
    let mut at = 0;
    let mut entries = Vec::with_capacity(records.len());
    for record in &records {
        if record.offset != at {
            return Err(ZipFault::NotThere { at, wanted: LOCAL }.into());
        }
        let (entry, next) = entry(file, record, end.directory)?;
        names.add(&entry.name, entry.folder)?;
        budget.bytes(entry.size)?;
        entries.push(entry);
        at = next;
    }
    if at != end.directory {
        return Err(ZipFault::NotThere { at, wanted: CENTRAL }.into());
    }
    names.finish()?;
    Ok(entries)
}

/// Compares a record of the directory with the local header it points to. Returns also where the next
/// local header has to be.
fn entry(
    file: &mut (impl Read + Seek),
    central: &Record,
    directory: u64,
) -> Result<(Entry, u64), ArchiveError> {
    let shown = quote_bytes(&central.name);
    file.seek(SeekFrom::Start(central.offset)).map_err(ArchiveError::Io)?;
    let (local, length) = Record::local(file, central.offset, directory)?;
    let mismatch = |what| Err(ZipFault::Mismatch { name: shown.clone(), what }.into());
    let refused = |what| Err(ZipFault::Refused { name: shown.clone(), what }.into());
    if local.name != central.name {
        return mismatch("name");
    }
    if local.flags != central.flags {
        return mismatch("set of flags");
    }
    if local.method != central.method {
        return mismatch("method of compression");
    }
    if let Some(what) = refused_flags(central.flags) {
        return refused(what);
    }
    if (local.crc, local.packed, local.size) != (central.crc, central.packed, central.size) {
        return mismatch("size or checksum");
    }
    let deflated = match central.method {
        0 => false,
        8 => true,
        _ => return refused("a method of compression other than stored and deflated"),
    };
    if !deflated && central.packed != central.size {
        return refused("two sizes though it is stored");
    }
    let Ok(name) = std::str::from_utf8(&central.name) else {
        return refused("a name that is not UTF-8");
    };
    if !name.is_ascii() && central.flags & record::UTF8 == 0 {
        return refused("a name beyond ASCII that is not marked as UTF-8");
    }
    let (name, folder) = match name.strip_suffix('/') {
        Some(name) => (name, true),
        None => (name, false),
    };
    if folder && (central.size != 0 || central.packed != 0) {
        return refused("bytes though it is a folder");
    }
    // The kind of file, where the archive was made on Unix.
    match (central.attributes >> 16) & 0o170_000 {
        0 => {}
        0o100_000 if !folder => {}
        0o040_000 if folder => {}
        0o120_000 => return refused("the mode of a symbolic link"),
        _ => return refused("a mode of something else than its name says"),
    }
    // DOS's mark of a folder, which some unpackers believe whatever the name says.
    if !folder && central.attributes & DOS_FOLDER != 0 {
        return refused("a mode of something else than its name says");
    }
    if central.attributes & DOS_VOLUME != 0 {
        return refused("the mark of a volume's name, which unpackers skip or take for a file");
    }
    let data = central.offset + length;
    let next = data
        .checked_add(central.packed)
        .filter(|next| *next <= directory)
        .ok_or(ZipFault::NotThere { at: data, wanted: "room for the entry's bytes" })?;
    let (size, packed, crc) = (central.size, central.packed, central.crc);
    Ok((Entry { name: name.to_owned(), folder, size, packed, deflated, crc, data }, next))
}

fn refused_flags(flags: u16) -> Option<&'static str> {
    if flags & record::ENCRYPTED != 0 {
        return Some("encryption");
    }
    if flags & record::DESCRIPTOR != 0 {
        return Some("a data descriptor, so that its size stands behind its bytes");
    }
    (flags & !record::HARMLESS != 0).then_some("flags of which unpackers make different things")
}

/// Reads an entry into memory.
pub(super) fn read(
    file: &mut (impl Read + Seek),
    entry: &Entry,
    max: u64,
) -> Result<Vec<u8>, ArchiveError> {
    if entry.size > max {
        return Err(super::too_large(&entry.name, entry.size, max));
    }
    let mut bytes = Vec::new();
    copy(file, entry, |chunk| bytes.extend_from_slice(chunk))?;
    Ok(bytes)
}

fn bytes_fault(entry: &Entry, what: &'static str) -> ArchiveError {
    ZipFault::Bytes { name: quote(&entry.name), what }.into()
}
