//! The two stores of an installation, opened as the settings name them: the one place that knows
//! which kinds there are.

use std::sync::Arc;

use strongroom_engine::Settings;
use strongroom_engine::backup::Stores;
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::disk::RealDisk;
use strongroom_engine::meta::{MetaError, RedbOptions, RedbStore};
use strongroom_engine::seam::Seams;

use crate::config::{self, Config};
use crate::data::DataFolder;
use crate::failure::Failure;

/// Opens both stores. Fails where another process owns them.
pub(crate) async fn open(
    config: &Config,
    folder: &DataFolder,
    seams: &Seams,
) -> Result<Stores, Failure> {
    let (folder, clock, config) = (folder.clone(), Arc::clone(&seams.clock), config.clone());
    let open = move || {
        let options = RedbOptions {
            cache_bytes: memory(config.storage.metadata_cache),
            // Uploads stop first: what is under way then can still be finished.
            reserve_bytes: config.storage.reserve.bytes() / 4,
        };
        // The facts first: who has them open owns the folder, and may tidy the objects.
        let open = || {
            let meta = RedbStore::open_with(options, folder.meta(), Arc::clone(&clock));
            meta.map_err(|error| not_open(&folder, &error))
        };
        if folder.is_older() {
            // Nobody has them open, and they are whole: closed again, they can be copied.
            drop(open()?);
            folder.keep_before_migration()?;
        }
        let meta = open()?;
        let durability = match config.storage.durability {
            config::Durability::Full => Durability::Full,
            config::Durability::Relaxed => Durability::Relaxed,
        };
        let blobs = FsStore::open(Arc::new(RealDisk), folder.objects(), durability);
        let blobs = blobs.map_err(|error| {
            Failure::failed(format!("can't open {}: {error}", folder.objects().display()))
        })?;
        Ok(Stores { meta: Arc::new(meta), blobs: Arc::new(blobs) })
    };
    let opened = tokio::task::spawn_blocking(open).await;
    opened.map_err(|error| Failure::failed(format!("opening the data failed: {error}")))?
}

fn memory(size: config::Size) -> usize {
    usize::try_from(size.bytes()).unwrap_or(usize::MAX)
}

/// The engine's settings, as the configuration has them.
pub(crate) fn settings(config: &Config) -> Settings {
    let mut settings = Settings::default();
    settings.lease = config.uploads.lease.duration();
    settings.upload_idle = config.uploads.idle.duration();
    settings.delete_delay = config.collection.delete_delay.duration();
    settings.max_blob_bytes = config.uploads.max_blob.bytes();
    settings.reserve_bytes = config.storage.reserve.bytes();
    settings.verify_reads = config.storage.verify_reads;
    settings.cache_bytes = config.storage.manifest_cache.bytes();
    settings
}

fn not_open(folder: &DataFolder, error: &MetaError) -> Failure {
    let path = folder.meta();
    match error {
        MetaError::Unavailable(why) => Failure::away(format!(
            "can't open {}: {why}. If another strongroom is using it, let that end, or wait until it \
             serves",
            path.display()
        )),
        error => Failure::failed(format!("can't open {}: {error}", path.display())),
    }
}
