//! What the fuzz targets outside this crate need of its inside.

use std::fmt::Debug;

use crate::audit::{decode_event, encode_event};
use crate::records::{
    BlobRecord, FormatRecord, LinkRecord, ManifestRecord, MemberRecord, NameRecord,
    OrganisationRecord, Record, ReferrerRecord, RegistryRecord, RepositoryRecord, SessionRecord,
    TagRecord,
};

/// Reads `value` as the record that `kind` chooses and, where it can be read, writes and reads it
/// again.
///
/// # Panics
///
/// Where the second reading differs from the first.
pub fn reread(kind: u8, value: &[u8]) {
    match kind % 13 {
        0 => again::<FormatRecord>(value),
        1 => again::<NameRecord>(value),
        2 => again::<OrganisationRecord>(value),
        3 => again::<RegistryRecord>(value),
        4 => again::<MemberRecord>(value),
        5 => again::<RepositoryRecord>(value),
        6 => again::<SessionRecord>(value),
        7 => again::<BlobRecord>(value),
        8 => again::<LinkRecord>(value),
        9 => again::<ManifestRecord>(value),
        10 => again::<TagRecord>(value),
        11 => again::<ReferrerRecord>(value),
        _ => {
            if let Ok(event) = decode_event(value) {
                assert_eq!(decode_event(&encode_event(&event)).as_ref(), Ok(&event));
            }
        }
    }
}

fn again<T: Record + PartialEq + Debug>(value: &[u8]) {
    if let Ok(record) = T::decode(value) {
        assert_eq!(T::decode(&record.encode()).as_ref(), Ok(&record));
    }
}
