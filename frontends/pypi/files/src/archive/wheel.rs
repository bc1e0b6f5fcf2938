//! Wheels: what the binary distribution format asks of the archive.

use std::io::{Read, Seek};

use super::budget::Budget;
use super::zip::{self, Entry};
use super::{ArchiveError, Inspected, Limits, names_same};
use crate::file_name::{FileName, WheelTags};
use crate::metadata::CoreMetadata;
use crate::quote::quote;

mod entry_points;
mod record;
mod tags;

const DIST_INFO: &str = ".dist-info";

/// Reads a wheel: its records first, then each entry once.
pub(super) fn inspect(
    name: &FileName,
    tags: &WheelTags,
    mut file: impl Read + Seek,
    size: u64,
    limits: &Limits,
) -> Result<Inspected, ArchiveError> {
    let mut budget = Budget::new(limits, size);
    let entries = zip::entries(&mut file, size, &mut budget)?;
    let folder = dist_info(name, &entries)?;
    let find = |file: &str| {
        let path = format!("{folder}/{file}");
        entries.iter().find(|entry| !entry.folder && entry.name == path)
    };
    let needed = |file: &str| {
        find(file).ok_or_else(|| ArchiveError::Missing { name: quote(&format!("{folder}/{file}")) })
    };
    let (metadata, wheel, record) = (needed("METADATA")?, needed("WHEEL")?, needed("RECORD")?);
    let metadata_bytes = zip::read(&mut file, metadata, limits.metadata_bytes)?;
    let metadata = CoreMetadata::parse(&metadata_bytes)?;
    tags::check(&zip::read(&mut file, wheel, limits.metadata_bytes)?, tags)?;
    if let Some(found) = find("entry_points.txt") {
        entry_points::check(&zip::read(&mut file, found, limits.metadata_bytes)?)?;
    }
    licences(&metadata, &folder, &entries)?;
    let record = zip::read(&mut file, record, limits.record_bytes)?;
    record::check(&mut file, &folder, &record, &entries)?;
    Ok(Inspected {
        metadata_bytes,
        metadata,
        entries: budget.entries(),
        unpacked_bytes: budget.unpacked(),
    })
}

/// The one folder at the top that ends with `.dist-info`.
fn dist_info(name: &FileName, entries: &[Entry]) -> Result<String, ArchiveError> {
    let wanted = format!("{}{DIST_INFO}", name.stem());
    let mut found: Option<&str> = None;
    for entry in entries {
        let top = entry.name.split('/').next().unwrap_or_default();
        let is_folder = entry.folder || top.len() < entry.name.len();
        if !is_folder || !top.to_ascii_lowercase().ends_with(DIST_INFO) {
            continue;
        }
        let same = top.strip_suffix(DIST_INFO).is_some_and(|stem| names_same(stem, name));
        if !same || found.is_some_and(|found| found != top) {
            return Err(ArchiveError::Folder { got: quote(top), wanted: quote(&wanted) });
        }
        found = Some(top);
    }
    found.map(str::to_owned).ok_or(ArchiveError::Missing { name: quote(&wanted) })
}

/// Since version 2.4 of the metadata, each licence that they name lies in a folder of its own.
fn licences(metadata: &CoreMetadata, folder: &str, entries: &[Entry]) -> Result<(), ArchiveError> {
    if !metadata.is_at_least((2, 4)) {
        return Ok(());
    }
    for file in &metadata.license_files {
        let wanted = format!("{folder}/licenses/{file}");
        if !entries.iter().any(|entry| !entry.folder && entry.name == wanted) {
            return Err(ArchiveError::LicenseFile { file: quote(file), wanted: quote(&wanted) });
        }
    }
    Ok(())
}
