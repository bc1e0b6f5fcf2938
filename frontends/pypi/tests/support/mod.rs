//! A registry in memory with a few people in it, behind the embedded identity provider, and requests to
//! its handler without a socket.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod dist;
pub(crate) mod index;
pub(crate) mod issuer;
pub(crate) mod state;

use std::net::Ipv4Addr;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use strongroom_engine::access::{Action, Caller, PrincipalId, Role};
use strongroom_engine::content::fault::{BlobFault, FaultBlobs, How, When};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::meta::MemoryStore;
use strongroom_engine::meta::fault::{FaultMeta, FaultPlan};
use strongroom_engine::seam::{ManualClock, Seams, SystemEntropy, Timestamp};
use strongroom_engine::tenancy::{RegistrySettings, RoleAuthorizer};
use strongroom_engine::{Engine, ManifestPush, Repository, Settings as EngineSettings};
pub(crate) use strongroom_http::testing::Answer;
use strongroom_http::testing::context;
use strongroom_http::{Handler, RequestBody};
use strongroom_identity::Embedded;
use strongroom_identity::account::{AccountId, Reach};
use strongroom_identity::embedded::{NAMESPACE, NewToken, Options};
use strongroom_identity::password::Cost;
use strongroom_identity::seal::MasterKey;
use strongroom_identity::workload::Workloads;
use strongroom_outbound::{Resolver, SystemResolver};
use strongroom_pypi::artifact::{FILE, METADATA_JSON, RELEASE, SDIST, TITLE, VERSION, WHEEL};
use strongroom_pypi::routes::Place;
use strongroom_pypi::upstream::{self, Upstreams};
use strongroom_pypi::{Pypi, Settings, TrustedPublishing};
use strongroom_python::ProjectName;

use dist::Dist;
use issuer::{AUDIENCE, Issuer};

const PASSWORD: &str = "correct horse";
/// When everything begins.
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;
pub(crate) const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// Two organisations, `acme` (with `admin`, `writer`, `viewer`) and `peer` (with `stranger`), each
/// with a private registry `main` and a public one `open`; and `nomad`, who is of nowhere.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) identity: Embedded,
    pub(crate) pypi: Pypi,
    pub(crate) upstreams: Upstreams,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) meta: Arc<FaultMeta<MemoryStore>>,
    pub(crate) blobs: Arc<FaultBlobs<OpendalStore>>,
    /// Trusted by the service.
    pub(crate) issuer: Issuer,
    pub(crate) workloads: Workloads,
    seams: Seams,
}

pub(crate) fn known(name: &str) -> Caller {
    Caller::known(PrincipalId::new(format!("user:{name}")).unwrap())
}

