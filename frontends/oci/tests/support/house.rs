//! The same tenants behind the embedded identity provider: real passwords, robots and tokens.

use std::mem::discriminant;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use http::header::WWW_AUTHENTICATE;
use strongroom_engine::Engine;
use strongroom_engine::access::{Action, Caller, Grant as Reaches, Origin, PrincipalId, Role};
use strongroom_engine::seam::{Clock as _, ManualClock, Seams, SystemEntropy, Timestamp};
use strongroom_http::auth::{Credentials, Secret};
use strongroom_identity::account::{AccountId, Reach};
use strongroom_identity::embedded::{Grant, NAMESPACE, NewToken, Options};
use strongroom_identity::jwks::{KeysAt, Policy};
use strongroom_identity::password::Cost;
use strongroom_identity::profiles::First;
use strongroom_identity::scope;
use strongroom_identity::seal::MasterKey;
use strongroom_identity::testing::{self, FakeWeb, Pair, Pool};
use strongroom_identity::workload::{Issuer, NewRule, WorkloadError, Workloads};
use strongroom_identity::{Embedded, Identity, IdentityError, IdentityProvider as _};
use strongroom_oci::Settings;

use super::{Answer, Asking, World, known};

const PASSWORD: &str = "correct horse";
/// Where the robot's token reaches, and for what: less than its role.
pub(crate) const NARROW: (&str, [Action; 3]) =
    ("acme/main/api", [Action::List, Action::Pull, Action::Push]);

/// Whoever may come. All but `stranger`, who is the admin of `peer`, are of `acme` or of nowhere.
/// `pooled` is of the user pool, `run` a workload with a rule that grants what is narrow.
pub(crate) const CALLERS: [(&str, Option<Role>); 11] = [
    ("anonymous", None),
    ("stranger", None),
    ("nomad", None),
    ("viewer", Some(Role::Viewer)),
    ("writer", Some(Role::Writer)),
    ("admin", Some(Role::Admin)),
    ("narrow", Some(Role::Writer)),
    ("pooled", Some(Role::Writer)),
    ("run", Some(Role::Writer)),
    ("revoked", None),
    ("expired", None),
];

/// What requests depend on, and what can be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dependency {
    /// The store of facts.
    Metadata,
    /// The store of bytes.
    Blobs,
    /// The user pool: its keys, and where it checks passwords.
    Pool,
    /// The keys of the issuer of runs.
    Issuer,
}

impl Dependency {
    pub(crate) const ALL: [Self; 4] = [Self::Metadata, Self::Blobs, Self::Pool, Self::Issuer];
}

/// The world with its people, and the tokens of its robot.
pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) identity: Embedded,
    /// With the user pool: what the world asks.
    all: Identity,
    pool: Pool,
    /// Where the keys of runs are.
    web: FakeWeb,
    workloads: Workloads,
    clock: Arc<ManualClock>,
    narrow: String,
    /// How many tokens runs of CI were given by their issuer.
    runs: AtomicU64,
}

/// The issuer of runs; one key for all, since making it takes a while.
const ISSUER: &str = "https://ci.example";
static KEY: LazyLock<Pair> = LazyLock::new(|| Pair::ec("ci"));

fn operator() -> Caller {
    Caller { operator: true, ..known("operator") }
}

fn basic(name: &str, secret: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{secret}"));
    format!("Basic {pair}")
}

fn id(text: &str) -> AccountId {
    text.parse().unwrap()
}

/// What exchanges tokens of runs, with nothing of their issuer in memory yet.
fn exchange(engine: &Engine, identity: &Embedded, web: &FakeWeb) -> Workloads {
    let issuer = Issuer {
        name: "ci".to_owned(),
        issuer: ISSUER.to_owned(),
        audience: Some("strongroom".to_owned()),
        keys: KeysAt::Url(format!("{ISSUER}/keys")),
    };
    let (engine, own, policy) = (engine.clone(), identity.clone(), Policy::default());
    Workloads::new(engine, own, vec![issuer], policy, Arc::new(web.clone())).unwrap()
}

/// One rule, which grants what is narrow to runs of one repository.
async fn workloads(engine: &Engine, identity: &Embedded, web: &FakeWeb) -> Workloads {
    web.serve(&format!("{ISSUER}/keys"), 200, testing::set(&[&KEY]));
    let workloads = exchange(engine, identity, web);
    let place = super::path(NARROW.0);
    let rule = NewRule {
        organisation: place.organisation().clone(),
        registry: place.registry().clone(),
        issuer: "ci".to_owned(),
        audience: None,
        claims: [("repository".to_owned(), "acme/api".to_owned())].into(),
        repository: Some(place.repository().clone()),
        actions: NARROW.1.to_vec(),
        lifetime_seconds: 900,
    };
    workloads.add(&known("admin"), rule).await.unwrap();
    workloads
}

