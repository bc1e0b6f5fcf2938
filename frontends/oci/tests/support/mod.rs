//! A registry in memory with a few people in it, and requests to its handler without a socket.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod house;
pub(crate) mod routes;

use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Request, StatusCode};
use serde_json::Value;
use strongroom_engine::access::{Action, Caller, Ceiling, Grant, Origin, PrincipalId, Role};
use strongroom_engine::content::fault::{BlobFault, FaultBlobs, How, When};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::meta::MemoryStore;
use strongroom_engine::meta::fault::{FaultMeta, FaultPlan};
use strongroom_engine::name::RepositoryPath;
use strongroom_engine::seam::Seams;
use strongroom_engine::tenancy::{RegistrySettings, RoleAuthorizer};
use strongroom_engine::{Engine, Settings as EngineSettings};
use strongroom_http::auth::Credentials;
pub(crate) use strongroom_http::testing::Answer;
use strongroom_http::{Handler, RequestBody, testing};
use strongroom_identity::challenge::Refusal;
use strongroom_identity::{IdentityError, IdentityProvider, Sought, Vouched, scope};
use strongroom_oci::{Oci, Settings};

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Vouches for whoever knows the password `right`; a bearer token is a name and what it is for:
/// `NAME/ORGANISATION/REGISTRY/REPOSITORY/ACTION`, or only a name.
#[derive(Debug)]
struct Fake;

pub(crate) fn known(name: &str) -> Caller {
    match name {
        "anonymous" => Caller::anonymous(),
        name => Caller::known(PrincipalId::new(format!("user:{name}")).unwrap()),
    }
}

fn bearer(token: &str) -> Vouched {
    let parts: Vec<&str> = token.split('/').collect();
    let caller = known(parts[0]);
    let [_, organisation, registry, repository, action] = parts[..] else { return caller.into() };
    let actions = match action {
        "push" => vec![Action::List, Action::Pull, Action::Push],
        // `cut` was asked for pushing, and given for pulling only.
        "pull" | "cut" => vec![Action::List, Action::Pull],
        other => panic!("{other}"),
    };
    let grant = Grant {
        organisation: Some(organisation.parse().unwrap()),
        registry: Some(registry.parse().unwrap()),
        repository: Some(repository.parse().unwrap()),
        below: false,
        actions,
    };
    let sought = if action == "pull" { "pull" } else { "pull,push" };
    let sought = format!("repository:{organisation}/{registry}/{repository}:{sought}");
    Vouched {
        caller: Caller { ceiling: Ceiling::Grants(Arc::new([grant])), ..caller },
        sought: Sought::Only(scope::parse([sought.as_str()]).unwrap().into()),
    }
}

#[async_trait]
impl IdentityProvider for Fake {
    async fn authenticate(
        &self,
        credentials: &Credentials,
        origin: Origin,
    ) -> Result<Vouched, IdentityError> {
        let vouched = match credentials {
            Credentials::None => Caller::anonymous().into(),
            Credentials::Basic { user, password } => match (user.as_str(), password.expose()) {
                ("away", _) => return Err(IdentityError::Unavailable("secret".to_owned())),
                ("guesser", _) => {
                    let retry_after = std::time::Duration::from_millis(1_500);
                    return Err(IdentityError::TooMany { retry_after });
                }
                (user, "right") => known(user).into(),
                _ => return Err(IdentityError::Wrong),
            },
            Credentials::Bearer(token) => bearer(token.expose()),
        };
        Ok(Vouched { caller: Caller { origin, ..vouched.caller }, ..vouched })
    }

    fn challenge(
        &self,
        base_url: Option<&str>,
        scope: Option<&str>,
        refusal: Refusal,
    ) -> Vec<HeaderValue> {
        let scope = scope.map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
        let scope = format!(",why={refusal:?}{scope}");
        let realm = base_url.unwrap_or("?");
        let value = format!("Bearer realm=\"{realm}/token\",service=\"test\"{scope}");
        vec![value.parse().unwrap()]
    }
}

/// Two organisations, `acme` (with `admin`, `writer`, `viewer`) and `peer` (with `stranger`), each
/// with a private registry `main` and a public one `open`.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) stores: Stores,
    oci: Oci,
}

/// The engine's stores, which can be told to fail.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) meta: Arc<FaultMeta<MemoryStore>>,
    pub(crate) blobs: Arc<FaultBlobs<OpendalStore>>,
}

impl Stores {
    /// Fails every call for facts from now on, or none.
    pub(crate) fn meta_is_away(&self, away: bool) {
        let plan = if away { FaultPlan::seeded(1, 1000) } else { FaultPlan::None };
        self.meta.set_plan(plan);
    }

    /// Fails every call for bytes from now on.
    pub(crate) fn blobs_are_away(&self) {
        let how = How::Failed { temporary: true };
        let call = self.blobs.calls();
        self.blobs.fail(BlobFault { call, when: When::Before, how, lasting: true });
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let (engine, stores) = Self::engine(Seams::default()).await;
        Self::over(engine, stores, Arc::new(Fake), settings)
    }

    pub(crate) fn over(
        engine: Engine,
        stores: Stores,
        identity: Arc<dyn IdentityProvider>,
        settings: Settings,
    ) -> Self {
        let oci = Oci::new(engine.clone(), identity, settings);
        Self { engine, stores, oci }
    }

