//! Is a backup what it was? All of it read and hashed.

use futures::FutureExt;

use super::folder::{BackupFolder, BackupInfo, blocking, open_archive};
use super::objects::{Brought, bring_all, is_right};
use super::restore::ArchiveRows;
use super::work::Work;
use super::{ArchiveEntry, ArchiveObject, BackupError, note};
use crate::content::BlobStore;
use crate::gc::{Extent, Progress, Tally, Watch};
use crate::id::BackupId;

/// What reading a backup showed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Which backup.
    pub backup: BackupInfo,
    /// Rows read; the archive is whole.
    pub rows: u64,
    /// Objects read and right; none for a backup whose objects are pinned elsewhere.
    pub objects: Tally,
    /// Objects that are missing or wrong, at most 1,000 named.
    pub problems: Vec<String>,
    /// How many they are.
    pub wrong: u64,
}

impl BackupFolder {
    /// Reads a backup, the newest where none is named: its archive, and each object that it holds.
    ///
    /// An archive that is torn or altered is an error; objects that are wrong are told.
    pub async fn verify(
        &self,
        id: Option<BackupId>,
        watch: Watch<'_>,
    ) -> Result<VerifyReport, BackupError> {
        let folder = self.clone();
        let backup = blocking(move || folder.backup(id)).await?;
        let read = archive(&backup, watch).await?;
        let rows = read.rows;
        let (objects, problems, wrong) = (Tally::default(), Vec::new(), 0);
        let mut report = VerifyReport { backup: backup.clone(), rows, objects, problems, wrong };
        if backup.pinned {
            return Ok(report);
        }
        let store = self.objects.clone();
        let look: super::objects::Bring = std::sync::Arc::new(move |object: ArchiveObject| {
            let store = store.clone();
            async move {
                let whole = store.stat(&object.key).await? == Some(object.size);
                Ok(if whole && is_right(&store, &object.key, &object).await? {
                    Brought::There
                } else {
                    Brought::Not(format!("{}: it is missing, or has other bytes", object.key))
                })
            }
            .boxed()
        });
        let mut looked_at = 0;
        let mut rows = ArchiveRows::open(&backup).await?;
        while let Some(page) = rows.next().await? {
            let objects = page.into_iter().filter_map(|row| row.object).collect();
            bring_all(objects, &look, |object, brought| {
                match brought {
                    Brought::Not(why) => {
                        report.wrong += 1;
                        note(&mut report.problems, why.clone());
                    }
                    _ => report.objects.add(object.size),
                }
                let Tally { count: done, bytes } = report.objects;
                looked_at += object.size;
                let extent = Extent::of(looked_at, read.objects.bytes);
                watch(&Progress { phase: "objects", done, bytes, extent });
            })
            .await?;
        }
        Ok(report)
    }
}

/// What a whole archive holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Whole {
    pub(super) rows: u64,
    pub(super) objects: Tally,
}

impl Whole {
    /// What it is to carry all of that.
    pub(super) fn work(self) -> Work {
        Work::of(self.rows, self.objects.bytes)
    }
}

/// Reads an archive to its end.
pub(super) async fn archive(backup: &BackupInfo, watch: Watch<'_>) -> Result<Whole, BackupError> {
    /// How many entries are read at a time.
    const ENTRIES: u64 = 10_000;
    let owned = backup.path.clone();
    let mut reader = blocking(move || open_archive(&owned)).await?;
    let mut whole = Whole::default();
    loop {
        let owned = backup.path.clone();
        let (back, more) = blocking(move || {
            for _ in 0..ENTRIES {
                let entry = reader.next_entry();
                match entry
                    .map_err(|source| BackupError::Archive { path: owned.clone(), source })?
                {
                    Some(ArchiveEntry::Row(..)) => whole.rows += 1,
                    Some(ArchiveEntry::Object(object)) => whole.objects.add(object.size),
                    None => return Ok(((reader, whole), false)),
                }
            }
            Ok(((reader, whole), true))
        })
        .await?;
        (reader, whole) = back;
        let extent = Extent::of(reader.position(), backup.bytes);
        watch(&Progress { phase: "archive", done: whole.rows, bytes: 0, extent });
        if !more {
            return Ok(whole);
        }
    }
}
