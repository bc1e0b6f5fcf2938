//! An installation from one pair of stores into another.

use std::sync::Arc;

use futures::FutureExt;

use super::fill::{Fill, Finish};
use super::objects::{Bring, copy};
use super::rows::SnapshotRows;
use super::work::Work;
use super::{ArchiveObject, BackupError, Stores, nobody_since};
use crate::FORMAT_VERSION;
use crate::content::BlobStore;
use crate::core::Settings;
use crate::digest::{Algorithm, Digest};
use crate::error::Error;
use crate::gc::{FsckReport, Tally, Watch};
use crate::keys;
use crate::records::{FillKind, FormatRecord, Record};
use crate::seam::Seams;

/// What a copy did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// Rows that are in the target now.
    pub rows: u64,
    /// Objects copied by this run, hashed on the way.
    pub copied: Tally,
    /// Objects that an earlier run had copied.
    pub there: Tally,
    /// Uploads under way, which are not carried along.
    pub uploads: u64,
    /// What the check at the end found.
    pub fsck: FsckReport,
}

/// Makes `target`, which is empty, or in which an earlier copy of the same source did not come to its
/// end, into what `source` is now. The source is only read.
///
/// Nobody may serve the source meanwhile: what would be acknowledged there after the copy began is not
/// in it. Its own store sees to that where one process owns it; of a shared one [`BackupError::Open`]
/// tells who has it open, and nothing opens a target whose source was opened before the copy came to its
/// end. Fails with [`BackupError::Objects`] where the source misses objects: `fsck` there tells more.
/// Dropping the future, like a kill, leaves a target that no engine opens; the same copy goes on.
pub async fn copy_storage(
    source: &Stores,
    target: &Stores,
    seams: &Seams,
    settings: &Settings,
    watch: Watch<'_>,
) -> Result<CopyReport, BackupError> {
    let begun = source.meta.now().await?;
    nobody_since(source, begun, "the source").await?;
    let view = source.meta.snapshot().await?;
    if view.get(keys::FILLING).await?.is_some() {
        let what = "is itself a restore or copy that did not come to its end";
        return Err(BackupError::Source(what.to_owned()));
    }
    let format = view.get(keys::FORMAT).await?;
    let format =
        format.ok_or_else(|| BackupError::Source("has no installation in it".to_owned()))?;
    let version = FormatRecord::decode(&format).map_err(Error::from)?.version;
    // An older one is migrated in the target, and stays as it is here.
    if version > FORMAT_VERSION {
        let what = format!("has format {version}, this program knows {FORMAT_VERSION}");
        return Err(BackupError::Source(what));
    }
    let mark = Digest::of(Algorithm::Sha256, &format);
    let mark = mark.raw().first_chunk::<8>().copied().map_or(0, u64::from_be_bytes);
    let work = Work::of_store(&*view).await?;
    let mut fill = Fill::begin(target, seams, FillKind::Copy, mark, false, work).await?;
    if fill.record.occupied {
        return Err(BackupError::NotEmpty { what: "the target's blob store has objects in it" });
    }
    let bring = bring(Arc::clone(&source.blobs), Arc::clone(&target.blobs));
    let mut rows = SnapshotRows::new(&*view);
    while let Some(page) = rows.next().await? {
        fill.take(page, &bring, watch).await?;
    }
    nobody_since(source, begun, "the source").await?;
    let line = "copied from other stores";
    let how = Finish { settings, line, deep: false, watch };
    let uploads = rows.uploads;
    let (fill, fsck) = fill.finish(format, None, how).await?;
    Ok(CopyReport { rows: fill.rows, copied: fill.copied, there: fill.there, uploads, fsck })
}

fn bring(from: Arc<dyn BlobStore>, to: Arc<dyn BlobStore>) -> Bring {
    Arc::new(move |object: ArchiveObject| {
        let (from, to) = (Arc::clone(&from), Arc::clone(&to));
        async move {
            // An earlier run may have left it there, half: only a row says that it is whole.
            if to.stat(&object.key).await?.is_some() {
                to.delete(&object.key).await?;
            }
            copy(&*from, &*to, &object, &object.key).await
        }
        .boxed()
    })
}
