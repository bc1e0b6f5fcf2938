//! An engine on this machine's disk, durable in full, as a registry runs it.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use futures::Stream;
use strongroom_engine::access::{Action, AllowAll, Authorizer, Caller, PrincipalId};
use strongroom_engine::content::BlobStore;
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::disk::RealDisk;
use strongroom_engine::meta::{MetaStore, RedbStore};
use strongroom_engine::seam::SystemClock;
use strongroom_engine::tenancy::{RegistrySettings, RoleAuthorizer};
use strongroom_engine::{Engine, ManifestPush, Repository, Settings};

/// An engine in a folder of its own, which goes with it.
#[derive(Debug)]
pub struct World {
    /// The engine.
    pub engine: Engine,
    /// Who pushes and pulls.
    pub caller: Caller,
    /// Where its stores lie.
    pub folder: tempfile::TempDir,
}

impl World {
    /// A new engine with an organisation `bench` and a registry `main`, where everybody may do
    /// everything.
    pub async fn new(settings: Settings) -> Result<Self> {
        Self::over(settings, None, |_| Arc::new(AllowAll)).await
    }

    /// The same, whose bytes lie in `blobs`.
    pub async fn with_bytes_in(blobs: Arc<dyn BlobStore>) -> Result<Self> {
        Self::over(Settings::default(), Some(blobs), |_| Arc::new(AllowAll)).await
    }

    /// The same, but roles decide; the caller is admin.
    pub async fn with_roles(settings: Settings) -> Result<Self> {
        Self::over(settings, None, |meta| Arc::new(RoleAuthorizer::new(meta))).await
    }

    async fn over(
        settings: Settings,
        blobs: Option<Arc<dyn BlobStore>>,
        authorizer: impl FnOnce(Arc<dyn MetaStore>) -> Arc<dyn Authorizer>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir_in(crate::figure::folder()?)?;
        let clock = Arc::new(SystemClock);
        let meta = Arc::new(RedbStore::open(folder.path().join("meta.redb"), clock)?);
        let blobs = match blobs {
            Some(blobs) => blobs,
            None => Arc::new(FsStore::open(Arc::new(RealDisk), folder.path(), Durability::Full)?),
        };
        let authorizer = authorizer(meta.clone());
        let engine = Engine::builder(meta, blobs).authorizer(authorizer);
        let engine = engine.settings(settings).build().await?;
        let id = PrincipalId::new("user:bench")?;
        let caller = Caller { operator: true, ..Caller::known(id.clone()) };
        engine.create_organisation(&caller, &"bench".parse()?, None, Some(&id)).await?;
        let settings = RegistrySettings::default();
        engine.create_registry(&caller, &"bench".parse()?, &"main".parse()?, settings).await?;
        Ok(Self { engine, caller, folder })
    }

    /// Opens `bench/main/NAME`.
    pub async fn open(&self, name: &str, action: Action) -> Result<Repository> {
        let path = format!("bench/main/{name}").parse()?;
        Ok(self.engine.repository(&self.caller, &path, action).await?)
    }

    /// Pushes the empty config blob that [`manifest`] names.
    pub async fn push_config(&self, name: &str) -> Result<()> {
        let repository = self.open(name, Action::Push).await?;
        let digest = Digest::of(Algorithm::Sha256, b"{}");
        repository.push_blob(&digest, Some(2), parts(&Bytes::from_static(b"{}"), 2)).await?;
        Ok(())
    }
}

/// A small manifest that no other number has, as a push with `tags`.
pub fn manifest(number: u64, tags: &[String]) -> Result<ManifestPush> {
    let config = Digest::of(Algorithm::Sha256, b"{}");
    let bytes = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.example.bench","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}}],"annotations":{{"number":"{number}"}}}}"#
    );
    Ok(ManifestPush {
        bytes: bytes.into(),
        content_type: Some("application/vnd.oci.image.manifest.v1+json".to_owned()),
        digest: None,
        tags: tags.iter().map(|tag| tag.parse()).collect::<Result<_, _>>()?,
    })
}

/// `bytes` as a body of parts of `size`.
pub fn parts(
    bytes: &Bytes,
    size: usize,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + use<> {
    let bytes = bytes.clone();
    let starts = (0..bytes.len()).step_by(size);
    futures::stream::iter(
        starts.map(move |start| Ok(bytes.slice(start..bytes.len().min(start + size)))),
    )
}

/// `size` bytes that no file system folds away.
pub fn random_bytes(size: usize) -> Bytes {
    // splitmix64: quick, and the same in every run.
    let mut state = 0x5EED_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}
