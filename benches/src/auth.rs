//! The group `auth`: what it costs a request that somebody signed it. A pull by tag from a public
//! registry, through the whole handler of the protocol and without a socket: with a token, beyond the
//! same without any, in turn, on one core.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use http::{HeaderMap, Request, StatusCode};
use strongroom_engine::access::{Action, Origin};
use strongroom_engine::seam::Seams;
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_engine::{Engine, Settings};
use strongroom_http::auth::Credentials;
use strongroom_http::forwarded::TrustedProxies;
use strongroom_http::request_id::RequestId;
use strongroom_http::{Handler, RequestBody, RequestContext};
use strongroom_identity::account::{AccountId, Reach};
use strongroom_identity::embedded::{Grant, NAMESPACE, NewToken, Options};
use strongroom_identity::profiles::First;
use strongroom_identity::seal::MasterKey;
use strongroom_identity::testing::Pool;
use strongroom_identity::{Embedded, Identity, scope};
use strongroom_oci::Oci;

use crate::Part;
use crate::figure::{Goal, Report, median};
use crate::world::{World, manifest, parts};

const REPOSITORY: &str = "bench/open/app";
const PASSWORD: &str = "bench-only-3e1f0c";
const ROUNDS: usize = 9;
const REQUESTS: u32 = 20_000;
/// The most that a verified token may cost, in microseconds.
const BOUND: f64 = 5.0;

/// What the group measures.
pub const PARTS: &[Part] = &[("tokens", run)];

fn run(report: &mut Report) -> Result<()> {
    // One thread: what one core does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(report))
}

async fn measure(report: &mut Report) -> Result<()> {
    let world = World::with_roles(Settings::default()).await?;
    push(&world).await?;
    let tokens = Tokens::new(&world).await?;
    let oci = Oci::new(world.engine.clone(), Arc::new(tokens.identity.clone()), {
        strongroom_oci::Settings::default()
    });
    let ways = [
        ("an access token of the token endpoint", &tokens.access),
        ("a machine token", &tokens.machine),
        ("an access token of the user pool", &tokens.pool),
    ];
    for (what, token) in ways {
        let header = format!("Bearer {token}");
        let mut beyond = Vec::new();
        for round in 0..=ROUNDS {
            let without = microseconds(&oci, None).await?;
            let with = microseconds(&oci, Some(&header)).await?;
            // The first one fills what remembers.
            if round > 0 {
                beyond.push(with - without);
            }
        }
        let name = format!("a pull by tag with {what}, beyond one without any");
        report.figure(
            &name,
            (median(beyond), "us"),
            ("bound, us", BOUND),
            Goal::RatioAtMost(1.0),
        )?;
    }
    Ok(())
}

/// One small manifest in a public registry.
async fn push(world: &World) -> Result<()> {
    let settings = RegistrySettings { public: true, ..RegistrySettings::default() };
    let (bench, open) = ("bench".parse()?, "open".parse()?);
    world.engine.create_registry(&world.caller, &bench, &open, settings).await?;
    let path = REPOSITORY.parse()?;
    let repository = world.engine.repository(&world.caller, &path, Action::Push).await?;
    let config = bytes::Bytes::from_static(b"{}");
    let digest = strongroom_engine::digest::Digest::of(
        strongroom_engine::digest::Algorithm::Sha256,
        &config,
    );
    repository.push_blob(&digest, Some(2), parts(&config, 2)).await?;
    repository.push_manifest(&manifest(1, &["latest".to_owned()])?).await?;
    Ok(())
}

/// What verifies, and a token of each kind.
struct Tokens {
    identity: Identity,
    access: String,
    machine: String,
    pool: String,
}

impl Tokens {
    async fn new(world: &World) -> Result<Self> {
        let (engine, seams): (&Engine, _) = (&world.engine, Seams::default());
        let master = MasterKey::from_bytes([7; 32]);
        let records = engine.extension(NAMESPACE);
        let embedded = Embedded::open(records, seams.clone(), master, Options::default()).await?;
        let user: AccountId = "user:bench".parse()?;
        embedded.create_user(&world.caller, &user, PASSWORD, false).await?;
        let new = NewToken {
            owner: user,
            label: "bench".to_owned(),
            reach: Reach::Everything,
            lifetime: None,
        };
        let (_, machine) = embedded.create_token(&world.caller, new).await?;
        let pool = Pool::new(seams);
        let identity =
            Identity::new(engine.clone(), embedded, Some(pool.cognito()), First::default());
        let credentials = Credentials::basic("bench", PASSWORD);
        let grant = Grant::Credentials(credentials.ok().context("a name and a password")?);
        let scopes = scope::parse([format!("repository:{REPOSITORY}:pull").as_str()])?;
        let given = identity.exchange(&grant, &scopes, None, &Origin::default()).await?;
        Ok(Self {
            identity,
            access: given.issued.token,
            machine: machine.expose().to_owned(),
            pool: pool.access("jo"),
        })
    }
}

/// What one request takes.
async fn microseconds(oci: &Oci, authorization: Option<&str>) -> Result<f64> {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let proxies = TrustedProxies::default();
    let begin = Instant::now();
    for _ in 0..REQUESTS {
        let mut request = Request::get(format!("/v2/{REPOSITORY}/manifests/latest"));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let body = RequestBody::from_stream(futures::stream::empty());
        let origin = proxies.origin(peer, false, Some("registry.test"), &HeaderMap::new());
        let context = Arc::new(RequestContext::new(RequestId::generate(), origin, peer));
        let response = oci.handle(request.body(body)?, context).await;
        ensure!(response.status() == StatusCode::OK, "answered {}", response.status());
        std::hint::black_box(response);
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS))
}
