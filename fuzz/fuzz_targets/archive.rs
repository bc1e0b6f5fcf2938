//! Any bytes as an archive: entries or an error, and what is read whole is written again byte for
//! byte. And a whole archive of the same bytes as rows, with one byte of it changed: refused.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use strongroom_engine::backup::{
    ArchiveEntry, ArchiveError, ArchiveHeader, ArchiveReader, ArchiveWriter,
};

fuzz_target!(|input: &[u8]| {
    if let Ok((header, entries)) = read(input) {
        assert_eq!(write(&header, &entries), input);
    }
    let header = ArchiveHeader {
        id: strongroom_engine::id::BackupId(1),
        created_at: strongroom_engine::seam::Timestamp(1),
        format: vec![1, 1, 0],
        pinned: false,
        program: String::new(),
    };
    let (place, rows) = input.split_first_chunk::<3>().unwrap_or((&[0; 3], input));
    // A row of each piece between zeros; the last of a key counts.
    let rows: BTreeMap<_, _> = rows
        .split(|byte| *byte == 0)
        .map(|row| row.split_at(row.len().min(8)))
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect();
    let entries: Vec<_> =
        rows.into_iter().map(|(key, value)| ArchiveEntry::Row(key, value.into())).collect();
    let mut bytes = write(&header, &entries);
    assert_eq!(read(&bytes).expect("it was just written").1, entries);
    let [high, low, change] = *place;
    let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
    bytes[at] ^= change;
    assert_eq!(read(&bytes).is_ok(), change == 0, "byte {at}");
    bytes[at] ^= change;
    assert!(read(&bytes[..at]).is_err(), "cut off at {at}");
});

fn read(bytes: &[u8]) -> Result<(ArchiveHeader, Vec<ArchiveEntry>), ArchiveError> {
    let mut reader = ArchiveReader::open(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok((reader.header().clone(), entries))
}

fn write(header: &ArchiveHeader, entries: &[ArchiveEntry]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), header).expect("memory takes it");
    for entry in entries {
        match entry {
            ArchiveEntry::Row(key, value) => writer.row(key, value),
            ArchiveEntry::Object(object) => writer.object(object),
        }
        .expect("memory takes it");
    }
    writer.finish().expect("memory takes it")
}
