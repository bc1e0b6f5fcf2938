//! An engine in memory with a person and a machine in it, for the tests.

use std::sync::Arc;
use std::time::Duration;

use strongroom_engine::Engine;
use strongroom_engine::access::{Caller, Origin, PrincipalId};
use strongroom_engine::audit::{EventKind, TrailQuery};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::meta::MemoryStore;
use strongroom_engine::seam::{ManualClock, Seams, SystemEntropy, Timestamp};
use strongroom_engine::tenancy::RoleAuthorizer;
use strongroom_http::auth::{Credentials, Secret};

use super::{Embedded, Exchanged, Grant, NAMESPACE, NewToken, Options};
use crate::account::{AccountId, Reach};
use crate::password::Cost;
use crate::provider::{IdentityError, IdentityProvider, Vouched};
use crate::scope::Scope;
use crate::seal::MasterKey;

/// As cheap as argon2 gets.
pub(crate) const CHEAP: Cost = Cost { memory: 8, passes: 1 };
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct House {
    pub(crate) engine: Engine,
    pub(crate) identity: Embedded,
    pub(crate) clock: Arc<ManualClock>,
    seams: Seams,
}

async fn open(engine: &Engine, seams: Seams, options: Options) -> Embedded {
    let master = MasterKey::from_bytes([7; 32]);
    Embedded::open(engine.extension(NAMESPACE), seams, master, options).await.unwrap()
}

pub(crate) fn operator() -> Caller {
    let id = PrincipalId::new("console:test").unwrap();
    Caller { operator: true, ..Caller::known(id) }
}

pub(crate) fn id(text: &str) -> AccountId {
    text.parse().unwrap()
}

pub(crate) fn basic(user: &str, password: &str) -> Credentials {
    Credentials::Basic { user: user.to_owned(), password: Secret::new(password) }
}

pub(crate) fn bearer(token: &str) -> Credentials {
    Credentials::Bearer(Secret::new(token))
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(Options { cost: CHEAP, ..Options::default() }).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
        let seams = Seams { clock: Arc::clone(&clock) as _, entropy: Arc::new(SystemEntropy) };
        let meta = Arc::new(MemoryStore::new(&seams));
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        let roles = RoleAuthorizer::new(Arc::clone(&meta) as _);
        let engine = Engine::builder(meta, blobs).authorizer(Arc::new(roles));
        let engine = engine.seams(seams.clone()).build().await.unwrap();
        let identity = open(&engine, seams.clone(), options).await;
        identity.create_user(&operator(), &id("user:ann"), PASSWORD, true).await.unwrap();
        identity.create_robot(&operator(), &id("robot:ci")).await.unwrap();
        Self { engine, identity, clock, seams }
    }

    /// The same records under other options, as after a restart.
    pub(crate) async fn restarted(self, options: Options) -> Self {
        let identity = open(&self.engine, self.seams.clone(), options).await;
        Self { identity, ..self }
    }

    /// Another process over the same records.
    pub(crate) async fn neighbour(&self) -> Embedded {
        let options = Options { cost: CHEAP, ..Options::default() };
        open(&self.engine, self.seams.clone(), options).await
    }

    pub(crate) async fn sign_in(&self, credentials: &Credentials) -> Result<Caller, IdentityError> {
        Ok(self.vouched(credentials).await?.caller)
    }

    pub(crate) async fn vouched(
        &self,
        credentials: &Credentials,
    ) -> Result<Vouched, IdentityError> {
        self.identity.authenticate(credentials, Origin::default()).await
    }

    pub(crate) async fn token(
        &self,
        owner: &str,
        reach: Reach,
        lifetime: Option<Duration>,
    ) -> (String, String) {
        let new = NewToken { owner: id(owner), label: "test".to_owned(), reach, lifetime };
        let (info, token) = self.identity.create_token(&operator(), new).await.unwrap();
        (info.id, token.expose().to_owned())
    }

    pub(crate) async fn exchange(&self, credentials: Credentials, scopes: &[Scope]) -> Exchanged {
        let grant = Grant::Credentials(credentials);
        let offline = Some("test client");
        self.identity.exchange(&grant, scopes, offline, &Origin::default()).await.unwrap()
    }

    pub(crate) async fn sign_ins(&self) -> Vec<(String, bool)> {
        let query = TrailQuery {
            kinds: vec!["signed_in".to_owned()],
            oldest_first: true,
            ..TrailQuery::default()
        };
        let page = self.engine.trail(&operator(), None, &query, None, 1000).await.unwrap();
        let line = |event: strongroom_engine::audit::Event| match event.kind {
            EventKind::SignedIn { success, .. } => (event.principal, success),
            other => panic!("{other:?} was not asked for"),
        };
        page.items.into_iter().map(|item| line(item.event)).collect()
    }
}
