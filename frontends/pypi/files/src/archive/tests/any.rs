//! Whatever the bytes, there is an answer.

use proptest::prelude::*;

use super::*;
use crate::archive::hostile::build_tar::{Tar, gzip};
use crate::archive::hostile::build_zip::good;

proptest! {
    #[test]
    fn arbitrary_bytes_get_an_error(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(look(WHEEL, &bytes).is_err());
        prop_assert!(look(SDIST, &bytes).is_err());
        prop_assert!(look(SDIST, &gzip(&bytes)).is_err());
    }

    #[test]
    fn changed_archives_get_an_answer(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let change = |mut bytes: Vec<u8>| {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes
        };
        let wheel = change(good().build());
        let _ = look(WHEEL, &wheel);
        prop_assert!(look(WHEEL, &wheel[..cut.index(wheel.len())]).is_err());
        let sdist = change(Tar::good().ended());
        let _ = look(SDIST, &gzip(&sdist));
        let packed = change(Tar::good().build());
        let _ = look(SDIST, &packed);
        prop_assert!(look(SDIST, &packed[..cut.index(packed.len())]).is_err());
    }
}
