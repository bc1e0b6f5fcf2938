//! The input as what stands inside an index's `manifests`: deep into descriptors at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_engine::manifest::{Limits, Manifest, ManifestKind};

fuzz_target!(|entries: &str| {
    let text = format!("{{\"schemaVersion\":2,\"manifests\":[{entries}]}}");
    let content_type = ManifestKind::OciIndex.media_type();
    let result = Manifest::parse(text.as_bytes(), Some(content_type), &Limits::default());
    let Ok(index) = result else { return };
    assert_eq!(index.children().count(), index.manifests.len());
    for child in index.children() {
        assert!(i64::try_from(child.size).is_ok());
        assert!(!child.foreign);
    }
});
