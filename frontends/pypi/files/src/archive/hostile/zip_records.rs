//! Records that two readers would take for two archives.

use super::Case;
use super::build_zip::{INIT, Part, Zip, changed, field, good, unsized_record};

fn part(change: impl Fn(&mut Part)) -> Vec<u8> {
    changed(|zip| change(&mut zip.parts[INIT]))
}

/// Both headers of the first entry say this size; `RECORD` says none.
fn sized(size: u32) -> Vec<u8> {
    changed(|zip| {
        zip.parts[INIT].both(|head| head.size = size);
        unsized_record(zip);
    })
}

/// Puts `bytes` at so many bytes from the end.
fn end(mut archive: Vec<u8>, from_end: usize, bytes: &[u8]) -> Vec<u8> {
    let at = archive.len() - from_end;
    archive[at..at + bytes.len()].copy_from_slice(bytes);
    archive
}

fn behind(mut archive: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    archive.extend(bytes);
    archive
}

fn large() -> Vec<u8> {
    changed(|zip| zip.zip64 = true)
}

pub(in crate::archive) fn headers() -> Vec<Case> {
    vec![
        (
            "another name",
            part(|part| part.local.name[0] = b'g'),
            "zip: for \"foo/__init__.py\" the local header and the central directory have another name",
        ),
        (
            "another size",
            part(|part| part.local.size += 1),
            "zip: for \"foo/__init__.py\" the local header and the central directory have another size or checksum",
        ),
        (
            "another packed size",
            part(|part| part.central.packed -= 1),
            "zip: for \"foo/__init__.py\" the local header and the central directory have another size or checksum",
        ),
        (
            "another checksum",
            part(|part| part.local.crc ^= 1),
            "zip: for \"foo/__init__.py\" the local header and the central directory have another size or checksum",
        ),
        (
            "another method",
            part(|part| part.local.method = 0),
            "zip: for \"foo/__init__.py\" the local header and the central directory have another method of compression",
        ),
        (
            "other flags",
            part(|part| part.local.flags = 1 << 11),
            "zip: for \"foo/__init__.py\" the local header and the central directory have another set of flags",
        ),
        (
            "a data descriptor",
            part(|part| part.both(|head| head.flags = 1 << 3)),
            "zip: \"foo/__init__.py\" has a data descriptor, so that its size stands behind its bytes, which is not allowed",
        ),
        (
            "a data descriptor, sizes in the directory alone",
            part(|part| {
                part.both(|head| head.flags = 1 << 3);
                (part.local.crc, part.local.packed, part.local.size) = (0, 0, 0);
                part.after = b"PK\x07\x08............".to_vec();
            }),
            "zip: \"foo/__init__.py\" has a data descriptor, so that its size stands behind its bytes, which is not allowed",
        ),
        (
            "encrypted",
            part(|part| part.both(|head| head.flags = 1)),
            "zip: \"foo/__init__.py\" has encryption, which is not allowed",
        ),
        (
            "masked headers",
            part(|part| part.both(|head| head.flags = 1 << 13)),
            "zip: \"foo/__init__.py\" has flags of which unpackers make different things, which is not allowed",
        ),
        (
            "patch data",
            part(|part| part.both(|head| head.flags = 1 << 5)),
            "zip: \"foo/__init__.py\" has flags of which unpackers make different things, which is not allowed",
        ),
        (
            "bzip2",
            part(|part| part.both(|head| head.method = 12)),
            "zip: \"foo/__init__.py\" has a method of compression other than stored and deflated, which is not allowed",
        ),
        (
            "method 99",
            part(|part| part.both(|head| head.method = 99)),
            "zip: \"foo/__init__.py\" has a method of compression other than stored and deflated, which is not allowed",
        ),
        (
            "stored with two sizes",
            part(|part| part.both(|head| head.method = 0)),
            "zip: \"foo/__init__.py\" has two sizes though it is stored, which is not allowed",
        ),
        (
            "a comment in the directory",
            part(|part| part.central.comment = b"hi".to_vec()),
            "zip: \"foo/__init__.py\" has a comment in the central directory, which is not allowed",
        ),
        (
            "another disk",
            part(|part| part.central.disk = 1),
            "zip: \"foo/__init__.py\" has its bytes in another part of the archive, which is not allowed",
        ),
        (
            "two extra fields",
            part(|part| {
                part.both(|head| head.extra = [field(0x5455, b""), field(0x5455, b"")].concat());
            }),
            "zip: \"foo/__init__.py\" has two extra fields of one kind, which is not allowed",
        ),
        (
            "two extra fields in the local header",
            part(|part| part.local.extra = [field(0x7875, b""), field(0x7875, b"")].concat()),
            "zip: \"foo/__init__.py\" has two extra fields of one kind, which is not allowed",
        ),
        (
            "two ZIP64 fields",
            part(|part| part.central.extra = [field(1, b""), field(1, b"")].concat()),
            "zip: \"foo/__init__.py\" has two extra fields of one kind, which is not allowed",
        ),
        (
            "an extra field longer than all",
            part(|part| part.both(|head| head.extra = vec![1, 2, 200, 0])),
            "zip: \"foo/__init__.py\" has extra fields that do not end where they say, which is not allowed",
        ),
        (
            "three bytes of an extra field",
            part(|part| part.both(|head| head.extra = vec![1, 2, 0])),
            "zip: \"foo/__init__.py\" has extra fields that do not end where they say, which is not allowed",
        ),
        (
            "a Unicode name of its own",
            part(|part| part.both(|head| head.extra = field(0x7075, b"\x01....bar.py"))),
            "zip: \"foo/__init__.py\" has another name in a Unicode field, which is not allowed",
        ),
        (
            "a Unicode name in the local header alone",
            part(|part| part.local.extra = field(0x7075, b"\x01....bar.py")),
            "zip: \"foo/__init__.py\" has another name in a Unicode field, which is not allowed",
        ),
        (
            "a Unicode field without a name",
            part(|part| part.local.extra = field(0x7075, b"")),
            "zip: \"foo/__init__.py\" has another name in a Unicode field, which is not allowed",
        ),
        (
            "a ZIP64 field that nothing asks for",
            part(|part| part.central.extra = field(1, &[0; 8])),
            "zip: \"foo/__init__.py\" has a ZIP64 field with numbers that no full field asks for, which is not allowed",
        ),
        (
            "other sizes in a local ZIP64 field",
            part(|part| part.local.extra = field(1, &[9; 16])),
            "zip: \"foo/__init__.py\" has a ZIP64 field with numbers that no full field asks for, which is not allowed",
        ),
        (
            "an empty ZIP64 field",
            part(|part| part.central.extra = field(1, b"")),
            "zip: \"foo/__init__.py\" has a ZIP64 field with numbers that no full field asks for, which is not allowed",
        ),
        (
            "a full size without ZIP64",
            part(|part| part.both(|head| head.size = u32::MAX)),
            "zip: \"foo/__init__.py\" has a full field without its number in a ZIP64 field, which is not allowed",
        ),
        (
            "one local size full",
            part(|part| {
                part.central.extra = field(1, &[0; 8]);
                part.local.extra = field(1, &[0; 8]);
                part.both(|head| head.size = u32::MAX);
            }),
            "zip: \"foo/__init__.py\" has one of its sizes in a ZIP64 field and the other not, which is not allowed",
        ),
    ]
}

