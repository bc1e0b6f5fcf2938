//! What several targets hold their input against.

use std::io::Cursor;

use strongroom_python::{ArchiveError, FileName, Limits, inspect};

/// As small as shows what they bound.
const BOUNDS: Limits = Limits {
    entries: 64,
    unpacked_bytes: 1 << 20,
    ratio: 50,
    ratio_from_bytes: 64 << 10,
    metadata_bytes: 64 << 10,
    record_bytes: 64 << 10,
};

/// Whether any bytes are an archive of this name. The answer is the same one twice, what is taken is within
/// bounds and as it is named, and nothing may be put behind it.
pub fn is_archive(name: &str, bytes: &[u8]) -> bool {
    let name = FileName::parse(name).unwrap();
    let found = inspect(&name, Cursor::new(bytes), &BOUNDS);
    let again = inspect(&name, Cursor::new(bytes), &BOUNDS);
    let text = |error: &ArchiveError| error.to_string();
    assert_eq!(found.as_ref().map_err(text), again.as_ref().map_err(text));
    let Ok(found) = found else { return false };
    assert!(found.entries <= BOUNDS.entries && found.unpacked_bytes <= BOUNDS.unpacked_bytes);
    assert_eq!((&found.metadata.name, &found.metadata.version), (name.project(), name.version()));
    assert!(inspect(&name, Cursor::new([bytes, b"x"].concat()), &BOUNDS).is_err());
    true
}