fn operator() -> Caller {
    Caller { operator: true, ..known("operator") }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

pub(crate) fn place(text: &str) -> Place {
    let (organisation, registry) = text.split_once('/').unwrap();
    Place { organisation: organisation.parse().unwrap(), registry: registry.parse().unwrap() }
}

pub(crate) fn project(text: &str) -> ProjectName {
    ProjectName::parse(text).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// One whose service is set otherwise.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::made(change, upstream::Settings::default(), Arc::new(SystemResolver)).await
    }

    /// One whose upstreams are reached so.
    pub(crate) async fn reaching(reach: upstream::Settings, resolver: Arc<dyn Resolver>) -> Self {
        Self::made(|_| (), reach, resolver).await
    }

    async fn made(
        change: impl FnOnce(&mut Settings),
        reach: upstream::Settings,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(NOW_MS)));
        let seams = Seams { clock: clock.clone(), entropy: Arc::new(SystemEntropy) };
        let meta = Arc::new(FaultMeta::new(MemoryStore::new(&seams), FaultPlan::None));
        let blobs = Arc::new(FaultBlobs::new(OpendalStore::memory().unwrap()));
        let mut settings = EngineSettings::default();
        settings.inline_manifest_bytes = 4096;
        let engine = Engine::builder(meta.clone(), blobs.clone())
            .authorizer(Arc::new(RoleAuthorizer::new(meta.clone())))
            .seams(seams.clone())
            .settings(settings)
            .build()
            .await
            .unwrap();
        let mut options = Options::default();
        options.cost = Cost { memory: 8, passes: 1 };
        let records = engine.extension(NAMESPACE);
        let master = MasterKey::from_bytes([7; 32]);
        let identity = Embedded::open(records, seams.clone(), master, options).await.unwrap();
        for name in ["stranger", "nomad", "viewer", "writer", "admin"] {
            let id: AccountId = format!("user:{name}").parse().unwrap();
            identity.create_user(&operator(), &id, PASSWORD, false).await.unwrap();
        }
        identity.create_robot(&operator(), &"robot:ci".parse().unwrap()).await.unwrap();
        for (organisation, admin) in [("acme", "admin"), ("peer", "stranger")] {
            let organisation = organisation.parse().unwrap();
            let id = PrincipalId::new(format!("user:{admin}")).unwrap();
            engine.create_organisation(&operator(), &organisation, None, Some(&id)).await.unwrap();
            for (registry, public) in [("main", false), ("open", true)] {
                let settings = RegistrySettings { public, ..RegistrySettings::default() };
                let registry = registry.parse().unwrap();
                let admin = known(admin);
                engine.create_registry(&admin, &organisation, &registry, settings).await.unwrap();
            }
        }
        let acme = "acme".parse().unwrap();
        for (name, role) in [
            ("user:writer", Role::Writer),
            ("user:viewer", Role::Viewer),
            ("robot:ci", Role::Writer),
        ] {
            let principal = PrincipalId::new(name).unwrap();
            engine.set_role(&known("admin"), &acme, &principal, None, role).await.unwrap();
        }
        let issuer = Issuer::new();
        let workloads = issuer.workloads(engine.clone(), identity.clone());
        let mut settings = own_settings(&workloads);
        change(&mut settings);
        let (pypi, upstreams) = service(&engine, &identity, &seams, settings, reach, resolver);
        Self { engine, identity, pypi, upstreams, clock, meta, blobs, issuer, workloads, seams }
    }

    /// Fails every call for facts from now on.
    pub(crate) fn lose_metadata(&self) {
        self.meta.set_plan(FaultPlan::seeded(1, 1000));
    }

    /// Fails every call for bytes from now on.
    pub(crate) fn lose_blobs(&self) {
        let how = How::Failed { temporary: true };
        let call = self.blobs.calls();
        self.blobs.fail(BlobFault { call, when: When::Before, how, lasting: true });
    }

    /// Takes the keys of the issuer away, of which nothing is in memory.
    pub(crate) fn lose_issuer(&mut self, reach: upstream::Settings, resolver: Arc<dyn Resolver>) {
        self.issuer.is_away();
        self.workloads = self.issuer.workloads(self.engine.clone(), self.identity.clone());
        self.restart(reach, resolver);
    }

    /// Another process over the same stores, which has nothing in memory.
    pub(crate) fn restart(&mut self, reach: upstream::Settings, resolver: Arc<dyn Resolver>) {
        let settings = own_settings(&self.workloads);
        let made = service(&self.engine, &self.identity, &self.seams, settings, reach, resolver);
        (self.pypi, self.upstreams) = made;
    }

    /// A token of the robot.
    pub(crate) async fn token(&self, reach: Reach) -> String {
        let owner = "robot:ci".parse().unwrap();
        let new = NewToken { owner, label: "test".to_owned(), reach, lifetime: None };
        self.identity.create_token(&operator(), new).await.unwrap().1.expose().to_owned()
    }

    pub(crate) fn request<'a>(&'a self, method: &'a str, path: &str) -> Asking<'a> {
        // What begins with a slash is no registry's.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/pypi/{path}") };
        Asking {
            world: self,
            request: Request::builder().method(method).uri(path),
            host: "registry.test",
            body: Vec::new(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Asking<'_> {
        self.request("GET", path)
    }

    /// Uploads as twine does, as `writer`.
    pub(crate) async fn upload(&self, place: &str, dist: &Dist) -> Answer {
        self.upload_as(place, dist, "writer").await
    }

    pub(crate) async fn upload_as(&self, place: &str, dist: &Dist, user: &str) -> Answer {
        let (content_type, body) = dist.form();
        let asking = self.request("POST", &format!("{place}/legacy/")).user(user);
        asking.header("content-type", &content_type).body(body).send().await
    }

    /// The page of a project as JSON; none where there is none.
    pub(crate) async fn page(&self, place: &str, project: &str) -> Option<Value> {
        let asking = self.get(&format!("{place}/simple/{project}/")).user("viewer");
        let answer = asking.header("accept", JSON).send().await;
        match answer.status {
            StatusCode::NOT_FOUND => None,
            _ => Some(answer.expect(StatusCode::OK).json()),
        }
    }

    /// The names of the files on a project's page.
    pub(crate) async fn files(&self, place: &str, project: &str) -> Vec<String> {
        let page = self.page(place, project).await;
        let files = page.as_ref().and_then(|page| page["files"].as_array()).cloned();
        let name = |file: &Value| file["filename"].as_str().unwrap().to_owned();
        files.unwrap_or_default().iter().map(name).collect()
    }

    /// Pushes a file by OCI, in the documented form: a manifest called `title`, which an index lists
    /// that alone is under `tag` then.
    pub(crate) async fn push_by_oci(&self, path: &str, title: &str, content: &[u8], tag: &str) {
        let repository = self.open(path, Action::Push).await;
        for bytes in [&b"{}"[..], content] {
            let bytes = Bytes::copy_from_slice(bytes);
            let digest = sha256(&bytes);
            let body = futures::stream::iter([Ok::<_, strongroom_engine::Error>(bytes)]);
            repository.push_blob(&digest, None, body).await.unwrap();
        }
        let kind = if title.ends_with(".tar.gz") { SDIST } else { WHEEL };
        let file = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": FILE,
            "config": { "mediaType": METADATA_JSON, "digest": sha256(b"{}"), "size": 2 },
            "layers": [{ "mediaType": kind, "digest": sha256(content), "size": content.len() }],
            "annotations": { TITLE: title },
        })
        .to_string();
        let push = |bytes: String, tags: Vec<_>| ManifestPush {
            bytes: bytes.into(),
            content_type: None,
            digest: None,
            tags,
        };
        let pushed = repository.push_manifest(&push(file.clone(), Vec::new())).await.unwrap();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "artifactType": RELEASE,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": pushed.digest,
                "size": file.len(),
            }],
            "annotations": { VERSION: tag },
        })
        .to_string();
        repository.push_manifest(&push(index, vec![tag.parse().unwrap()])).await.unwrap();
    }

    /// A repository, as `admin`.
    pub(crate) async fn open(&self, path: &str, action: Action) -> Repository {
        let path = path.parse().unwrap();
        self.engine.repository(&known("admin"), &path, action).await.unwrap()
    }
}

