//! The records at the end of a zip archive: where the central directory is.

use std::io::{Read, Seek, SeekFrom};

use super::ZipFault;
use super::record::{exact, u16_at, u32_at, u64_at};
use crate::archive::ArchiveError;

const END: u64 = 22;
const LOCATOR: u64 = 20;
const END64: u64 = 56;

/// Where the central directory begins and ends, and how many records it has.
pub(super) struct End {
    pub(super) directory: u64,
    pub(super) after: u64,
    pub(super) entries: u64,
}

pub(super) fn read(file: &mut (impl Read + Seek), size: u64) -> Result<End, ArchiveError> {
    let at = size.checked_sub(END).ok_or(ZipFault::NoEnd)?;
    let end: [u8; 22] = read_at(file, at)?;
    if !end.starts_with(b"PK\x05\x06") || u16_at(&end, 20) != 0 {
        return Err(ZipFault::NoEnd.into());
    }
    let small = Told {
        disk: u32::from(u16_at(&end, 4)),
        directory_disk: u32::from(u16_at(&end, 6)),
        here: u64::from(u16_at(&end, 8)),
        all: u64::from(u16_at(&end, 10)),
        size: u64::from(u32_at(&end, 12)),
        offset: u64::from(u32_at(&end, 16)),
    };
    // Some unpackers look for the ZIP64 locator always, some only where a field is full.
    if let Some((large, begins)) = read64(file, at)? {
        small.agrees_with(&large)?;
        return large.finish(begins);
    }
    if small.is_full() {
        return Err(ZipFault::End("a field is full but there is no ZIP64 record").into());
    }
    small.finish(at)
}

fn read64(file: &mut (impl Read + Seek), end: u64) -> Result<Option<(Told, u64)>, ArchiveError> {
    let Some(at) = end.checked_sub(LOCATOR) else { return Ok(None) };
    let locator: [u8; 20] = read_at(file, at)?;
    if !locator.starts_with(b"PK\x06\x07") {
        return Ok(None);
    }
    let begins = at.checked_sub(END64).ok_or(ZipFault::End("the ZIP64 record is missing"))?;
    if u64_at(&locator, 8) != begins || u32_at(&locator, 4) != 0 || u32_at(&locator, 16) != 1 {
        return Err(
            ZipFault::End("the ZIP64 locator does not point to the record before it").into()
        );
    }
    let record: [u8; 56] = read_at(file, begins)?;
    if !record.starts_with(b"PK\x06\x06") || u64_at(&record, 4) != END64 - 12 {
        return Err(
            ZipFault::End("the ZIP64 record is not there, or has more than its fields").into()
        );
    }
    let told = Told {
        disk: u32_at(&record, 16),
        directory_disk: u32_at(&record, 20),
        here: u64_at(&record, 24),
        all: u64_at(&record, 32),
        size: u64_at(&record, 40),
        offset: u64_at(&record, 48),
    };
    Ok(Some((told, begins)))
}

/// What an end record tells.
struct Told {
    disk: u32,
    directory_disk: u32,
    here: u64,
    all: u64,
    size: u64,
    offset: u64,
}

impl Told {
    fn is_full(&self) -> bool {
        self.here == 0xFFFF
            || self.all == 0xFFFF
            || self.size == 0xFFFF_FFFF
            || self.offset == 0xFFFF_FFFF
    }

    /// Each field of the small record is full, or says the same as the large one.
    fn agrees_with(&self, large: &Self) -> Result<(), ArchiveError> {
        let same = |small: u64, full: u64, large: u64| small == full || small == large;
        if same(self.here, 0xFFFF, large.here)
            && same(self.all, 0xFFFF, large.all)
            && same(self.size, 0xFFFF_FFFF, large.size)
            && same(self.offset, 0xFFFF_FFFF, large.offset)
            && same(self.disk.into(), 0xFFFF, large.disk.into())
            && same(self.directory_disk.into(), 0xFFFF, large.directory_disk.into())
        {
            return Ok(());
        }
        Err(ZipFault::End("the ZIP64 record says another thing than the one after it").into())
    }

    fn finish(&self, directory_end: u64) -> Result<End, ArchiveError> {
        if self.disk != 0 || self.directory_disk != 0 || self.here != self.all {
            return Err(ZipFault::End("the archive is in several parts").into());
        }
        if self.offset.checked_add(self.size) != Some(directory_end) {
            let what = "the central directory does not end where they begin";
            return Err(ZipFault::End(what).into());
        }
        Ok(End { directory: self.offset, after: directory_end, entries: self.all })
    }
}

fn read_at<const N: usize>(
    file: &mut (impl Read + Seek),
    at: u64,
) -> Result<[u8; N], ArchiveError> {
    file.seek(SeekFrom::Start(at)).map_err(ArchiveError::Io)?;
    let mut bytes = [0; N];
    exact(file, &mut bytes, ZipFault::NoEnd)?;
    Ok(bytes)
}