    /// The engine with its tenants.
    async fn engine(seams: Seams) -> (Engine, Stores) {
        let meta = Arc::new(FaultMeta::new(MemoryStore::new(&seams), FaultPlan::None));
        let blobs = Arc::new(FaultBlobs::new(OpendalStore::memory().unwrap()));
        let mut engine_settings = EngineSettings::default();
        engine_settings.inline_manifest_bytes = 2048;
        let engine = Engine::builder(meta.clone(), blobs.clone())
            .authorizer(Arc::new(RoleAuthorizer::new(meta.clone())))
            .seams(seams)
            .settings(engine_settings)
            .build()
            .await
            .unwrap();
        let operator = Caller { operator: true, ..known("operator") };
        for (organisation, admin) in [("acme", "admin"), ("peer", "stranger")] {
            let organisation = organisation.parse().unwrap();
            let admin = known(admin);
            let id = PrincipalId::new(admin.principal.as_str()).unwrap();
            engine.create_organisation(&operator, &organisation, None, Some(&id)).await.unwrap();
            for (registry, public) in [("main", false), ("open", true)] {
                let settings = RegistrySettings { public, ..RegistrySettings::default() };
                let registry = registry.parse().unwrap();
                engine.create_registry(&admin, &organisation, &registry, settings).await.unwrap();
            }
        }
        for (name, role) in [("writer", Role::Writer), ("viewer", Role::Viewer)] {
            let principal = PrincipalId::new(format!("user:{name}")).unwrap();
            let acme = "acme".parse().unwrap();
            engine.set_role(&known("admin"), &acme, &principal, None, role).await.unwrap();
        }
        (engine, Stores { meta, blobs })
    }

    pub(crate) fn request<'a>(&'a self, method: &'a str, path: &str) -> Asking<'a> {
        let request = Request::builder().method(method).uri(path);
        Asking { world: self, request, body: Vec::new(), hangs: false }
    }

    /// As `admin`, who may do everything in `acme`.
    pub(crate) fn admin<'a>(&'a self, method: &'a str, path: &str) -> Asking<'a> {
        self.request(method, path).user("admin")
    }

    pub(crate) async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        self.admin("POST", &path).body(bytes).send().await.expect(StatusCode::CREATED);
        digest
    }

    pub(crate) async fn push(&self, name: &str, reference: &str, manifest: &str) -> Digest {
        let kind = if manifest.contains("\"manifests\"") { INDEX } else { IMAGE };
        let path = format!("/v2/{name}/manifests/{reference}");
        let asking = self.admin("PUT", &path).header("content-type", kind);
        let answer = asking.body(manifest.as_bytes()).send().await;
        answer.expect(StatusCode::CREATED);
        answer.header("docker-content-digest").parse().unwrap()
    }

    /// An image of one layer, with all it names, under a tag.
    pub(crate) async fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> Digest {
        self.push_blob(name, b"{}").await;
        self.push_blob(name, layer).await;
        self.push(name, tag, &image(layer, "")).await
    }
}

/// An image of one layer; `more` is further fields, each with a comma before it.
pub(crate) fn image(layer: &[u8], more: &str) -> String {
    let (config, digest, size) = (sha256(b"{}"), sha256(layer), layer.len());
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{size}}}]{more}}}"#
    )
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    let (digest, size) = (sha256(bytes), bytes.len());
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

/// A request that is being put together.
pub(crate) struct Asking<'a> {
    world: &'a World,
    request: http::request::Builder,
    body: Vec<Vec<u8>>,
    hangs: bool,
}

impl Asking<'_> {
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.request = self.request.header(name, value.as_ref());
        self
    }

    pub(crate) fn user(self, name: &str) -> Self {
        if name == "anonymous" {
            return self;
        }
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:right"));
        self.header("authorization", format!("Basic {pair}"))
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Adds a piece of the body.
    pub(crate) fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.body.push(bytes.as_ref().to_vec());
        self
    }

    /// Lets the body have no end.
    pub(crate) fn hanging(self) -> Self {
        Self { hangs: true, ..self }
    }

    pub(crate) async fn send(self) -> Answer {
        let pieces = self.body.into_iter().map(|piece| Ok(Bytes::from(piece)));
        let pieces = futures::stream::iter(pieces);
        let body = if self.hangs {
            RequestBody::from_stream(pieces.chain(futures::stream::pending()))
        } else {
            RequestBody::from_stream(pieces)
        };
        let request = self.request.body(body).unwrap();
        let context = testing::context((Ipv4Addr::LOCALHOST, 1), Some("registry.test"));
        Answer::of(self.world.oci.handle(request, context).await).await
    }
}

/// What the protocol's refusals have in common.
pub(crate) trait Refused {
    /// Its first error, which has this status and code.
    fn error(&self, status: StatusCode, code: &str) -> Value;
}

impl Refused for Answer {
    #[track_caller]
    fn error(&self, status: StatusCode, code: &str) -> Value {
        self.expect(status);
        let error = self.json()["errors"][0].clone();
        assert_eq!(error["code"], code, "{self:?}");
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert_eq!(self.header("content-type"), "application/json");
        error
    }
}

pub(crate) fn path(text: &str) -> RepositoryPath {
    text.parse().unwrap()
}
