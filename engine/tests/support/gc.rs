//! Collection and fsck, as the suites call them.

use strongroom_engine::content::{BlobStore, ObjectEntry};
use strongroom_engine::gc::{CollectOptions, CollectReport, FsckOptions};
use strongroom_engine::{Engine, Error};

/// Collects everything.
pub async fn collect(engine: &Engine) -> Result<CollectReport, Error> {
    engine.collect(&CollectOptions::everything(), &|_| {}).await
}

/// Only tells what would be collected.
pub async fn dry_run(engine: &Engine) -> Result<CollectReport, Error> {
    engine.collect(&CollectOptions::everything().dry_run(), &|_| {}).await
}

/// What fsck finds wrong; it reads and hashes all bytes.
pub async fn fsck(engine: &Engine) -> Result<Vec<String>, Error> {
    let report = engine.fsck(&FsckOptions::default().deep(), &|_| {}).await?;
    Ok(report.findings.iter().map(ToString::to_string).collect())
}

/// What is in the bucket, but for what says its epoch.
pub async fn objects(blobs: &dyn BlobStore) -> Vec<ObjectEntry> {
    let listed = blobs.list("", None, 10_000).await.unwrap();
    listed.into_iter().filter(|entry| !entry.key.as_str().starts_with("epoch/")).collect()
}
