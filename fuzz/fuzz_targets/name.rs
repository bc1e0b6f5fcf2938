//! Names and references print what they were parsed from, and a path is its parts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_engine::name::{
    MAX_PATH, OrganisationName, Reference, RepositoryName, RepositoryPath, Tag,
};

fuzz_target!(|text: &str| {
    if let Ok(path) = text.parse::<RepositoryPath>() {
        assert_eq!(path.to_string(), text);
        assert!(text.len() <= MAX_PATH);
        assert!(text.parse::<RepositoryName>().is_ok());
    }
    if let Ok(organisation) = text.parse::<OrganisationName>() {
        assert_eq!(organisation.as_str(), text);
        assert!(!text.contains('/'));
    }
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string(), text);
        assert_eq!(matches!(reference, Reference::Tag(_)), text.parse::<Tag>().is_ok());
    }
});
