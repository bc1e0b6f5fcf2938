//! Any bytes as a wheel: an answer, the same one twice, and within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_fuzz::is_archive;

const NAME: &str = "foo-1.0-py3-none-any.whl";

fuzz_target!(|input: &[u8]| {
    if is_archive(NAME, input) {
        // What ends such a file can't be taken away, either.
        assert!(!is_archive(NAME, &input[..input.len() - 1]));
    }
});
