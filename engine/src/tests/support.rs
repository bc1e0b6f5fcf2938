//! A small world to test in: one organisation with one registry, a clock that stands still.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::gate::Gate;
use crate::access::{Action, Caller, PrincipalId};
use crate::change::{Change, Seen};
use crate::content::BlobStore;
use crate::content::opendal::OpendalStore;
use crate::digest::{Algorithm, Digest};
use crate::graph::stripe_of_organisation;
use crate::id::{OrganisationId, RegistryId};
use crate::keys;
use crate::meta::MemoryStore;
use crate::name::{Reference, Tag};
use crate::records::{Life, NameRecord, OrganisationRecord, RegistryRecord};
use crate::seam::{ManualClock, Seams, SeededEntropy, Timestamp};
use crate::{Engine, Error, ManifestPush, Repository, Settings};

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) caller: Caller,
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

pub(crate) fn body(bytes: &[u8]) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send {
    futures::stream::iter([Ok(Bytes::copy_from_slice(bytes))])
}

/// An organisation with a registry `main`, by their rows.
pub(crate) fn found(
    change: &mut Change<'_>,
    name: &str,
    (organisation, registry): (OrganisationId, RegistryId),
    quota_bytes: Option<u64>,
) {
    let (life, created_at) = (Life::Live, Timestamp(0));
    change.put(keys::organisation_name(name), &NameRecord::Live(organisation.0));
    let name = name.to_owned();
    let record = OrganisationRecord { name, life, created_at, quota_bytes, admins: 0 };
    change.put(keys::organisation(organisation), &record);
    change.put(keys::registry_name(organisation, "main"), &NameRecord::Live(registry.0));
    let record = RegistryRecord {
        name: "main".to_owned(),
        life,
        created_at,
        public: false,
        sparse_indexes: false,
        immutable_tags: Vec::new(),
        retention: Vec::new(),
    };
    change.put(keys::registry(organisation, registry), &record);
}

impl World {
    pub(crate) async fn new() -> Self {
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        Self::over(blobs).await
    }

    /// A world with settings of a test's own, but for the size of what is kept inline.
    pub(crate) async fn with(settings: Settings) -> Self {
        Self::build(Arc::new(OpendalStore::memory().unwrap()), settings).await
    }

    /// A world whose bytes lie in `blobs`.
    pub(crate) async fn over(blobs: Arc<dyn BlobStore>) -> Self {
        Self::build(blobs, Settings::default()).await
    }

    pub(crate) async fn build(blobs: Arc<dyn BlobStore>, settings: Settings) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
        let entropy = Arc::new(SeededEntropy::new(7));
        let seams = Seams { clock: clock.clone(), entropy };
        let meta = Arc::new(Gate::new(MemoryStore::new(&seams)));
        let gate = Arc::clone(&meta);
        // Copies are made when a test asks for them.
        let copy_group = Duration::from_hours(1);
        let settings = Settings { inline_manifest_bytes: 2048, copy_group, ..settings };
        let engine =
            Engine::builder(meta, blobs).seams(seams).settings(settings).build().await.unwrap();
        let mut change = Change::new(&engine.core);
        found(&mut change, "acme", (OrganisationId(1), RegistryId(2)), Some(1 << 30));
        change.commit().await.unwrap();
        let caller = Caller::known(PrincipalId::new("user:tester").unwrap());
        Self { engine, gate, clock, caller }
    }

    pub(crate) async fn open(&self, name: &str, action: Action) -> Result<Repository, Error> {
        let path = format!("acme/main/{name}").parse().unwrap();
        self.engine.repository(&self.caller, &path, action).await
    }

    pub(crate) async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let repository = self.open(name, Action::Push).await.unwrap();
        let digest = sha256(bytes);
        repository.push_blob(&digest, None, body(bytes)).await.unwrap();
        digest
    }

    pub(crate) async fn push_manifest(
        &self,
        name: &str,
        manifest: &str,
        tags: &[&str],
    ) -> Result<Digest, Error> {
        let repository = self.open(name, Action::Push).await?;
        let push = ManifestPush {
            bytes: Bytes::copy_from_slice(manifest.as_bytes()),
            content_type: Some("application/vnd.oci.image.manifest.v1+json".to_owned()),
            digest: None,
            tags: tags.iter().map(|tag| tag.parse::<Tag>().unwrap()).collect(),
        };
        repository.push_manifest(&push).await.map(|pushed| pushed.digest)
    }

    /// A manifest of one layer, pushed whole.
    pub(crate) async fn push_image(&self, name: &str, layer: &[u8], tag: &str) -> Digest {
        let config = self.push_blob(name, b"{}").await;
        let digest = self.push_blob(name, layer).await;
        let manifest = image(&config, 2, &digest, layer.len());
        self.push_manifest(name, &manifest, &[tag]).await.unwrap()
    }

    /// What the organisation's counter says.
    pub(crate) async fn used_bytes(&self) -> i64 {
        let row = self.engine.core.meta.get(&keys::usage(OrganisationId(1))).await.unwrap();
        row.map_or(0, |row| i64::from_be_bytes(row.as_ref().try_into().unwrap()))
    }

    /// Bounds what the organisation may store.
    pub(crate) async fn set_quota(&self, quota_bytes: u64) {
        let key = keys::organisation(OrganisationId(1));
        let seen: Seen<OrganisationRecord> = self.engine.core.read(key).await.unwrap();
        let record = seen.value.clone().unwrap();
        let mut change = Change::new(&self.engine.core);
        change.replace(&seen, &OrganisationRecord { quota_bytes: Some(quota_bytes), ..record });
        change.touches(stripe_of_organisation(OrganisationId(1)));
        change.commit().await.unwrap();
    }

    /// Lets manifests name what is not there.
    pub(crate) async fn set_sparse(&self) {
        self.set_registry(|record| record.sparse_indexes = true).await;
    }

    /// Sets something of the registry.
    pub(crate) async fn set_registry(&self, set: impl FnOnce(&mut RegistryRecord)) {
        let key = keys::registry(OrganisationId(1), RegistryId(2));
        let seen: Seen<RegistryRecord> = self.engine.core.read(key).await.unwrap();
        let mut record = seen.value.clone().unwrap();
        set(&mut record);
        let mut change = Change::new(&self.engine.core);
        change.replace(&seen, &record);
        change.touches(stripe_of_organisation(OrganisationId(1)));
        change.commit().await.unwrap();
    }

    pub(crate) async fn digest_of(&self, name: &str, tag: &str) -> Result<Digest, Error> {
        let repository = self.open(name, Action::Pull).await?;
        let reference: Reference = tag.parse().unwrap();
        Ok(repository.manifest(&reference).await?.digest)
    }
}

pub(crate) fn image(config: &Digest, config_size: usize, layer: &Digest, size: usize) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{config_size}}},
        "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{size}}}]}}"#
    )
}
