//! Names that lead out, are there twice, or are something else than they look.

use super::Case;
use super::build_zip::{INIT, METADATA_AT, Part, changed, with};

fn named(name: &[u8], flags: u16) -> Vec<u8> {
    changed(|zip| {
        zip.parts[INIT].both(|head| (head.name, head.flags) = (name.to_vec(), flags));
    })
}

fn mode(mode: u32) -> Vec<u8> {
    changed(|zip| zip.parts[INIT].central.attributes = mode)
}

pub(in crate::archive) fn cases() -> Vec<Case> {
    vec![
        (
            "not UTF-8",
            named(b"foo/\xFF.py", 0),
            "zip: \"foo/\\u{fffd}.py\" has a name that is not UTF-8, which is not allowed",
        ),
        (
            "not UTF-8 though marked",
            named(b"foo/\xFF.py", 1 << 11),
            "zip: \"foo/\\u{fffd}.py\" has a name that is not UTF-8, which is not allowed",
        ),
        (
            "UTF-8 that is not marked",
            named("foo/é.py".as_bytes(), 0),
            "zip: \"foo/\\u{e9}.py\" has a name beyond ASCII that is not marked as UTF-8, which is not allowed",
        ),
        (
            "absolute",
            with("/etc/passwd"),
            "the archive has the name \"/etc/passwd\", which is an absolute path",
        ),
        (
            "out of the folder",
            with("../evil.py"),
            "the archive has the name \"../evil.py\", which leads out of its folder by \"..\"",
        ),
        (
            "out by a way round",
            with("foo/../../evil.py"),
            "the archive has the name \"foo/../../evil.py\", which leads out of its folder by \"..\"",
        ),
        (
            "a backslash",
            with("foo\\evil.py"),
            "the archive has the name \"foo\\\\evil.py\", which has a \"\\\", which some systems take for a \"/\"",
        ),
        (
            "a drive",
            with("C:evil.py"),
            "the archive has the name \"C:evil.py\", which begins with a drive",
        ),
        (
            "a zero byte",
            with("foo/a.py\0.txt"),
            "the archive has the name \"foo/a.py\\u{0}.txt\", which has a control character",
        ),
        (
            "a line feed",
            with("foo/a\n.py"),
            "the archive has the name \"foo/a\\n.py\", which has a control character",
        ),
        (
            "an empty part",
            with("foo//a.py"),
            "the archive has the name \"foo//a.py\", which has an empty part or \".\" in it",
        ),
        (
            "a part that is a dot",
            with("foo/./a.py"),
            "the archive has the name \"foo/./a.py\", which has an empty part or \".\" in it",
        ),
        ("no name", with(""), "the archive has the name \"\", which is empty"),
        (
            "twice",
            with("foo/__init__.py"),
            "the archive has \"foo/__init__.py\" and \"foo/__init__.py\", which are one file to some or all systems",
        ),
        (
            "twice but for case",
            with("Foo/__INIT__.py"),
            "the archive has \"Foo/__INIT__.py\" and \"foo/__init__.py\", which are one file to some or all systems",
        ),
        (
            "METADATA twice but for case",
            with("foo-1.0.dist-info/metadata"),
            "the archive has \"foo-1.0.dist-info/metadata\" and \"foo-1.0.dist-info/METADATA\", which are one file to some or all systems",
        ),
        (
            "a file and a folder of one name",
            with("foo/__init__.py/a.py"),
            "the archive has \"foo/__init__.py\" as a file and as a folder",
        ),
        (
            "a folder named as a file",
            changed(|zip| zip.parts.push(Part::stored("foo/__init__.py/", b""))),
            "the archive has \"foo/__init__.py\" and \"foo/__init__.py\", which are one file to some or all systems",
        ),
        (
            "a folder that hides bytes",
            changed(|zip| zip.parts.push(Part::stored("foo/a/", b"evil"))),
            "zip: \"foo/a/\" has bytes though it is a folder, which is not allowed",
        ),
        (
            "a folder that hides packed bytes",
            changed(|zip| zip.parts.push(Part::deflated("foo/a/", b""))),
            "zip: \"foo/a/\" has bytes though it is a folder, which is not allowed",
        ),
        (
            "a symbolic link",
            mode(0o120_777 << 16),
            "zip: \"foo/__init__.py\" has the mode of a symbolic link, which is not allowed",
        ),
        (
            "a device",
            mode(0o020_644 << 16),
            "zip: \"foo/__init__.py\" has a mode of something else than its name says, which is not allowed",
        ),
        (
            "a file with a folder's mode",
            mode(0o040_755 << 16),
            "zip: \"foo/__init__.py\" has a mode of something else than its name says, which is not allowed",
        ),
        (
            "a file with a folder's DOS attribute",
            mode(0x10),
            "zip: \"foo/__init__.py\" has a mode of something else than its name says, which is not allowed",
        ),
        (
            "a file with DOS's mark of a volume's name",
            mode(0x08),
            "zip: \"foo/__init__.py\" has the mark of a volume's name, which unpackers skip or take for a file, which is not allowed",
        ),
        (
            "a folder with that mark",
            changed(|zip| {
                let mut folder = Part::stored("foo/", b"");
                folder.central.attributes = 0o040_755 << 16 | 0x18;
                zip.parts.push(folder);
            }),
            "zip: \"foo/\" has the mark of a volume's name, which unpackers skip or take for a file, which is not allowed",
        ),
        (
            "METADATA as a link",
            changed(|zip| zip.parts[METADATA_AT].central.attributes = 0o120_777 << 16),
            "zip: \"foo-1.0.dist-info/METADATA\" has the mode of a symbolic link, which is not allowed",
        ),
    ]
}
