//! A small index of Python packages on loopback, which stands in for an upstream: it says what it is told
//! to, lies where it is told to, and notes what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use strongroom_outbound::Resolver;
use strongroom_pypi::upstream::{NewUpstream, Settings};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::JSON;
use super::dist::Dist;

/// What the index is called, and another name that leads to it too.
pub(crate) const HOST: &str = "index.example";
pub(crate) const FILES: &str = "files.example";

/// An upload a year before the tests' clock.
pub(crate) const LONG_AGO: &str = "2022-11-14T22:13:20Z";

/// Looks up what the tests call things: the index lies on loopback, `inside.example` in a network that
/// nobody allowed.
#[derive(Debug)]
pub(crate) struct Names;

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match host {
            HOST | FILES => Ok(vec![[127, 0, 0, 1].into()]),
            "inside.example" => Ok(vec![[10, 0, 0, 1].into()]),
            other => other.parse().map(|address| vec![address]).map_err(io::Error::other),
        }
    }
}

/// Settings by which the index can be reached.
pub(crate) fn reach() -> Settings {
    let mut settings = Settings::default();
    settings.allowed_networks = vec!["127.0.0.1/32".parse().unwrap()];
    settings.allow_http = true;
    settings.at_once = 8;
    settings.retry_after = std::time::Duration::ZERO;
    settings
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

/// What is said at a path.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    /// A page or a file, with its type; pages have an ETag.
    Page(&'static str, String),
    File(Bytes),
    /// The bytes, and their length as it is not.
    Longer(Bytes),
    /// Half of the bytes, then as much as was allowed, then the rest.
    Held(Bytes, Arc<Semaphore>),
    Status(u16),
    Redirect(String),
    /// A body that never ends.
    Endless(&'static str),
    /// An encoding that nobody asked for.
    Encoded,
    /// Nothing at all.
    Silent,
}

impl Say {
    pub(crate) fn is_endless(&self) -> bool {
        matches!(self, Self::Endless(_))
    }
}

#[derive(Debug, Default)]
struct Shared {
    says: Mutex<HashMap<String, Say>>,
    seen: Mutex<Vec<Seen>>,
}

/// The index. Dropping it ends it.
pub(crate) struct Index {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Index {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Index {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let shared = Arc::clone(&serving);
                connections.spawn(async move {
                    let answer = service_fn(move |request| answer(Arc::clone(&shared), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _broken = http.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { shared, address, task }
    }

    /// The address of the index.
    pub(crate) fn url(&self) -> String {
        format!("http://{HOST}:{}/simple/", self.address.port())
    }

    /// An address at the index by another name of it.
    pub(crate) fn at(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.address.port())
    }

    pub(crate) fn say(&self, path: &str, say: Say) {
        self.shared.says.lock().unwrap().insert(path.to_owned(), say);
    }

    /// Publishes files of a project, uploaded long ago.
    pub(crate) fn publish(&self, project: &str, dists: &[&Dist]) {
        let entries: Vec<_> = dists.iter().map(|dist| entry(dist)).collect();
        self.publish_as(project, dists, &entries);
    }

    /// Publishes files under a page that says what is given of them.
    pub(crate) fn publish_as(&self, project: &str, dists: &[&Dist], entries: &[Value]) {
        for dist in dists {
            self.say(&file_path(dist), Say::File(dist.bytes.clone().into()));
        }
        self.page(project, &json!({ "files": entries }));
    }

    /// Puts a page there; what is not said is as usual.
    pub(crate) fn page(&self, project: &str, page: &Value) {
        let mut whole = json!({
            "meta": { "api-version": "1.1" }, "name": project, "versions": [], "files": [],
        });
        for (key, value) in page.as_object().unwrap() {
            whole[key] = value.clone();
        }
        self.say(&format!("/simple/{project}/"), Say::Page(JSON, whole.to_string()));
    }

    /// Asks for paths that begin so.
    pub(crate) fn seen(&self, prefix: &str) -> Vec<Seen> {
        let seen = self.shared.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.path.starts_with(prefix)).cloned().collect()
    }

    /// How often a project's page was asked for.
    pub(crate) fn asked(&self, project: &str) -> usize {
        self.seen(&format!("/simple/{project}/")).len()
    }

    /// How often a file was asked for.
    pub(crate) fn fetched(&self, dist: &Dist) -> usize {
        self.seen(&file_path(dist)).len()
    }
}

/// Where a file lies at the index.
pub(crate) fn file_path(dist: &Dist) -> String {
    format!("/packages/{}", dist.name)
}

/// A file as a page has it.
pub(crate) fn entry(dist: &Dist) -> Value {
    json!({
        "filename": dist.name,
        "url": format!("../..{}", file_path(dist)),
        "hashes": { "sha256": dist.sha256() },
        "requires-python": ">=3.8",
        "size": dist.bytes.len(),
        "upload-time": LONG_AGO,
        "yanked": false,
        "core-metadata": { "sha256": "00" },
    })
}

type Answered = Response<UnsyncBoxBody<Bytes, io::Error>>;

fn whole(bytes: Bytes) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answered, Infallible> {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    let if_none_match = headers.get("if-none-match").cloned();
    shared.seen.lock().unwrap().push(Seen { path: path.clone(), headers });
    let say = shared.says.lock().unwrap().get(&path).cloned();
    let answer = Response::builder();
    let made = match say {
        None => answer.status(404).body(whole(Bytes::new())),
        Some(Say::Status(status)) => answer.status(status).body(whole(Bytes::new())),
        Some(Say::Redirect(to)) => {
            answer.status(302).header("location", to).body(whole(Bytes::new()))
        }
        Some(Say::Page(kind, text)) => {
            let etag = format!("\"{}\"", super::sha256(text.as_bytes()));
            let answer = answer.header("etag", &etag).header("content-type", kind);
            if if_none_match.is_some_and(|known| known == etag) {
                answer.status(StatusCode::NOT_MODIFIED).body(whole(Bytes::new()))
            } else {
                answer.body(whole(text.into()))
            }
        }
        Some(Say::File(bytes)) => answer.body(whole(bytes)),
        Some(Say::Longer(bytes)) => {
            answer.header("content-length", bytes.len() + 1).body(streamed(vec![bytes]))
        }
        Some(Say::Held(bytes, gate)) => {
            let rest = bytes.slice(bytes.len() / 2..);
            let first = futures::stream::iter([Ok(Frame::data(bytes.slice(..bytes.len() / 2)))]);
            let rest = futures::stream::once(async move {
                gate.acquire().await.unwrap().forget();
                Ok(Frame::data(rest))
            });
            let body = StreamBody::new(first.chain(rest));
            answer.header("content-length", bytes.len()).body(BodyExt::boxed_unsync(body))
        }
        Some(Say::Endless(kind)) => {
            let block = Bytes::from(vec![b' '; 64 << 10]);
            let blocks = futures::stream::repeat_with(move || Ok(Frame::data(block.clone())));
            answer.header("content-type", kind).body(BodyExt::boxed_unsync(StreamBody::new(blocks)))
        }
        Some(Say::Encoded) => answer
            .header("content-type", JSON)
            .header("content-encoding", "gzip")
            .body(whole(Bytes::from_static(&[0x1f, 0x8b]))),
        Some(Say::Silent) => {
            std::future::pending::<()>().await;
            unreachable!("it never ends");
        }
    };
    Ok(made.unwrap())
}

fn streamed(parts: Vec<Bytes>) -> UnsyncBoxBody<Bytes, io::Error> {
    let frames = parts.into_iter().map(|part| Ok(Frame::data(part)));
    BodyExt::boxed_unsync(StreamBody::new(futures::stream::iter(frames)))
}

/// `acme/main` and `acme/open` with the index for an upstream, changed by `change`.
pub(crate) async fn set(
    world: &super::World,
    index: &Index,
    change: impl FnOnce(&mut NewUpstream),
) {
    let mut new = NewUpstream {
        url: index.url().parse().unwrap(),
        allow: Vec::new(),
        deny: Vec::new(),
        cool_down_days: 0,
        fresh_seconds: Some(60),
        username: None,
        password: None,
    };
    change(&mut new);
    for registry in ["acme/main", "acme/open"] {
        let place = super::place(registry);
        world.upstreams.set(&super::known("admin"), &place, &new, None).await.unwrap();
    }
}

/// A registry and its upstream.
pub(crate) async fn both() -> (super::World, Index) {
    let (world, index) =
        (super::World::reaching(reach(), Arc::new(Names)).await, Index::new().await);
    set(&world, &index, |_| {}).await;
    (world, index)
}
