//! The two stores of an installation, opened as the settings name them: the one place that knows
//! which kinds there are. Bytes lie in the data folder or a bucket, facts in the data folder or a
//! database.

use std::path::Path;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use strongroom_engine::Settings;
use strongroom_engine::backup::Stores;
use strongroom_engine::content::BlobStore;
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::disk::RealDisk;
use strongroom_engine::meta::{MetaError, MetaStore, RedbOptions, RedbStore};
use strongroom_engine::seam::Seams;
use strongroom_http::auth::Secret;
use strongroom_postgres::{OpenError, PostgresOptions, PostgresStore};
use strongroom_s3::{Addressing, Encryption, S3Options, S3Store};

use crate::config::{self, Config, POSTGRES_PASSWORD};
use crate::data::DataFolder;
use crate::failure::Failure;

/// Opens both stores. Fails where another process owns what lies in the folder.
pub(crate) async fn open(
    config: &Config,
    folder: &DataFolder,
    seams: &Seams,
) -> Result<Stores, Failure> {
    // The facts first: who has them open owns the folder, and may tidy the objects.
    let meta: Arc<dyn MetaStore> = match database(config)? {
        Some(options) => Arc::new(PostgresStore::open(options).await?),
        None => Arc::new(file(config, folder, seams).await?),
    };
    let blobs: Arc<dyn BlobStore> = match bucket(config, folder)? {
        Some(options) => {
            let store = S3Store::new(&options).await;
            store.check().await.map_err(|error| Failure::away(error.to_string()))?;
            Arc::new(store)
        }
        None => Arc::new(objects(config, folder).await?),
    };
    Ok(Stores { meta, blobs })
}

async fn file(config: &Config, folder: &DataFolder, seams: &Seams) -> Result<RedbStore, Failure> {
    let (folder, clock, config) = (folder.clone(), Arc::clone(&seams.clock), config.clone());
    blocking(move || {
        let open = || {
            let options = RedbOptions {
                cache_bytes: memory(config.storage.metadata_cache),
                // Uploads stop first: what is under way then can still be finished.
                reserve_bytes: config.storage.reserve.bytes() / 4,
            };
            let meta = RedbStore::open_with(options, folder.meta(), Arc::clone(&clock));
            meta.map_err(|error| not_open(&folder, &error))
        };
        if folder.is_older() {
            // Nobody has them open, and they are whole: closed again, they can be copied.
            drop(open()?);
            folder.keep_before_migration()?;
        }
        open()
    })
    .await
}

async fn objects(config: &Config, folder: &DataFolder) -> Result<FsStore, Failure> {
    let folder = folder.clone();
    let durability = match config.storage.durability {
        config::Durability::Full => Durability::Full,
        config::Durability::Relaxed => Durability::Relaxed,
    };
    blocking(move || {
        let opened = FsStore::open(Arc::new(RealDisk), folder.objects(), durability);
        opened.map_err(|error| {
            Failure::failed(format!("can't open {}: {error}", folder.objects().display()))
        })
    })
    .await
}

/// Brings the database to the version that this program needs; returns how many steps that took.
/// `None` where the facts lie in the data folder.
pub(crate) async fn migrate(config: &Config) -> Result<Option<usize>, Failure> {
    match database(config)? {
        Some(options) => Ok(Some(PostgresStore::migrate(&options).await?)),
        None => Ok(None),
    }
}

async fn blocking<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let opened = tokio::task::spawn_blocking(open).await;
    opened.map_err(|error| Failure::failed(format!("opening the data failed: {error}")))?
}

pub(crate) fn memory(size: config::Size) -> usize {
    usize::try_from(size.bytes()).unwrap_or(usize::MAX)
}

