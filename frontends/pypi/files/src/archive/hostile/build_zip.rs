//! Builds zip archives record by record, so that each field can lie.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use sha2::{Digest, Sha256};

use super::METADATA;

pub(in crate::archive) const INIT: usize = 0;
pub(in crate::archive) const METADATA_AT: usize = 1;
pub(in crate::archive) const RECORD_AT: usize = 3;
pub(in crate::archive) const WHEEL_FILE: &[u8] =
    b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n";

/// What a local header and a record of the directory both say.
#[derive(Clone)]
pub(in crate::archive) struct Head {
    pub(in crate::archive) signature: [u8; 4],
    pub(in crate::archive) name: Vec<u8>,
    pub(in crate::archive) extra: Vec<u8>,
    pub(in crate::archive) flags: u16,
    pub(in crate::archive) method: u16,
    pub(in crate::archive) crc: u32,
    pub(in crate::archive) packed: u32,
    pub(in crate::archive) size: u32,
    // The directory alone:
    pub(in crate::archive) comment: Vec<u8>,
    pub(in crate::archive) disk: u16,
    pub(in crate::archive) attributes: u32,
    /// Instead of the place where the local header is.
    pub(in crate::archive) offset: Option<u32>,
}

#[derive(Clone)]
pub(in crate::archive) struct Part {
    pub(in crate::archive) local: Head,
    pub(in crate::archive) central: Head,
    pub(in crate::archive) data: Vec<u8>,
    /// Bytes behind the data.
    pub(in crate::archive) after: Vec<u8>,
}

impl Part {
    fn new(name: &[u8], method: u16, bytes: &[u8], data: Vec<u8>) -> Self {
        let head = Head {
            signature: *b"PK\x03\x04",
            name: name.to_vec(),
            extra: Vec::new(),
            flags: 0,
            method,
            crc: crc32fast::hash(bytes),
            packed: u32::try_from(data.len()).unwrap(),
            size: u32::try_from(bytes.len()).unwrap(),
            comment: Vec::new(),
            disk: 0,
            attributes: 0,
            offset: None,
        };
        let central = Head { signature: *b"PK\x01\x02", ..head.clone() };
        Self { local: head, central, data, after: Vec::new() }
    }

    pub(in crate::archive) fn stored(name: impl AsRef<[u8]>, bytes: &[u8]) -> Self {
        Self::new(name.as_ref(), 0, bytes, bytes.to_vec())
    }

    pub(in crate::archive) fn deflated(name: impl AsRef<[u8]>, bytes: &[u8]) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        Self::new(name.as_ref(), 8, bytes, encoder.finish().unwrap())
    }

    /// Changes both headers alike.
    pub(in crate::archive) fn both(&mut self, change: impl Fn(&mut Head)) {
        change(&mut self.local);
        change(&mut self.central);
    }
}

#[derive(Clone, Default)]
pub(in crate::archive) struct Zip {
    pub(in crate::archive) parts: Vec<Part>,
    pub(in crate::archive) prefix: Vec<u8>,
    /// Between the last entry and the directory.
    pub(in crate::archive) gap: Vec<u8>,
    /// Behind the directory, inside what its size says.
    pub(in crate::archive) behind_directory: Vec<u8>,
    /// Places count from the file's begin, and not from behind the prefix.
    pub(in crate::archive) counts_prefix: bool,
    /// Whether there is a ZIP64 record.
    pub(in crate::archive) zip64: bool,
    /// Leaves the entry at this place out of the directory.
    pub(in crate::archive) hidden: Option<usize>,
}

