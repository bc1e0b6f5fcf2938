//! The extra fields of a header: ZIP64 sizes and Unicode names, the two that change what it says.

use super::ZipFault;
use super::record::{u16_at, u64_at};
use crate::quote::quote_bytes;

const ZIP64: u16 = 0x0001;
const UNICODE_PATH: u16 = 0x7075;

/// A header's extra fields, each kind at most once.
#[derive(Debug)]
pub(super) struct Extra<'a> {
    zip64: Option<&'a [u8]>,
}

impl<'a> Extra<'a> {
    pub(super) fn parse(bytes: &'a [u8], name: &[u8]) -> Result<Self, ZipFault> {
        let refused = |what| ZipFault::Refused { name: quote_bytes(name), what };
        let broken = || refused("extra fields that do not end where they say");
        let mut seen = Vec::new();
        let mut zip64 = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (head, after) = rest.split_at_checked(4).ok_or_else(broken)?;
            let (kind, length) = (u16_at(head, 0), usize::from(u16_at(head, 2)));
            let (value, after) = after.split_at_checked(length).ok_or_else(broken)?;
            if seen.contains(&kind) {
                return Err(refused("two extra fields of one kind"));
            }
            seen.push(kind);
            match kind {
                ZIP64 => zip64 = Some(value),
                // One byte of version and four of a checksum, then the name.
                UNICODE_PATH if value.get(5..) != Some(name) => {
                    return Err(refused("another name in a Unicode field"));
                }
                _ => {}
            }
            rest = after;
        }
        Ok(Self { zip64 })
    }

    pub(super) fn zip64(&self, name: &'a [u8]) -> Wide<'a> {
        Wide { name, rest: self.zip64.unwrap_or_default(), left: self.zip64.is_some(), used: false }
    }
}

/// The wide numbers of a ZIP64 field, in their order.
pub(super) struct Wide<'a> {
    name: &'a [u8],
    rest: &'a [u8],
    left: bool,
    used: bool,
}

impl Wide<'_> {
    /// Replaces a field that is full by the next wide number.
    pub(super) fn fill(&mut self, field: &mut u64) -> Result<(), ZipFault> {
        if *field != u64::from(u32::MAX) {
            return Ok(());
        }
        let (number, after) = self
            .rest
            .split_at_checked(8)
            .ok_or_else(|| self.refused("a full field without its number in a ZIP64 field"))?;
        *field = u64_at(number, 0);
        self.rest = after;
        self.used = true;
        Ok(())
    }

    /// Whether the field repeats the two sizes, which some tools write always: there is one reading still.
    pub(super) fn is_exactly(&self, size: u64, packed: u64) -> bool {
        let full = u64::from(u32::MAX);
        let both = [size.to_le_bytes(), packed.to_le_bytes()].concat();
        size != full && packed != full && self.rest == both
    }

    /// There is no number, and no field, that nothing asked for.
    pub(super) fn finish(self) -> Result<(), ZipFault> {
        if self.rest.is_empty() && self.left == self.used {
            return Ok(());
        }
        Err(self.refused("a ZIP64 field with numbers that no full field asks for"))
    }

    fn refused(&self, what: &'static str) -> ZipFault {
        ZipFault::Refused { name: quote_bytes(self.name), what }
    }
}
