//! Names of entries: inside, readable, and each once.

use std::collections::HashMap;

use super::ArchiveError;
use crate::quote::quote;

/// The most bytes of one name.
const MAX_NAME: usize = 1024;

/// Refuses names that lead out of the folder they are unpacked to, or that not every system reads
/// the same way. A folder's final `/` is not part of `name`.
pub(super) fn check(name: &str) -> Result<(), ArchiveError> {
    let refuse = |reason| Err(ArchiveError::Name { name: quote(name), reason });
    if name.is_empty() {
        return refuse("is empty");
    }
    if name.len() > MAX_NAME {
        return refuse("is longer than 1024 bytes");
    }
    if name.chars().any(char::is_control) {
        return refuse("has a control character");
    }
    if name.contains('\\') {
        return refuse("has a \"\\\", which some systems take for a \"/\"");
    }
    if name.starts_with('/') {
        return refuse("is an absolute path");
    }
    if name.as_bytes().get(1) == Some(&b':') {
        return refuse("begins with a drive");
    }
    match name.split('/').find(|part| ["", ".", ".."].contains(part)) {
        Some("..") => refuse("leads out of its folder by \"..\""),
        Some(_) => refuse("has an empty part or \".\" in it"),
        None => Ok(()),
    }
}

/// The names seen so far.
#[derive(Debug)]
pub(super) struct Names {
    /// Also names that differ in case alone are one: on some systems they are.
    ignore_case: bool,
    /// As compared → as written, and whether it is a folder.
    seen: HashMap<String, (String, bool)>,
}

impl Names {
    pub(super) fn new(ignore_case: bool) -> Self {
        Self { ignore_case, seen: HashMap::new() }
    }

    /// Checks a name, and that it is new.
    pub(super) fn add(&mut self, name: &str, folder: bool) -> Result<(), ArchiveError> {
        check(name)?;
        let compared = if self.ignore_case { name.to_lowercase() } else { name.to_owned() };
        match self.seen.insert(compared, (name.to_owned(), folder)) {
            None => Ok(()),
            Some((other, _)) => {
                Err(ArchiveError::Duplicate { name: quote(name), other: quote(&other) })
            }
        }
    }

    /// Once all are there: no file is a folder of another entry.
    pub(super) fn finish(&self) -> Result<(), ArchiveError> {
        for compared in self.seen.keys() {
            for (at, _) in compared.match_indices('/') {
                let parent = compared.get(..at).unwrap_or_default();
                if let Some((name, false)) = self.seen.get(parent) {
                    return Err(ArchiveError::FileAndFolder { name: quote(name) });
                }
            }
        }
        Ok(())
    }
}
