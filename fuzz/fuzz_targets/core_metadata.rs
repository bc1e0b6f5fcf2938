//! Any bytes as core metadata: an answer, the same one twice; what is taken stays itself as JSON, and
//! what is told of it can stand in a header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_python::{CoreMetadata, ProjectName, Version};

fuzz_target!(|input: &[u8]| {
    let read = CoreMetadata::parse(input);
    assert_eq!(read, CoreMetadata::parse(input));
    match read {
        Ok(metadata) => {
            assert!(serde_json::to_vec(&metadata).is_ok());
            assert_eq!(ProjectName::parse(metadata.name.normalised()), Ok(metadata.name));
            let version = metadata.version.to_string();
            assert_eq!(Version::parse(&version), Ok(metadata.version));
        }
        Err(error) => assert!(!error.to_string().contains(['\r', '\n', '\x1b'])),
    }
});
