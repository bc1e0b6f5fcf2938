//! An engine in memory with two organisations behind the real embedded identity provider, and
//! requests to the API's handler without a socket.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use strongroom_admin::Admin;
use strongroom_admin::routes::{BASE, Route};
use strongroom_engine::access::{Action, Caller, PrincipalId, Role};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::meta::MemoryStore;
use strongroom_engine::seam::{ManualClock, Seams, SystemEntropy, Timestamp};
use strongroom_engine::tenancy::{RegistrySettings, RoleAuthorizer};
use strongroom_engine::{Engine, ManifestPush};
use strongroom_http::forwarded::TrustedProxies;
use strongroom_http::request_id::RequestId;
use strongroom_http::{Handler, RequestBody, RequestContext};
use strongroom_identity::Embedded;
use strongroom_identity::account::{AccountId, Reach};
use strongroom_identity::embedded::{NAMESPACE, NewToken, Options};
use strongroom_identity::password::Cost;
use strongroom_identity::seal::MasterKey;

pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const INDEX: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
/// Another one, which is in the other organisation alone.
pub(crate) const OTHER: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"a":"b"}}"#;

/// Whoever may come: `foreign` is the admin of `peer`, the others are of `acme` or of nowhere.
pub(crate) const CALLERS: [(&str, Option<Role>); 6] = [
    ("anonymous", None),
    ("foreign", None),
    ("viewer", Some(Role::Viewer)),
    ("writer", Some(Role::Writer)),
    ("admin", Some(Role::Admin)),
    ("operator", None),
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
}

impl House {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
        let seams = Seams { clock: Arc::clone(&clock) as _, entropy: Arc::new(SystemEntropy) };
        let meta = Arc::new(MemoryStore::new(&seams));
        let engine = Engine::builder(meta.clone(), Arc::new(OpendalStore::memory().unwrap()))
            .authorizer(Arc::new(RoleAuthorizer::new(meta)))
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
        let admin = Admin::new(
            engine.clone(),
            Arc::new(identity.clone()),
            identity.clone(),
            Arc::clone(&seams.entropy),
        );
        let (tokens, secret) = (std::collections::BTreeMap::new(), String::new());
        let mut house = Self { engine, identity, admin, clock, tokens, secret };
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
        }
        let acme = "acme".parse().unwrap();
        for (name, role) in
            [("viewer", Role::Viewer), ("writer", Role::Writer), ("guest", Role::Viewer)]
        {
            let who = PrincipalId::new(format!("user:{name}")).unwrap();
            self.engine.set_role(&known("admin"), &acme, &who, None, role).await.unwrap();
        }
        let (guest, main) = (PrincipalId::new("user:guest").unwrap(), "main".parse().unwrap());
        let admin = known("admin");
        self.engine.set_role(&admin, &acme, &guest, Some(&main), Role::Viewer).await.unwrap();
        for name in people {
            let new = new_token(id(&format!("user:{name}")));
            let (info, token) = self.identity.create_token(&console(), new).await.unwrap();
            self.tokens.insert(format!("user:{name}"), info.id);
            if name == "admin" {
                token.expose().clone_into(&mut self.secret);
            }
        }
    }

    /// The path of a route, with what is there, as `caller` asks for it.
    pub(crate) fn path(&self, route: Route, caller: &str) -> String {
        let spec = route.spec();
        let robots = spec.path.contains("{robot}");
        let owner = if robots { "robot:acme+ci".to_owned() } else { format!("user:{caller}") };
        let token = self.tokens.get(&owner).map_or("0000000000000000", String::as_str);
        let path = spec
            .path
            .replace("{organisation}", "acme")
            .replace("{registry}", "main")
            .replace("{repository}", "api")
            .replace("{tag}", "v1")
            .replace("{digest}", &digest(INDEX))
            .replace("{principal}", "user:guest")
            .replace("{robot}", "acme+ci")
            .replace("{user}", "carl")
            .replace("{token}", token);
        let force = spec.query.iter().any(|param| param.name == "force");
        format!("{BASE}{path}{}", if force { "?force=true" } else { "" })
    }

    pub(crate) async fn send(&self, ask: Ask<'_>) -> Answer {
        let mut request = Request::builder().method(ask.method).uri(ask.path);
        if let Some(authorization) = authorization(ask.caller) {
            request = request.header("authorization", authorization);
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value.as_str());
        }
        let bytes = ask.body.as_ref().map(|body| match body {
            Value::String(raw) => raw.clone(),
            body => body.to_string(),
        });
        if bytes.is_some() && !ask.headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        let pieces = bytes.into_iter().map(|bytes| Ok(Bytes::from(bytes)));
        let body = RequestBody::from_stream(futures::stream::iter(pieces.collect::<Vec<_>>()));
        let request = request.body(body).unwrap();
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let origin =
            TrustedProxies::default().origin(peer, false, Some("registry.test"), &HeaderMap::new());
        let context = Arc::new(RequestContext::new(RequestId::generate(), origin, peer));
        let response = self.admin.handle(request, context).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A request of a route, with what is there.
    pub(crate) async fn ask(&self, route: Route, caller: &str) -> Answer {
        let mut path = self.path(route, caller);
        if path.contains("{job}") {
            path = path.replace("{job}", &self.job().await);
        }
        let method = route.spec().method;
        self.send(Ask { body: body(route), ..Ask::new(method.as_str(), &path, caller) }).await
    }

    /// A job that was started.
    pub(crate) async fn job(&self) -> String {
        let started =
            self.ask_at("POST", "/jobs", "operator", Some(json!({"kind": "scrub"}))).await;
        if started.status == StatusCode::CREATED {
            return started.json()["id"].as_str().unwrap().to_owned();
        }
        let jobs = self.ask_at("GET", "/jobs", "operator", None).await;
        jobs.json()["items"][0]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn ask_at(
        &self,
        method: &str,
        path: &str,
        caller: &str,
        body: Option<Value>,
    ) -> Answer {
        let path = format!("{BASE}{path}");
        self.send(Ask { body, ..Ask::new(method, &path, caller) }).await
    }
}

