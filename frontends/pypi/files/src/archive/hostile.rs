//! Archives that lie, built byte by byte, with what is said of each, and such as the usual tools make:
//! for the tests of whoever judges archives, or hands them on to be judged.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "for tests alone, of bytes that are built here"
)]

use super::Limits;

pub(in crate::archive) mod build_tar;
pub(in crate::archive) mod build_zip;
pub(in crate::archive) mod sdist;
pub(in crate::archive) mod wheel;
pub(in crate::archive) mod zip_names;
pub(in crate::archive) mod zip_records;

/// What all wheels of these are called.
pub const WHEEL: &str = "foo-1.0-py3-none-any.whl";
/// What all sdists of these are called.
pub const SDIST: &str = "foo-1.0.tar.gz";
/// The metadata file of most.
pub(in crate::archive) const METADATA: &[u8] = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n";

/// A refused archive: what it does, its bytes, the verdict, with `zip:` and `tar:` for what all faults
/// of their kind begin with.
pub(in crate::archive) type Case = (&'static str, Vec<u8>, &'static str);

/// An archive that has to be refused.
#[derive(Debug, Clone)]
pub struct Hostile {
    /// What it does.
    pub what: String,
    /// The name it comes under.
    pub name: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
    /// What is said of it, the whole text.
    pub reason: String,
}

/// The tables: what they are of, the name their archives come under, their cases.
pub(in crate::archive) fn tables() -> [(&'static str, &'static str, Vec<Case>); 8] {
    [
        ("wheel, headers", WHEEL, zip_records::headers()),
        ("wheel, places", WHEEL, zip_records::places()),
        ("wheel, contents", WHEEL, zip_records::contents()),
        ("wheel, names", WHEEL, zip_names::cases()),
        ("wheel, files", WHEEL, wheel::cases()),
        ("sdist, records", SDIST, sdist::records()),
        ("sdist, kinds and names", SDIST, sdist::kinds_and_names()),
        ("sdist, streams", SDIST, sdist::streams()),
    ]
}

/// All that are refused.
pub fn refused() -> Vec<Hostile> {
    let of = |table: &'static str, name: &'static str, case: Case| {
        let (what, bytes, verdict) = case;
        let archive = if name == WHEEL { "wheel is no zip" } else { "sdist is no tar.gz" };
        let reason = match verdict.split_once(": ") {
            Some(("zip" | "tar", fault)) => {
                format!("the {archive} archive that every unpacker reads the same way: {fault}")
            }
            _ => verdict.to_owned(),
        };
        Hostile { what: format!("{table}: {what}"), name, bytes, reason }
    };
    let tables = tables().into_iter();
    tables
        .flat_map(|(table, name, cases)| cases.into_iter().map(move |case| of(table, name, case)))
        .collect()
}

/// Such as the usual tools make, by what made them: the names they come under, and their bytes.
pub fn accepted() -> Vec<(String, &'static str, Vec<u8>)> {
    let wheels = wheel::accepted().into_iter();
    let wheels = wheels.map(|(tool, zip)| (format!("wheel of {tool}"), WHEEL, zip.build()));
    let sdists = sdist::accepted().into_iter();
    let sdists = sdists.map(|(tool, tar)| (format!("sdist of {tool}"), SDIST, tar.build()));
    wheels.chain(sdists).collect()
}

/// What [`bombs`] are refused by.
pub const BOMB_LIMITS: Limits = Limits {
    entries: 10,
    unpacked_bytes: 1 << 20,
    ratio: 50,
    ratio_from_bytes: 64 << 10,
    metadata_bytes: 1 << 10,
    record_bytes: 64 << 10,
};

/// Archives that cost more than [`BOMB_LIMITS`] allow.
pub fn bombs() -> Vec<Hostile> {
    use build_tar::Tar;
    use build_zip::{INIT, Part, changed};
    let large = "the archive unpacks to more than 1048576 bytes";
    let bomb = "the archive unpacks to more than 50 times its size: it is taken for a bomb";
    let many = "the archive has more than 10 entries";
    let wheel = |part: Part| changed(|zip| zip.parts[INIT] = part);
    let crowd = (0..9).fold(Tar::good(), |tar, n| tar.file(&format!("foo-1.0/{n}"), b""));
    let long = [METADATA, &[b'x'; 2 << 10]].concat();
    let cases = [
        ("a wheel's zeros", WHEEL, wheel(Part::deflated("foo/a", &vec![0; 512 << 10])), bomb),
        ("a wheel of much", WHEEL, wheel(Part::stored("foo/a", &vec![1; 2 << 20])), large),
        (
            "a wheel of many",
            WHEEL,
            changed(|zip| zip.parts.extend((0..7).map(|n| Part::stored(format!("{n}"), b"")))),
            many,
        ),
        (
            "a wheel's long METADATA",
            WHEEL,
            changed(|zip| {
                zip.parts[1] = Part::stored("foo-1.0.dist-info/METADATA", &long);
            }),
            "\"foo-1.0.dist-info/METADATA\" has 2093 bytes; at most 1024 are allowed",
        ),
        (
            "an sdist's zeros",
            SDIST,
            Tar::good().file("foo-1.0/a", &vec![0; 512 << 10]).build(),
            bomb,
        ),
        (
            "zeros behind an sdist's end",
            SDIST,
            build_tar::gzip(&[Tar::good().ended(), vec![0; 512 << 10]].concat()),
            bomb,
        ),
        ("an sdist of many", SDIST, crowd.build(), many),
        (
            "an sdist's long PKG-INFO",
            SDIST,
            Tar::default().file("foo-1.0/PKG-INFO", &long).build(),
            "\"foo-1.0/PKG-INFO\" has 2093 bytes; at most 1024 are allowed",
        ),
    ];
    let of = |(what, name, bytes, reason): (&str, &'static str, Vec<u8>, &str)| Hostile {
        what: what.to_owned(),
        name,
        bytes,
        reason: reason.to_owned(),
    };
    cases.into_iter().map(of).collect()
}
