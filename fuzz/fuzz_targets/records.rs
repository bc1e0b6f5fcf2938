//! A row's value as a damaged disk may give it back (the first byte chooses the record): refused, or
//! read and written again without a change.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_engine::testing;

fuzz_target!(|input: &[u8]| {
    if let Some((kind, value)) = input.split_first() {
        testing::reread(*kind, value);
    }
});
