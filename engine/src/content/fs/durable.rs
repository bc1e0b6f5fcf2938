//! Directories that are known to survive power loss.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Durability;
use crate::disk::Disk;

/// How many directories are remembered; past it all are forgotten, which costs an fsync each.
const REMEMBERED: usize = 64 * 1024;

/// Creates directories so that they stay, and remembers which do.
#[derive(Debug)]
pub(super) struct Directories {
    durability: Durability,
    root: PathBuf,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    known: HashSet<PathBuf>,
    /// Those whose name failed to become durable: a second fsync would lie, so they must be made
    /// anew. There is nothing in them, for nobody was let in.
    doubtful: HashSet<PathBuf>,
}

impl Directories {
    /// Makes the root exist, and what is above it.
    pub(super) fn below(disk: &dyn Disk, root: &Path, durability: Durability) -> io::Result<Self> {
        let new = Self { durability, root: root.to_owned(), table: Mutex::default() };
        new.make_root(disk, root)?;
        Ok(new)
    }

    fn make_root(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let mut created = disk.create_dir(path);
        if created.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            self.make_root(disk, parent)?;
            created = disk.create_dir(path);
        }
        let ready = created.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::AlreadyExists);
        if !ready {
            created?;
        }
        match self.sync(disk, parent) {
            // Somebody else made the root, in a place we can't look into: it is theirs to keep.
            Err(error) if ready && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }

    fn sync(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        match self.durability {
            Durability::Full => disk.sync_dir(path),
            Durability::Relaxed => Ok(()),
        }
    }

    /// Makes `path` and all directories between it and the root exist, durably.
    ///
    /// The lock is held over the fsyncs, so that nobody puts a name into a directory whose own
    /// name may yet be lost; they happen once in a directory's life.
    pub(super) fn ensure(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        self.ensure_below(disk, path, &mut table)
    }

    fn ensure_below(&self, disk: &dyn Disk, path: &Path, table: &mut Table) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if path == self.root || table.known.contains(path) {
            return Ok(());
        }
        self.ensure_below(disk, parent, table)?;
        if table.doubtful.contains(path) {
            unmake(disk, path)?;
            table.doubtful.remove(path);
        }
        match disk.create_dir(path) {
            // Found ready: an earlier process made it, and may not have got to the fsync.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Err(error) = self.sync(disk, parent) {
            if unmake(disk, path).is_err() {
                table.doubtful.insert(path.to_owned());
            }
            return Err(error);
        }
        if table.known.len() >= REMEMBERED {
            table.known.clear();
        }
        table.known.insert(path.to_owned());
        Ok(())
    }
}

/// Takes away a directory whose name may not be durable. One with something in it is, for it was
/// made durable before the first name came into it.
fn unmake(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove_dir(path) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}
