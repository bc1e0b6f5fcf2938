//! An installation whose bytes lie in a bucket behind a proxy that fails where a test wants it to, and
//! what must hold of it whatever failed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_engine::access::{Action, Caller, PrincipalId};
use strongroom_engine::content::ObjectRead;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::gc::{CollectOptions, FsckOptions};
use strongroom_engine::meta::MemoryStore;
use strongroom_engine::seam::{ManualClock, Seams, SeededEntropy, Timestamp};
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_engine::{Chunk, Engine, Error, ManifestPush, Repository, Settings};
use strongroom_s3::S3Store;
use strongroom_s3_testing::{FaultProxy, Server};

use super::{content, impatient, small_parts};

pub(crate) const MIB: usize = 1 << 20;
/// A lease, an upload's rest and the delay before an object goes.
const WHILE: Duration = Duration::from_hours(1);

pub(crate) struct Installation {
    pub(crate) engine: Engine,
    pub(crate) proxy: FaultProxy,
    clock: Arc<ManualClock>,
    prefix: String,
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn caller() -> Caller {
    Caller::known(PrincipalId::new("user:ann").unwrap())
}

/// As a frontend hands bytes on.
fn body(bytes: &Bytes) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send + use<> {
    let parts: Vec<_> = bytes.chunks(256 << 10).map(|part| Ok(bytes.slice_ref(part))).collect();
    futures::stream::iter(parts)
}

impl Installation {
    /// An empty one, below `prefix` in the server's bucket.
    pub(crate) async fn new(server: &Server, prefix: &str) -> Self {
        let proxy = FaultProxy::before(server.address).await;
        let mut options = impatient(small_parts(server.options_at(proxy.address)));
        options.prefix = format!("{prefix}/");
        // What waits for a slow disk of a busy machine is no fault.
        options.limits.attempt = Duration::from_secs(10);
        options.limits.deadline = Duration::from_secs(30);
        options.copy_bytes = 6 << 20;
        let blobs = Arc::new(S3Store::new(&options).await);
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
        let seams = Seams { clock: clock.clone(), entropy: Arc::new(SeededEntropy::new(7)) };
        let meta = Arc::new(MemoryStore::new(&seams));
        let mut settings = Settings::default();
        settings.lease = WHILE;
        settings.upload_idle = WHILE;
        settings.delete_delay = WHILE;
        // An image of one layer is a record, one of several is an object.
        settings.inline_manifest_bytes = 700;
        settings.checkpoint_bytes = 8 << 20;
        let engine = Engine::builder(meta, blobs).seams(seams).settings(settings);
        let engine = engine.build().await.unwrap();
        let acme = "acme".parse().unwrap();
        engine.create_organisation(&caller(), &acme, None, None).await.unwrap();
        let main = "main".parse().unwrap();
        let settings = RegistrySettings::default();
        engine.create_registry(&caller(), &acme, &main, settings).await.unwrap();
        Self { engine, proxy, clock, prefix: options.prefix }
    }

    pub(crate) async fn open(&self, action: Action) -> Result<Repository, Error> {
        self.engine.repository(&caller(), &"acme/main/api".parse().unwrap(), action).await
    }

    /// Pushes in one request.
    pub(crate) async fn push(&self, bytes: &Bytes) -> Result<(), Error> {
        let repository = self.open(Action::Push).await?;
        let length = Some(bytes.len() as u64);
        repository.push_blob(&sha256(bytes), length, body(bytes)).await.map(drop)
    }

    /// Pushes in chunks of `size`, each sent once more where it failed, as a client does that asks how
    /// far it got.
    pub(crate) async fn push_chunked(&self, bytes: &Bytes, size: usize) -> Result<(), Error> {
        let repository = self.open(Action::Push).await?;
        let id = repository.start_upload(None, None).await?.id;
        let mut offset = 0;
        let mut failed = 0;
        while offset < bytes.len() {
            let chunk = bytes.slice(offset..bytes.len().min(offset + size));
            let at = Chunk { at: Some(offset as u64), length: Some(chunk.len() as u64) };
            match repository.append(id, at, body(&chunk)).await {
                Ok(upload) => offset = usize::try_from(upload.offset).unwrap(),
                Err(error) if failed > 2 => return Err(error),
                Err(_) => {
                    failed += 1;
                    offset = usize::try_from(repository.upload(id).await?.offset).unwrap();
                }
            }
        }
        repository.finish_upload(id, &sha256(bytes)).await.map(drop)
    }

    /// Begins an upload and leaves it.
    pub(crate) async fn abandon(&self, bytes: &Bytes) -> Result<(), Error> {
        let repository = self.open(Action::Push).await?;
        let id = repository.start_upload(None, None).await?.id;
        repository.append(id, Chunk::default(), body(bytes)).await.map(drop)
    }

