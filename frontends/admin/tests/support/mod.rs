//! An engine in memory with two organisations behind the real embedded identity provider. `ask` is for
//! requests to the API over it, without a socket; `table` says what each must answer.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod ask;
pub(crate) mod table;

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use strongroom_admin::routes::Route;
use strongroom_admin::{Admin, Parts};
use strongroom_engine::access::{Action, Caller, Origin, PrincipalId, Role};
use strongroom_engine::content::fault::{BlobFault, FaultBlobs, How, When};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::meta::MemoryStore;
use strongroom_engine::meta::fault::{FaultMeta, FaultPlan};
use strongroom_engine::name::OrganisationName;
use strongroom_engine::seam::{Clock as _, ManualClock, Seams, SystemEntropy, Timestamp};
use strongroom_engine::tenancy::{RegistrySettings, RoleAuthorizer};
use strongroom_engine::{Engine, ManifestPush};
use strongroom_http::auth::Secret;
use strongroom_identity::account::{AccountId, Reach};
use strongroom_identity::embedded::{NAMESPACE, NewToken, Options};
use strongroom_identity::founders::{Allowed, Founders};
use strongroom_identity::jwks::{KeysAt, Policy};
use strongroom_identity::password::Cost;
use strongroom_identity::profiles::First;
use strongroom_identity::seal::MasterKey;
use strongroom_identity::testing::{self, FakeWeb, Pair, Pool};
use strongroom_identity::workload::{Issuer, NewRule, Workloads};
use strongroom_identity::{Embedded, Identity};
use strongroom_outbound::Resolver;
use strongroom_pypi::artifact;
use strongroom_pypi::upstream::{self, Upstreams};
use strongroom_webhooks::{self as webhooks, NewHook, Webhooks};

use self::ask::body;

pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const INDEX: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
/// Another one, which is in the other organisation alone.
pub(crate) const OTHER: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"a":"b"}}"#;

/// The file of the Python project `sample`.
pub(crate) const WHEEL: &str = "sample-1.0-py3-none-any.whl";

/// Whoever may come: `foreign` is the admin of `peer`, the others are of `acme` or of nowhere. `pooled` is
/// of the user pool; `run` a workload, which may look into `acme/main` and is nobody elsewhere.
pub(crate) const CALLERS: [(&str, Option<Role>); 8] = [
    ("anonymous", None),
    ("foreign", None),
    ("viewer", Some(Role::Viewer)),
    ("writer", Some(Role::Writer)),
    ("admin", Some(Role::Admin)),
    ("operator", None),
    ("pooled", Some(Role::Writer)),
    ("run", None),
];

pub(crate) fn known(name: &str) -> Caller {
    Caller::known(PrincipalId::new(format!("user:{name}")).unwrap())
}

fn console() -> Caller {
    Caller { operator: true, ..known("console") }
}

pub(crate) fn id(text: &str) -> AccountId {
    text.parse().unwrap()
}

pub(crate) fn digest(manifest: &str) -> String {
    Digest::of(Algorithm::Sha256, manifest.as_bytes()).to_string()
}

/// The two organisations, each with a registry, a repository, a robot and tokens.
pub(crate) struct House {
    pub(crate) engine: Engine,
    pub(crate) identity: Embedded,
    pub(crate) admin: Admin,
    pub(crate) clock: Arc<ManualClock>,
    /// The id of a token of each robot and person.
    pub(crate) tokens: std::collections::BTreeMap<String, String>,
    /// A token of `admin` without bounds of its own.
    pub(crate) secret: String,
    /// A rule for workloads of `acme/main`, and a webhook of it; and of `peer/main`.
    pub(crate) rules: [String; 2],
    pub(crate) hooks: [String; 2],
    /// The token of a run.
    run: String,
    workloads: Workloads,
    webhooks: Webhooks,
    upstreams: Upstreams,
    meta: Arc<FaultMeta<MemoryStore>>,
    blobs: Arc<FaultBlobs<OpendalStore>>,
    pool: Pool,
}