/// The engine's settings, as the configuration has them.
pub(crate) fn settings(config: &Config) -> Settings {
    let mut settings = Settings::default();
    settings.lease = config.uploads.lease.duration();
    settings.upload_idle = config.uploads.idle.duration();
    settings.delete_delay = config.collection.delete_delay.duration();
    settings.max_blob_bytes = config.uploads.max_blob.bytes();
    settings.manifest.max_bytes = memory(config.uploads.max_manifest);
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

fn bucket(config: &Config, folder: &DataFolder) -> Result<Option<S3Options>, Failure> {
    let config = &config.s3;
    let Some(bucket) = &config.bucket else { return Ok(None) };
    let mut options = S3Options::new(bucket);
    options.prefix = match config.prefix.as_deref().unwrap_or_default().trim_end_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    options.region.clone_from(&config.region);
    options.endpoint.clone_from(&config.endpoint);
    options.addressing = if config.path_style { Addressing::Path } else { Addressing::VirtualHost };
    options.encryption = match config.encryption {
        config::Encryption::Bucket => Encryption::Bucket,
        config::Encryption::SseS3 => Encryption::S3,
        config::Encryption::SseKms => Encryption::Kms { key: config.kms_key.clone() },
    };
    options.storage_class.clone_from(&config.storage_class);
    options.pool_bytes = config.memory.bytes();
    options.spool_bytes = config.spool.bytes();
    options.spool_folder = Some(folder.spool()?);
    options.limits.requests_at_once = config.max_requests;
    options.limits.deadline = config.deadline.duration();
    Ok(Some(options))
}

fn database(config: &Config) -> Result<Option<PostgresOptions>, Failure> {
    let config = &config.postgres;
    let Some(url) = &config.url else { return Ok(None) };
    let url = match password(config.password_file.as_deref())? {
        Some(password) => with_password(url, &password)?,
        None => url.clone(),
    };
    let mut options = PostgresOptions::new(url);
    options.connections = config.connections;
    options.statement_timeout = config.statement_timeout.duration();
    Ok(Some(options))
}

fn password(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    if let Some(password) = std::env::var(POSTGRES_PASSWORD).ok().filter(|text| !text.is_empty()) {
        return Ok(Some(Secret::new(password)));
    }
    file.map(|file| secret_in(file, "postgres.password_file")).transpose()
}

/// The secret in a file that a setting names, without the end of its line.
pub(crate) fn secret_in(file: &Path, setting: &str) -> Result<Secret, Failure> {
    let bad = |why: &str| Failure::usage(format!("{setting} {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| bad(&error.to_string()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(bad("it is empty")),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}

fn with_password(url: &str, password: &Secret) -> Result<String, Failure> {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let (user, rest) = rest.split_once('@')?;
        (!user.contains('/')).then_some((scheme, user, rest))
    });
    let (scheme, user, rest) = parts.ok_or_else(|| {
        Failure::usage(
            "postgres.url names no user for the password: write postgresql://USER@HOST/…",
        )
    })?;
    let password = utf8_percent_encode(password.expose(), NON_ALPHANUMERIC);
    Ok(format!("{scheme}://{user}:{password}@{rest}"))
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Url { .. } | OpenError::Tls { .. } => {
                Self::usage(format!("postgres.url: {error}"))
            }
            OpenError::Store(MetaError::Unavailable(_)) => Self::away(error.to_string()),
            error => Self::failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_goes_between_user_and_host_whatever_is_in_it() {
        let password = Secret::new("p@ss:/?#%".to_owned());
        let with = |url| with_password(url, &password);
        assert_eq!(
            with("postgresql://me@db:5432/s?sslmode=require").unwrap(),
            "postgresql://me:p%40ss%3A%2F%3F%23%25@db:5432/s?sslmode=require"
        );
        for bad in ["postgresql://db/s", "db", "postgresql://db/s?user=a@b"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_ends_in_one_slash() {
        let home = tempfile::tempdir().unwrap();
        let folder = DataFolder::open_or_make(&home.path().join("data")).unwrap();
        for (given, prefix) in
            [(None, ""), (Some("a/b"), "a/b/"), (Some("a/"), "a/"), (Some("/"), "")]
        {
            let mut config = Config::default();
            config.s3.bucket = Some("b".to_owned());
            config.s3.prefix = given.map(str::to_owned);
            assert_eq!(bucket(&config, &folder).unwrap().unwrap().prefix, prefix);
        }
    }
}
