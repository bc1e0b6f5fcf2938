//! `strongroom serve`: from an empty folder to a registry that answers, and down again in order.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use strongroom_admin::{Admin, Parts};
use strongroom_engine::Engine;
use strongroom_engine::gc::CollectOptions;
use strongroom_http::auth::Secret;
use strongroom_http::blob::Redirects;
use strongroom_http::forwarded::TrustedProxies;
use strongroom_http::health::{Health, Readiness};
use strongroom_http::metrics::Metrics;
use strongroom_http::server::Shutdown;
use strongroom_http::tls::{Tls, TlsFiles};
use strongroom_http::{Limits, Server};
use strongroom_identity::Identity;
use strongroom_identity::founders::Founders;
use strongroom_oci::Oci;
use strongroom_pypi::Pypi;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::bootstrap::{self, FirstStart, Made, bootstrap, first_start};
use crate::config::{self, Config};
use crate::console;
use crate::control::Control;
use crate::data::DataFolder;
use crate::failure::Failure;
use crate::router::{MetricsAlone, Router};
use crate::signups;
use crate::storage;
use crate::tasks::Tasks;

/// How often the certificate's files are looked at.
const TLS_LOOK: Duration = Duration::from_secs(10);
/// How often it is seen whether the signing key is old.
const KEYS: Duration = Duration::from_hours(1);
/// How often the trail is sealed: what is cut off behind the last seal does not show.
const SEALS: Duration = Duration::from_mins(5);
/// How often the admin API's records are swept.
const SWEEPS: Duration = Duration::from_hours(1);
/// How long each store has to answer whether it is ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves until it is asked to end. `password` is the first administrator's, where it was chosen.
pub(crate) async fn serve(config: &Config, password: Option<Secret>) -> Result<(), Failure> {
    let end = end()?;
    let tls = tls(config)?;
    let metrics = Metrics::install();
    let metrics = metrics.map_err(|error| Failure::failed(format!("no metrics: {error}")))?;
    let folder = DataFolder::open_or_make(&config.data)?;
    // One server a folder, also where the stores lie elsewhere: it has the socket for verbs.
    let _folder = folder.lock()?;
    let app = App::open(config, folder.clone()).await?;
    let first = first_start(&app, password).await?;
    // Only now: nobody is kept waiting by a server that can't open its data.
    let (listener, address) = listen(config.listen).await?;
    let alone = match config.metrics.listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    // Verbs wait in it from here on, until it is served.
    let control = Arc::new(Control::listen(folder.control())?);
    let scheme = if tls.is_some() { "https" } else { "http" };
    console::say(&format!("listening on {scheme}://{address}\n"))?;
    if let Some((_, address)) = &alone {
        console::say(&format!("metrics on http://{address}/metrics\n"))?;
    }
    if let Some(first) = &first {
        welcome(address, first)?;
        if bootstrap(&app, first).await? == Made::Elsewhere {
            console::say(
                "another node has made the first administrator: that one's password counts\n",
            )?;
        }
    }

    let tasks = beside(config, &app, &metrics, tls.clone());
    let webhooks = app.webhooks.clone();
    tasks.spawn_until("webhooks", move |end| {
        let webhooks = webhooks.clone();
        async move { webhooks.run(end).await }
    });
    signups::beside(config, &app.engine, &tasks).await?;
    tasks.spawn_until("control", {
        let app = app.clone();
        move |end| {
            let (control, app) = (Arc::clone(&control), app.clone());
            async move { control.serve(app, end).await }
        }
    });
    let separate = alone.is_some();
    if let Some((listener, _)) = alone {
        serve_metrics(&tasks, config, listener, metrics.clone())?;
    }

    let identity = Identity::new(
        app.engine.clone(),
        app.identity.clone(),
        app.pool.clone(),
        config.signups.first(),
    );
    let admin = Admin::new(Parts {
        engine: app.engine.clone(),
        identity: Arc::new(identity.clone()),
        accounts: app.identity.clone(),
        workloads: app.workloads.clone(),
        webhooks: app.webhooks.clone(),
        founders: Founders::new(app.engine.clone(), config.organisations.allowed()),
        upstreams: app.upstreams.clone(),
        entropy: Arc::clone(&app.seams.entropy),
    });
    let swept = admin.clone();
    tasks.every("admin records", SWEEPS, move || {
        let admin = swept.clone();
        async move { admin.sweep().await.map_err(Failure::from) }
    });

    let sign_in = Arc::new(identity.clone());
    let pypi = Pypi::new(app.engine.clone(), sign_in, pypi(config, &app), app.upstreams.clone());
    let pypi = pypi.map_err(|error| Failure::failed(format!("upstreams: {error}")))?;
    let router = Router {
        admin,
        oci: Oci::new(app.engine.clone(), Arc::new(identity.clone()), oci(config)),
        pypi,
        identity,
        workloads: app.workloads.clone(),
        engine: app.engine.clone(),
        health: health(&app, &tasks),
        metrics: (!separate).then_some(metrics),
    };
    let mut server = Server::new(limits(&config.limits))
        .trusted_proxies(TrustedProxies::new(config.trusted_proxies.iter().copied()));
    if let Some(tls) = tls {
        server = server.tls(tls);
    }
    match server.serve(listener, router, end).await {
        Shutdown::Clean => tracing::info!("all requests are finished"),
        Shutdown::Cut(connections) => tracing::warn!(connections, "the grace is over; cut"),
    }
    tasks.end().await;
    app.close().await
}