/// What requests depend on, and what can be away. The receivers of webhooks are, always: nobody has an
/// address here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dependency {
    /// The store of facts.
    Metadata,
    /// The store of bytes.
    Blobs,
    /// The user pool: its keys, and where it checks passwords.
    Pool,
}

/// One key for all, since making it takes a while.
static KEY: LazyLock<Pair> = LazyLock::new(|| Pair::ec("ci"));
/// The issuer of workloads.
pub(crate) const ISSUER: &str = "https://ci.example";
/// How many organisations somebody may make.
pub(crate) const PER_PERSON: usize = 2;

/// Nobody has an address.
#[derive(Debug)]
struct Nowhere;

#[async_trait::async_trait]
impl Resolver for Nowhere {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(Vec::new())
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
        let seams = Seams { clock: Arc::clone(&clock) as _, entropy: Arc::new(SystemEntropy) };
        let meta = Arc::new(FaultMeta::new(MemoryStore::new(&seams), FaultPlan::None));
        let blobs = Arc::new(FaultBlobs::new(OpendalStore::memory().unwrap()));
        let engine = Engine::builder(meta.clone(), blobs.clone())
            .authorizer(Arc::new(RoleAuthorizer::new(meta.clone())))
            .seams(seams.clone())
            .build()
            .await
            .unwrap();
        let mut options = Options::default();
        options.cost = Cost { memory: 8, passes: 1 };
        for allowance in
            [&mut options.guesses.pair, &mut options.guesses.address, &mut options.guesses.user]
        {
            allowance.burst = std::num::NonZeroU32::MAX;
            allowance.pause = Duration::from_nanos(1);
        }
        let (records, master) = (engine.extension(NAMESPACE), MasterKey::from_bytes([7; 32]));
        let identity = Embedded::open(records, seams.clone(), master, options).await.unwrap();
        let issuer = Issuer {
            name: "ci".to_owned(),
            issuer: ISSUER.to_owned(),
            audience: None,
            keys: KeysAt::Url(format!("{ISSUER}/keys")),
        };
        let web = FakeWeb::default();
        web.serve(&format!("{ISSUER}/keys"), 200, testing::set(&[&KEY]));
        let (own, policy) = (identity.clone(), Policy::default());
        let workloads = Workloads::new(engine.clone(), own, vec![issuer], policy, Arc::new(web));
        let workloads = workloads.unwrap();
        let (master, settings) = (MasterKey::from_bytes([7; 32]), webhooks::Settings::default());
        let sealed = MasterKey::from_bytes([7; 32]);
        let nowhere = Arc::new(Nowhere);
        let webhooks =
            Webhooks::with_resolver(engine.clone(), seams.clone(), master, settings, nowhere);
        let webhooks = webhooks.unwrap();
        let upstreams =
            Upstreams::new(&engine, seams.clone(), sealed, upstream::Settings::default());
        let pool = Pool::new(seams.clone());
        let admin = api(&engine, &identity, &pool, &workloads, &webhooks, &upstreams);
        let (tokens, secret) = (std::collections::BTreeMap::new(), String::new());
        let (rules, hooks, run) = Default::default();
        let mut house = Self {
            engine,
            identity,
            admin,
            clock,
            tokens,
            secret,
            rules,
            hooks,
            run,
            workloads,
            webhooks,
            upstreams,
            meta,
            blobs,
            pool,
        };
        house.furnish().await;
        house
    }

    async fn furnish(&mut self) {
        let people = ["foreign", "viewer", "writer", "admin", "operator", "guest", "free", "carl"];
        for name in people {
            let operator = name == "operator";
            let id = id(&format!("user:{name}"));
            self.identity.create_user(&console(), &id, PASSWORD, operator).await.unwrap();
        }
        for (organisation, admin) in [("acme", "admin"), ("peer", "foreign")] {
            let (by, name) = (known(admin), organisation.parse().unwrap());
            let first = PrincipalId::new(format!("user:{admin}")).unwrap();
            self.engine.create_organisation(&console(), &name, None, Some(&first)).await.unwrap();
            let settings = RegistrySettings::default();
            let main = "main".parse().unwrap();
            self.engine.create_registry(&by, &name, &main, settings).await.unwrap();
            let path = format!("{organisation}/main/api").parse().unwrap();
            let repository = self.engine.repository(&by, &path, Action::Push).await.unwrap();
            let manifest = if organisation == "acme" { INDEX } else { OTHER };
            let push = ManifestPush {
                bytes: Bytes::from_static(manifest.as_bytes()),
                content_type: None,
                digest: None,
                tags: vec!["v1".parse().unwrap()],
            };
            repository.push_manifest(&push).await.unwrap();
            let robots = self.engine.organisation_for(&by, &name, Action::Manage).await.unwrap();
            let robot = self.identity.create_robot_of(&by, &robots, "ci").await.unwrap();
            let new = new_token(robot.id.clone());
            let (info, _) = self.identity.create_robot_token(&by, &robots, new).await.unwrap();
            self.tokens.insert(robot.id.to_string(), info.id);
            let at = usize::from(organisation == "peer");
            let rule = self.workloads.add(&by, new_rule(&name)).await.unwrap();
            self.rules[at] = rule.id;
            let new = NewHook { url: HOOK.parse().unwrap(), events: Vec::new() };
            let (hook, _) = self.webhooks.create(&by, &name, &main, new).await.unwrap();
            self.hooks[at] = hook.id.to_string();
        }
        self.run = self.exchanged().await;
        self.sample().await;
        let acme = "acme".parse().unwrap();
        for (name, role) in [
            ("user:viewer", Role::Viewer),
            ("user:writer", Role::Writer),
            ("user:guest", Role::Viewer),
            ("cognito:sub-pooled", Role::Writer),
        ] {
            let who = PrincipalId::new(name).unwrap();
            self.engine.set_role(&known("admin"), &acme, &who, None, role).await.unwrap();
        }
        let (guest, main) = (PrincipalId::new("user:guest").unwrap(), "main".parse().unwrap());
        let admin = known("admin");
        self.engine.set_role(&admin, &acme, &guest, Some(&main), Role::Viewer).await.unwrap();
        // Somebody of the pool has an account, and an organisation, from their first sight on.
        self.ask_at("GET", "/me", "pooled", None).await.expect(StatusCode::OK);
        let new = new_token(id("cognito:sub-pooled"));
        let (info, _) = self.identity.create_token(&console(), new).await.unwrap();
        self.tokens.insert("user:pooled".to_owned(), info.id);
        for name in people {
            let new = new_token(id(&format!("user:{name}")));
            let (info, token) = self.identity.create_token(&console(), new).await.unwrap();
            self.tokens.insert(format!("user:{name}"), info.id);
            if name == "admin" {
                token.expose().clone_into(&mut self.secret);
            }
        }
    }

    /// Fails every call for facts from now on, or none.
    pub(crate) fn metadata_are_away(&self, away: bool) {
        let plan = if away { FaultPlan::seeded(1, 1000) } else { FaultPlan::None };
        self.meta.set_plan(plan);
    }

    /// Lets others run before each call for facts, so that what is asked at once meets.
    pub(crate) fn metadata_yield(&self) {
        self.meta.set_plan(FaultPlan::Yielding);
    }

    /// Takes away what requests depend on, with what the process has in memory of the user pool.
    pub(crate) fn lose(&mut self, what: Dependency) {
        match what {
            Dependency::Metadata => self.metadata_are_away(true),
            Dependency::Blobs => {
                let how = How::Failed { temporary: true };
                let call = self.blobs.calls();
                self.blobs.fail(BlobFault { call, when: When::Before, how, lasting: true });
            }
            Dependency::Pool => {
                self.pool.is_away();
                self.admin = api(
                    &self.engine,
                    &self.identity,
                    &self.pool,
                    &self.workloads,
                    &self.webhooks,
                    &self.upstreams,
                );
            }
        }
    }

    /// A Python project with one file, as `oras` pushes it, and an upstream, in `acme/main`.
    async fn sample(&self) {
        let by = known("admin");
        let path = "acme/main/sample".parse().unwrap();
        let repository = self.engine.repository(&by, &path, Action::Push).await.unwrap();
        let sha256 = |bytes: &[u8]| Digest::of(Algorithm::Sha256, bytes);
        let (config, content) = (&b"{}"[..], &b"a wheel"[..]);
        for bytes in [config, content] {
            let body = futures::stream::iter([Ok::<_, strongroom_engine::Error>(bytes.into())]);
            repository.push_blob(&sha256(bytes), None, body).await.unwrap();
        }
        let file = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": artifact::FILE,
            "config": {
                "mediaType": artifact::METADATA_JSON, "digest": sha256(config), "size": config.len(),
            },
            "layers": [
                { "mediaType": artifact::WHEEL, "digest": sha256(content), "size": content.len() },
            ],
            "annotations": { artifact::TITLE: WHEEL },
        })
        .to_string();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "artifactType": artifact::RELEASE,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": sha256(file.as_bytes()),
                "size": file.len(),
            }],
        });
        for (bytes, tags) in [(file, Vec::new()), (index.to_string(), vec!["1.0"])] {
            let tags = tags.into_iter().map(|tag| tag.parse().unwrap()).collect();
            let push = ManifestPush { bytes: bytes.into(), content_type: None, digest: None, tags };
            repository.push_manifest(&push).await.unwrap();
        }
        let path = "/organisations/acme/registries/main/python/upstream";
        let set = self.ask_at("PUT", path, "admin", body(Route::SetPythonUpstream)).await;
        set.expect(StatusCode::OK);
    }

    /// A token of ours for one of a run of CI.
    async fn exchanged(&self) -> String {
        let now = self.clock.now().0 / 1_000;
        let token = KEY.token(&json!({
            "iss": ISSUER, "sub": "repo:acme/api", "aud": "strongroom", "iat": now, "exp": now + 300,
            "jti": "1", "repository": "acme/api",
        }));
        let given = self.workloads.exchange(&Secret::new(token), None, &Origin::default()).await;
        given.unwrap().token.expose().to_owned()
    }
}

