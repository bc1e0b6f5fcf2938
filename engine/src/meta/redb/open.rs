//! Opening the database, the first time and after I/O errors.

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::redb::backends::FileBackend;
use ::redb::{BackendError, Builder, Database, ReadableDatabase, StorageBackend, TableError};

use super::error::{from_io, into_meta};
use super::{ROWS, RedbOptions};
use crate::meta::MetaError;

type Open = dyn Fn(&Builder, &Arc<AtomicU64>) -> Result<Database, MetaError> + Send;

/// Opens the same database again and again.
pub(super) struct Opener {
    open: Box<Open>,
    options: RedbOptions,
    length: Arc<AtomicU64>,
}

impl Opener {
    fn new(
        options: RedbOptions,
        open: impl Fn(&Builder, &Arc<AtomicU64>) -> Result<Database, MetaError> + Send + 'static,
    ) -> Self {
        Self { open: Box::new(open), options, length: Arc::default() }
    }

    /// The database, with its table. Whatever opened it before has to be closed.
    pub(super) fn open(&self) -> Result<Database, MetaError> {
        let mut builder = Builder::new();
        builder.set_cache_size(self.options.cache_bytes);
        let database = (self.open)(&builder, &self.length)?;
        let transaction = database.begin_read().map_err(into_meta)?;
        match transaction.open_table(ROWS) {
            Ok(_) => {}
            Err(TableError::TableDoesNotExist(_)) => {
                let mut first = database.begin_write().map_err(into_meta)?;
                first.set_two_phase_commit(true);
                first.open_table(ROWS).map_err(into_meta)?;
                first.commit().map_err(into_meta)?;
            }
            Err(error) => return Err(into_meta(error)),
        }
        Ok(database)
    }

    /// How long the storage is now, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }
}

/// The database in the file at `path`, which exists: were it gone, a new one would hide the loss.
pub(super) fn at_path(path: PathBuf, options: RedbOptions) -> Opener {
    Opener::new(options, move |builder, length| {
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|error| from_io(&error))?;
        let backend = FileBackend::new(file).map_err(into_meta)?;
        let backend = Measured { inner: backend, length: length.clone() };
        builder.create_with_backend(backend).map_err(into_meta)
    })
}

/// The database on what `backend` gives.
pub(super) fn on_backend<B: StorageBackend>(
    backend: impl Fn() -> io::Result<B> + Send + 'static,
    options: RedbOptions,
) -> Opener {
    Opener::new(options, move |builder, length| {
        let inner = backend().map_err(|error| from_io(&error))?;
        let backend = Measured { inner, length: length.clone() };
        builder.create_with_backend(backend).map_err(into_meta)
    })
}

/// Makes an empty database at `path` unless there is a file. It is made aside and then linked, so
/// that a crash leaves either none or a whole one, and of two processes one wins.
pub(super) fn create_durably(path: &Path) -> Result<(), MetaError> {
    let create = || -> io::Result<bool> {
        if fs::exists(path)? {
            return Ok(false);
        }
        match fs::remove_file(aside(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    };
    if !create().map_err(|error| from_io(&error))? {
        return Ok(());
    }
    let aside = aside(path);
    drop(Builder::new().set_cache_size(0).create(&aside).map_err(into_meta)?);
    let publish = || -> io::Result<()> {
        match fs::hard_link(&aside, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::remove_file(&aside)?,
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    publish().map_err(|error| from_io(&error))
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// A backend that tells how long it is.
#[derive(Debug)]
struct Measured<B> {
    inner: B,
    length: Arc<AtomicU64>,
}

impl<B: StorageBackend> StorageBackend for Measured<B> {
    fn len(&self) -> io::Result<u64> {
        let length = self.inner.len()?;
        self.length.store(length, Ordering::Relaxed);
        Ok(length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.inner.set_len(length)?;
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
