//! Sdists: one folder, `PKG-INFO` in it, nothing but files, folders and links that stay inside.

use std::io::{Read, Seek};

use super::budget::Budget;
use super::tar::{self, Entry, Kind};
use super::{ArchiveError, Inspected, Limits, TarFault, names_same, too_large};
use crate::file_name::FileName;
use crate::metadata::CoreMetadata;
use crate::quote::quote;

pub(super) fn inspect(
    name: &FileName,
    file: impl Read + Seek,
    size: u64,
    limits: &Limits,
) -> Result<Inspected, ArchiveError> {
    let mut budget = Budget::new(limits, size);
    let mut top: Option<String> = None;
    let mut pkg_info: Option<Vec<u8>> = None;
    let entries = tar::walk(file, &mut budget, |entry, reader| {
        let top = top_folder(&mut top, name, entry)?;
        let is_pkg_info = entry.name.strip_prefix(top) == Some("/PKG-INFO");
        if !is_pkg_info {
            return Ok(());
        }
        if entry.kind != Kind::File {
            return Err(ArchiveError::Missing { name: quote(&entry.name) });
        }
        if entry.size > limits.metadata_bytes {
            return Err(too_large(&entry.name, entry.size, limits.metadata_bytes));
        }
        pkg_info = Some(reader.read()?);
        Ok(())
    })?;
    let top = top.unwrap_or_else(|| name.stem().to_owned());
    let metadata_bytes =
        pkg_info.ok_or(ArchiveError::Missing { name: quote(&format!("{top}/PKG-INFO")) })?;
    let metadata = CoreMetadata::parse(&metadata_bytes)?;
    licences(&metadata, &top, &entries)?;
    let (entries, unpacked_bytes) = (budget.entries(), budget.unpacked());
    Ok(Inspected { metadata_bytes, metadata, entries, unpacked_bytes })
}

fn top_folder<'a>(
    top: &'a mut Option<String>,
    name: &FileName,
    entry: &Entry,
) -> Result<&'a str, ArchiveError> {
    let first = entry.name.split('/').next().unwrap_or_default();
    let wanted = || quote(name.stem());
    if entry.name == first && entry.kind != Kind::Folder {
        let fault = TarFault::OutsideFolder { name: quote(&entry.name), wanted: wanted() };
        return Err(fault.into());
    }
    let top = top.get_or_insert_with(|| first.to_owned());
    if top != first || !names_same(first, name) {
        return Err(ArchiveError::Folder { got: quote(first), wanted: wanted() });
    }
    Ok(top)
}

/// Since version 2.4 of the metadata, each licence that they name is there.
fn licences(metadata: &CoreMetadata, top: &str, entries: &[Entry]) -> Result<(), ArchiveError> {
    if !metadata.is_at_least((2, 4)) {
        return Ok(());
    }
    for file in &metadata.license_files {
        let wanted = format!("{top}/{file}");
        if !entries.iter().any(|entry| entry.kind != Kind::Folder && entry.name == wanted) {
            return Err(ArchiveError::LicenseFile { file: quote(file), wanted: quote(&wanted) });
        }
    }
    Ok(())
}