fn new_token(owner: AccountId) -> NewToken {
    NewToken { owner, label: "test".to_owned(), reach: Reach::Everything, lifetime: None }
}

/// A request that is put together. `caller` is a name, or a token.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) caller: &'a str,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// A string is sent as it is.
    pub(crate) body: Option<Value>,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: &'a str, path: &'a str, caller: &'a str) -> Self {
        Self { method, path, caller, headers: Vec::new(), body: None }
    }
}

fn authorization(caller: &str) -> Option<String> {
    match caller {
        "anonymous" => None,
        token if token.starts_with("srt_") => Some(format!("Bearer {token}")),
        name => {
            let pair = format!("{name}:{PASSWORD}");
            Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
        }
    }
}

/// A good body of a route that has one.
pub(crate) fn body(route: Route) -> Option<Value> {
    route.spec().body?;
    Some(match route {
        Route::CreateOrganisation | Route::CreateRobot => json!({ "name": "fresh" }),
        Route::CreateRegistry => json!({ "name": "fresh", "public": true }),
        Route::RenameOrganisation | Route::RenameRegistry => json!({ "name": "other" }),
        Route::SetQuota => json!({ "quota_bytes": 1_000_000 }),
        Route::InviteMember => json!({ "user": "free", "role": "viewer" }),
        Route::SetMemberRole | Route::SetRegistryRole => json!({ "role": "writer" }),
        Route::UpdateRegistry => json!({ "public": true }),
        Route::DisableRobot | Route::DisableUser => json!({ "disabled": true }),
        Route::CreateRobotToken | Route::CreateMyToken => json!({ "label": "x" }),
        Route::CreateUser => json!({ "name": "fresh", "password": "another horse" }),
        Route::SetOperator => json!({ "operator": true }),
        Route::SetPassword => json!({ "password": "another horse" }),
        Route::StartJob => json!({ "kind": "scrub" }),
        Route::PreviewRetention => json!({ "rules": [{ "tags": { "keep_last": 0 } }] }),
        other => panic!("{other:?} has a body that no test sends"),
    })
}

/// A response, whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(&self, status: StatusCode) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A problem of this kind.
    #[track_caller]
    pub(crate) fn problem(&self, status: StatusCode, kind: &str) -> Value {
        self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:strongroom:problem:{kind}"), "{self:?}");
        assert_eq!(problem["status"], status.as_u16());
        problem
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }
}