pub(in crate::archive) fn places() -> Vec<Case> {
    let whole = good().build();
    let nested = changed(|zip| {
        let inner = good().build();
        zip.parts.push(Part::stored("foo/inner.whl", &inner));
    });
    vec![
        (
            "nothing",
            Vec::new(),
            "zip: it does not end with an end-of-central-directory record without a comment",
        ),
        (
            "cut off",
            whole[..whole.len() - 1].to_vec(),
            "zip: it does not end with an end-of-central-directory record without a comment",
        ),
        (
            "trailing bytes",
            behind(whole.clone(), b"\0"),
            "zip: it does not end with an end-of-central-directory record without a comment",
        ),
        (
            "an archive comment",
            behind(end(whole.clone(), 2, &[2, 0]), b"hi"),
            "zip: it does not end with an end-of-central-directory record without a comment",
        ),
        (
            "two archives in a row",
            [whole.clone(), whole.clone()].concat(),
            "zip: its end records are wrong: the central directory does not end where they begin",
        ),
        (
            "an end record as the comment of another",
            behind(end(whole.clone(), 2, &[22, 0]), &Zip::default().build()),
            "zip: its end records are wrong: the central directory does not end where they begin",
        ),
        (
            "a prefix",
            changed(|zip| zip.prefix = b"#!/bin/sh\n".to_vec()),
            "zip: its end records are wrong: the central directory does not end where they begin",
        ),
        (
            "a prefix that the places count",
            changed(|zip| {
                zip.prefix = b"#!/bin/sh\n".to_vec();
                zip.counts_prefix = true;
            }),
            "zip: at byte 0 there is no local header: the file has bytes that belong to no record, or lacks some",
        ),
        (
            "a gap before the directory",
            changed(|zip| zip.gap = b"gap".to_vec()),
            "zip: at byte 534 there is no record of the central directory: the file has bytes that belong to no record, or lacks some",
        ),
        (
            "a gap between entries",
            part(|part| part.after = b"gap".to_vec()),
            "zip: at byte 53 there is no local header: the file has bytes that belong to no record, or lacks some",
        ),
        (
            "an entry that the directory hides",
            changed(|zip| zip.hidden = Some(INIT)),
            "zip: at byte 0 there is no local header: the file has bytes that belong to no record, or lacks some",
        ),
        (
            "the last entry hidden",
            changed(|zip| {
                zip.parts.push(Part::stored("evil.py", b"evil"));
                zip.hidden = Some(4);
            }),
            "zip: at byte 534 there is no record of the central directory: the file has bytes that belong to no record, or lacks some",
        ),
        (
            "two records of one local header",
            changed(|zip| zip.parts[1].central.offset = Some(0)),
            "zip: at byte 53 there is no local header: the file has bytes that belong to no record, or lacks some",
        ),
        (
            "a place in the directory",
            changed(|zip| zip.parts[3].central.offset = Some(540)),
            "zip: at byte 283 there is no local header: the file has bytes that belong to no record, or lacks some",
        ),
        (
            "another signature of a local header",
            part(|part| part.local.signature[3] = 0),
            "zip: at byte 0 there is no local header: the file has bytes that belong to no record, or lacks some",
        ),
        (
            "another signature in the directory",
            part(|part| part.central.signature[3] = 0),
            "zip: at byte 534 there is no record of the central directory: the file has bytes that belong to no record, or lacks some",
        ),
        (
            "bytes behind the directory's records",
            changed(|zip| zip.behind_directory = b"PK\x05\x05\0\0".to_vec()),
            "zip: its end records are wrong: they say another size of the directory than its records have",
        ),
        (
            "fewer entries than there are",
            end(whole.clone(), 14, &[3, 0, 3, 0]),
            "zip: its end records are wrong: they say another size of the directory than its records have",
        ),
        (
            "more entries than there are",
            end(whole.clone(), 14, &[5, 0, 5, 0]),
            "zip: at byte 806 there is no record of the central directory: the file has bytes that belong to no record, or lacks some",
        ),
        (
            "two counts of entries",
            end(whole.clone(), 14, &[3, 0]),
            "zip: its end records are wrong: the archive is in several parts",
        ),
        (
            "another disk at the end",
            end(whole.clone(), 18, &[1, 0]),
            "zip: its end records are wrong: the archive is in several parts",
        ),
        (
            "a full field without ZIP64",
            end(whole.clone(), 14, &[0xFF; 4]),
            "zip: its end records are wrong: a field is full but there is no ZIP64 record",
        ),
        (
            "ZIP64 with another count",
            end(large(), 14, &[3, 0, 3, 0]),
            "zip: its end records are wrong: the ZIP64 record says another thing than the one after it",
        ),
        (
            "ZIP64 with another directory",
            end(large(), 6, &[0; 4]),
            "zip: its end records are wrong: the ZIP64 record says another thing than the one after it",
        ),
        (
            "a locator to somewhere else",
            end(large(), 34, &[7]),
            "zip: its end records are wrong: the ZIP64 locator does not point to the record before it",
        ),
        (
            "a ZIP64 record with more fields",
            end(large(), 94, &[60]),
            "zip: its end records are wrong: the ZIP64 record is not there, or has more than its fields",
        ),
        (
            "a ZIP64 record that is none",
            end(large(), 98, b"XX"),
            "zip: its end records are wrong: the ZIP64 record is not there, or has more than its fields",
        ),
        (
            "a wheel in a wheel, not in RECORD",
            nested,
            "RECORD does not agree with the archive: it does not list \"foo/inner.whl\"",
        ),
    ]
}

