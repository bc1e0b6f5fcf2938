//! An installation from a backup.

use std::io::Read;
use std::sync::Arc;

use futures::FutureExt;

use super::fill::{Fill, Finish};
use super::folder::{BackupFolder, BackupInfo, blocking, open_archive};
use super::objects::{Bring, Brought, copy, is_right, places};
use super::rows::Carried;
use super::{ArchiveEntry, ArchiveObject, ArchiveReader, BackupError, Stores, pins, verify};
use crate::FORMAT_VERSION;
use crate::content::BlobStore;
use crate::content::fs::FsStore;
use crate::core::Settings;
use crate::error::Error;
use crate::gc::{FsckReport, Tally, Watch};
use crate::id::BackupId;
use crate::records::{FillKind, FormatRecord, Record};
use crate::seam::Seams;

/// How to restore.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Which backup of the folder; the newest where absent.
    pub backup: Option<BackupId>,
    /// Take the objects that are in the blob store already, where their bytes are right: for when the
    /// metadata alone was lost. What no row names then stays, pinned, until an operator has run
    /// [`adopt`](crate::Engine::adopt) and dropped the pin. A backup with pinned objects is always
    /// restored so.
    pub over_objects: bool,
    /// Go on where objects can't be had: `fsck` then lists what is lost.
    pub lossy: bool,
    /// Let the closing check read all bytes again.
    pub deep: bool,
    /// The settings of who will serve it.
    pub settings: Settings,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Which backup it was.
    pub backup: BackupInfo,
    /// Rows that are there now.
    pub rows: u64,
    /// Objects copied, hashed on the way.
    pub copied: Tally,
    /// Objects that were there already.
    pub there: Tally,
    /// Objects that rows need and that could not be had; only where that was allowed. At most 1,000.
    pub problems: Vec<String>,
    /// How many they are.
    pub wrong: u64,
    /// The pin that keeps what was in the blob store before, to be dropped after
    /// [`adopt`](crate::Engine::adopt).
    pub pin: Option<BackupId>,
    /// What the check at the end found.
    pub fsck: FsckReport,
}

/// Makes an installation of a backup in `stores`, which are empty, or in which an earlier restore of
/// the same backup did not come to its end.
///
/// The archive is read to its end before anything is written. Dropping the future, like a kill, leaves
/// stores that no engine opens; the same restore goes on where it stood.
pub async fn restore(
    folder: &BackupFolder,
    stores: &Stores,
    seams: &Seams,
    options: &RestoreOptions,
    watch: Watch<'_>,
) -> Result<RestoreReport, BackupError> {
    let (backup, header) = {
        let (folder, id) = (folder.clone(), options.backup);
        blocking(move || {
            let info = folder.backup(id)?;
            let header = open_archive(&info.path)?.header().clone();
            Ok((info, header))
        })
        .await?
    };
    let format = FormatRecord::decode(&header.format).map_err(Error::from)?;
    // An older one is migrated when the engine is built that checks it at the end.
    if format.version > FORMAT_VERSION {
        return Err(Error::Invalid(format!(
            "the backup is of a store of format {}, this program knows {FORMAT_VERSION}: restore it \
             with the Strongroom that made it, or a newer one",
            format.version
        ))
        .into());
    }
    let work = verify::archive(&backup, watch).await?.work();

    let (id, lossy) = (backup.id, options.lossy);
    let mut fill = Fill::begin(stores, seams, FillKind::Restore, id.0, lossy, work).await?;
    let over = backup.pinned || options.over_objects;
    if fill.record.occupied && !over {
        return Err(BackupError::NotEmpty {
            what: "the blob store has objects in it (restore over them, where the metadata alone was \
                   lost)",
        });
    }
    let bring = bring(folder.objects.clone(), Arc::clone(&stores.blobs), over);
    let mut rows = ArchiveRows::open(&backup).await?;
    while let Some(page) = rows.next().await? {
        fill.take(page, &bring, watch).await?;
    }
    let pin = fill.record.occupied.then_some(id);
    let row = match pin {
        Some(id) => Some(pins::of_restore(id, stores.meta.now().await?)),
        None => None,
    };
    let line = format!("restored from backup {id} of {}", header.created_at.0);
    let how = Finish { settings: &options.settings, line: &line, deep: options.deep, watch };
    let (fill, fsck) = fill.finish(header.format.into(), row, how).await?;
    Ok(RestoreReport {
        backup,
        rows: fill.rows,
        copied: fill.copied,
        there: fill.there,
        problems: fill.problems,
        wrong: fill.wrong,
        pin,
        fsck,
    })
}

/// Brings objects out of the folder. `over`: what is in the store already serves, where it is right.
fn bring(folder: FsStore, blobs: Arc<dyn BlobStore>, over: bool) -> Bring {
    Arc::new(move |object: ArchiveObject| {
        let (folder, blobs) = (folder.clone(), Arc::clone(&blobs));
        async move {
            if over && in_place(&*blobs, &object).await? {
                return Ok(Brought::There);
            }
            // An earlier run may have left it there, half: only a row says that it is whole.
            if blobs.stat(&object.key).await?.is_some() {
                blobs.delete(&object.key).await?;
            }
            copy(&folder, &*blobs, &object, &object.key).await
        }
        .boxed()
    })
}

/// Whether the store has the object, with the right bytes; moves it under its digest if it must.
async fn in_place(blobs: &dyn BlobStore, object: &ArchiveObject) -> Result<bool, Error> {
    for place in places(object) {
        if blobs.stat(&place).await? == Some(object.size) && is_right(blobs, &place, object).await?
        {
            if place != object.key {
                blobs.settle(&place, &object.key).await?;
            }
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rows of an archive, in pages.
pub(super) struct ArchiveRows {
    path: std::path::PathBuf,
    reader: Option<ArchiveReader<Box<dyn Read + Send>>>,
    /// The row whose object, if it has one, comes next.
    open: Option<Carried>,
}

impl ArchiveRows {
    pub(super) async fn open(backup: &BackupInfo) -> Result<Self, BackupError> {
        let path = backup.path.clone();
        let reader = blocking(move || open_archive(&path)).await?;
        Ok(Self { path: backup.path.clone(), reader: Some(reader), open: None })
    }

    /// The next rows; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Carried>>, BackupError> {
        let Some(mut reader) = self.reader.take() else { return Ok(None) };
        let (path, mut open) = (self.path.clone(), self.open.take());
        let (page, reader, open) = blocking(move || {
            let failed = |source| BackupError::Archive { path: path.clone(), source };
            let (mut page, mut bytes) = (Vec::new(), 0);
            while bytes < PAGE_BYTES {
                match reader.next_entry().map_err(failed)? {
                    Some(ArchiveEntry::Row(key, value)) => {
                        bytes += key.len() + value.len();
                        page.extend(open.replace(Carried { key, value, object: None }));
                    }
                    Some(ArchiveEntry::Object(object)) => {
                        if let Some(row) = &mut open {
                            row.object = Some(object);
                        }
                    }
                    None => {
                        page.extend(open.take());
                        return Ok((page, None, None));
                    }
                }
            }
            Ok((page, Some(reader), open))
        })
        .await?;
        (self.reader, self.open) = (reader, open);
        Ok(Some(page))
    }
}

/// How many bytes of rows are read at a time.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
