//! Listing in the order of keys, one directory in memory at a time.

use std::io;
use std::path::Path;

use super::super::{ObjectEntry, ObjectKey, StoreError};
use crate::disk::{DirEntry, Disk};

struct Walk<'a> {
    disk: &'a dyn Disk,
    objects: &'a Path,
    prefix: &'a str,
    after: &'a str,
    limit: usize,
    found: Vec<ObjectEntry>,
}

/// See [`BlobStore::list`](super::super::BlobStore::list).
pub(super) fn list(
    disk: &dyn Disk,
    objects: &Path,
    prefix: &str,
    after: Option<&ObjectKey>,
    limit: usize,
) -> Result<Vec<ObjectEntry>, StoreError> {
    let after = after.map_or("", ObjectKey::as_str);
    let mut walk = Walk { disk, objects, prefix, after, limit, found: Vec::new() };
    // Everything that begins with the prefix lies below its last `/`.
    let base = prefix.rfind('/').and_then(|end| prefix.get(..end)).unwrap_or_default();
    if base.is_empty() && !prefix.starts_with('/') {
        walk.directory("")?;
    } else if ObjectKey::new(base).is_some() {
        walk.directory(&format!("{base}/"))?;
    }
    Ok(walk.found)
}

impl Walk<'_> {
    /// Walks the directory whose keys begin with `above` (empty, or ending in `/`).
    fn directory(&mut self, above: &str) -> Result<(), StoreError> {
        let mut entries = match self.disk.read_dir(&self.objects.join(above)) {
            Ok(entries) => entries,
            Err(error) if absent(&error) => return Ok(()),
            Err(error) => return Err(unlisted(above, &error)),
        };
        // A directory stands where its keys stand: `a.b` comes before `a/c`, and `a0` after.
        for DirEntry { name, is_dir } in &mut entries {
            if *is_dir {
                name.push('/');
            }
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        for DirEntry { name, is_dir } in entries {
            if self.found.len() >= self.limit {
                break;
            }
            let text = format!("{above}{name}");
            if is_dir {
                let wanted = text.starts_with(self.prefix) || self.prefix.starts_with(&text);
                let passed = self.after > text.as_str() && !self.after.starts_with(&text);
                if wanted && !passed && ObjectKey::new(text.trim_end_matches('/')).is_some() {
                    self.directory(&text)?;
                }
            } else if text.starts_with(self.prefix) && text.as_str() > self.after {
                self.file(text)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, text: String) -> Result<(), StoreError> {
        // What is no key was not put here by us.
        let Some(key) = ObjectKey::new(text) else { return Ok(()) };
        match self.disk.file_len(&self.objects.join(key.as_str())) {
            Ok(size) => self.found.push(ObjectEntry::object(key, size)),
            // Deleted since the directory was read.
            Err(error) if absent(&error) => {}
            Err(error) => return Err(unlisted(key.as_str(), &error)),
        }
        Ok(())
    }
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unlisted(above: &str, error: &io::Error) -> StoreError {
    StoreError::Unlisted { reason: format!("{above}: {error}") }
}
