//! Builds tar.gz archives block by block, so that each field can lie.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::METADATA;

/// A header block.
#[derive(Clone)]
pub(in crate::archive) struct Block(pub(in crate::archive) [u8; 512]);

impl Block {
    pub(in crate::archive) fn new(name: &str, kind: u8, size: usize) -> Self {
        let mut block = Self([0; 512]);
        block.put(0, name.as_bytes());
        block.put(100, b"0000644\0");
        block.put(108, b"0000000\0");
        block.put(116, b"0000000\0");
        block.put(124, format!("{size:011o}\0").as_bytes());
        block.put(136, b"00000000000\0");
        block.put(156, &[kind]);
        block.put(257, b"ustar\x0000");
        block
    }

    pub(in crate::archive) fn link(name: &str, kind: u8, target: &str) -> Self {
        let mut block = Self::new(name, kind, 0);
        block.put(157, target.as_bytes());
        block
    }

    pub(in crate::archive) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The block with its checksum.
    pub(in crate::archive) fn summed(mut self) -> [u8; 512] {
        self.put(148, b"        ");
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[derive(Clone, Default)]
pub(in crate::archive) struct Tar(pub(in crate::archive) Vec<u8>);

impl Tar {
    /// A folder and its `PKG-INFO`.
    pub(in crate::archive) fn good() -> Self {
        Self::default()
            .entry(Block::new("foo-1.0/", b'5', 0), b"")
            .file("foo-1.0/PKG-INFO", METADATA)
    }

    pub(in crate::archive) fn entry(mut self, header: Block, data: &[u8]) -> Self {
        self.0.extend(header.summed());
        self.0.extend(data);
        let padded = self.0.len().next_multiple_of(512);
        self.0.resize(padded, 0);
        self
    }

    pub(in crate::archive) fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.entry(Block::new(name, b'0', bytes.len()), bytes)
    }

    pub(in crate::archive) fn link(self, name: &str, kind: u8, target: &str) -> Self {
        self.entry(Block::link(name, kind, target), b"")
    }

    /// An extension: `x`, `g`, `L` or `K`.
    pub(in crate::archive) fn extension(self, kind: u8, data: &[u8]) -> Self {
        self.entry(Block::new("././@Extension", kind, data.len()), data)
    }

    pub(in crate::archive) fn pax(self, records: &[(&str, &str)]) -> Self {
        self.extension(b'x', &pax(records))
    }

    /// With the two blocks at the end.
    pub(in crate::archive) fn ended(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    pub(in crate::archive) fn build(self) -> Vec<u8> {
        gzip(&self.ended())
    }
}

pub(in crate::archive) fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        // The length counts its own digits.
        let mut length = rest.len() + 1;
        while length != rest.len() + length.to_string().len() {
            length += 1;
        }
        bytes.extend(format!("{length}{rest}").bytes());
    }
    bytes
}

pub(in crate::archive) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