/// The API over these, with nothing of the pool in memory.
fn api(
    engine: &Engine,
    identity: &Embedded,
    pool: &Pool,
    workloads: &Workloads,
    webhooks: &Webhooks,
    upstreams: &Upstreams,
) -> Admin {
    let allowed = Allowed { per_person: PER_PERSON, quota_bytes: Some(1_000) };
    let all =
        Identity::new(engine.clone(), identity.clone(), Some(pool.cognito()), First::default());
    Admin::new(Parts {
        engine: engine.clone(),
        identity: Arc::new(all),
        accounts: identity.clone(),
        workloads: workloads.clone(),
        webhooks: webhooks.clone(),
        founders: Founders::new(engine.clone(), allowed),
        upstreams: upstreams.clone(),
        entropy: Arc::new(SystemEntropy),
    })
}

const HOOK: &str = "https://hooks.example/";

fn new_rule(organisation: &OrganisationName) -> NewRule {
    NewRule {
        organisation: organisation.clone(),
        registry: "main".parse().unwrap(),
        issuer: ISSUER.to_owned(),
        audience: Some("strongroom".to_owned()),
        claims: [("repository".to_owned(), format!("{organisation}/api"))].into(),
        repository: None,
        actions: vec![Action::List, Action::Pull],
        lifetime_seconds: 900,
    }
}

fn new_token(owner: AccountId) -> NewToken {
    NewToken { owner, label: "test".to_owned(), reach: Reach::Everything, lifetime: None }
}
