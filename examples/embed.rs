//! A folder as a store: push a file with a manifest and a tag, then pull it back by the tag.
//!
//!     cargo run -p strongroom-examples --example embed
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use futures::StreamExt;
use strongroom_engine::Engine;
use strongroom_engine::access::{Action, Caller, PrincipalId};
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::disk::RealDisk;
use strongroom_engine::meta::RedbStore;
use strongroom_engine::seam::SystemClock;
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_examples::{IMAGE, artifact, copy_to, push_blob, push_manifest};
use tokio_util::io::ReaderStream;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    run(folder.path()).await
}

/// Does it all in `folder`.
pub(crate) async fn run(folder: &Path) -> Result<()> {
    // Two stores make an engine: one for bytes, one for facts. Both are traits; these two keep
    // everything in one folder of this machine. Without an authorizer everybody may do everything,
    // which suits a program that is its own only user.
    let data = folder.join("data");
    let blobs = FsStore::open(Arc::new(RealDisk), &data, Durability::Full)?;
    let meta = RedbStore::open(data.join("meta.redb"), Arc::new(SystemClock))?;
    let engine = Engine::builder(Arc::new(meta), Arc::new(blobs)).build().await?;

    // Content lives in organisation/registry/repository. The first two are made once; a repository
    // comes into being with the first thing pushed to it.
    let me = Caller::known(PrincipalId::new("user:me")?);
    engine.create_organisation(&me, &"acme".parse()?, None, None).await?;
    let settings = RegistrySettings::default();
    engine.create_registry(&me, &"acme".parse()?, &"main".parse()?, settings).await?;

    // Some file to keep. Its digest is known before it is sent, so one call pushes it: the bytes are
    // read once, hashed and written as they stream, and on the disk when the call returns.
    let report = folder.join("report.txt");
    std::fs::write(&report, "all is well\n".repeat(10_000))?;
    let digest = Digest::of(Algorithm::Sha256, &std::fs::read(&report)?);
    let path = "acme/main/reports".parse()?;
    let repository = engine.repository(&me, &path, Action::Push).await?;
    let file = ReaderStream::new(tokio::fs::File::open(&report).await?);
    let blob = repository.push_blob(&digest, None, file.boxed()).await?;
    println!("pushed   {} ({} bytes)", blob.digest, blob.size);

    // A manifest says what the blob is, a tag gives it a name for people. Everything that a manifest
    // names must be in its repository, the empty config `{}` too. A handle is for one request: who
    // may do what, and which names lead where, is looked at when it is opened.
    let repository = engine.repository(&me, &path, Action::Push).await?;
    push_blob(&repository, b"{}").await?;
    let manifest = artifact("text/x-report", &blob.digest, usize::try_from(blob.size)?, "");
    let manifest = push_manifest(&repository, IMAGE, &manifest, &["1.0", "latest"]).await?;
    println!("manifest {manifest}, tagged 1.0 and latest");

    // And back: the tag leads to the manifest, the manifest to the blob.
    let repository = engine.repository(&me, &path, Action::Pull).await?;
    let manifest = repository.manifest(&"latest".parse()?).await?;
    println!("latest   is {}: {:?}", manifest.digest, manifest.artifact_type);
    let blob = repository.blob(&digest).await?;
    let copy = folder.join("copy.txt");
    let written = copy_to(blob.read(0..blob.info().size).await?, &copy).await?;
    anyhow::ensure!(std::fs::read(&copy)? == std::fs::read(&report)?);
    println!("pulled   {written} bytes, the same");

    // What waits (pulls, on their way into the audit trail) is written before the end.
    engine.flush().await?;
    Ok(())
}
