//! The records of a tar archive in gzip, such as every unpacker reads in the same way.
//!
//! Unpackers lose step with each other where a size is told twice (header and PAX record), where a
//! header is of a dialect that only some know, and where something follows the end. So: one gzip
//! member and nothing behind it; headers whose numbers are plain octal; a PAX record may tell a longer name, not
//! another size; and behind the first empty block there are empty blocks alone.

use std::io::{Read, Seek};

use super::ArchiveError;
use super::budget::Budget;
use super::names::Names;
use crate::quote::quote;

mod header;
mod links;
mod pax;
mod stream;

use header::{Header, Type};
use pax::Overrides;
use stream::Stream;

/// Blocks are of this size.
const BLOCK: u64 = 512;
/// The most bytes of a PAX header, or of a long name.
const MAX_EXTENSION: u64 = 1 << 20;

/// What is wrong with the archive. Names are quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarFault {
    /// The compressed stream.
    #[error("its gzip stream is damaged or cut off")]
    Gzip,
    /// Something behind the compressed stream.
    #[error("something follows its gzip stream: it has to be one member, and the file's end")]
    BehindGzip,
    /// It ends inside an entry, or without an empty block.
    #[error("it is cut off: no empty block marks its end")]
    CutOff,
    /// Something behind the end.
    #[error("something follows the empty block that marks its end")]
    BehindEnd,
    /// A header block.
    #[error("the header at byte {at} (unpacked) {reason}")]
    Header {
        /// Where, from 0.
        at: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A PAX header, or a long name.
    #[error("the PAX or GNU extension at byte {at} (unpacked) {reason}")]
    Extension {
        /// Where, from 0.
        at: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something else than a file, a folder or a link.
    #[error("{name} is {kind}; an sdist has files, folders, and links that stay inside")]
    Kind {
        /// The entry.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// A link.
    #[error("{name} is a link to {target}, which {reason}")]
    Link {
        /// The entry.
        name: String,
        /// Where it leads, quoted.
        target: String,
        /// What is wrong with that.
        reason: &'static str,
    },
    /// A file beside the one folder.
    #[error("{name} is not in the folder {wanted}, which everything has to be in")]
    OutsideFolder {
        /// The entry.
        name: String,
        /// The folder, quoted.
        wanted: String,
    },
}

impl From<TarFault> for ArchiveError {
    fn from(fault: TarFault) -> Self {
        Self::Tar(fault)
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// To a path from the folder that the entry is in.
    Symbolic(String),
    /// To an earlier entry.
    Hard(String),
}

/// An entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Without the final `/` of a folder.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) size: u64,
}

/// The bytes of the entry that [`walk`] has come to.
pub(super) struct Contents<'a, R: Read> {
    stream: &'a mut Stream<R>,
    size: u64,
    read: bool,
}

impl<R: Read> Contents<'_, R> {
    /// All of them; the caller has looked at the entry's size before.
    pub(super) fn read(&mut self) -> Result<Vec<u8>, ArchiveError> {
        self.read = true;
        self.stream.take(self.size)
    }
}

/// Reads the whole archive, and shows each entry to `see` as it comes.
pub(super) fn walk<R: Read + Seek>(
    file: R,
    budget: &mut Budget,
    mut see: impl FnMut(&Entry, &mut Contents<'_, R>) -> Result<(), ArchiveError>,
) -> Result<Vec<Entry>, ArchiveError> {
    let mut stream = Stream::new(file);
    let mut names = Names::new(false);
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(entry) = next(&mut stream, budget)? {
        names.add(&entry.name, entry.kind == Kind::Folder)?;
        budget.bytes(entry.size)?;
        let mut contents = Contents { size: entry.size, read: false, stream: &mut stream };
        see(&entry, &mut contents)?;
        if !contents.read {
            stream.skip(entry.size)?;
        }
        stream.skip_padding(entry.size)?;
        entries.push(entry);
    }
    stream.finish(budget)?;
    names.finish()?;
    links::check(&entries)?;
    Ok(entries)
}

/// The next entry, with what extensions before it say of it; `None` at the end.
fn next<R: Read>(
    stream: &mut Stream<R>,
    budget: &mut Budget,
) -> Result<Option<Entry>, ArchiveError> {
    let mut overrides: Option<Overrides> = None;
    loop {
        let at = stream.at();
        let block = stream.block()?;
        if block.iter().all(|byte| *byte == 0) {
            let pending = TarFault::Extension { at, reason: "belongs to no entry" };
            return if overrides.is_some() { Err(pending.into()) } else { Ok(None) };
        }
        budget.entry()?;
        let header = Header::parse(&block).map_err(|reason| TarFault::Header { at, reason })?;
        let extension = |reason| ArchiveError::from(TarFault::Extension { at, reason });
        let read: fn(&[u8]) -> Result<Overrides, &'static str> = match header.kind {
            Type::Pax => pax::parse,
            Type::GlobalPax => pax::parse_global,
            Type::LongName => pax::long_name,
            Type::LongLink => pax::long_link,
            _ => return entry(header, overrides.unwrap_or_default(), at).map(Some),
        };
        if header.size > MAX_EXTENSION {
            return Err(extension("has more than 1 MiB"));
        }
        budget.bytes(header.size)?;
        let bytes = stream.take(header.size)?;
        stream.skip_padding(header.size)?;
        let found = read(&bytes).map_err(extension)?;
        if header.kind == Type::GlobalPax {
            if overrides.is_some() {
                return Err(extension("stands between another and its entry"));
            }
            continue;
        }
        overrides = match overrides {
            None => Some(found),
            Some(before) => Some(before.join(found).map_err(extension)?),
        };
    }
}

fn entry(header: Header, overrides: Overrides, at: u64) -> Result<Entry, ArchiveError> {
    if overrides.size.is_some_and(|size| size != header.size) {
        let reason = "tells another size than the entry's header";
        return Err(TarFault::Extension { at, reason }.into());
    }
    let name = overrides.name.unwrap_or(header.name);
    let target = overrides.link.unwrap_or(header.link);
    let kind = match header.kind {
        Type::File | Type::Symbolic | Type::Hard if name.ends_with('/') => {
            let reason = "is not a folder's but its name ends with \"/\"";
            return Err(TarFault::Header { at, reason }.into());
        }
        Type::File => Kind::File,
        Type::Folder => Kind::Folder,
        Type::Symbolic => Kind::Symbolic(target),
        Type::Hard => Kind::Hard(target),
        Type::Other(kind) => return Err(TarFault::Kind { name: quote(&name), kind }.into()),
        Type::Pax | Type::GlobalPax | Type::LongName | Type::LongLink => {
            return Err(TarFault::Header { at, reason: "is an extension's" }.into());
        }
    };
    if kind != Kind::File && header.size != 0 {
        let reason = "has a size though it is no file's";
        return Err(TarFault::Header { at, reason }.into());
    }
    let name = name.strip_suffix('/').unwrap_or(&name).to_owned();
    Ok(Entry { name, kind, size: header.size })
}
