//! Making a backup while everybody works.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;

use super::folder::{BackupFolder, NewArchive, blocking};
use super::objects::{Bring, Brought, bring_all, copy, find, places};
use super::pins::Held;
use super::rows::{Carried, SnapshotRows};
use super::work::Work;
use super::{ArchiveHeader, ArchiveObject, BackupError, note};
use crate::Engine;
use crate::content::fs::FsStore;
use crate::content::{BlobStore, StoreError};
use crate::error::Error;
use crate::gc::{Tally, Watch};
use crate::id::{BackupId, OrganisationId, SessionId};
use crate::keys::{self, object};
use crate::seam::{Seams, Timestamp};

/// How to make a backup.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct BackupOptions {
    /// Leave the objects where they are, and pin them there until the pin is dropped.
    pub pin: bool,
}

impl BackupOptions {
    /// Leaves the objects where they are, pinned.
    pub fn pinned(mut self) -> Self {
        self.pin = true;
        self
    }
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Its id, which is its pin's too where it has one.
    pub id: BackupId,
    /// The moment it is of.
    pub created_at: Timestamp,
    /// Its archive.
    pub path: PathBuf,
    /// Whether its objects are pinned where they are.
    pub pinned: bool,
    /// Rows in the archive.
    pub rows: u64,
    /// Objects that were copied, hashed on the way.
    pub copied: Tally,
    /// Objects whose files have a second name in the folder now: the same bytes on the same disk.
    pub linked: Tally,
    /// Objects that the folder had, or that are pinned.
    pub there: Tally,
    /// Uploads under way, which are not in it.
    pub uploads: u64,
    /// Objects that rows need and that can't be had, at most 1,000 named: the store was damaged before.
    pub problems: Vec<String>,
    /// How many they are.
    pub wrong: u64,
}

impl Engine {
    /// Writes a backup of this moment into `folder`, while everybody works. What the folder has already
    /// from an earlier backup is not brought again.
    ///
    /// An object that is missing or rotten in the store does not keep the rest from being saved: it is
    /// told in the report. Dropping the future leaves no archive; objects brought so far serve the next
    /// backup, and within the hour nothing is held back from collection any more.
    pub async fn backup(
        &self,
        folder: &BackupFolder,
        options: &BackupOptions,
        watch: Watch<'_>,
    ) -> Result<BackupReport, BackupError> {
        let core = &self.core;
        // What waits to be written was acknowledged.
        self.flush().await?;
        let id = BackupId(core.seams.random_u64());
        let held = Held::begin(core, id).await?;
        match self.write_backup(folder, options, id, watch).await {
            Ok((archive, mut report)) => {
                if options.pin {
                    held.keep().await?;
                } else {
                    held.end(true).await?;
                }
                report.path = blocking(move || archive.publish()).await?;
                Ok(report)
            }
            Err(error) => {
                if let Err(error) = held.end(false).await {
                    tracing::warn!(%error, "the pin of a backup that failed stays for an hour");
                }
                Err(error)
            }
        }
    }

