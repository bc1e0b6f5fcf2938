//! `strongroom serve`: from an empty folder to a registry that answers, and down again in order.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use strongroom_admin::Admin;
use strongroom_engine::gc::CollectOptions;
use strongroom_http::auth::Secret;
use strongroom_http::forwarded::TrustedProxies;
use strongroom_http::health::Health;
use strongroom_http::metrics::Metrics;
use strongroom_http::server::Shutdown;
use strongroom_http::tls::{Tls, TlsFiles};
use strongroom_http::{Limits, Server};
use strongroom_oci::{Oci, Redirects};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::bootstrap::{self, FirstStart, bootstrap};
use crate::config::{self, Config};
use crate::console;
use crate::control::Control;
use crate::data::DataFolder;
use crate::failure::Failure;
use crate::router::Router;

/// How often the certificate's files are looked at.
const TLS_LOOK: Duration = Duration::from_secs(10);
/// How often it is seen whether the signing key is old.
const KEYS: Duration = Duration::from_hours(1);
/// How often the trail is sealed: what is cut off behind the last seal does not show.
const SEALS: Duration = Duration::from_mins(5);
/// How often the admin API's records are swept.
const SWEEPS: Duration = Duration::from_hours(1);

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
    // Only now: nobody is kept waiting by a server that can't open its data.
    let listener = TcpListener::bind(config.listen).await;
    let (listener, address) = listener
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|error| Failure::away(format!("can't listen on {}: {error}", config.listen)))?;
    let first = bootstrap(&app, password).await?;
    let control = Control::listen(folder.control())?;
    announce(address, tls.is_some(), first.as_ref())?;

    let mut beside = JoinSet::new();
    beside.spawn(metrics.clone().upkeep());
    if let Some(tls) = tls.clone() {
        beside.spawn(tls.watch(TLS_LOOK));
    }
    beside.spawn(every(KEYS, app.clone(), |app| async move {
        app.identity.rotate_keys().await.map_err(Failure::from)
    }));
    beside.spawn(every(SEALS, app.clone(), |app| async move {
        app.engine.seal().await.map(drop).map_err(Failure::from)
    }));

    let collect = config.collection.interval.duration();
    if !collect.is_zero() {
        beside.spawn(every(collect, app.clone(), |app| async move {
            let report = app.engine.collect(&CollectOptions::everything(), &|_| {}).await?;
            tracing::info!(?report, "collected what nobody uses");
            if report.refused {
                tracing::error!(
                    "the metadata are older than the bucket, as after a restore: what nothing names is \
                     not deleted until `strongroom adopt` has run"
                );
            }
            Ok(())
        }));
    }

    let end_control = CancellationToken::new();
    let control = tokio::spawn(control.serve(app.clone(), end_control.clone()));

    let admin = Admin::new(
        app.engine.clone(),
        std::sync::Arc::new(app.identity.clone()),
        app.identity.clone(),
        std::sync::Arc::clone(&app.seams.entropy),
    );
    let swept = admin.clone();
    beside.spawn(every(SWEEPS, app.clone(), move |_| {
        let admin = swept.clone();
        async move { admin.sweep().await.map_err(Failure::from) }
    }));

    let ready = app.identity.clone();
    let router = Router {
        admin,
        oci: Oci::new(app.engine.clone(), std::sync::Arc::new(app.identity.clone()), oci(config)),
        identity: app.identity.clone(),
        health: Health::new(move || {
            let identity = ready.clone();
            async move {
                let read = identity.is_new().await;
                read.map(drop).map_err(|_| "the metadata does not answer".to_owned())
            }
        }),
        metrics,
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
    beside.shutdown().await;
    end_control.cancel();
    if let Err(error) = control.await {
        tracing::error!(%error, "the control socket failed");
    }
    app.close().await
}

/// Resolves when the process is asked to end.
fn end() -> Result<impl Future<Output = ()> + Send, Failure> {
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
    if config.redirects.enabled {
        let redirects = &config.redirects;
        settings.redirects = Some(Redirects {
            min_bytes: redirects.min_size.bytes(),
            expires: redirects.expires.duration(),
            except: redirects.except.clone(),
        });
    }
    settings
}

fn limits(config: &config::Limits) -> Limits {
    let mut limits = Limits::default();
    limits.max_connections = config.max_connections;
    limits.max_connections_per_address = config.max_connections_per_address;
    limits.max_requests = config.max_requests;
    limits.max_requests_per_address = config.max_requests_per_address;
    limits.shutdown_grace = config.shutdown_grace.duration();
    limits
}

/// Does something again and again. What fails is in the log, and done again the next time.
async fn every<F>(interval: Duration, app: App, work: impl Fn(App) -> F)
where
    F: Future<Output = Result<(), Failure>>,
{
    loop {
        tokio::time::sleep(interval).await;
        if let Err(error) = work(app.clone()).await {
            tracing::error!(%error, "work in the background failed; it is tried again later");
        }
    }
}

/// Tells where it listens and, at the first start, how to begin.
fn announce(address: SocketAddr, tls: bool, first: Option<&FirstStart>) -> Result<(), Failure> {
    use bootstrap::{ADMIN, ORGANISATION, REGISTRY};
    let scheme = if tls { "https" } else { "http" };
    console::say(&format!("listening on {scheme}://{address}\n"))?;
    let Some(FirstStart { generated }) = first else { return Ok(()) };
    let mut host = address;
    if host.ip().is_unspecified() {
        host.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let password = match generated {
        Some(password) => format!("    password  {}    (shown this once)\n", password.expose()),
        None => String::new(),
    };
    let home = format!("{host}/{ORGANISATION}/{REGISTRY}");
    console::say(&format!(
        "\nThis is the first start. Sign in and push:\n\n    user      {ADMIN}\n{password}\n    \
         docker login {host} --username {ADMIN}\n    \
         docker tag IMAGE {home}/IMAGE\n    \
         docker push {home}/IMAGE\n\n"
    ))
}
