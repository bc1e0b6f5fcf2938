//! Tenants end to end, over memory stores and with roles.

mod bounded;
mod deleting;
mod members;
mod names;
mod nodes;
mod repositories;
mod roles;

use std::sync::Arc;

use bytes::Bytes;

use crate::access::{Action, Caller, PrincipalId};
use crate::content::opendal::OpendalStore;
use crate::digest::{Algorithm, Digest};
use crate::meta::{MemoryStore, MetaStore};
use crate::name::{OrganisationName, RegistryName};
use crate::seam::{ManualClock, Seams, SeededEntropy, Timestamp};
use crate::tenancy::{RegistrySettings, RoleAuthorizer};
use crate::{Engine, Error};

/// An engine in which roles decide, the organisation `acme` of `user:ann` with the private registry
/// `main`, and an operator.
pub(crate) struct Town {
    pub(crate) engine: Engine,
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) clock: Arc<ManualClock>,
    seams: Seams,
    blobs: Arc<OpendalStore>,
}

pub(crate) fn caller(name: &str) -> Caller {
    Caller::known(principal(name))
}

pub(crate) fn principal(name: &str) -> PrincipalId {
    PrincipalId::new(format!("user:{name}")).unwrap()
}

pub(crate) fn operator() -> Caller {
    Caller { operator: true, ..caller("operator") }
}

pub(crate) fn organisation(name: &str) -> OrganisationName {
    name.parse().unwrap()
}

pub(crate) fn registry(name: &str) -> RegistryName {
    name.parse().unwrap()
}

impl Town {
    pub(crate) async fn new() -> Self {
        let (clock, seams) = seams();
        let meta = Arc::new(MemoryStore::new(&seams));
        Self::build(meta, clock, seams).await
    }

    /// The same over a store of the test's own.
    pub(crate) async fn over(meta: Arc<dyn MetaStore>) -> Self {
        let (clock, seams) = seams();
        Self::build(meta, clock, seams).await
    }

    async fn build(meta: Arc<dyn MetaStore>, clock: Arc<ManualClock>, seams: Seams) -> Self {
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        let engine = build(&meta, &blobs, &seams).await;
        let town = Self { engine, meta, clock, seams, blobs };
        let ann = principal("ann");
        town.engine
            .create_organisation(&operator(), &organisation("acme"), None, Some(&ann))
            .await
            .unwrap();
        town.create_registry("acme", "main").await;
        town
    }

    /// The same stores under another process: with an audit chain of its own.
    pub(crate) async fn restarted(&self) -> Engine {
        build(&self.meta, &self.blobs, &self.seams).await
    }

    pub(crate) async fn create_registry(&self, owner: &str, name: &str) {
        let settings = RegistrySettings::default();
        self.engine
            .create_registry(&caller("ann"), &organisation(owner), &registry(name), settings)
            .await
            .unwrap();
    }

    /// Pushes a blob as Ann.
    pub(crate) async fn push(&self, path: &str, bytes: &'static [u8]) -> Result<Digest, Error> {
        push(&self.engine, path, bytes).await
    }
}

fn seams() -> (Arc<ManualClock>, Seams) {
    let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
    (clock.clone(), Seams { clock, entropy: Arc::new(SeededEntropy::new(11)) })
}

/// Pushes a blob as Ann.
async fn push(engine: &Engine, path: &str, bytes: &'static [u8]) -> Result<Digest, Error> {
    let digest = Digest::of(Algorithm::Sha256, bytes);
    let path = path.parse().unwrap();
    let repository = engine.repository(&caller("ann"), &path, Action::Push).await?;
    let body = futures::stream::iter([Ok::<_, Error>(Bytes::from_static(bytes))]);
    repository.push_blob(&digest, None, body).await?;
    Ok(digest)
}

async fn build(meta: &Arc<dyn MetaStore>, blobs: &Arc<OpendalStore>, seams: &Seams) -> Engine {
    Engine::builder(meta.clone(), blobs.clone())
        .authorizer(Arc::new(RoleAuthorizer::new(meta.clone())))
        .seams(seams.clone())
        .build()
        .await
        .unwrap()
}

/// Compiles only while requests can move between threads.
#[tokio::test]
async fn calls_can_move_between_threads() {
    let town = Town::new().await;
    let engine = town.engine.clone();
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let moved = tokio::spawn(async move {
        let query = crate::audit::TrailQuery::default();
        engine.trail(&ann, Some(&acme), &query, None, 10).await?;
        drop(engine.export_trail(&ann, Some(&acme), query).await?);
        engine.verify_trail(&ann, Some(&acme)).await?;
        engine.seal().await?;
        engine.registry_usage(&ann, &acme, &registry("main")).await?;
        engine.rename_organisation(&ann, &acme, &organisation("apex")).await?;
        engine.delete_organisation(&ann, &organisation("apex"), true).await?;
        super::purge::purge(&engine.core, super::purge::Bounds::default()).await?;
        engine.extension("identity").scan("", None, 10).await
    });
    assert_eq!(moved.await.unwrap().unwrap().items, []);
}
