//! `Range: bytes=…` (RFC 9110, section 14).
//!
//! **Promises.** A header that is no byte range, or asks for more parts than anyone needs, is as if it
//! were not there: the whole is sent, as the standard allows. A range that ends before it begins
//! selects nothing, as the OCI conformance suite wants it. Ranges that come out lie inside the
//! content, are not empty, and no two touch: those that do are one, so that a small request never
//! makes us send the content many times over.

use std::ops::Range;

/// The most ranges of one request; with more, the whole is sent. Clients that pull parts of layers
/// (eStargz, zstd:chunked) ask for some hundred at once.
const MAX_RANGES: usize = 256;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everything: 200.
    Whole,
    /// These bytes: 206, with more than one as `multipart/byteranges`. Never empty. In the order they
    /// were asked for, where none touched another; else in that of the content.
    Ranges(Vec<Range<u64>>),
    /// Nothing lies in the content: 416, with `Content-Range: bytes */length`.
    Unsatisfiable,
}

/// What the value of a Range header selects out of `length` bytes.
pub fn select(header: &str, length: u64) -> Selection {
    let Some(specs) = parse(header) else { return Selection::Whole };
    let ranges: Vec<_> = specs.into_iter().filter_map(|spec| spec.within(length)).collect();
    if ranges.is_empty() { Selection::Unsatisfiable } else { Selection::Ranges(apart(ranges)) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    /// From the first to the last, both included; or to the end.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
}

impl Spec {
    fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first, None) => first..length,
            Self::From(first, Some(last)) => first..last.saturating_add(1).min(length),
            Self::Last(count) => length.saturating_sub(count)..length,
        };
        (!range.is_empty()).then_some(range)
    }
}

fn parse(header: &str) -> Option<Vec<Spec>> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for part in set.split(',').map(|part| part.trim_matches([' ', '\t'])) {
        // A list may have empty elements.
        if part.is_empty() {
            continue;
        }
        if specs.len() == MAX_RANGES {
            return None;
        }
        let (first, last) = part.split_once('-')?;
        specs.push(match (first, last) {
            ("", count) => Spec::Last(number(count)?),
            (first, "") => Spec::From(number(first)?, None),
            (first, last) => Spec::From(number(first)?, Some(number(last)?)),
        });
    }
    (!specs.is_empty()).then_some(specs)
}

/// Digits only; what is beyond 64 bits is beyond every content as well.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The same bytes in ranges of which no two touch (RFC 9110, section 15.3.7.2).
fn apart(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = ranges.clone();
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    if joined.len() == ranges.len() { ranges } else { joined }
}

/// The value of Content-Range for one range: `bytes 0-4/10`.
pub fn content_range(range: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1))
}

/// The value of Content-Range for 416: `bytes */10`.
pub fn content_range_unsatisfied(length: u64) -> String {
    format!("bytes */{length}")
}

/// The framing of a `multipart/byteranges` body (RFC 9110, section 14.6).
#[derive(Debug, Clone)]
pub struct Multipart {
    boundary: String,
    part_type: String,
    length: u64,
}

impl Multipart {
    /// Frames parts of a content of `length` bytes and the media type `part_type`. The boundary
    /// must be one that the content does not hold: let it be random.
    pub fn new(boundary: impl Into<String>, part_type: impl Into<String>, length: u64) -> Self {
        Self { boundary: boundary.into(), part_type: part_type.into(), length }
    }

    /// The Content-Type of the whole response.
    pub fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// What goes before the bytes of a part.
    pub fn head(&self, range: &Range<u64>) -> String {
        format!(
            "\r\n--{}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
            self.boundary,
            self.part_type,
            content_range(range, self.length)
        )
    }

