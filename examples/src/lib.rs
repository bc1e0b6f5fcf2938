//! What the examples share. Each example is one file of this folder, to be read from top to bottom and
//! run with `cargo run -p strongroom-examples --example NAME`:
//!
//! - `embed`: a folder as a store; a file pushed, tagged and pulled back
//! - `resume`: an upload that goes on after its process is gone
//! - `graph`: an index, its manifests, their blobs, what refers to them, and deleting
//! - `events`: hearing of changes as they happen, and reading the trail later
//! - `authorizer`: your own answer to who may do what

use std::convert::Infallible;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use strongroom_engine::access::{Action, Caller, PrincipalId};
use strongroom_engine::content::ObjectRead;
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::disk::RealDisk;
use strongroom_engine::meta::RedbStore;
use strongroom_engine::seam::SystemClock;
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_engine::{Engine, ManifestPush, Repository};

/// The media type of the manifests that the examples push.
pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index of manifests.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Opens the engine over a folder, which is made where it is not there: facts in one file, bytes
/// beside it, all of it durable.
pub async fn open(folder: &Path) -> Result<Engine> {
    let blobs = FsStore::open(Arc::new(RealDisk), folder, Durability::Full)?;
    let meta = RedbStore::open(folder.join("meta.redb"), Arc::new(SystemClock))?;
    Ok(Engine::builder(Arc::new(meta), Arc::new(blobs)).build().await?)
}

/// Somebody, as your own sign-in would vouch for them.
pub fn caller(name: &str) -> Result<Caller> {
    Ok(Caller::known(PrincipalId::new(format!("user:{name}"))?))
}

/// Makes the organisation `acme` with its registry `main`.
pub async fn found(engine: &Engine, admin: &Caller) -> Result<()> {
    engine.create_organisation(admin, &"acme".parse()?, None, None).await?;
    let settings = RegistrySettings::default();
    engine.create_registry(admin, &"acme".parse()?, &"main".parse()?, settings).await?;
    Ok(())
}

/// Opens `acme/main/NAME` for one action.
pub async fn repository(
    engine: &Engine,
    caller: &Caller,
    name: &str,
    action: Action,
) -> Result<Repository> {
    let path = format!("acme/main/{name}").parse()?;
    Ok(engine.repository(caller, &path, action).await?)
}

/// The digest that names `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

/// Bytes as the engine takes them: a stream of parts, so that nothing need be held whole.
pub fn body(bytes: &[u8]) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    futures::stream::iter([Ok(Bytes::copy_from_slice(bytes))])
}

/// Pushes `bytes` as a blob.
pub async fn push_blob(repository: &Repository, bytes: &[u8]) -> Result<Digest> {
    let digest = sha256(bytes);
    let length = u64::try_from(bytes.len())?;
    repository.push_blob(&digest, Some(length), body(bytes)).await?;
    Ok(digest)
}

/// Pushes a manifest or an index.
pub async fn push_manifest(
    repository: &Repository,
    content_type: &str,
    manifest: &str,
    tags: &[&str],
) -> Result<Digest> {
    let push = ManifestPush {
        bytes: Bytes::copy_from_slice(manifest.as_bytes()),
        content_type: Some(content_type.to_owned()),
        digest: None,
        tags: tags.iter().map(|tag| tag.parse()).collect::<Result<_, _>>()?,
    };
    Ok(repository.push_manifest(&push).await?.digest)
}

/// A manifest of one layer and the empty config; `subject` is more of its JSON, or nothing.
pub fn artifact(kind: &str, layer: &Digest, size: usize, subject: &str) -> String {
    let config = sha256(b"{}");
    format!(
        r#"{{"schemaVersion": 2, "mediaType": "{IMAGE}", "artifactType": "{kind}",
        "config": {{"mediaType": "application/vnd.oci.empty.v1+json", "digest": "{config}", "size": 2}},
        "layers": [{{"mediaType": "application/octet-stream", "digest": "{layer}", "size": {size}}}]{subject}}}"#
    )
}

/// The whole of a small blob. A local store hands out the open file, another one a stream.
pub async fn read_all(read: ObjectRead) -> Result<Vec<u8>> {
    match read {
        ObjectRead::Stream(stream) => {
            let parts: Vec<Bytes> = stream.try_collect().await?;
            Ok(parts.concat())
        }
        ObjectRead::File { file, offset, length } => {
            let mut bytes = vec![0; usize::try_from(length)?];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes)
        }
    }
}

/// The same straight into a file, through a buffer of the system's choosing.
pub async fn copy_to(read: ObjectRead, path: &Path) -> Result<u64> {
    let mut target = std::fs::File::create(path)?;
    match read {
        ObjectRead::Stream(mut stream) => {
            let mut written = 0;
            while let Some(part) = stream.try_next().await? {
                std::io::Write::write_all(&mut target, &part)?;
                written += u64::try_from(part.len())?;
            }
            Ok(written)
        }
        ObjectRead::File { mut file, offset, length } => {
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset))?;
            Ok(std::io::copy(&mut file.take(length), &mut target)?)
        }
    }
}
