//! A digest prints what it was parsed from, in both forms; a saved hash goes on or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_engine::digest::{Digest, Hasher};

fuzz_target!(|input: &[u8]| {
    if let Some(digest) = Digest::from_bytes(input) {
        assert_eq!(digest.to_bytes(), input);
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        // A hash state of arbitrary bytes, as a damaged record could hold it.
        let mut saved = Hasher::new(digest.algorithm()).save();
        for (state, byte) in saved.state.iter_mut().zip(digest.raw()) {
            *state ^= byte;
        }
        if let Some(mut hasher) = Hasher::restore(&saved) {
            hasher.update(input);
            hasher.finish();
        }
    }
});
