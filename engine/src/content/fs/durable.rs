//! Directories that are known to survive power loss.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Those in which directories are being made now, each with the lock of whoever does.
    making: HashMap<PathBuf, Arc<Mutex<()>>>,
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
    /// Whoever wants a directory in the same one waits: nobody puts a name into a directory whose own
    /// name may yet be lost, nor has a name in one whose fsync fails for somebody else. In other
    /// directories others go on meanwhile.
    pub(super) fn ensure(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if path == self.root || self.table().known.contains(path) {
            return Ok(());
        }
        self.ensure(disk, parent)?;
        let turn = Arc::clone(self.table().making.entry(parent.to_owned()).or_default());
        let made = {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            self.make(disk, path, parent)
        };
        // The entry stays while others wait for their turn.
        let mut table = self.table();
        if Arc::strong_count(&turn) <= 2 {
            table.making.remove(parent);
        }
        made
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one directory, whose parent is durable, while nobody else makes one there.
    fn make(&self, disk: &dyn Disk, path: &Path, parent: &Path) -> io::Result<()> {
        if self.table().known.contains(path) {
            return Ok(());
        }
        if self.table().doubtful.contains(path) {
            unmake(disk, path)?;
            self.table().doubtful.remove(path);
        }
        match disk.create_dir(path) {
            // Found ready: an earlier process made it, and may not have got to the fsync.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Err(error) = self.sync(disk, parent) {
            if unmake(disk, path).is_err() {
                self.table().doubtful.insert(path.to_owned());
            }
            return Err(error);
        }
        let mut table = self.table();
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

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::disk::{DirEntry, DiskFile};

    /// A disk on which the fsyncs of two directories only end together.
    #[derive(Debug)]
    struct Together {
        disk: SimDisk,
        pair: [PathBuf; 2],
        both: Barrier,
    }

    impl Disk for Together {
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            if self.pair.iter().any(|one| one == path) {
                self.both.wait();
            }
            self.disk.sync_dir(path)
        }

        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.disk.create_dir(path)
        }

        fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.disk.create_new(path)
        }

        fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.disk.open(path)
        }

        fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.disk.open_read(path)
        }

        fn file_len(&self, path: &Path) -> io::Result<u64> {
            self.disk.file_len(path)
        }

        fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.disk.link(from, to)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.disk.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.disk.remove(path)
        }

        fn remove_dir(&self, path: &Path) -> io::Result<()> {
            self.disk.remove_dir(path)
        }

        fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
            self.disk.read_dir(path)
        }

        fn free_bytes(&self, path: &Path) -> io::Result<u64> {
            self.disk.free_bytes(path)
        }
    }

    #[test]
    fn directories_of_two_tenants_are_made_side_by_side() {
        let disk = SimDisk::new();
        let root = Path::new("/root");
        let directories = Directories::below(&disk, root, Durability::Full).unwrap();
        for tenant in ["a", "b"] {
            directories.ensure(&disk, &root.join(tenant)).unwrap();
        }
        let pair = [root.join("a"), root.join("b")];
        let slow = Together { disk, pair: pair.clone(), both: Barrier::new(2) };
        // Were one to wait for the other, neither fsync would end.
        std::thread::scope(|scope| {
            for tenant in &pair {
                let (directories, slow) = (&directories, &slow);
                scope.spawn(move || directories.ensure(slow, &tenant.join("sha256")).unwrap());
            }
        });
        assert!(directories.table().making.is_empty());
        assert_eq!(directories.table().known.len(), 4);
    }
}
