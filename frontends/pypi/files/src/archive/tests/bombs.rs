//! Archives that unpack to far more than they are: reading stops at the bound.

use std::cell::Cell;

use super::*;
use crate::archive::hostile::BOMB_LIMITS as BOUNDS;
use crate::archive::hostile::build_tar::{Block, Tar, gzip};
use crate::archive::hostile::build_zip::{INIT, Part, changed, unsized_record};

/// What is read at once may be read beyond a bound.
const AHEAD: u64 = 256 << 10;

struct Counted<'a>(Cursor<&'a [u8]>, &'a Cell<u64>);

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(into)?;
        self.1.set(self.1.get() + read as u64);
        Ok(read)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// The error, and how many bytes of the file were read.
fn stopped(name: &str, bytes: &[u8], limits: &Limits) -> (String, u64) {
    let read = Cell::new(0);
    let name = FileName::parse(name).unwrap();
    let error = inspect(&name, Counted(Cursor::new(bytes), &read), limits).unwrap_err();
    (error.to_string(), read.get())
}

/// What does not pack.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..count).map(next).collect()
}

fn wheel(part: Part) -> Vec<u8> {
    changed(|zip| zip.parts[INIT] = part)
}

#[test]
fn threat_c12_a_wheel_that_says_it_is_a_bomb_is_not_unpacked() {
    let large = wheel(Part::stored("foo/a", &noise(4 << 20)));
    let (error, read) = stopped(WHEEL, &large, &BOUNDS);
    assert_eq!(error, "the archive unpacks to more than 1048576 bytes");
    assert!(read < AHEAD, "{read}");
    let zeros = wheel(Part::deflated("foo/a", &vec![0; 512 << 10]));
    assert_eq!(
        stopped(WHEEL, &zeros, &BOUNDS).0,
        "the archive unpacks to more than 50 times its size: it is taken for a bomb"
    );
}

#[test]
fn threat_c12_a_wheel_that_lies_about_its_sizes_is_read_no_further_than_they_go() {
    let mut part = Part::deflated("foo/__init__.py", &noise(4 << 20));
    part.both(|head| head.size = 10);
    let lying = changed(|zip| {
        zip.parts[INIT] = part;
        unsized_record(zip);
    });
    let (error, read) = stopped(WHEEL, &lying, &BOUNDS);
    assert!(error.ends_with("are not what its header says: there are more"), "{error}");
    assert!(read < AHEAD, "{read}");
}

#[test]
fn threat_c12_what_is_held_in_memory_is_bounded() {
    let metadata = [METADATA, &noise(2 << 10)].concat();
    let (error, _) = stopped(
        WHEEL,
        &changed(|zip| {
            zip.parts[1] = Part::stored("foo-1.0.dist-info/METADATA", &metadata);
        }),
        &BOUNDS,
    );
    assert_eq!(error, "\"foo-1.0.dist-info/METADATA\" has 2093 bytes; at most 1024 are allowed");
    let sdist = Tar::default().file("foo-1.0/PKG-INFO", &metadata).build();
    let (error, _) = stopped(SDIST, &sdist, &BOUNDS);
    assert_eq!(error, "\"foo-1.0/PKG-INFO\" has 2093 bytes; at most 1024 are allowed");
    let header = Block::new("././@Pax", b'x', 2 << 20);
    let (error, _) = stopped(SDIST, &Tar::good().entry(header, b"").build(), &BOUNDS);
    assert!(error.ends_with("at byte 1536 (unpacked) has more than 1 MiB"), "{error}");
}

#[test]
fn threat_c12_an_sdist_is_read_no_further_than_its_bound() {
    let large = Tar::good().file("foo-1.0/a", &noise(4 << 20)).build();
    let (error, read) = stopped(SDIST, &large, &BOUNDS);
    assert_eq!(error, "the archive unpacks to more than 1048576 bytes");
    assert!(read < AHEAD, "{read}");
    let zeros = Tar::good().file("foo-1.0/a", &vec![0; 512 << 10]).build();
    let bomb = "the archive unpacks to more than 50 times its size: it is taken for a bomb";
    assert_eq!(stopped(SDIST, &zeros, &BOUNDS).0, bomb);
    let padded = gzip(&[Tar::good().ended(), vec![0; 512 << 10]].concat());
    assert_eq!(stopped(SDIST, &padded, &BOUNDS).0, bomb);
}

#[test]
fn threat_c12_the_count_of_entries_is_bounded() {
    let many = changed(|zip| zip.parts.extend((0..7).map(|n| Part::stored(format!("{n}"), b""))));
    assert_eq!(stopped(WHEEL, &many, &BOUNDS).0, "the archive has more than 10 entries");
    let many = (0..9).fold(Tar::good(), |tar, n| tar.file(&format!("foo-1.0/{n}"), b""));
    assert_eq!(stopped(SDIST, &many.build(), &BOUNDS).0, "the archive has more than 10 entries");
}

#[test]
fn threat_c12_each_bomb_is_refused_as_the_table_says() {
    for bomb in crate::archive::hostile::bombs() {
        assert_eq!(stopped(bomb.name, &bomb.bytes, &BOUNDS).0, bomb.reason, "{}", bomb.what);
    }
}
