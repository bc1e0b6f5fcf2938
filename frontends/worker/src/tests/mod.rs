//! One profile, one organisation: whatever the queue does, whatever is away, wherever it is killed.

mod consumed;
mod fake;
mod gone;
mod killed;
mod reconciled;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use strongroom_engine::Engine;
use strongroom_engine::access::{Caller, PrincipalId};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::meta::MemoryStore;
use strongroom_engine::meta::fault::{FaultMeta, FaultPlan};
use strongroom_engine::seam::{ManualClock, Seams, SystemEntropy, Timestamp};
use strongroom_engine::tenancy::RoleAuthorizer;
use strongroom_identity::profiles::{self, First, NewUser, Profile};
use strongroom_signup::{SignUp, VERSION};
use tokio_util::sync::CancellationToken;

use self::fake::{FakePool, FakeQueue};
use super::*;

/// An engine whose metadata can go away, with a queue and a pool.
struct Town {
    engine: Engine,
    meta: Arc<FaultMeta<MemoryStore>>,
    clock: Arc<ManualClock>,
    queue: Arc<FakeQueue>,
    pool: Arc<FakePool>,
}

impl Town {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
        let seams = Seams { clock: Arc::clone(&clock) as _, entropy: Arc::new(SystemEntropy) };
        let meta = Arc::new(FaultMeta::new(MemoryStore::new(&seams), FaultPlan::None));
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        let roles = RoleAuthorizer::new(Arc::clone(&meta) as _);
        let engine = Engine::builder(Arc::clone(&meta) as _, blobs).authorizer(Arc::new(roles));
        let engine = engine.seams(seams).build().await.unwrap();
        let queue = Arc::new(FakeQueue::new(engine.clone()));
        Self { engine, meta, clock, queue, pool: Arc::default() }
    }

    fn settings() -> Settings {
        Settings { concurrency: 4, ..Settings::new("https://sqs.example/1/sign-ups") }
    }

    fn worker(&self) -> Worker {
        self.worker_with(Self::settings())
    }

    fn worker_with(&self, settings: Settings) -> Worker {
        let pool = Arc::clone(&self.pool) as Arc<dyn Pool>;
        Worker::over(self.engine.clone(), Arc::clone(&self.queue) as _, Some(pool), settings)
    }

    /// Lets a worker work until the queue has nothing more, seen or unseen.
    async fn drain(&self, worker: &Worker) {
        let stop = CancellationToken::new();
        let empty = async {
            self.queue.emptied().await;
            stop.cancel();
        };
        futures::join!(worker.consume(&stop), empty);
    }

    /// Fails every call to the metadata from here on.
    fn away(&self) {
        self.meta.set_plan(FaultPlan::seeded(1, 1000));
    }

    fn back(&self) {
        self.meta.set_plan(FaultPlan::None);
    }

    async fn profile(&self, sub: &str) -> Option<Profile> {
        profiles::profile(&self.engine, sub).await.unwrap()
    }

    async fn organisations(&self, sub: &str) -> Vec<String> {
        let operator =
            Caller { operator: true, ..Caller::known(PrincipalId::new("console:test").unwrap()) };
        let principal = profiles::principal(sub).unwrap();
        let page = self.engine.organisations_of(&operator, &principal, None, 100).await.unwrap();
        page.items.iter().map(|organisation| organisation.name.to_string()).collect()
    }

    /// Fails unless each of these has one profile, and one organisation with their name.
    async fn check(&self, names: impl IntoIterator<Item = impl AsRef<str>>) {
        for name in names {
            let name = name.as_ref();
            let profile = self.profile(&sub(name)).await;
            let profile = profile.unwrap_or_else(|| panic!("{name} has no profile"));
            assert_eq!(self.organisations(&sub(name)).await, [profile.organisation.as_str()]);
        }
    }
}

fn sub(name: &str) -> String {
    format!("0f-{name}")
}

fn sign_up(name: &str) -> SignUp {
    SignUp {
        version: VERSION,
        event_id: format!("event-{name}"),
        sub: sub(name),
        username: name.to_owned(),
        email: Some(format!("{name}@acme.example")),
        email_verified: true,
        confirmed_at: 1_700_000_000_000,
    }
}

fn user(name: &str) -> NewUser {
    NewUser {
        sub: sub(name),
        username: name.to_owned(),
        email: Some(format!("{name}@acme.example")),
        email_verified: true,
    }
}
