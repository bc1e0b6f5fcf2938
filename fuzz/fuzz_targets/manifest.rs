//! Any bytes with any content type (the first line): the same answer twice, and sound facts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_engine::manifest::{Limits, Manifest};

fuzz_target!(|input: &[u8]| {
    let cut = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (first, bytes) = input.split_at(cut);
    let content_type = std::str::from_utf8(first).ok().filter(|line| !line.is_empty());
    let limits = Limits::default();
    let result = Manifest::parse(bytes, content_type, &limits);
    assert_eq!(result, Manifest::parse(bytes, content_type, &limits));
    let Ok(manifest) = result else { return };
    assert_eq!(manifest.kind.media_type(), manifest.media_type);
    assert_eq!(manifest.config.is_some(), !manifest.kind.is_index());
    // Once judged, its own media type as content type changes nothing.
    assert_eq!(Ok(&manifest), Manifest::parse(bytes, Some(&manifest.media_type), &limits).as_ref());
});
