//! A server on a free port of this machine, with a handler that does what its paths say.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use strongroom_http::server::{Refusal, Shutdown};
use strongroom_http::{Body, Handler, Limits, RequestBody, RequestContext, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes; a test that waits so long has failed.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The size of what `/file` sends: several blocks, and no multiple of one.
pub(crate) const FILE_SIZE: usize = 3 * 512 * 1024 + 777;

#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Handlers and endless bodies that are alive.
    pub(crate) alive: AtomicUsize,
    /// Lets `/hold` go on.
    pub(crate) release: Notify,
    /// Says that `/hold` was reached.
    pub(crate) reached: Notify,
}

struct Alive(Arc<Seen>);

impl Alive {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Paths {
    seen: Arc<Seen>,
    file: File,
}

pub(crate) fn file_bytes() -> Vec<u8> {
    (0..FILE_SIZE).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
}

impl Handler for Paths {
    fn refuse(&self, path: &str, refusal: Refusal) -> Response<Body> {
        match path.strip_prefix("/own") {
            Some(rest) => text(refusal.status, format!("own words for {rest}: {}", refusal.why)),
            None => refusal.into_plain(),
        }
    }

    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: Arc<RequestContext>,
    ) -> Response<Body> {
        let alive = Alive::new(&self.seen);
        let path = request.uri().path().to_owned();
        let mut body = request.into_body();
        match path.as_str() {
            "/hello" => text(StatusCode::OK, "hello"),
            "/client" => text(StatusCode::OK, context.origin().client().to_string()),
            "/base" => text(StatusCode::OK, context.origin().base_url().unwrap_or_default()),
            "/panic" | "/own/panic" => panic!("on purpose"),
            "/as/ann" | "/as/bob" => match context.hold_share(path.as_str()) {
                Ok(()) => {
                    self.seen.reached.notify_one();
                    self.seen.release.notified().await;
                    text(StatusCode::OK, "held")
                }
                Err(error) => text(StatusCode::TOO_MANY_REQUESTS, error.to_string()),
            },
            "/collect" => match body.collect_limited(10).await {
                Ok(bytes) => text(StatusCode::OK, bytes),
                Err(error) => text(error.status(), error.to_string()),
            },
            "/count" => {
                let mut count = 0;
                while let Some(chunk) = body.next().await {
                    match chunk {
                        Ok(bytes) => count += bytes.len(),
                        Err(error) => return text(error.status(), error.to_string()),
                    }
                    self.seen.reached.notify_one();
                }
                text(StatusCode::OK, count.to_string())
            }
            "/hold" => {
                self.seen.reached.notify_one();
                self.seen.release.notified().await;
                text(StatusCode::OK, "held")
            }
            "/file" => {
                let file = self.file.try_clone().unwrap();
                text(StatusCode::OK, Body::file(file, 0, FILE_SIZE as u64))
            }
            "/endless" => {
                let chunk = Bytes::from(vec![7; 64 * 1024]);
                let stream = futures::stream::repeat_with(move || {
                    let _held = &alive;
                    Ok(chunk.clone())
                });
                text(StatusCode::OK, Body::stream(stream, None))
            }
            _ => text(StatusCode::NOT_FOUND, "no such path"),
        }
    }
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Shutdown>,
}

impl Running {
    pub(crate) async fn start(limits: Limits) -> Self {
        Self::start_server(Server::new(limits)).await
    }

    pub(crate) async fn start_server(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&file_bytes()).unwrap();
        let handler = Paths { seen: Arc::clone(&seen), file };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(listener, handler, async {
            let _asked = stopped.await;
        }));
        Self { address, seen, stop: Some(stop), serving }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Asks the server to stop.
    pub(crate) fn ask_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn stopped(self) -> Shutdown {
        timeout(LONG, self.serving).await.expect("the server stops").unwrap()
    }

    /// Sends one request, as it stands, on its own connection; gives all that comes until the end.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut socket = self.connect().await;
        // A server that refuses early may have closed before all is written.
        let _partly = socket.write_all(request.as_ref()).await;
        everything(&mut socket).await
    }

    /// The status that `GET path` has.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await
    }

    /// Waits until nothing of a handler or a body is alive.
    pub(crate) async fn nothing_alive(&self) {
        let gone = async {
            while self.seen.alive.load(Ordering::SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, gone).await.expect("handlers and bodies are dropped");
    }
}

/// Reads to the end of the connection.
pub(crate) async fn everything(socket: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // A reset is an end as well.
    let _end = timeout(LONG, socket.read_to_end(&mut all)).await.expect("the server closes");
    String::from_utf8_lossy(&all).into_owned()
}

pub(crate) fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or(response)
}

pub(crate) fn limits() -> Limits {
    Limits::default()
}
