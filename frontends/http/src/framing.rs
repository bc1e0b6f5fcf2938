//! Watches how HTTP/1.1 requests say where they end, so that none says it in two ways.
//!
//! hyper drops a Content-Length that stands beside a Transfer-Encoding before anyone sees it. A
//! proxy in front that believes the other one would take the rest for another client's request
//! ("smuggling"). So [`Framing`] looks at the bytes on their way to hyper and keeps one
//! [`Verdict`] per request; it changes nothing. Where it can't follow, it says so, and a request
//! with Transfer-Encoding is then answered and its connection closed (RFC 9112, section 6.1).

use std::collections::VecDeque;

/// How much of a line is kept: more than any name and value that matter here.
const LINE: usize = 256;

/// How many requests may be read ahead of their handling before the watch is given up.
const MAX_AHEAD: usize = 1_024;

/// What was seen of one request's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It says in one way where it ends.
    Clear,
    /// It says so in more than one way, or in one that nobody should use.
    Ambiguous,
    /// It was not followed.
    Unknown,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(crate) struct Framing {
    expect: Expect,
    /// The start of the line that is being read, and its length so far.
    line: Vec<u8>,
    length: usize,
    /// Bytes of content before the next line.
    skip: u64,
    head: Head,
    verdicts: VecDeque<Verdict>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    RequestLine,
    Field,
    ChunkSize,
    ChunkEnd,
    Trailer,
    /// HTTP/2, or something that hyper refuses as well.
    Nothing,
}

#[derive(Debug, Default)]
struct Head {
    lengths: usize,
    encodings: usize,
    length: u64,
    odd: bool,
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self {
            expect: Expect::RequestLine,
            line: Vec::new(),
            length: 0,
            skip: 0,
            head: Head::default(),
            verdicts: VecDeque::new(),
        }
    }

    /// The verdict on the next request that is handled.
    pub(crate) fn next(&mut self) -> Verdict {
        self.verdicts.pop_front().unwrap_or(Verdict::Unknown)
    }

    /// Looks at bytes on their way to hyper.
    pub(crate) fn observe(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.expect != Expect::Nothing {
            if self.skip > 0 {
                let step = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= step as u64;
                bytes = bytes.get(step..).unwrap_or_default();
                continue;
            }
            let end = memchr::memchr(b'\n', bytes);
            let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
            let room = LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(line.get(..room).unwrap_or(line));
            self.length += line.len();
            bytes = rest;
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                let whole = self.length <= LINE;
                self.length = 0;
                self.expect = self.end_line(line.trim_ascii_end(), whole);
                self.line = line;
                self.line.clear();
            }
        }
    }

    fn end_line(&mut self, line: &[u8], whole: bool) -> Expect {
        match self.expect {
            Expect::RequestLine | Expect::Trailer if line.is_empty() => Expect::RequestLine,
            Expect::RequestLine if line == b"PRI * HTTP/2.0" || line.starts_with(b"CONNECT ") => {
                Expect::Nothing
            }
            Expect::RequestLine => {
                self.head = Head::default();
                Expect::Field
            }
            Expect::Field if line.is_empty() => self.end_head(),
            Expect::Field => {
                self.head.field(line, whole);
                Expect::Field
            }
            Expect::ChunkSize => match chunk_size(line).filter(|_| whole) {
                Some(0) => Expect::Trailer,
                Some(size) => {
                    self.skip = size;
                    Expect::ChunkEnd
                }
                None => Expect::Nothing,
            },
            Expect::ChunkEnd if line.is_empty() => Expect::ChunkSize,
            Expect::Trailer => Expect::Trailer,
            Expect::ChunkEnd | Expect::Nothing => Expect::Nothing,
        }
    }

    fn end_head(&mut self) -> Expect {
        let head = std::mem::take(&mut self.head);
        let ambiguous = head.odd || head.lengths + head.encodings > 1;
        if self.verdicts.len() >= MAX_AHEAD {
            return Expect::Nothing;
        }
        self.verdicts.push_back(if ambiguous { Verdict::Ambiguous } else { Verdict::Clear });
        if ambiguous {
            return Expect::Nothing;
        }
        self.skip = head.length;
        if head.encodings > 0 { Expect::ChunkSize } else { Expect::RequestLine }
    }
}

impl Head {
    fn field(&mut self, line: &[u8], whole: bool) {
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            self.odd |= !whole || length.is_none() || !value.iter().all(u8::is_ascii_digit);
            self.length = length.unwrap_or(0);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encodings += 1;
            self.odd |= !whole || !value.eq_ignore_ascii_case(b"chunked");
        }
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| *b == b';').next()?.trim_ascii();
    let hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| hex)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts of a connection's bytes, cut in every way into two reads.
    fn verdicts(bytes: &str) -> Vec<Verdict> {
        let mut seen: Option<Vec<_>> = None;
        for cut in 0..=bytes.len() {
            let (one, two) = bytes.as_bytes().split_at(cut);
            let mut framing = Framing::new();
            framing.observe(one);
            framing.observe(two);
            let verdicts = framing.verdicts.into_iter().collect();
            assert_eq!(
                *seen.get_or_insert_with(|| Clone::clone(&verdicts)),
                verdicts,
                "cut at {cut}"
            );
        }
        seen.unwrap()
    }

    #[test]
    fn requests_in_a_row_are_followed_through_their_bodies() {
        use Verdict::Clear;
        let row = "GET / HTTP/1.1\r\nHost: a\r\n\r\n\
            PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nTE: \n\
            PATCH / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n\r\n\r\n\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n\
            \r\nGET / HTTP/1.1\n\n";
        assert_eq!(verdicts(row), [Clear; 4]);
    }

    #[test]
    fn threat_c24_every_second_way_of_saying_the_end_is_ambiguous() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 5",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
        ] {
            let head = format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            assert_eq!(verdicts(&head), [Verdict::Ambiguous], "{fields}");
        }
    }

    #[test]
    fn http_2_is_left_alone() {
        assert_eq!(verdicts("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nContent-Length: 1\r\n\r\n"), []);
    }

    #[test]
    fn long_fields_cost_no_room_and_hide_nothing() {
        let long = "x".repeat(100_000);
        let mut framing = Framing::new();
        framing.observe(format!("GET / HTTP/1.1\r\nCookie: {long}\r\n\r\n").as_bytes());
        assert_eq!(framing.next(), Verdict::Clear);
        assert!(framing.line.capacity() <= LINE * 2);
        let padded =
            format!("GET / HTTP/1.1\r\nTransfer-Encoding:{}chunked\r\n\r\n", " ".repeat(300));
        framing.observe(padded.as_bytes());
        assert_eq!(framing.next(), Verdict::Ambiguous);
    }
}