    /// Pushes bytes as what they are not; never taken.
    pub(crate) async fn push_wrong(&self, bytes: &Bytes, as_what: &Digest) {
        let Ok(repository) = self.open(Action::Push).await else { return };
        let pushed = repository.push_blob(as_what, None, body(bytes)).await;
        assert!(pushed.is_err(), "bytes of another digest were taken");
    }

    /// Points a tag at an image of these layers.
    pub(crate) async fn push_image(&self, layers: &[Bytes], tag: &str) -> Result<(), Error> {
        let config = Bytes::from_static(b"{}");
        self.push(&config).await?;
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| {
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}"#,
                    sha256(layer),
                    layer.len()
                )
            })
            .collect();
        let bytes = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},"layers":[{}]}}"#,
            sha256(&config),
            layers.join(",")
        );
        let tags = vec![tag.parse().unwrap()];
        let push = ManifestPush { bytes: bytes.into(), content_type: None, digest: None, tags };
        self.open(Action::Push).await?.push_manifest(&push).await.map(drop)
    }

    /// Deletes what a tag points at.
    pub(crate) async fn delete(&self, tag: &str) -> Result<(), Error> {
        let tag = tag.parse().unwrap();
        let digest = self.open(Action::Pull).await?.stat_manifest(&tag).await?.digest;
        self.open(Action::Delete).await?.delete_manifest(&digest).await
    }

    /// Whether the blob is there; whatever comes of it must be right, or break off.
    pub(crate) async fn reads(&self, bytes: &Bytes) -> Result<bool, Error> {
        let repository = self.open(Action::Pull).await?;
        let blob = match repository.blob(&sha256(bytes)).await {
            Ok(blob) => blob,
            Err(Error::BlobUnknown { .. } | Error::NameUnknown { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let ObjectRead::Stream(stream) = blob.read(0..blob.info().size).await? else {
            panic!("a bucket has no files")
        };
        let read: Vec<Bytes> = stream.try_collect().await.map_err(Error::from)?;
        assert!(read.concat() == *bytes, "wrong bytes were read as if they were whole");
        Ok(true)
    }

    /// A collection after all leases and delays are over.
    pub(crate) async fn collect_later(&self) -> Result<(), Error> {
        self.clock.advance(WHILE + Duration::from_secs(1));
        self.engine.collect(&CollectOptions::everything(), &|_| {}).await.map(drop)
    }

    /// Requires that it is sound, objects and all.
    pub(crate) async fn is_sound(&self, case: &str) {
        let report = self.engine.fsck(&FsckOptions::default().deep(), &|_| {}).await.unwrap();
        // What nothing names any more is garbage until it is swept.
        assert!(report.is_clean(), "{case}: {:?}", report.findings);
    }

    /// Requires that nothing is left once nobody wants anything: no object, no upload, no byte counted.
    pub(crate) async fn leaves_nothing(&self, server: &Server, case: &str) {
        let mut left = Vec::new();
        // What is moved behind a request may come behind a sweep; the next finds it.
        for _ in 0..6 {
            self.collect_later().await.unwrap_or_else(|error| panic!("{case}: {error}"));
            left = self.objects(server).await;
            if left.is_empty() {
                break;
            }
        }
        assert!(left.is_empty(), "{case}: objects are left: {left:?}");
        let client = server.client();
        let listed = client.list_multipart_uploads().bucket(server.bucket());
        let listed = listed.prefix(&self.prefix).send().await.unwrap();
        let uploads: Vec<_> = listed.uploads().iter().filter_map(|upload| upload.key()).collect();
        assert!(uploads.is_empty(), "{case}: uploads are left: {uploads:?}");
        let usage = self.engine.usage(&caller(), &"acme".parse().unwrap()).await.unwrap();
        assert_eq!(usage.used_bytes, 0, "{case}");
        self.is_sound(case).await;
    }

    /// What lies in the bucket, but for what says the epoch.
    async fn objects(&self, server: &Server) -> Vec<String> {
        let client = server.client();
        let listed = client.list_objects_v2().bucket(server.bucket()).prefix(&self.prefix);
        let listed = listed.send().await.unwrap();
        let keys = listed.contents().iter().filter_map(|object| object.key());
        let epochs = format!("{}epoch/", self.prefix);
        keys.filter(|key| !key.starts_with(&epochs)).map(str::to_owned).collect()
    }
}

/// Content that no other number has.
pub(crate) fn numbered(number: u32, length: usize) -> Bytes {
    let mut bytes = Vec::from(content(length));
    for (to, from) in bytes.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    Bytes::from(bytes)
}
