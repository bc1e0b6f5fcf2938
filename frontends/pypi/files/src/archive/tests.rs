//! Archives that lie, built here byte by byte, and such as the usual tools make.

use std::io::Cursor;

use super::*;

mod any;
mod bombs;
mod build_tar;
mod build_zip;
mod python;
mod sdist;
mod wheel;
mod zip_names;
mod zip_records;

const WHEEL: &str = "foo-1.0-py3-none-any.whl";
const SDIST: &str = "foo-1.0.tar.gz";
const METADATA: &[u8] = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n";

/// A refused archive: what it does, its bytes, the verdict.
type Case = (&'static str, Vec<u8>, &'static str);

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
