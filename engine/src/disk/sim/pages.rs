//! A file's bytes, in pages that copies share.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

const PAGE: usize = 4096;

/// Bytes with a length; what was never written is zero and takes no room. A clone costs nothing,
/// and the first write to it a copy of the list of pages.
#[derive(Clone, Default)]
pub(super) struct Pages {
    len: u64,
    /// How many pages were written.
    written: u64,
    /// Each is of [`PAGE`] bytes, or absent and zero. What lies past `len` is zero.
    table: Arc<Vec<Option<Bytes>>>,
}

fn split(offset: u64) -> (usize, usize) {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    (offset / PAGE, offset % PAGE)
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes it takes on the disk: a hole takes none.
    pub(super) fn used(&self) -> u64 {
        self.len.min(self.written * PAGE as u64)
    }

    /// How many more bytes it takes once `length` bytes were written at `offset`.
    pub(super) fn growth(&self, offset: u64, length: usize) -> u64 {
        if length == 0 {
            return 0;
        }
        let end = offset + length as u64;
        let ((first, _), (last, _)) = (split(offset), split(end - 1));
        let is_hole = |index: &usize| self.table.get(*index).is_none_or(Option::is_none);
        let holes = (first..=last).filter(is_hole).count() as u64;
        let after = self.len.max(end).min((self.written + holes) * PAGE as u64);
        after.saturating_sub(self.used())
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(there);
        let (mut left, mut at) = (buffer.split_at_mut(wanted).0, offset);
        while !left.is_empty() {
            let (index, start) = split(at);
            let step = left.len().min(PAGE - start);
            let (now, rest) = left.split_at_mut(step);
            let page = self.table.get(index).and_then(Option::as_ref);
            match page.and_then(|page| page.get(start..start + step)) {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            at += step as u64;
            left = rest;
        }
        wanted
    }

    /// Writes `data`, sharing it where it covers whole pages.
    pub(super) fn write(&mut self, mut data: Bytes, offset: u64) {
        self.len = self.len.max(offset + data.len() as u64);
        let pages = Arc::make_mut(&mut self.table);
        let mut at = offset;
        while !data.is_empty() {
            let (index, start) = split(at);
            let now = data.split_to(data.len().min(PAGE - start));
            at += now.len() as u64;
            if pages.len() <= index {
                pages.resize(index + 1, None);
            }
            let Some(page) = pages.get_mut(index) else { return };
            self.written += u64::from(page.is_none());
            *page = Some(if now.len() == PAGE { now } else { patched(page.as_ref(), start, &now) });
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (index, start) = split(len);
            let pages = Arc::make_mut(&mut self.table);
            let kept = if start == 0 { index } else { index + 1 };
            let cut = pages.iter().skip(kept).filter(|page| page.is_some()).count();
            self.written -= cut as u64;
            pages.truncate(kept);
            if let Some(Some(page)) = pages.get_mut(index) {
                // What is cut off must not come back when the file grows again.
                *page = patched(Some(page), start, [0; PAGE].split_at(start).1);
            }
        }
        self.len = len;
    }
}

fn patched(page: Option<&Bytes>, start: usize, bytes: &[u8]) -> Bytes {
    let mut new = page.map_or_else(|| BytesMut::zeroed(PAGE), |page| BytesMut::from(&page[..]));
    for (to, from) in new.iter_mut().skip(start).zip(bytes) {
        *to = *from;
    }
    new.freeze()
}