pub(crate) async fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = TcpListener::bind(at).await;
    listener
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|error| Failure::away(format!("can't listen on {at}: {error}")))
}

/// Ready as long as both stores answer; ailing while something beside the requests breaks down.
fn health(app: &App, tasks: &Tasks) -> Health {
    let (engine, tasks) = (app.engine.clone(), tasks.clone());
    Health::new(move || {
        let (engine, tasks) = (engine.clone(), tasks.clone());
        async move {
            match engine.ready(PATIENCE).await {
                Err(error) => Readiness::Away(error.to_string()),
                Ok(()) => tasks.ailing().map_or(Readiness::Ready, Readiness::Ailing),
            }
        }
    })
}

/// Starts what goes on beside the requests.
fn beside(config: &Config, app: &App, metrics: &Metrics, tls: Option<Tls>) -> Tasks {
    let tasks = Tasks::new();
    let metrics = metrics.clone();
    tasks.spawn("metrics", move || metrics.clone().upkeep());
    if let Some(tls) = tls {
        tasks.spawn("certificate", move || tls.clone().watch(TLS_LOOK));
    }
    let identity = app.identity.clone();
    tasks.every("keys", KEYS, move || {
        let identity = identity.clone();
        async move { identity.rotate_keys().await.map_err(Failure::from) }
    });
    seals(&tasks, &app.engine);
    let collect = config.collection.interval.duration();
    if !collect.is_zero() {
        let engine = app.engine.clone();
        tasks.every("collection", collect, move || {
            let engine = engine.clone();
            async move {
                let report = engine.collect(&CollectOptions::everything(), &|_| {}).await?;
                tracing::info!(?report, "collected what nobody uses");
                if report.refused {
                    tracing::error!(
                        "the metadata are older than the bucket, as after a restore: what nothing \
                         names is not deleted until `strongroom adopt` has run"
                    );
                }
                Ok(())
            }
        });
    }
    tasks
}

/// Seals the trail every so often.
pub(crate) fn seals(tasks: &Tasks, engine: &Engine) {
    let engine = engine.clone();
    tasks.every("seals", SEALS, move || {
        let engine = engine.clone();
        async move { engine.seal().await.map(drop).map_err(Failure::from) }
    });
}

/// Serves metrics at their own address, until the end.
pub(crate) fn serve_metrics(
    tasks: &Tasks,
    config: &Config,
    listener: TcpListener,
    metrics: Metrics,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("no metrics: {error}"));
    // Kept apart from who serves on it, so that it outlives a breakdown.
    let listener = Arc::new(listener.into_std().map_err(failed)?);
    let limits = limits(&config.limits);
    tasks.spawn_until("metrics address", move |end| {
        let (listener, metrics, limits) = (Arc::clone(&listener), metrics.clone(), limits.clone());
        async move {
            match listener.try_clone().and_then(TcpListener::from_std) {
                Ok(listener) => {
                    let alone = MetricsAlone(metrics);
                    Server::new(limits).serve(listener, alone, end.cancelled()).await;
                }
                Err(error) => tracing::error!(%error, "metrics can't be served"),
            }
        }
    });
    Ok(())
}

