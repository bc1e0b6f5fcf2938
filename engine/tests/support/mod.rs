//! What the engine's slow suites share: seeds, contents, callers, and a small world to work in.
#![allow(dead_code, reason = "no suite uses all of it")]

pub mod gc;
pub mod shuffle;

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_engine::access::{Action, Caller, PrincipalId, Role};
use strongroom_engine::content::{BlobStore, ObjectRead};
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::meta::MetaStore;
use strongroom_engine::seam::{ManualClock, Seams, SeededEntropy, Timestamp};
use strongroom_engine::tenancy::{RegistrySettings, RoleAuthorizer};
use strongroom_engine::{Engine, Error, ManifestPush, Repository, Settings};

/// Whether the full counts are wanted, not those that fit a usual run.
pub fn long() -> bool {
    std::env::var_os("STRONGROOM_LONG").is_some()
}

/// The seed to replay, where one was given.
pub fn replayed() -> Option<u64> {
    let text = std::env::var("STRONGROOM_SEED").ok()?;
    Some(text.parse().expect("STRONGROOM_SEED is a number"))
}

/// A seed that is another one in each run, but where one was given.
pub fn seed() -> u64 {
    replayed().unwrap_or_else(|| Seams::default().random_u64() >> 16)
}

/// When the clocks of tests begin.
pub const BEGIN: Timestamp = Timestamp(1_700_000_000_000);

/// A clock that stands still and chance that repeats.
pub fn seams(seed: u64) -> (Seams, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(BEGIN));
    let entropy = Arc::new(SeededEntropy::new(seed));
    (Seams { clock: clock.clone(), entropy }, clock)
}

pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

/// `bytes` as a body of one piece.
pub fn body(bytes: &Bytes) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send + use<> {
    futures::stream::iter([Ok(bytes.clone())])
}

/// Everything of a read.
pub async fn collected(read: ObjectRead) -> Result<Bytes, Error> {
    match read {
        ObjectRead::Stream(stream) => {
            let parts: Vec<Bytes> = stream.try_collect().await?;
            Ok(parts.concat().into())
        }
        ObjectRead::File { file, offset, length } => {
            use std::os::unix::fs::FileExt;
            let mut bytes = vec![0; usize::try_from(length).unwrap()];
            file.read_exact_at(&mut bytes, offset).map_err(|e| Error::Source(e.into()))?;
            Ok(bytes.into())
        }
    }
}

/// The whole of a blob, as the engine gives it.
pub async fn read_blob(repository: &Repository, digest: &Digest) -> Result<Bytes, Error> {
    let blob = repository.blob(digest).await?;
    collected(blob.read(0..blob.info().size).await?).await
}

pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A descriptor.
pub fn descriptor(media_type: &str, digest: &Digest, size: usize) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

/// An image of a config and layers, each a digest and a size; `more` is put in as it is.
pub fn image(config: (&Digest, usize), layers: &[(&Digest, usize)], more: &str) -> Bytes {
    let config = descriptor("application/vnd.oci.image.config.v1+json", config.0, config.1);
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size)| descriptor("application/vnd.oci.image.layer.v1.tar", digest, *size))
        .collect();
    let mut text = format!(r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{config},"#);
    write!(text, r#""layers":[{}]{more}}}"#, layers.join(",")).unwrap();
    text.into()
}

/// An index of manifests, each a media type, a digest and a size.
pub fn index(manifests: &[(&str, &Digest, usize)]) -> Bytes {
    let entries: Vec<_> =
        manifests.iter().map(|(kind, digest, size)| descriptor(kind, digest, *size)).collect();
    let entries = entries.join(",");
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entries}]}}"#).into()
}

/// A push of `bytes` under `tags`.
pub fn push_of(bytes: &Bytes, digest: Option<Digest>, tags: &[&str]) -> ManifestPush {
    ManifestPush {
        bytes: bytes.clone(),
        content_type: None,
        digest,
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
    }
}

pub fn caller(name: &str) -> Caller {
    Caller::known(PrincipalId::new(format!("user:{name}")).unwrap())
}

pub fn operator() -> Caller {
    Caller { operator: true, ..caller("operator") }
}

/// An engine in which roles decide, over two stores.
pub async fn engine(
    meta: Arc<dyn MetaStore>,
    blobs: Arc<dyn BlobStore>,
    seams: &Seams,
    settings: Settings,
) -> Result<Engine, Error> {
    let authorizer = Arc::new(RoleAuthorizer::new(meta.clone()));
    let builder = Engine::builder(meta, blobs).authorizer(authorizer).seams(seams.clone());
    builder.settings(settings).build().await
}

/// Makes an organisation with the registry `main`, an admin and a viewer.
pub async fn found(engine: &Engine, name: &str, admin: &str, viewer: &str) -> Result<(), Error> {
    let (organisation, registry) = (name.parse().unwrap(), "main".parse().unwrap());
    let first = PrincipalId::new(format!("user:{admin}")).unwrap();
    engine.create_organisation(&operator(), &organisation, None, Some(&first)).await?;
    let settings = RegistrySettings::default();
    engine.create_registry(&caller(admin), &organisation, &registry, settings).await?;
    let second = PrincipalId::new(format!("user:{viewer}")).unwrap();
    engine.set_role(&caller(admin), &organisation, &second, None, Role::Viewer).await
}

/// Opens `path` for `action`.
pub async fn open(
    engine: &Engine,
    who: &str,
    path: &str,
    action: Action,
) -> Result<Repository, Error> {
    engine.repository(&caller(who), &path.parse().unwrap(), action).await
}