fn own_settings(workloads: &Workloads) -> Settings {
    let mut settings = Settings::default();
    settings.file_max_bytes = 8 << 20;
    let (workloads, audience) = (workloads.clone(), AUDIENCE.to_owned());
    settings.trusted_publishing = Some(TrustedPublishing { workloads, audience });
    settings
}

fn service(
    engine: &Engine,
    identity: &Embedded,
    seams: &Seams,
    settings: Settings,
    reach: upstream::Settings,
    resolver: Arc<dyn Resolver>,
) -> (Pypi, Upstreams) {
    let upstreams = Upstreams::new(engine, seams.clone(), MasterKey::from_bytes([7; 32]), reach);
    let (engine, identity) = (engine.clone(), Arc::new(identity.clone()));
    let pypi = Pypi::with_resolver(engine, identity, settings, upstreams.clone(), resolver);
    (pypi.unwrap(), upstreams)
}

/// A request that is being put together.
pub(crate) struct Asking<'a> {
    world: &'a World,
    request: http::request::Builder,
    host: &'static str,
    body: Vec<u8>,
}

impl Asking<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn basic(self, user: &str, password: &str) -> Self {
        let pair = format!("{user}:{password}");
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        self.header("authorization", &format!("Basic {pair}"))
    }

    pub(crate) fn user(self, name: &str) -> Self {
        if name == "anonymous" { self } else { self.basic(name, PASSWORD) }
    }

    /// What the client calls this server.
    pub(crate) fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    pub(crate) fn body(mut self, bytes: Vec<u8>) -> Self {
        self.body = bytes;
        self
    }

    pub(crate) async fn send(self) -> Answer {
        Answer::of(self.begin().await).await
    }

    /// The answer; as an error where its body broke off before its end.
    pub(crate) async fn broken_or_whole(self) -> Result<Answer, Answer> {
        Answer::broken_or_whole(self.begin().await).await
    }

    /// The answer, whose body is still to come.
    pub(crate) async fn begin(self) -> http::Response<strongroom_http::Body> {
        // In pieces that cut anything in two.
        let pieces: Vec<_> =
            self.body.chunks(7_001).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let body = RequestBody::from_stream(futures::stream::iter(pieces));
        let request = self.request.body(body).unwrap();
        let context = context((Ipv4Addr::LOCALHOST, 1), Some(self.host));
        self.world.pypi.handle(request, context).await
    }
}

/// What the protocol's refusals have in common.
pub(crate) trait Refused {
    /// Refused with a reason that has `part` in it, in the body and in the status line.
    fn refused(&self, status: StatusCode, part: &str);
}

impl Refused for Answer {
    #[track_caller]
    fn refused(&self, status: StatusCode, part: &str) {
        self.expect(status);
        let reason = self.reason.as_deref().unwrap_or_default();
        assert!(reason.contains(part), "{part:?} in {reason:?}");
        assert!(self.text().contains(part), "{part:?} in {:?}", self.text());
    }
}
