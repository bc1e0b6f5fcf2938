//! A receiver of events on loopback: it keeps what came, and answers as it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use strongroom_outbound::Target;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::HOST;

/// How it answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reply {
    Status(u16),
    RetryAfter(u64),
    /// To this path of itself.
    Redirect,
    /// Never ending.
    Endless,
    /// Not at all.
    Silent,
}

#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(super) fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Debug, Default)]
struct Kept {
    received: Vec<Received>,
    replies: VecDeque<Reply>,
    usual: Option<Reply>,
}

#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let serving = tokio::spawn(serve(listener, kept.clone()));
        Self { address, kept, serving }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn url(&self) -> Target {
        format!("http://{HOST}:{}/hooks?from=acme", self.port()).parse().unwrap()
    }

    /// How the next requests are answered, one after the other; then with 204.
    pub(super) fn replies(&self, replies: &[Reply]) {
        self.kept.lock().unwrap().replies.extend(replies);
    }

    /// How all others are answered.
    pub(super) fn always(&self, reply: Reply) {
        self.kept.lock().unwrap().usual = Some(reply);
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.kept.lock().unwrap().received.clone()
    }

    /// The subjects with the digests' ends, in the order they came.
    pub(super) fn ids(&self) -> Vec<String> {
        self.received().iter().map(|received| received.header("webhook-id").to_owned()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, kept: Arc<Mutex<Kept>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let kept = kept.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, kept.clone()));
            let mut server = hyper::server::conn::http1::Builder::new();
            // A client that leaves is no failure of the test.
            let _left =
                server.keep_alive(true).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    kept: Arc<Mutex<Kept>>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = head.uri.path_and_query().unwrap().as_str().to_owned();
    let reply = {
        let mut kept = kept.lock().unwrap();
        kept.received.push(Received { path, headers: head.headers, body });
        kept.replies.pop_front().or(kept.usual).unwrap_or(Reply::Status(204))
    };
    let response = Response::builder();
    let empty = || Full::new(Bytes::new()).boxed();
    Ok(match reply {
        Reply::Status(status) => response.status(status).body(empty()).unwrap(),
        Reply::RetryAfter(seconds) => {
            response.status(429).header("retry-after", seconds).body(empty()).unwrap()
        }
        Reply::Redirect => response.status(302).header("location", "/taken").body(empty()).unwrap(),
        Reply::Endless => {
            let chunks = futures::stream::repeat_with(|| {
                Ok(hyper::body::Frame::data(Bytes::from_static(&[b'x'; 1024])))
            });
            response
                .status(200)
                .body(BodyExt::boxed(http_body_util::StreamBody::new(chunks)))
                .unwrap()
        }
        Reply::Silent => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            response.body(empty()).unwrap()
        }
    })
}