impl House {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
        let seams = Seams { clock: Arc::clone(&clock) as _, entropy: Arc::new(SystemEntropy) };
        let (engine, stores) = World::engine(seams.clone()).await;
        let mut options = Options::default();
        options.cost = Cost { memory: 8, passes: 1 };
        // Here nobody guesses, and many are refused.
        for allowance in
            [&mut options.guesses.pair, &mut options.guesses.address, &mut options.guesses.user]
        {
            allowance.burst = std::num::NonZeroU32::MAX;
            allowance.pause = Duration::from_nanos(1);
        }
        let records = engine.extension(NAMESPACE);
        let master = MasterKey::from_bytes([7; 32]);
        let identity = Embedded::open(records, seams.clone(), master, options).await.unwrap();
        let pool = Pool::new(seams);
        let all =
            Identity::new(engine.clone(), identity.clone(), Some(pool.cognito()), First::default());
        let pooled = PrincipalId::new("cognito:sub-pooled").unwrap();
        let acme = "acme".parse().unwrap();
        engine.set_role(&known("admin"), &acme, &pooled, None, Role::Writer).await.unwrap();
        let web = FakeWeb::default();
        let workloads = workloads(&engine, &identity, &web).await;
        for name in ["stranger", "nomad", "viewer", "writer", "admin"] {
            let id = id(&format!("user:{name}"));
            identity.create_user(&operator(), &id, PASSWORD, false).await.unwrap();
        }
        identity.create_robot(&operator(), &id("robot:ci")).await.unwrap();
        let (acme, robot) = ("acme".parse().unwrap(), PrincipalId::new("robot:ci").unwrap());
        engine.set_role(&known("admin"), &acme, &robot, None, Role::Writer).await.unwrap();
        let world = World::over(engine, stores, Arc::new(all.clone()), Settings::default());
        let (narrow, runs) = (String::new(), AtomicU64::new(0));
        let mut house = Self { world, identity, all, pool, web, workloads, clock, narrow, runs };
        let place = super::path(NARROW.0);
        let grant = Reaches {
            organisation: Some(place.organisation().clone()),
            registry: Some(place.registry().clone()),
            repository: Some(place.repository().clone()),
            below: false,
            actions: NARROW.1.to_vec(),
        };
        house.narrow = house.token(Reach::Only(vec![grant]), None).await.1;
        house
    }

    /// A token of the robot: what it is called, and itself.
    pub(crate) async fn token(&self, reach: Reach, lifetime: Option<Duration>) -> (String, String) {
        self.token_of("robot:ci", reach, lifetime).await
    }

    async fn token_of(
        &self,
        owner: &str,
        reach: Reach,
        lifetime: Option<Duration>,
    ) -> (String, String) {
        let new = NewToken { owner: id(owner), label: "test".to_owned(), reach, lifetime };
        let (info, token) = self.identity.create_token(&operator(), new).await.unwrap();
        (info.id, token.expose().to_owned())
    }

    /// The token that a run of CI has from its issuer.
    fn issued(&self) -> String {
        let now = self.clock.now().0 / 1_000;
        KEY.token(&serde_json::json!({
            "iss": ISSUER, "sub": "repo:acme/api", "aud": "strongroom", "iat": now, "exp": now + 300,
            "jti": self.runs.fetch_add(1, Ordering::Relaxed).to_string(), "repository": "acme/api",
        }))
    }

    /// The token that a run of CI gets for its issuer's.
    async fn run(&self) -> String {
        let token = Secret::new(self.issued());
        let given = self.workloads.exchange(&token, None, &Origin::default()).await;
        given.unwrap().token.expose().to_owned()
    }

    /// Takes away what requests depend on. What the process had in memory goes along where it is of
    /// others' keys: an outage is worst for who has just started.
    pub(crate) fn lose(&mut self, what: Dependency) {
        match what {
            Dependency::Metadata => self.world.stores.meta_is_away(true),
            Dependency::Blobs => self.world.stores.blobs_are_away(),
            Dependency::Pool => {
                self.pool.is_away();
                let (engine, own) = (self.world.engine.clone(), self.identity.clone());
                self.all = Identity::new(engine, own, Some(self.pool.cognito()), First::default());
                self.world = World::over(
                    self.world.engine.clone(),
                    self.world.stores.clone(),
                    Arc::new(self.all.clone()),
                    Settings::default(),
                );
            }
            Dependency::Issuer => {
                self.web.is_away(&format!("{ISSUER}/keys"));
                self.workloads = exchange(&self.world.engine, &self.identity, &self.web);
            }
        }
    }

    /// What somebody of [`CALLERS`] shows while something is away: what they have by themselves, which
    /// they got before. A run whose issuer's keys are away gets nothing for its token, so it shows that.
    pub(crate) async fn shown_despite(&self, what: Dependency, caller: &str) -> Option<String> {
        self.world.stores.meta_is_away(false);
        let shown = match (what, caller) {
            (Dependency::Issuer, "run") => {
                let (token, origin) = (Secret::new(self.issued()), Origin::default());
                let given = self.workloads.exchange(&token, None, &origin).await;
                let error = given.expect_err("nobody can tell whether it is good");
                let away = WorkloadError::Identity(IdentityError::Unavailable(String::new()));
                assert_eq!(discriminant(&error), discriminant(&away), "{error}");
                Some(basic("__token__", token.expose()))
            }
            _ => self.authorization(caller, false, None).await,
        };
        self.world.stores.meta_is_away(what == Dependency::Metadata);
        shown
    }

    /// What somebody of [`CALLERS`] shows in the header: `by_token`, a token of the endpoint for
    /// `scope` (which was got while they still could), else what they have themselves.
    pub(crate) async fn authorization(
        &self,
        caller: &str,
        by_token: bool,
        scope: Option<&str>,
    ) -> Option<String> {
        let life = (caller == "expired").then_some(Duration::from_mins(1));
        let (name, (token, secret)) = match caller {
            "anonymous" => ("", (String::new(), String::new())),
            "narrow" => ("ci", (String::new(), self.narrow.clone())),
            "run" => ("__token__", (String::new(), self.run().await)),
            "pooled" => ("pooled", (String::new(), testing::PASSWORD.to_owned())),
            "revoked" | "expired" => ("ci", self.token(Reach::Everything, life).await),
            user => (user, (String::new(), PASSWORD.to_owned())),
        };
        let credentials = match name {
            "" => Credentials::None,
            user => Credentials::Basic { user: user.to_owned(), password: Secret::new(&secret) },
        };
        let header = if by_token {
            let scopes = scope::parse(scope).unwrap();
            let grant = Grant::Credentials(credentials);
            let given = self.all.exchange(&grant, &scopes, None, &Origin::default()).await;
            Some(format!("Bearer {}", given.unwrap().issued.token))
        } else {
            (!name.is_empty()).then(|| basic(name, &secret))
        };
        match caller {
            "revoked" => self.identity.revoke_token(&operator(), &token).await.unwrap(),
            "expired" => self.clock.advance(Duration::from_mins(1)),
            _ => {}
        }
        header
    }

    /// Each form in which somebody known of [`CALLERS`] can show who they are: what it is called, and the
    /// header. Tokens of the endpoint are for `scope`.
    pub(crate) async fn forms(
        &self,
        caller: &str,
        scope: Option<&str>,
    ) -> Vec<(&'static str, String)> {
        let life = (caller == "expired").then_some(Duration::from_mins(1));
        let (name, password, (token, secret)) = match caller {
            "narrow" => ("ci", None, (String::new(), self.narrow.clone())),
            "run" => ("__token__", None, (String::new(), self.run().await)),
            "pooled" => {
                // Their account is there from their first sight on.
                let pool = Credentials::Bearer(Secret::new(self.pool.access("pooled")));
                self.all.authenticate(&pool, Origin::default()).await.unwrap();
                let token = self.token_of("cognito:sub-pooled", Reach::Everything, None).await;
                ("pooled", Some(testing::PASSWORD), token)
            }
            "revoked" | "expired" => ("ci", None, self.token(Reach::Everything, life).await),
            user => {
                let owner = format!("user:{user}");
                (user, Some(PASSWORD), self.token_of(&owner, Reach::Everything, None).await)
            }
        };
        let mut forms = vec![("token as bearer", format!("Bearer {secret}"))];
        if caller == "pooled" {
            for token in [self.pool.access(name), self.pool.id_token(name)] {
                forms.push(("token of the pool", format!("Bearer {token}")));
            }
        }
        let mut pairs = vec![
            ("token with its owner's name", name, &*secret),
            ("token with any name", "__token__", &*secret),
        ];
        pairs.extend(password.map(|password| ("password", name, password)));
        for (form, user, secret) in pairs {
            forms.push((form, basic(user, secret)));
            let credentials = Credentials::basic(user, secret).unwrap();
            let scopes = scope::parse(scope).unwrap();
            let grant = Grant::Credentials(credentials);
            let given = self.all.exchange(&grant, &scopes, None, &Origin::default()).await;
            forms
                .push(("token of the endpoint", format!("Bearer {}", given.unwrap().issued.token)));
        }
        match caller {
            "revoked" => self.identity.revoke_token(&operator(), &token).await.unwrap(),
            "expired" => self.clock.advance(Duration::from_mins(1)),
            _ => {}
        }
        forms
    }

    /// Sends a request as somebody of [`CALLERS`], by what they have themselves.
    pub(crate) async fn ask(&self, asking: Asking<'_>, caller: &str) -> Answer {
        match self.authorization(caller, false, None).await {
            Some(header) => asking.header("authorization", header).send().await,
            None => asking.send().await,
        }
    }

    /// The scope that the challenge of a request without credentials names.
    pub(crate) async fn scope(asking: Asking<'_>) -> Option<String> {
        let answer = asking.send().await;
        let challenge = answer.headers.get(WWW_AUTHENTICATE)?.to_str().unwrap();
        let (_, scope) = challenge.split_once("scope=\"")?;
        Some(scope.trim_end_matches('"').to_owned())
    }
}