impl Zip {
    pub(in crate::archive) fn build(&self) -> Vec<u8> {
        let mut bytes = self.prefix.clone();
        let start = if self.counts_prefix { 0 } else { bytes.len() };
        let mut offsets = Vec::new();
        for part in &self.parts {
            offsets.push(wide(bytes.len() - start));
            let head = &part.local;
            bytes.extend(head.signature);
            bytes.extend(20_u16.to_le_bytes());
            common(&mut bytes, head);
            bytes.extend(&head.name);
            bytes.extend(&head.extra);
            bytes.extend(&part.data);
            bytes.extend(&part.after);
        }
        bytes.extend(&self.gap);
        let directory = bytes.len();
        let mut count = 0_u16;
        for (at, (part, offset)) in self.parts.iter().zip(offsets).enumerate() {
            if self.hidden == Some(at) {
                continue;
            }
            count += 1;
            let head = &part.central;
            bytes.extend(head.signature);
            // Made on Unix by 2.0; 2.0 is needed.
            bytes.extend(0x0314_u16.to_le_bytes());
            bytes.extend(20_u16.to_le_bytes());
            common(&mut bytes, head);
            bytes.extend(short(head.comment.len()).to_le_bytes());
            bytes.extend(head.disk.to_le_bytes());
            bytes.extend(0_u16.to_le_bytes());
            bytes.extend(head.attributes.to_le_bytes());
            bytes.extend(head.offset.unwrap_or(offset).to_le_bytes());
            bytes.extend(&head.name);
            bytes.extend(&head.extra);
            bytes.extend(&head.comment);
        }
        bytes.extend(&self.behind_directory);
        let size = bytes.len() - directory;
        let (size, directory) = (wide(size), wide(directory - start));
        if self.zip64 {
            let at = bytes.len() as u64;
            bytes.extend(b"PK\x06\x06");
            bytes.extend(44_u64.to_le_bytes());
            bytes.extend([45, 0, 45, 0]);
            bytes.extend([0; 8]);
            bytes.extend(u64::from(count).to_le_bytes());
            bytes.extend(u64::from(count).to_le_bytes());
            bytes.extend(u64::from(size).to_le_bytes());
            bytes.extend(u64::from(directory).to_le_bytes());
            bytes.extend(b"PK\x06\x07");
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend(at.to_le_bytes());
            bytes.extend(1_u32.to_le_bytes());
        }
        bytes.extend(b"PK\x05\x06");
        bytes.extend([0; 4]);
        bytes.extend(count.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend(directory.to_le_bytes());
        bytes.extend([0; 2]);
        bytes
    }
}

/// From the flags to the lengths of name and extra fields.
fn common(bytes: &mut Vec<u8>, head: &Head) {
    bytes.extend(head.flags.to_le_bytes());
    bytes.extend(head.method.to_le_bytes());
    bytes.extend([0, 0, 0x21, 0]);
    bytes.extend(head.crc.to_le_bytes());
    bytes.extend(head.packed.to_le_bytes());
    bytes.extend(head.size.to_le_bytes());
    bytes.extend(short(head.name.len()).to_le_bytes());
    bytes.extend(short(head.extra.len()).to_le_bytes());
}

fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap()
}

fn wide(length: usize) -> u32 {
    u32::try_from(length).unwrap()
}

/// An extra field.
pub(in crate::archive) fn field(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes(), &short(value.len()).to_le_bytes(), value].concat()
}

/// A line of `RECORD`.
pub(in crate::archive) fn line(name: &str, bytes: &[u8]) -> String {
    format!("{name},sha256={},{}\n", digest(bytes), bytes.len())
}

/// A SHA-256 as `RECORD` has it.
pub(in crate::archive) fn digest(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

/// Makes `RECORD` of a good wheel say no size of `foo/__init__.py`: what it says is looked at before the
/// bytes are.
pub(in crate::archive) fn unsized_record(zip: &mut Zip) {
    let record = line("foo/__init__.py", b"x = 1\n").replace(",6\n", ",\n")
        + &line("foo-1.0.dist-info/METADATA", METADATA)
        + &line("foo-1.0.dist-info/WHEEL", WHEEL_FILE)
        + "foo-1.0.dist-info/RECORD,,\n";
    zip.parts[RECORD_AT] = Part::deflated("foo-1.0.dist-info/RECORD", record.as_bytes());
}

/// The files, and a `RECORD` of them in `folder`.
pub(in crate::archive) fn recorded(folder: &str, files: &[(&str, &[u8])]) -> Zip {
    let mut parts: Vec<_> = files.iter().map(|(name, bytes)| Part::deflated(name, bytes)).collect();
    let mut record: String = files.iter().map(|(name, bytes)| line(name, bytes)).collect();
    let own = format!("{folder}/RECORD");
    record.extend([own.as_str(), ",,\n"]);
    parts.push(Part::deflated(own, record.as_bytes()));
    Zip { parts, ..Zip::default() }
}

pub(in crate::archive) fn files(metadata: &[u8], wheel: &[u8], more: &[(&str, &[u8])]) -> Zip {
    let mut files: Vec<(&str, &[u8])> = vec![
        ("foo/__init__.py", b"x = 1\n"),
        ("foo-1.0.dist-info/METADATA", metadata),
        ("foo-1.0.dist-info/WHEEL", wheel),
    ];
    files.extend(more);
    recorded("foo-1.0.dist-info", &files)
}

/// A wheel that is in order; the first entry is `foo/__init__.py`.
pub(in crate::archive) fn good() -> Zip {
    files(METADATA, WHEEL_FILE, &[])
}

/// The bytes of a good wheel that `change` was done to.
pub(in crate::archive) fn changed(change: impl FnOnce(&mut Zip)) -> Vec<u8> {
    let mut zip = good();
    change(&mut zip);
    zip.build()
}

/// A wheel with one file more, which `RECORD` lists.
pub(in crate::archive) fn with(name: &str) -> Vec<u8> {
    files(METADATA, WHEEL_FILE, &[(name, b"")]).build()
}
