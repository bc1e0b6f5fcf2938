//! Any text as the name of a distribution file: what is taken is no path, and is found again by its
//! canonical form; what is told of the others can stand in a header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_python::{FileName, Version};

fuzz_target!(|text: &str| {
    match FileName::parse(text) {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!(!text.contains(['/', '\\', '\r', '\n', '\0', ' ']));
            assert_eq!(FileName::parse_published(text).as_ref(), Ok(&name));
            let canonical = FileName::parse_published(&name.canonical()).unwrap();
            assert_eq!(canonical.canonical(), name.canonical());
            assert_eq!(canonical.project(), name.project());
            assert_eq!(canonical.version(), name.version());
            let tag = name.version().tag();
            assert_eq!(Version::from_tag(&tag).as_ref(), Ok(name.version()));
        }
        Err(error) => assert!(!error.to_string().contains(['\r', '\n', '\x1b'])),
    }
});