    /// What goes after the last part.
    pub fn end(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Selection::{Unsatisfiable, Whole};
    use super::*;

    fn ranges(list: &[(u64, u64)]) -> Selection {
        Selection::Ranges(list.iter().map(|(from, to)| *from..*to).collect())
    }

    #[test]
    fn the_examples_of_the_standard() {
        assert_eq!(select("bytes=0-499", 10_000), ranges(&[(0, 500)]));
        assert_eq!(select("bytes=9500-", 10_000), ranges(&[(9_500, 10_000)]));
        assert_eq!(select("bytes=-500", 10_000), ranges(&[(9_500, 10_000)]));
        assert_eq!(select("bytes=0-0,-1", 10_000), ranges(&[(0, 1), (9_999, 10_000)]));
        assert_eq!(
            select("bytes= 0-999, 4500-5499, -1000", 10_000),
            ranges(&[(0, 1_000), (4_500, 5_500), (9_000, 10_000)])
        );
    }

    #[test]
    fn ends_beyond_the_content_are_cut_and_ranges_beyond_it_dropped() {
        assert_eq!(select("bytes=5-99999999999999999999", 10), ranges(&[(5, 10)]));
        assert_eq!(select("bytes=-99", 10), ranges(&[(0, 10)]));
        assert_eq!(select("bytes=3-3,10-11", 10), ranges(&[(3, 4)]));
        for nothing in
            ["bytes=10-", "bytes=-0", "bytes=99-100", "bytes=5-4", "bytes=99999999999999999999-"]
        {
            assert_eq!(select(nothing, 10), Unsatisfiable, "{nothing}");
        }
        assert_eq!(select("bytes=0-", 0), Unsatisfiable);
    }

    #[test]
    fn what_is_no_byte_range_sends_the_whole() {
        for odd in [
            "",
            "bytes",
            "bytes=",
            "items=0-1",
            "bytes=a-b",
            "bytes=1",
            "bytes=-",
            "bytes=+1-2",
            "bytes=0-1,x",
            "bytes=1 -2",
            "bytes=--1",
        ] {
            assert_eq!(select(odd, 10), Whole, "{odd}");
        }
    }

    #[test]
    fn too_many_ranges_send_the_whole() {
        let many = |count| {
            let some: Vec<_> = (0..count).map(|n| format!("{}-{}", n * 2, n * 2)).collect();
            select(&format!("bytes={}", some.join(",")), 10_000)
        };
        assert_eq!(many(MAX_RANGES + 1), Whole);
        let Selection::Ranges(all) = many(MAX_RANGES) else { panic!("{MAX_RANGES} are fine") };
        assert_eq!(all.len(), MAX_RANGES);
    }

    #[test]
    fn ranges_that_touch_are_one_and_others_stay_in_their_order() {
        assert_eq!(select("bytes=0-9,5-9", 10), ranges(&[(0, 10)]));
        assert_eq!(select("bytes=0-1,2-3,5-5", 10), ranges(&[(0, 4), (5, 6)]));
        assert_eq!(select("bytes=8-9,2-2,0-2", 10), ranges(&[(0, 3), (8, 10)]));
        assert_eq!(select("bytes=8-9,0-2", 10), ranges(&[(8, 10), (0, 3)]));
        assert_eq!(select("bytes=0-0,0-0,0-0", 10), ranges(&[(0, 1)]));
    }

    #[test]
    fn a_multipart_frame_is_as_the_standard_shows_it() {
        let multipart = Multipart::new("B", "text/plain", 10);
        assert_eq!(multipart.content_type(), "multipart/byteranges; boundary=B");
        assert_eq!(
            multipart.head(&(0..5)),
            "\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-4/10\r\n\r\n"
        );
        assert_eq!(multipart.end(), "\r\n--B--\r\n");
        assert_eq!(content_range_unsatisfied(10), "bytes */10");
    }

    proptest! {
        #[test]
        fn whatever_is_asked_comes_out_inside_the_content(header in "(bytes=)?[-0-9, a]{0,40}", length: u64) {
            if let Selection::Ranges(ranges) = select(&header, length) {
                prop_assert!(!ranges.is_empty());
                let mut sum = 0_u64;
                for range in &ranges {
                    prop_assert!(range.start < range.end && range.end <= length);
                    sum = sum.checked_add(range.end - range.start).unwrap();
                }
                prop_assert!(sum <= length, "never more than the whole");
            }
        }

        #[test]
        fn one_range_is_exactly_what_it_says(first in 0_u64..1_000, more in 0_u64..1_000, length in 1_u64..1_000) {
            let expected = if first < length {
                ranges(&[(first, (first + more + 1).min(length))])
            } else {
                Unsatisfiable
            };
            prop_assert_eq!(select(&format!("bytes={first}-{}", first + more), length), expected);
        }
    }
}
