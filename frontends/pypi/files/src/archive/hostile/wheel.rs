//! Wheels whose files tell different stories, and wheels as the usual tools lay them out.

use super::build_zip::{
    Part, RECORD_AT, WHEEL_FILE, Zip, changed, digest, field, files, good, line, recorded,
};
use super::{Case, METADATA};

const INFO: &str = "foo-1.0.dist-info";

/// A wheel with this `RECORD`.
fn record(text: &str) -> Vec<u8> {
    changed(|zip| zip.parts[RECORD_AT] = Part::deflated(format!("{INFO}/RECORD"), text.as_bytes()))
}

/// What a good `RECORD` says of all but `foo/__init__.py`.
fn others() -> String {
    line(&format!("{INFO}/METADATA"), METADATA)
        + &line(&format!("{INFO}/WHEEL"), WHEEL_FILE)
        + &format!("{INFO}/RECORD,,\n")
}

fn tagged(wheel: &str) -> Vec<u8> {
    files(METADATA, wheel.as_bytes(), &[]).build()
}

pub(in crate::archive) fn cases() -> Vec<Case> {
    let init = line("foo/__init__.py", b"x = 1\n");
    let of = |name: &str, version: &str| {
        let text = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        files(text.as_bytes(), WHEEL_FILE, &[]).build()
    };
    let other_digest = format!(
        "RECORD does not agree with the archive: it says sha256 \"{}\" for \"foo/__init__.py\", which has {}",
        digest(b"x = 2\n"),
        digest(b"x = 1\n"),
    );
    vec![
        (
            "another digest",
            record(&(line("foo/__init__.py", b"x = 2\n") + &others())),
            other_digest.leak(),
        ),
        (
            "another size",
            record(&(init.replace(",6", ",7") + &others())),
            "RECORD does not agree with the archive: it says \"7\" bytes for \"foo/__init__.py\", which has 6",
        ),
        (
            "a file that is not listed",
            record(&others()),
            "RECORD does not agree with the archive: it does not list \"foo/__init__.py\"",
        ),
        (
            "a listed file that is not there",
            record(&(init.clone() + &others() + &line("foo/a.py", b""))),
            "RECORD does not agree with the archive: it lists \"foo/a.py\", which is not there",
        ),
        (
            "a file listed twice",
            record(&(init.clone() + &init + &others())),
            "RECORD does not agree with the archive: it lists \"foo/__init__.py\" twice",
        ),
        (
            "md5",
            record(&("foo/__init__.py,md5=abc,6\n".to_owned() + &others())),
            "RECORD does not agree with the archive: it has \"md5\" for \"foo/__init__.py\"; sha256, sha384 and sha512 are taken",
        ),
        (
            "no digest",
            record(&("foo/__init__.py,,\n".to_owned() + &others())),
            "RECORD does not agree with the archive: it has no digest for \"foo/__init__.py\"",
        ),
        (
            "two columns",
            record(&("foo/__init__.py,6\n".to_owned() + &others())),
            "RECORD does not agree with the archive: the line \"foo/__init__.py,6\" is not path,digest,size",
        ),
        (
            "RECORD does not list itself",
            record(&(init + &others().replace("foo-1.0.dist-info/RECORD,,\n", ""))),
            "RECORD does not agree with the archive: it does not list itself",
        ),
        (
            "another name",
            of("bar", "1.0"),
            "the metadata in the file are of bar 1.0, but the file is named for foo 1.0",
        ),
        (
            "another version",
            of("foo", "1.1"),
            "the metadata in the file are of foo 1.1, but the file is named for foo 1.0",
        ),
        (
            "another tag",
            tagged("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\n"),
            "WHEEL is not valid: it has the tag \"py2-none-any\", the file's name has not",
        ),
        (
            "no tag",
            tagged("Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"),
            "WHEEL is not valid: it lacks the tag \"py3-none-any\" of the file's name",
        ),
        (
            "a build that the name lacks",
            tagged("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nBuild: 1\nTag: py3-none-any\n"),
            "WHEEL is not valid: Build is \"1\", but not in the file's name",
        ),
        (
            "a later format",
            tagged("Wheel-Version: 2.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            "WHEEL is not valid: Wheel-Version is \"2.0\"; known is 1",
        ),
        (
            "a second dist-info",
            files(METADATA, WHEEL_FILE, &[("bar-1.0.dist-info/METADATA", METADATA)]).build(),
            "the archive has the folder \"bar-1.0.dist-info\"; it has to be \"foo-1.0.dist-info\", and the only one of its kind",
        ),
        (
            "a second dist-info of another spelling",
            files(METADATA, WHEEL_FILE, &[("foo-1.dist-info/METADATA", METADATA)]).build(),
            "the archive has the folder \"foo-1.dist-info\"; it has to be \"foo-1.0.dist-info\", and the only one of its kind",
        ),
        (
            "dist-info of another version",
            recorded("foo-2.0.dist-info", &[("foo-2.0.dist-info/METADATA", METADATA)]).build(),
            "the archive has the folder \"foo-2.0.dist-info\"; it has to be \"foo-1.0.dist-info\", and the only one of its kind",
        ),
        ("no dist-info", recorded("foo", &[]).build(), "the archive has no \"foo-1.0.dist-info\""),
        (
            "no METADATA",
            recorded(INFO, &[("foo-1.0.dist-info/WHEEL", WHEEL_FILE)]).build(),
            "the archive has no \"foo-1.0.dist-info/METADATA\"",
        ),
        (
            "no WHEEL",
            recorded(INFO, &[("foo-1.0.dist-info/METADATA", METADATA)]).build(),
            "the archive has no \"foo-1.0.dist-info/WHEEL\"",
        ),
        (
            "no RECORD",
            changed(|zip| drop(zip.parts.pop())),
            "the archive has no \"foo-1.0.dist-info/RECORD\"",
        ),
    ]
}

/// As wheel (setuptools), flit and hatchling write them, and with ZIP64 fields as Python does.
pub(in crate::archive) fn accepted() -> Vec<(&'static str, Zip)> {
    let setuptools: &[(&str, &[u8])] = &[
        ("foo-1.0.dist-info/entry_points.txt", b"[console_scripts]\nfoo = foo:main\n"),
        ("foo-1.0.dist-info/top_level.txt", b"foo\n"),
        ("foo-1.0.data/scripts/foo.sh", b"#!/bin/sh\n"),
    ];
    let mut setuptools = files(METADATA, WHEEL_FILE, setuptools);
    for part in &mut setuptools.parts {
        part.central.attributes = 0o100_664 << 16;
    }
    let hatchling = b"Metadata-Version: 2.4\nName: foo\nVersion: 1.0\nLicense-File: LICENSE.txt\n";
    let hatchling =
        files(hatchling, WHEEL_FILE, &[("foo-1.0.dist-info/licenses/LICENSE.txt", b"MIT\n")]);
    let mut folders = good();
    let mut folder = Part::stored("foo/", b"");
    folder.central.attributes = 0o040_755 << 16 | 0x10;
    folders.parts.insert(0, folder);
    let mut wide = good();
    wide.zip64 = true;
    let part = &mut wide.parts[0];
    let sizes = [u64::from(part.local.size), u64::from(part.local.packed)];
    part.local.extra = field(1, &sizes.map(u64::to_le_bytes).concat());
    (part.local.size, part.local.packed) = (u32::MAX, u32::MAX);
    vec![
        ("flit", good()),
        ("setuptools", setuptools),
        ("hatchling", hatchling),
        ("folders", folders),
        ("zip64", wide),
    ]
}
