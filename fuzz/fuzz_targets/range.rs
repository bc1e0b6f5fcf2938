//! Whatever a Range header says, what is sent lies inside the content, is not empty and is never
//! more than the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_http::range::{Selection, select};

fuzz_target!(|input: &[u8]| {
    let Ok(header) = std::str::from_utf8(input) else { return };
    for length in [0, 1, 10, 1 << 40, u64::MAX] {
        if let Selection::Ranges(ranges) = select(header, length) {
            assert!(!ranges.is_empty());
            let mut sum = 0_u64;
            for range in ranges {
                assert!(range.start < range.end && range.end <= length);
                sum = sum.checked_add(range.end - range.start).expect("no more than the whole");
            }
            assert!(sum <= length);
        }
    }
});
