//! The folder of backups.
//!
//! ```text
//! format                        the version of this layout
//! lock                          held by the process that works on the folder
//! archives/<time>-<id>.archive  the rows of one backup; in the order of time
//! objects/<key>                 the objects that any of them needs, stored once
//! incoming/                     archives and objects on their way
//! ```
//!
//! **Promises.** An archive has its name only when it is whole and durable, and all objects it holds
//! are before it. The folder and its archives are their owner's alone: rows hold password hashes. Copied
//! elsewhere, file by file, a folder is as good as it was; objects first and archives last.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ArchiveError, ArchiveHeader, ArchiveReader, ArchiveWriter, BackupError};
use crate::content::fs::{Durability, FsStore};
use crate::disk::RealDisk;
use crate::id::BackupId;
use crate::seam::Timestamp;

const FORMAT: &str = "strongroom backup, format 1\n";
const EXTENSION: &str = "archive";

/// A folder that holds backups, open. Cloning shares it.
#[derive(Debug, Clone)]
pub struct BackupFolder {
    path: PathBuf,
    pub(super) objects: FsStore,
    /// Held as long as any clone is there.
    _lock: Arc<File>,
}

/// A backup in a folder, as its header says; whether it is whole only reading it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupInfo {
    /// Its id.
    pub id: BackupId,
    /// The moment it is of.
    pub created_at: Timestamp,
    /// Whether its objects are pinned in their own store, and not here.
    pub pinned: bool,
    /// The file.
    pub path: PathBuf,
    /// The size of the file, in bytes.
    pub bytes: u64,
}

impl BackupFolder {
    /// Opens the folder at `path`. Blocks.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let failed = |error: &io::Error| folder_error(path, error);
        match fs::read_to_string(path.join("format")) {
            Ok(text) if text == FORMAT => {}
            Ok(_) => {
                return Err(BackupError::Folder {
                    path: path.to_owned(),
                    reason:
                        "it is of another kind or a later format; use the program that wrote it"
                            .to_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::Folder {
                    path: path.to_owned(),
                    reason: "there is no backup in it".to_owned(),
                });
            }
            Err(error) => return Err(failed(&error)),
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.join("lock")).map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(BackupError::FolderBusy { path: path.to_owned() });
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(&error)),
        }
        let objects = FsStore::open(Arc::new(RealDisk), path, Durability::Full);
        let objects = objects.map_err(|error| failed(&error))?;
        Ok(Self { path: path.to_owned(), objects, _lock: Arc::new(lock) })
    }

    /// Opens the folder at `path`, and makes it where it is not there or empty. Blocks.
    pub fn open_or_make(path: &Path) -> Result<Self, BackupError> {
        if path.join("format").exists() {
            return Self::open(path);
        }
        let failed = |error: io::Error| folder_error(path, &error);
        let private = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        private(path).map_err(failed)?;
        for entry in fs::read_dir(path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // What file systems have at their roots, and what a first backup leaves that was killed.
            let ours = ["lost+found", "archives", "format.new"].map(std::ffi::OsString::from);
            if !ours.contains(&name) {
                return Err(BackupError::Folder {
                    path: path.to_owned(),
                    reason: format!(
                        "it has other things in it ({}); name an empty folder",
                        name.to_string_lossy()
                    ),
                });
            }
        }
        let made = || {
            private(&path.join("archives"))?;
            let new = path.join("format.new");
            let mut file = private_file(&new)?;
            file.write_all(FORMAT.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path.join("format"))?;
            sync(path)?;
            path.parent().filter(|above| !above.as_os_str().is_empty()).map_or(Ok(()), sync)
        };
        made().map_err(failed)?;
        Self::open(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The backups in the folder, the oldest first. Blocks. A file that begins as no archive does is an
    /// error: it was damaged.
    pub fn backups(&self) -> Result<Vec<BackupInfo>, BackupError> {
        let failed = |error: io::Error| folder_error(&self.path, &error);
        let mut found = Vec::new();
        for entry in fs::read_dir(self.path.join("archives")).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                let bytes = fs::metadata(&path).map_err(failed)?.len();
                let reader = open_archive(&path)?;
                let ArchiveHeader { id, created_at, pinned, .. } = reader.header().clone();
                found.push(BackupInfo { id, created_at, pinned, path, bytes });
            }
        }
        found.sort_by_key(|info| (info.created_at, info.id));
        Ok(found)
    }

    /// The backup `id`, or the newest. Blocks.
    pub fn backup(&self, id: Option<BackupId>) -> Result<BackupInfo, BackupError> {
        let unknown = || BackupError::Unknown { path: self.path.clone() };
        let mut wanted =
            self.backups()?.into_iter().filter(|info| id.is_none_or(|id| info.id == id));
        wanted.next_back().ok_or_else(unknown)
    }

    /// Takes a backup's archive away; its objects stay for others. False where there is none. Blocks.
    pub fn remove(&self, id: BackupId) -> Result<bool, BackupError> {
        let info = match self.backup(Some(id)) {
            Ok(info) => info,
            Err(BackupError::Unknown { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let removed = fs::remove_file(&info.path).and_then(|()| sync(&self.path.join("archives")));
        removed.map_err(|error| folder_error(&self.path, &error))?;
        Ok(true)
    }

    /// Begins an archive. Blocks.
    pub(super) fn begin(&self, header: &ArchiveHeader) -> Result<NewArchive, BackupError> {
        let failed = |error: io::Error| folder_error(&self.path, &error);
        let temporary = self.path.join("incoming").join(format!("archive-{}", header.id));
        let file = private_file(&temporary).map_err(failed)?;
        let writer = ArchiveWriter::new(BufWriter::new(file), header).map_err(failed)?;
        let name = format!("{:015}-{}.{EXTENSION}", header.created_at.0, header.id);
        let path = self.path.join("archives").join(name);
        Ok(NewArchive { folder: self.path.clone(), temporary, path, writer })
    }
}

/// An archive that is being written. Dropped before [`Self::publish`] it leaves a file that the next
/// opening takes away.
pub(super) struct NewArchive {
    folder: PathBuf,
    temporary: PathBuf,
    path: PathBuf,
    pub(super) writer: ArchiveWriter<BufWriter<File>>,
}

impl NewArchive {
    /// What a failed write of it means.
    pub(super) fn failed(&self, error: &io::Error) -> BackupError {
        folder_error(&self.folder, error)
    }

    /// Ends the archive and gives it its name, durably. Blocks.
    pub(super) fn publish(self) -> Result<PathBuf, BackupError> {
        let Self { folder, temporary, path, writer } = self;
        let publish = || {
            let file = writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            sync(&folder.join("archives"))
        };
        publish().map_err(|error| folder_error(&folder, &error))?;
        Ok(path)
    }
}

/// Opens an archive's file. Blocks.
pub(super) fn open_archive(
    path: &Path,
) -> Result<ArchiveReader<Box<dyn Read + Send>>, BackupError> {
    /// How much is read at a time.
    const BUFFER: usize = 1024 * 1024;
    let failed = |source: ArchiveError| BackupError::Archive { path: path.to_owned(), source };
    let file = File::open(path).map_err(|error| failed(error.into()))?;
    ArchiveReader::open(Box::new(BufReader::with_capacity(BUFFER, file)) as _).map_err(failed)
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn folder_error(path: &Path, error: &io::Error) -> BackupError {
    BackupError::Folder { path: path.to_owned(), reason: error.to_string() }
}

/// Runs what blocks where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(crate::Error::Unavailable(format!("work on the backup folder ended: {error}"))
                .into())
        }
    }
}
