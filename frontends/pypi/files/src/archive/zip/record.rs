//! A local header or a record of the central directory, field by field.

use std::io::{self, Read};

use super::ZipFault;
use super::extra::Extra;
use crate::archive::ArchiveError;
use crate::quote::quote_bytes;

pub(super) const LOCAL: &str = "local header";
pub(super) const CENTRAL: &str = "record of the central directory";

pub(super) const ENCRYPTED: u16 = 1;
pub(super) const DESCRIPTOR: u16 = 1 << 3;
pub(super) const UTF8: u16 = 1 << 11;
/// How hard it was compressed says nothing to an unpacker.
pub(super) const HARMLESS: u16 = UTF8 | 0b110;

/// What both kinds of header tell, with sizes as ZIP64 fields have them.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) packed: u64,
    pub(super) size: u64,
    /// Of the local header; 0 in a local header.
    pub(super) offset: u64,
    /// 0 in a local header.
    pub(super) attributes: u32,
}

impl Record {
    /// Reads a record of the directory at `at`. Returns also its length.
    pub(super) fn central(
        file: &mut impl Read,
        at: u64,
        end: u64,
    ) -> Result<(Self, u64), ArchiveError> {
        let absent = ZipFault::NotThere { at, wanted: CENTRAL };
        let mut fixed = [0; 46];
        room(at, 46, end, &absent)?;
        exact(file, &mut fixed, absent.clone())?;
        if !fixed.starts_with(b"PK\x01\x02") {
            return Err(absent.into());
        }
        let lengths = (usize::from(u16_at(&fixed, 28)), usize::from(u16_at(&fixed, 30)));
        let length = 46 + lengths.0 as u64 + lengths.1 as u64;
        room(at, length, end, &absent)?;
        let (name, extra) = name_and_extra(file, lengths, absent)?;
        let refused = |what| Err(ZipFault::Refused { name: quote_bytes(&name), what }.into());
        if u16_at(&fixed, 32) != 0 {
            return refused("a comment in the central directory");
        }
        if u16_at(&fixed, 34) != 0 {
            return refused("its bytes in another part of the archive");
        }
        let mut record = Self {
            flags: u16_at(&fixed, 8),
            method: u16_at(&fixed, 10),
            crc: u32_at(&fixed, 16),
            packed: u64::from(u32_at(&fixed, 20)),
            size: u64::from(u32_at(&fixed, 24)),
            offset: u64::from(u32_at(&fixed, 42)),
            attributes: u32_at(&fixed, 38),
            name,
        };
        let extra = Extra::parse(&extra, &record.name)?;
        let mut wide = extra.zip64(&record.name);
        wide.fill(&mut record.size)?;
        wide.fill(&mut record.packed)?;
        wide.fill(&mut record.offset)?;
        wide.finish()?;
        Ok((record, length))
    }

    /// Reads a local header at `at`. Returns also its length.
    pub(super) fn local(
        file: &mut impl Read,
        at: u64,
        end: u64,
    ) -> Result<(Self, u64), ArchiveError> {
        let absent = ZipFault::NotThere { at, wanted: LOCAL };
        let mut fixed = [0; 30];
        room(at, 30, end, &absent)?;
        exact(file, &mut fixed, absent.clone())?;
        if !fixed.starts_with(b"PK\x03\x04") {
            return Err(absent.into());
        }
        let lengths = (usize::from(u16_at(&fixed, 26)), usize::from(u16_at(&fixed, 28)));
        let length = 30 + lengths.0 as u64 + lengths.1 as u64;
        room(at, length, end, &absent)?;
        let (name, extra) = name_and_extra(file, lengths, absent)?;
        let mut record = Self {
            flags: u16_at(&fixed, 6),
            method: u16_at(&fixed, 8),
            crc: u32_at(&fixed, 14),
            packed: u64::from(u32_at(&fixed, 18)),
            size: u64::from(u32_at(&fixed, 22)),
            offset: 0,
            attributes: 0,
            name,
        };
        let extra = Extra::parse(&extra, &record.name)?;
        let mut wide = extra.zip64(&record.name);
        // A local header has both, or neither: some unpackers take the second of two always.
        let full = u64::from(u32::MAX);
        if (record.size == full) != (record.packed == full) {
            let what = "one of its sizes in a ZIP64 field and the other not";
            return Err(ZipFault::Refused { name: quote_bytes(&record.name), what }.into());
        }
        if wide.is_exactly(record.size, record.packed) {
            return Ok((record, length));
        }
        wide.fill(&mut record.size)?;
        wide.fill(&mut record.packed)?;
        wide.finish()?;
        Ok((record, length))
    }
}

fn room(at: u64, length: u64, end: u64, absent: &ZipFault) -> Result<(), ArchiveError> {
    match at.checked_add(length) {
        Some(after) if after <= end => Ok(()),
        _ => Err(absent.clone().into()),
    }
}

fn name_and_extra(
    file: &mut impl Read,
    (name, extra): (usize, usize),
    absent: ZipFault,
) -> Result<(Vec<u8>, Vec<u8>), ArchiveError> {
    let mut both = vec![0; name + extra];
    exact(file, &mut both, absent)?;
    let extra = both.split_off(name);
    Ok((both, extra))
}

/// Fills `bytes`, or says that what had to be there is not.
pub(super) fn exact(
    file: &mut impl Read,
    bytes: &mut [u8],
    absent: ZipFault,
) -> Result<(), ArchiveError> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => absent.into(),
        _ => ArchiveError::Io(error),
    })
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(number(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(number(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(number(bytes, at))
}

/// All callers name places inside a record of fixed length.
fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok());
    found.expect("a field lies inside its record")
}