    async fn write_backup(
        &self,
        folder: &BackupFolder,
        options: &BackupOptions,
        id: BackupId,
        watch: Watch<'_>,
    ) -> Result<(NewArchive, BackupReport), BackupError> {
        let core = &self.core;
        let created_at = core.now().await?;
        let view = core.meta.snapshot().await?;
        let format = view.get(keys::FORMAT).await?;
        let format = format.ok_or_else(|| {
            Error::Corrupted("the record of the store's format is missing".to_owned())
        })?;
        let header = ArchiveHeader {
            id,
            created_at,
            format: format.to_vec(),
            pinned: options.pin,
            program: concat!("strongroom-engine ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let mut archive = {
            let folder = folder.clone();
            blocking(move || folder.begin(&header)).await?
        };
        let mut report = BackupReport {
            id,
            created_at,
            path: PathBuf::new(),
            pinned: options.pin,
            rows: 0,
            copied: Tally::default(),
            linked: Tally::default(),
            there: Tally::default(),
            uploads: 0,
            problems: Vec::new(),
            wrong: 0,
        };
        let bring = if options.pin {
            look(Arc::clone(&core.blobs))
        } else {
            into_folder(Arc::clone(&core.blobs), folder.objects.clone(), core.seams.clone())
        };
        let mut work = Work::of_store(&*view).await?;
        let mut rows = SnapshotRows::new(&*view);
        while let Some(page) = rows.next().await? {
            let needed = page.iter().filter_map(|row| row.object.clone()).collect();
            bring_all(needed, &bring, |object, brought| {
                match brought {
                    Brought::Copied => report.copied.add(object.size),
                    Brought::Linked => report.linked.add(object.size),
                    Brought::There => report.there.add(object.size),
                    Brought::Not(why) => {
                        report.wrong += 1;
                        note(&mut report.problems, why.clone());
                    }
                }
                let (copied, linked, there) = (report.copied, report.linked, report.there);
                let done = copied.count + linked.count + there.count;
                work.object(object.size);
                watch(&work.progress("objects", done, copied.bytes));
            })
            .await?;
            report.rows += page.len() as u64;
            work.rows(page.len());
            archive = append(archive, page).await?;
            watch(&work.progress("archive", report.rows, 0));
        }
        report.uploads = rows.uploads;
        if rows.unreadable > 0 {
            report.wrong += rows.unreadable;
            let what =
                format!("{} rows of content can't be read (fsck names them)", rows.unreadable);
            note(&mut report.problems, what);
        }
        Ok((archive, report))
    }
}

async fn append(mut archive: NewArchive, page: Vec<Carried>) -> Result<NewArchive, BackupError> {
    blocking(move || {
        for row in &page {
            let written =
                archive.writer.row(&row.key, &row.value).and_then(|()| match &row.object {
                    Some(object) => archive.writer.object(object),
                    None => Ok(()),
                });
            written.map_err(|error| archive.failed(&error))?;
        }
        Ok(archive)
    })
    .await
}

/// Only looks whether an object is where it should be.
fn look(blobs: Arc<dyn BlobStore>) -> Bring {
    Arc::new(move |object: ArchiveObject| {
        let blobs = Arc::clone(&blobs);
        async move {
            Ok(match find(&*blobs, &object).await? {
                Some(_) => Brought::There,
                None => Brought::Not(format!("{}: it is not there, or not whole", object.key)),
            })
        }
        .boxed()
    })
}

/// Brings objects into the folder.
fn into_folder(blobs: Arc<dyn BlobStore>, folder: FsStore, seams: Seams) -> Bring {
    Arc::new(move |object: ArchiveObject| {
        let (blobs, folder) = (Arc::clone(&blobs), folder.clone());
        let aside = SessionId(seams.random_16());
        async move { keep(&*blobs, &folder, &object, aside).await }.boxed()
    })
}

async fn keep(
    blobs: &dyn BlobStore,
    folder: &FsStore,
    object: &ArchiveObject,
    aside: SessionId,
) -> Result<Brought, Error> {
    match folder.stat(&object.key).await? {
        Some(size) if size == object.size => return Ok(Brought::There),
        // Not by us: whatever it is, it is not the object.
        Some(_) => folder.delete(&object.key).await?,
        None => {}
    }
    if let (Some(from), Some(to)) = (blobs.local_files(), folder.local_files()) {
        for place in places(object) {
            match to.link(&from.path(&place), object.size, &object.key).await {
                Ok(true) => return Ok(Brought::Linked),
                Ok(false) => break,
                Err(StoreError::NotFound(_) | StoreError::WrongSize { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let owner = object::parse(&object.key).map_or(OrganisationId(0), |parsed| parsed.organisation);
    copy(blobs, folder, object, &object::in_flight(owner, aside)).await
}