pub(in crate::archive) fn contents() -> Vec<Case> {
    vec![
        (
            "more than said",
            sized(5),
            "zip: the bytes of \"foo/__init__.py\" are not what its header says: there are more",
        ),
        (
            "fewer than said",
            sized(7),
            "zip: the bytes of \"foo/__init__.py\" are not what its header says: there are fewer",
        ),
        (
            "a checksum that both have wrong",
            part(|part| part.both(|head| head.crc ^= 1)),
            "zip: the bytes of \"foo/__init__.py\" are not what its header says: they have another checksum",
        ),
        (
            "bytes behind the compressed stream",
            part(|part| {
                part.data.extend(b"evil");
                part.both(|head| head.packed += 4);
            }),
            "zip: the bytes of \"foo/__init__.py\" are not what its header says: there are more behind the end of its compressed stream",
        ),
        (
            "no compressed stream",
            part(|part| part.data.fill(0xFF)),
            "zip: the bytes of \"foo/__init__.py\" are not what its header says: they are no valid compressed stream",
        ),
        // A stored block that is not the last, with nothing behind it.
        (
            "a compressed stream without an end",
            part(|part| {
                part.data = b"\0\x06\0\xF9\xFFx = 1\n".to_vec();
                part.both(|head| head.packed = 11);
            }),
            "zip: the bytes of \"foo/__init__.py\" are not what its header says: they are no valid compressed stream",
        ),
    ]
}
