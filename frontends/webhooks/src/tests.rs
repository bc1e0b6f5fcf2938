//! Hooks end to end: an engine in memory, real connections to a receiver on loopback.

mod api;
mod delivery;
mod guard;
mod receiver;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_engine::Engine;
use strongroom_engine::access::{Action, Caller, PrincipalId, Role};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::meta::{MemoryStore, MetaStore};
use strongroom_engine::name::{OrganisationName, RegistryName};
use strongroom_engine::seam::{ManualClock, Seams, SystemEntropy, Timestamp};
use strongroom_engine::tenancy::{RegistrySettings, RoleAuthorizer};
use strongroom_identity::seal::MasterKey;
use strongroom_outbound::Resolver;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Ended;
use crate::hooks::{Hook, HookId, NewHook, Webhooks};
use crate::settings::Settings;
use receiver::Receiver;

/// What the resolver of the tests calls the receiver.
const HOST: &str = "receiver.example";

/// An engine with the organisation `acme` of `user:ann`, its registries `main` and `other`, and hooks
/// that may reach loopback.
struct Yard {
    engine: Engine,
    meta: Arc<dyn MetaStore>,
    blobs: Arc<OpendalStore>,
    seams: Seams,
    clock: Arc<ManualClock>,
    hooks: Webhooks,
}

/// Answers what it was told, whoever asks.
#[derive(Debug)]
struct Fixed(Vec<IpAddr>);

#[async_trait]
impl Resolver for Fixed {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(self.0.clone())
    }
}

fn settings() -> Settings {
    Settings {
        allowed_networks: vec!["127.0.0.0/8".parse().unwrap()],
        allow_http: true,
        timeout: Duration::from_secs(5),
        attempts: 3,
        ..Settings::default()
    }
}

fn loopback() -> Arc<dyn Resolver> {
    Arc::new(Fixed(vec![[127, 0, 0, 1].into()]))
}

fn caller(name: &str) -> Caller {
    Caller::known(principal(name))
}

fn principal(name: &str) -> PrincipalId {
    PrincipalId::new(format!("user:{name}")).unwrap()
}

fn acme() -> OrganisationName {
    "acme".parse().unwrap()
}

fn main_registry() -> RegistryName {
    "main".parse().unwrap()
}

impl Yard {
    async fn new() -> Self {
        Self::with(settings(), loopback()).await
    }

    async fn with(settings: Settings, resolver: Arc<dyn Resolver>) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
        let seams = Seams { clock: clock.clone(), entropy: Arc::new(SystemEntropy) };
        let meta: Arc<dyn MetaStore> = Arc::new(MemoryStore::new(&seams));
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        let (engine, hooks) = open(&meta, &blobs, &seams, settings, resolver).await;
        let yard = Self { engine, meta, blobs, seams, clock, hooks };
        let operator = Caller { operator: true, ..caller("operator") };
        let ann = principal("ann");
        yard.engine.create_organisation(&operator, &acme(), None, Some(&ann)).await.unwrap();
        for name in ["main", "other"] {
            let settings = RegistrySettings::default();
            let name = name.parse().unwrap();
            yard.engine.create_registry(&caller("ann"), &acme(), &name, settings).await.unwrap();
        }
        yard
    }

    /// The same stores under another process, after this one was killed.
    async fn restarted(&self) -> (Engine, Webhooks) {
        open(&self.meta, &self.blobs, &self.seams, settings(), loopback()).await
    }

    async fn hook(&self, receiver: &Receiver, events: &[&str]) -> Hook {
        let new = NewHook {
            url: receiver.url(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
        };
        self.hooks.create(&caller("ann"), &acme(), &main_registry(), new).await.unwrap().0
    }

    /// Pushes a blob as Ann: its event is `blob_pushed`.
    async fn push(&self, path: &str, text: &str) {
        push(&self.engine, path, text).await;
    }

    async fn grant(&self, who: &str, registry: Option<&str>, role: Role) {
        let registry: Option<RegistryName> = registry.map(|name| name.parse().unwrap());
        let who = principal(who);
        let ann = caller("ann");
        self.engine.set_role(&ann, &acme(), &who, registry.as_ref(), role).await.unwrap();
    }

    async fn shown(&self, id: HookId) -> Hook {
        let all = self.hooks.list(&caller("ann"), &acme(), &main_registry()).await.unwrap();
        all.into_iter().find(|hook| hook.id == id).unwrap()
    }

    async fn turn(&self, id: HookId) -> Ended {
        turn(&self.hooks, id).await
    }
}

async fn open(
    meta: &Arc<dyn MetaStore>,
    blobs: &Arc<OpendalStore>,
    seams: &Seams,
    settings: Settings,
    resolver: Arc<dyn Resolver>,
) -> (Engine, Webhooks) {
    let engine = Engine::builder(meta.clone(), blobs.clone())
        .authorizer(Arc::new(RoleAuthorizer::new(meta.clone())))
        .seams(seams.clone())
        .build()
        .await
        .unwrap();
    let master = MasterKey::from_bytes([7; 32]);
    let hooks =
        Webhooks::with_resolver(engine.clone(), seams.clone(), master, settings, resolver).unwrap();
    (engine, hooks)
}

async fn push(engine: &Engine, path: &str, text: &str) {
    let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
    let path = path.parse().unwrap();
    let repository = engine.repository(&caller("ann"), &path, Action::Push).await.unwrap();
    let body = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(text.to_owned()))]);
    repository.push_blob(&digest, None, body).await.unwrap();
}

/// A hook's turn, as the loop would begin it; `Gone` where it is off.
async fn turn(hooks: &Webhooks, id: HookId) -> Ended {
    let places = hooks.places().await.unwrap();
    let Some(place) = places.into_iter().find(|place| place.is_of(id)) else { return Ended::Gone };
    hooks.turns(place, &Semaphore::new(1), &CancellationToken::new()).await
}
