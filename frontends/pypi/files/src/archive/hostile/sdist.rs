//! Sdists that unpackers would lose step over, that lead out, or that lack what has to be there.

use super::build_tar::{Block, Tar, gzip, pax};
use super::{Case, METADATA};

fn header(change: impl Fn(&mut Block)) -> Vec<u8> {
    let mut block = Block::new("foo-1.0/a.py", b'0', 0);
    change(&mut block);
    Tar::good().entry(block, b"").build()
}

fn kind(kind: u8) -> Vec<u8> {
    header(|block| block.put(156, &[kind]))
}

fn named(name: &str) -> Vec<u8> {
    Tar::good().pax(&[("path", name)]).file("foo-1.0/x", b"").build()
}

fn link(kind: u8, target: &str) -> Vec<u8> {
    Tar::good().link("foo-1.0/a", kind, target).build()
}

fn extended(kind: u8, data: &[u8]) -> Vec<u8> {
    Tar::good().extension(kind, data).file("foo-1.0/x", b"").build()
}

pub(in crate::archive) fn records() -> Vec<Case> {
    let mut sum = Tar::good();
    sum.0[0] = b'g';
    vec![
        (
            "a size of its own in PAX",
            Tar::good().pax(&[("size", "512")]).file("foo-1.0/x", b"").build(),
            "tar: the PAX or GNU extension at byte 2560 (unpacked) tells another size than the entry's header",
        ),
        (
            "a PAX size of 0 for a file with bytes",
            Tar::good().pax(&[("size", "0")]).file("foo-1.0/x", &[0; 512]).build(),
            "tar: the PAX or GNU extension at byte 2560 (unpacked) tells another size than the entry's header",
        ),
        (
            "a key twice in PAX",
            Tar::good()
                .pax(&[("path", "foo-1.0/a"), ("path", "foo-1.0/b")])
                .file("foo-1.0/x", b"")
                .build(),
            "tar: the PAX or GNU extension at byte 1536 (unpacked) has two records of one key",
        ),
        (
            "a PAX record longer than all",
            extended(b'x', b"99 path=foo-1.0/a\n"),
            "tar: the PAX or GNU extension at byte 1536 (unpacked) is not records of \"length key=value\"",
        ),
        (
            "a global path",
            extended(b'g', &pax(&[("path", "foo-1.0/a")])),
            "tar: the PAX or GNU extension at byte 1536 (unpacked) is global and says more than a comment",
        ),
        (
            "a sparse file by PAX",
            extended(b'x', &pax(&[("GNU.sparse.size", "9")])),
            "tar: the PAX or GNU extension at byte 1536 (unpacked) makes a sparse file of it",
        ),
        (
            "another character set",
            extended(b'x', &pax(&[("hdrcharset", "BINARY")])),
            "tar: the PAX or GNU extension at byte 1536 (unpacked) says another character set",
        ),
        (
            "a name that is not UTF-8",
            extended(b'x', b"11 path=\xFF\xFF\n"),
            "tar: the PAX or GNU extension at byte 1536 (unpacked) has a name that is not UTF-8",
        ),
        (
            "PAX twice",
            Tar::good()
                .pax(&[("path", "foo-1.0/a")])
                .pax(&[("mtime", "1")])
                .file("foo-1.0/x", b"")
                .build(),
            "tar: the PAX or GNU extension at byte 2560 (unpacked) follows another one for the same entry",
        ),
        (
            "PAX and a GNU name",
            Tar::good()
                .pax(&[("path", "foo-1.0/a")])
                .extension(b'L', b"foo-1.0/b\0")
                .file("foo-1.0/x", b"")
                .build(),
            "tar: the PAX or GNU extension at byte 2560 (unpacked) follows another one for the same entry",
        ),
        (
            "PAX of no entry",
            Tar::good().pax(&[("path", "foo-1.0/a")]).build(),
            "tar: the PAX or GNU extension at byte 2560 (unpacked) belongs to no entry",
        ),
        (
            "another checksum",
            sum.build(),
            "tar: the header at byte 0 (unpacked) has another checksum than its bytes",
        ),
        (
            "a binary size",
            header(|block| block.put(124, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            "tar: the header at byte 1536 (unpacked) has a size that is no octal number",
        ),
        (
            "the old format",
            header(|block| block.put(257, &[0; 8])),
            "tar: the header at byte 1536 (unpacked) is neither of the ustar format nor of GNU's",
        ),
        (
            "bytes behind a name",
            header(|block| block.put(50, b"evil")),
            "tar: the header at byte 1536 (unpacked) has bytes behind the end of a name",
        ),
        (
            "a folder with bytes",
            Tar::good().entry(Block::new("foo-1.0/a/", b'5', 512), &[0; 512]).build(),
            "tar: the header at byte 1536 (unpacked) has a size though it is no file's",
        ),
        (
            "a file named as a folder",
            Tar::good().file("foo-1.0/a/", b"").build(),
            "tar: the header at byte 1536 (unpacked) is not a folder's but its name ends with \"/\"",
        ),
        (
            "a link named as a folder",
            Tar::good().link("foo-1.0/a/", b'2', "PKG-INFO").build(),
            "tar: the header at byte 1536 (unpacked) is not a folder's but its name ends with \"/\"",
        ),
        (
            "an unknown type",
            kind(b'7'),
            "tar: the header at byte 1536 (unpacked) has a type that not every unpacker knows",
        ),
    ]
}

pub(in crate::archive) fn kinds_and_names() -> Vec<Case> {
    vec![
        (
            "a device",
            kind(b'3'),
            "tar: \"foo-1.0/a.py\" is a device; an sdist has files, folders, and links that stay inside",
        ),
        (
            "a block device",
            kind(b'4'),
            "tar: \"foo-1.0/a.py\" is a device; an sdist has files, folders, and links that stay inside",
        ),
        (
            "a pipe",
            kind(b'6'),
            "tar: \"foo-1.0/a.py\" is a named pipe; an sdist has files, folders, and links that stay inside",
        ),
        (
            "a sparse file",
            kind(b'S'),
            "tar: \"foo-1.0/a.py\" is a sparse file; an sdist has files, folders, and links that stay inside",
        ),
        (
            "absolute",
            named("/etc/passwd"),
            "the archive has the name \"/etc/passwd\", which is an absolute path",
        ),
        (
            "out of the folder",
            named("foo-1.0/../../evil"),
            "the archive has the name \"foo-1.0/../../evil\", which leads out of its folder by \"..\"",
        ),
        (
            "twice",
            named("foo-1.0/PKG-INFO"),
            "the archive has \"foo-1.0/PKG-INFO\" and \"foo-1.0/PKG-INFO\", which are one file to some or all systems",
        ),
        (
            "below a file",
            named("foo-1.0/PKG-INFO/a"),
            "the archive has \"foo-1.0/PKG-INFO\" as a file and as a folder",
        ),
        (
            "a link out",
            link(b'2', "../../etc/passwd"),
            "tar: \"foo-1.0/a\" is a link to \"../../etc/passwd\", which leads out of the one folder, or to itself",
        ),
        (
            "an absolute link",
            link(b'2', "/etc/passwd"),
            "tar: \"foo-1.0/a\" is a link to \"/etc/passwd\", which leads out of the one folder, or to itself",
        ),
        (
            "a link to itself",
            link(b'2', "a"),
            "tar: \"foo-1.0/a\" is a link to \"a\", which leads out of the one folder, or to itself",
        ),
        (
            "a hard link out",
            link(b'1', "/etc/passwd"),
            "tar: \"foo-1.0/a\" is a link to \"/etc/passwd\", which is no file before it in the archive",
        ),
        (
            "entries below a link",
            Tar::good().link("foo-1.0/a", b'2', ".").file("foo-1.0/a/b", b"").build(),
            "the archive has \"foo-1.0/a\" as a file and as a folder",
        ),
        (
            "another folder",
            Tar::default().file("bar-1.0/PKG-INFO", METADATA).build(),
            "the archive has the folder \"bar-1.0\"; it has to be \"foo-1.0\", and the only one of its kind",
        ),
        (
            "two folders",
            Tar::good().file("bar-1.0/a", b"").build(),
            "the archive has the folder \"bar-1.0\"; it has to be \"foo-1.0\", and the only one of its kind",
        ),
        (
            "a file beside the folder",
            Tar::good().file("evil", b"").build(),
            "tar: \"evil\" is not in the folder \"foo-1.0\", which everything has to be in",
        ),
        (
            "no PKG-INFO",
            Tar::default().file("foo-1.0/a", b"").build(),
            "the archive has no \"foo-1.0/PKG-INFO\"",
        ),
        (
            "PKG-INFO as a link",
            Tar::default().link("foo-1.0/PKG-INFO", b'2', "a").build(),
            "the archive has no \"foo-1.0/PKG-INFO\"",
        ),
        (
            "PKG-INFO of another version",
            Tar::default()
                .file("foo-1.0/PKG-INFO", b"Metadata-Version: 2.1\nName: foo\nVersion: 2.0\n")
                .build(),
            "the metadata in the file are of foo 2.0, but the file is named for foo 1.0",
        ),
    ]
}

pub(in crate::archive) fn streams() -> Vec<Case> {
    let good = Tar::good();
    let whole = good.clone().build();
    let mut damaged = whole.clone();
    let crc = damaged.len() - 8;
    damaged[crc] ^= 1;
    vec![
        ("nothing", Vec::new(), "tar: it is cut off: no empty block marks its end"),
        ("no gzip", good.clone().ended(), "tar: its gzip stream is damaged or cut off"),
        ("another checksum", damaged, "tar: its gzip stream is damaged or cut off"),
        (
            "cut off",
            whole[..whole.len() - 9].to_vec(),
            "tar: it is cut off: no empty block marks its end",
        ),
        ("no end", gzip(&good.0), "tar: it is cut off: no empty block marks its end"),
        (
            "two members",
            [whole.clone(), gzip(b"evil")].concat(),
            "tar: something follows its gzip stream: it has to be one member, and the file's end",
        ),
        (
            "bytes behind the member",
            [whole, b"\0".to_vec()].concat(),
            "tar: something follows its gzip stream: it has to be one member, and the file's end",
        ),
        (
            "an entry behind the end",
            gzip(&[good.clone().ended(), good.ended()].concat()),
            "tar: something follows the empty block that marks its end",
        ),
    ]
}

/// As setuptools and flit (PAX), hatchling, and GNU's tar write them.
pub(in crate::archive) fn accepted() -> Vec<(&'static str, Tar)> {
    let long = format!("foo-1.0/{}/a.py", "long/".repeat(30).trim_end_matches('/'));
    let mut gnu = Block::new("foo-1.0/b.py", b'0', 0);
    gnu.put(257, b"ustar  \0");
    vec![
        (
            "flit",
            Tar::default()
                .file("foo-1.0/foo/__init__.py", b"x = 1\n")
                .file("foo-1.0/PKG-INFO", METADATA),
        ),
        (
            "setuptools",
            Tar::good().pax(&[("mtime", "1.5"), ("path", &long)]).file("foo-1.0/x", b"x"),
        ),
        ("gnu", Tar::good().extension(b'L', format!("{long}\0").as_bytes()).entry(gnu, b"")),
        (
            "git",
            Tar::default()
                .extension(b'g', &pax(&[("comment", "0123")]))
                .file("foo-1.0/PKG-INFO", METADATA),
        ),
        (
            "links",
            Tar::good().link("foo-1.0/a", b'2', "PKG-INFO").link(
                "foo-1.0/b",
                b'1',
                "foo-1.0/PKG-INFO",
            ),
        ),
    ]
}
