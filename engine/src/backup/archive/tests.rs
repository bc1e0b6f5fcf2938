//! Every byte of an archive counts.

use proptest::prelude::*;

use super::*;
use crate::digest::Algorithm;
use crate::id::{OrganisationId, SessionId};
use crate::keys::object;

fn header() -> ArchiveHeader {
    ArchiveHeader {
        id: BackupId(7),
        created_at: Timestamp(1_700_000_000_123),
        format: vec![1, 1, 0],
        pinned: false,
        program: "golden".to_owned(),
    }
}

fn sample_object(size: u64) -> ArchiveObject {
    let digest = Digest::of(Algorithm::Sha256, b"golden");
    let key = object::settled(OrganisationId(1), &digest, SessionId([9; 16]));
    ArchiveObject { key, size, digest }
}

fn write(header: &ArchiveHeader, entries: &[ArchiveEntry]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), header).unwrap();
    for entry in entries {
        match entry {
            ArchiveEntry::Row(key, value) => writer.row(key, value).unwrap(),
            ArchiveEntry::Object(object) => writer.object(object).unwrap(),
        }
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<(ArchiveHeader, Vec<ArchiveEntry>), ArchiveError> {
    let mut reader = ArchiveReader::open(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    assert!(reader.next_entry()?.is_none());
    Ok((reader.header().clone(), entries))
}

fn sample() -> Vec<ArchiveEntry> {
    vec![
        ArchiveEntry::Row(b"a".to_vec(), Bytes::from_static(b"first")),
        ArchiveEntry::Object(sample_object(6)),
        ArchiveEntry::Row(b"b".to_vec(), Bytes::new()),
        ArchiveEntry::Row(b"c\0".to_vec(), Bytes::from(vec![0x5a; 300])),
    ]
}

#[test]
fn an_archive_is_as_its_golden_file() {
    let bytes = write(&header(), &sample());
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/backup.v1.archive.bin");
    if std::env::var_os("STRONGROOM_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(const_hex::encode(&bytes), const_hex::encode(std::fs::read(&path).unwrap()));
}

#[test]
fn no_byte_can_be_changed_taken_or_added() {
    let bytes = write(&header(), &sample());
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut other = bytes.clone();
            other[at] ^= flip;
            assert!(read(&other).is_err(), "byte {at} changed by {flip:#x}");
        }
        let torn = read(&bytes[..at]).unwrap_err();
        let early = matches!(torn, ArchiveError::NotAnArchive) && at < MAGIC.len();
        assert!(
            early || matches!(torn, ArchiveError::Torn { at: end } if end == at as u64),
            "{torn}"
        );
    }
    let longer = read(&[bytes.as_slice(), b"\0"].concat()).unwrap_err();
    assert!(matches!(longer, ArchiveError::Altered { .. }), "{longer}");
}

#[test]
fn what_does_not_fit_is_refused_though_its_hash_is_right() {
    let row = |key: &str| ArchiveEntry::Row(key.into(), Bytes::new());
    let object = || ArchiveEntry::Object(sample_object(1));
    for (entries, what) in [
        (vec![row("b"), row("a")], "not in order"),
        (vec![row("a"), row("a")], "not in order"),
        (vec![object()], "no row"),
        (vec![row("a"), object(), object()], "no row"),
        (vec![row(&"k".repeat(MAX_KEY_BYTES + 1))], "too long"),
    ] {
        let error = read(&write(&header(), &entries)).unwrap_err().to_string();
        assert!(error.contains(what), "{entries:?}: {error}");
    }
    let later = [MAGIC.as_slice(), b"H", &1_u32.to_be_bytes(), &[VERSION + 1]].concat();
    assert!(matches!(read(&later), Err(ArchiveError::Version { found: 2 })));
    let huge = [MAGIC.as_slice(), b"H", &u32::MAX.to_be_bytes()].concat();
    assert!(read(&huge).unwrap_err().to_string().contains("too long"));
}

fn entries() -> impl Strategy<Value = Vec<ArchiveEntry>> {
    let row = (any::<Vec<u8>>(), any::<Option<u64>>());
    proptest::collection::btree_map(proptest::collection::vec(any::<u8>(), 1..40), row, 0..20)
        .prop_map(|rows| {
            let mut entries = Vec::new();
            for (key, (value, object)) in rows {
                entries.push(ArchiveEntry::Row(key, value.into()));
                entries.extend(object.map(|size| ArchiveEntry::Object(sample_object(size))));
            }
            entries
        })
}

proptest! {
    #[test]
    fn what_was_written_is_read(entries in entries(), pinned: bool, id: u64) {
        let header = ArchiveHeader { id: BackupId(id), pinned, ..header() };
        let bytes = write(&header, &entries);
        let (found, read) = read(&bytes).unwrap();
        prop_assert_eq!(found, header);
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn whatever_is_in_a_file_the_reader_answers(bytes: Vec<u8>) {
        let whole = [MAGIC.as_slice(), &bytes].concat();
        prop_assert!(read(&whole).is_err());
    }
}