/// Resolves when the process is asked to end.
pub(crate) fn end() -> Result<impl Future<Output = ()> + Send, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::failed(format!("no signals: {error}")));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to end: no new connections; requests under way may finish");
    })
}

fn tls(config: &Config) -> Result<Option<Tls>, Failure> {
    let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) else {
        return Ok(None);
    };
    let files = TlsFiles { certificate: certificate.clone(), key: key.clone() };
    Tls::load(files).map(Some).map_err(|error| Failure::usage(error.to_string()))
}

fn oci(config: &Config) -> strongroom_oci::Settings {
    let mut settings = strongroom_oci::Settings::default();
    settings.manifest_max_bytes = storage::memory(config.uploads.max_manifest);
    settings.chunk_min_bytes = config.uploads.min_chunk.bytes();
    settings.redirects = redirects(config);
    settings
}

fn pypi(config: &Config, app: &App) -> strongroom_pypi::Settings {
    let mut settings = strongroom_pypi::Settings::default();
    settings.file_max_bytes = config.pypi.max_file.bytes();
    settings.page_cache_bytes = config.pypi.page_cache.bytes();
    settings.redirects = redirects(config);
    // Clients are told one audience, whichever issuer they have.
    let audience = config.workload_issuers.iter().find_map(|issuer| issuer.audience.clone());
    settings.trusted_publishing = audience.map(|audience| strongroom_pypi::TrustedPublishing {
        workloads: app.workloads.clone(),
        audience,
    });
    settings
}

fn redirects(config: &Config) -> Option<Redirects> {
    let redirects = &config.redirects;
    redirects.enabled.then(|| Redirects {
        min_bytes: redirects.min_size.bytes(),
        expires: redirects.expires.duration(),
        except: redirects.except.clone(),
    })
}

fn limits(config: &config::Limits) -> Limits {
    let mut limits = Limits::default();
    limits.first_byte_timeout = config.first_byte_timeout.duration();
    limits.header_timeout = config.header_timeout.duration();
    limits.idle_timeout = config.idle_timeout.duration();
    limits.stall_timeout = config.stall_timeout.duration();
    limits.body_idle_timeout = config.body_idle_timeout.duration();
    limits.linger_timeout = config.linger_timeout.duration();
    limits.max_header_size = storage::memory(config.max_header_size);
    limits.max_headers = config.max_headers;
    limits.max_connections = config.max_connections;
    limits.max_connections_per_address = config.max_connections_per_address;
    limits.max_requests = config.max_requests;
    limits.max_requests_per_address = config.max_requests_per_address;
    limits.max_requests_per_principal = config.max_requests_per_principal;
    limits.max_streams = config.max_streams;
    limits.max_pending_resets = config.max_pending_resets;
    limits.shutdown_grace = config.shutdown_grace.duration();
    limits
}

/// Tells, at the first start, how to begin. A password that can't be shown is a failure.
fn welcome(address: SocketAddr, first: &FirstStart) -> Result<(), Failure> {
    use bootstrap::{ADMIN, ORGANISATION, REGISTRY};
    let mut host = address;
    if host.ip().is_unspecified() {
        host.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let password = match first.generated() {
        Some(password) => format!("    password  {}    (shown this once)\n", password.expose()),
        None => String::new(),
    };
    let home = format!("{host}/{ORGANISATION}/{REGISTRY}");
    console::show_once(&format!(
        "\nThis is the first start. Sign in and push:\n\n    user      {ADMIN}\n{password}\n    \
         docker login {host} --username {ADMIN}\n    \
         docker tag IMAGE {home}/IMAGE\n    \
         docker push {home}/IMAGE\n\n"
    ))
}
