//! Archives that lie, and such as the usual tools make.

use std::io::Cursor;

use super::hostile::{Case, METADATA, SDIST, WHEEL, sdist, wheel, zip_names, zip_records};
use super::*;

mod any;
mod bombs;
mod python;

fn look(name: &str, bytes: &[u8]) -> Result<Inspected, ArchiveError> {
    inspect(&FileName::parse(name).unwrap(), Cursor::new(bytes), &Limits::default())
}

/// The error's text, with `zip:` and `tar:` for what all faults of their kind begin with.
fn verdict(name: &str, bytes: &[u8]) -> String {
    match look(name, bytes) {
        Ok(_) => "accepted".to_owned(),
        Err(ArchiveError::Zip(fault)) => format!("zip: {fault}"),
        Err(ArchiveError::Tar(fault)) => format!("tar: {fault}"),
        Err(other) => other.to_string(),
    }
}

fn all_refused(name: &str, cases: Vec<Case>) {
    let wrong: Vec<String> = cases
        .into_iter()
        .map(|(what, bytes, wanted)| (what, verdict(name, &bytes), wanted))
        .filter(|(_, got, wanted)| got != wanted)
        .map(|(what, got, wanted)| format!("{what}:\n  got    {got}\n  wanted {wanted}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn threat_c9_headers_that_disagree_or_have_two_readings() {
    all_refused(WHEEL, zip_records::headers());
}

#[test]
fn threat_c9_records_that_are_not_end_to_end() {
    all_refused(WHEEL, zip_records::places());
}

#[test]
fn threat_c9_bytes_that_are_not_what_their_header_says() {
    all_refused(WHEEL, zip_records::contents());
}

#[test]
fn threat_c9_names_and_kinds_of_entries() {
    all_refused(WHEEL, zip_names::cases());
}

#[test]
fn threat_c10_files_of_a_wheel_that_disagree() {
    all_refused(WHEEL, wheel::cases());
}

#[test]
fn wheels_of_the_usual_tools_are_accepted() {
    for (tool, zip) in wheel::accepted() {
        let found = look(WHEEL, &zip.build()).unwrap_or_else(|error| panic!("{tool}: {error}"));
        assert_eq!(found.entries, zip.parts.len() as u64, "{tool}");
        assert_eq!(found.metadata.name.normalised(), "foo", "{tool}");
    }
}

#[test]
fn threat_c11_records_that_unpackers_lose_step_over() {
    all_refused(SDIST, sdist::records());
}

#[test]
fn threat_c11_kinds_names_and_links() {
    all_refused(SDIST, sdist::kinds_and_names());
}

#[test]
fn threat_c11_streams_with_something_behind_or_missing() {
    all_refused(SDIST, sdist::streams());
}

#[test]
fn sdists_of_the_usual_tools_are_accepted() {
    for (tool, tar) in sdist::accepted() {
        let found = look(SDIST, &tar.build()).unwrap_or_else(|error| panic!("{tool}: {error}"));
        assert_eq!(found.metadata_bytes, METADATA, "{tool}");
    }
}
