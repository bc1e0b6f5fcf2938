//! Accepts connections and drives them.
//!
//! **Promises.** A [`Server`] answers each request by one call of its [`Handler`]. Connections are
//! bounded in number, in all and by client; each ends when it is silent, dribbles, idles or does
//! not read (see [`Limits`]). A machine out of files is waited out. When `shutdown` resolves, no
//! connection is accepted any more, what is under way may finish within the grace, and then the
//! rest is cut.
//!
//! **Never.** It spins, and it leaves no task behind when [`Server::serve`] returns.

mod activity;
mod connection;
mod linger;
mod listen;
mod sendfile;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use activity::{Activity, Handling};
use connection::{Connection, Protocols};
pub use listen::Listener;
pub(crate) use sendfile::Outgoing;

use crate::body::{Body, RequestBody};
use crate::context::RequestContext;
use crate::forwarded::TrustedProxies;
use crate::limits::{Limits, Shares, client_key};
use crate::pipeline::Pipeline;
use crate::tls::Tls;

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Its future is dropped when the client leaves; a panic is answered 500.
    fn handle(
        &self,
        request: Request<RequestBody>,
        context: Arc<RequestContext>,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// How the client of a request to `path` is told what never reached [`handle`](Self::handle), or
    /// died there: [`Refusal::into_plain`], unless its protocol has a form of its own.
    fn refuse(&self, path: &str, refusal: Refusal) -> Response<Body>;
}

/// What the server refuses by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// With which status.
    pub status: StatusCode,
    /// Why, for the client.
    pub why: &'static str,
}

impl Refusal {
    /// The answer in plain words.
    pub fn into_plain(self) -> Response<Body> {
        let mut response = Response::new(Body::from(format!("{}\n", self.why)));
        *response.status_mut() = self.status;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        response
    }
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Everything under way was finished.
    Clean,
    /// The grace was over, and so many connections were cut.
    Cut(usize),
}

/// A server that is being set up.
#[derive(Debug, Default)]
pub struct Server {
    limits: Limits,
    proxies: TrustedProxies,
    tls: Option<Tls>,
}

impl Server {
    /// A server without TLS that trusts no proxy.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Believes the forwarding headers of these proxies.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Speaks TLS.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Serves until `shutdown` resolves and the connections are done or cut. Dropping the future
    /// cuts all connections.
    pub async fn serve<L: Listener, H: Handler>(
        self,
        mut listener: L,
        handler: H,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Shutdown {
        let grace = self.limits.shutdown_grace;
        let running = Running::new(self, handler);
        // Cuts the connections when this future is dropped.
        let cut = running.cut.clone().drop_guard();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                (socket, peer) = running.next(&mut listener) => running.spawn(socket, peer),
            }
        }
        drop(listener);
        running.leave.cancel();
        let drained = timeout(grace, running.drained()).await;
        let left = running.tasks.len();
        drop(cut);
        running.drained().await;
        match drained {
            Ok(()) => Shutdown::Clean,
            Err(_) => Shutdown::Cut(left),
        }
    }
}

/// A server at work.
struct Running<H> {
    pipeline: Arc<Pipeline<H>>,
    protocols: Protocols,
    tls: Option<Tls>,
    shares: Shares<IpAddr>,
    places: Arc<Semaphore>,
    /// The connections, and apart from them the streams of those that have some.
    tasks: TaskTracker,
    streams: TaskTracker,
    /// Asks the connections to finish.
    leave: CancellationToken,
    /// Ends the connections.
    cut: CancellationToken,
}

impl<H: Handler> Running<H> {
    fn new(server: Server, handler: H) -> Self {
        let (streams, cut) = (TaskTracker::new(), CancellationToken::new());
        Self {
            protocols: Protocols::new(&server.limits, streams.clone(), cut.clone()),
            places: Arc::new(Semaphore::new(server.limits.max_connections)),
            pipeline: Arc::new(Pipeline::new(handler, server.limits, server.proxies)),
            tls: server.tls,
            shares: Shares::default(),
            tasks: TaskTracker::new(),
            streams,
            leave: CancellationToken::new(),
            cut,
        }
    }

    /// The next connection, once there is a place for one.
    async fn next<L: Listener>(&self, listener: &mut L) -> (L::Stream, SocketAddr) {
        drop(self.places.acquire().await);
        listen::next(listener).await
    }

    fn spawn<S>(&self, socket: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let most = if self.pipeline.proxies().trusts(peer.ip()) {
            usize::MAX
        } else {
            self.pipeline.limits().max_connections_per_address
        };
        let Ok(share) = self.shares.take(client_key(peer.ip()), usize::MAX, most) else {
            tracing::debug!(%peer, "connection refused: its address holds too many");
            return;
        };
        // There was a place when the connection was awaited, and only this task takes any.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let connection = Connection {
            peer,
            tls: self.tls.is_some(),
            activity: Activity::new(),
            pipeline: Arc::clone(&self.pipeline),
            leave: self.leave.clone(),
        };
        // Boxed, as each of the layers around it would have room for it twice.
        let serving = Box::pin(serve(connection, socket, self.tls.clone(), self.protocols.clone()));
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            let _held = (share, place);
            cut.run_until_cancelled(serving).await;
        });
    }

    /// Waits until all tasks are done.
    async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        // Only connections start streams.
        self.streams.close();
        self.streams.wait().await;
    }
}

/// Serves one connection, after its TLS handshake where there is TLS. The handshake is part of the
/// wait for the first byte.
async fn serve<S, H>(connection: Connection<H>, socket: S, tls: Option<Tls>, protocols: Protocols)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let Some(tls) = tls else { return connection.serve(socket, &protocols).await };
    let (peer, limits) = (connection.peer, connection.pipeline.limits());
    let handshake = timeout(limits.first_byte_timeout, tls.accept(socket));
    match connection.leave.run_until_cancelled(handshake).await {
        Some(Ok(Ok(socket))) => connection.serve(socket, &protocols).await,
        Some(Ok(Err(error))) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Some(Err(_)) => tracing::debug!(%peer, "TLS handshake took too long"),
        None => {}
    }
}
