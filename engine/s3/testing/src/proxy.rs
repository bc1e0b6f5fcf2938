//! A proxy in front of a server that fails where a test wants it to.
//!
//! Each request is one [`Call`]: a rule, given by the test, says with which [`Fault`] it fails, if
//! with any. The proxy speaks plain HTTP/1.1 and passes requests on as they are, so signatures
//! stay good.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Spoiled = Box<dyn std::error::Error + Send + Sync>;
type Body = BoxBody<Bytes, Spoiled>;

/// What a request asks of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are S3's names")]
pub enum Operation {
    HeadObject,
    GetObject,
    PutObject,
    CopyObject,
    DeleteObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListObjectsV2,
    ListMultipartUploads,
    /// Any other.
    Other,
}

impl Operation {
    /// All that an installation asks of S3.
    pub const ASKED: [Self; 12] = [
        Self::HeadObject,
        Self::GetObject,
        Self::PutObject,
        Self::CopyObject,
        Self::DeleteObject,
        Self::CreateMultipartUpload,
        Self::UploadPart,
        Self::UploadPartCopy,
        Self::CompleteMultipartUpload,
        Self::AbortMultipartUpload,
        Self::ListObjectsV2,
        Self::ListMultipartUploads,
    ];
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Counts from 0.
    pub number: u64,
    /// What it asks.
    pub operation: Operation,
    /// Bucket and key.
    pub path: String,
}

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status and code, and does nothing.
    Status(u16, &'static str),
    /// The connection ends before it does anything.
    Reset,
    /// It is never answered, and does nothing.
    Hang,
    /// It does what it should, and the connection ends without an answer.
    LostReply,
    /// It is answered as done, and does nothing; a listing is one of an empty bucket.
    Lie,
    /// It does what it should, only so much later.
    Slow(Duration),
    /// The first half of its body comes through, and then the connection ends.
    Cut,
    /// It does what it should; of its answer's body the first half comes, and then the end.
    Short,
}

type Rule = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    rule: Option<Rule>,
    calls: Vec<Call>,
    faults: u64,
}

/// See the page of this module. Ended when dropped.
pub struct FaultProxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy in front of `upstream`. Nothing fails yet.
    ///
    /// # Panics
    /// Where it can't listen.
    pub async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let state: Arc<Mutex<State>> = Arc::default();
        let serving = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                tokio::spawn(async move {
                    let answer = service_fn(|request| serve(&state, upstream, request));
                    let serving = hyper::server::conn::http1::Builder::new();
                    // An error is what the fault was to look like.
                    let _ = serving.serve_connection(TokioIo::new(connection), answer).await;
                });
            }
        });
        Self { address, state, accepting }
    }

    /// Lets requests fail as `rule` says, in the place of what was said before.
    pub fn fail(&self, rule: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        lock(&self.state).rule = Some(Box::new(rule));
    }

    /// Lets the next `times` requests of `operation` fail.
    pub fn fail_next(&self, operation: Operation, times: u64, fault: Fault) {
        let mut left = times;
        self.fail(move |call| {
            let hit = call.operation == operation && left > 0;
            left -= u64::from(hit);
            hit.then_some(fault)
        });
    }

    /// Lets nothing fail any more.
    pub fn heal(&self) {
        lock(&self.state).rule = None;
    }

    /// The requests so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state).calls.clone()
    }

    /// How many requests of one kind there were.
    pub fn count(&self, operation: Operation) -> usize {
        lock(&self.state).calls.iter().filter(|call| call.operation == operation).count()
    }

    /// How many requests were made to fail.
    pub fn faults(&self) -> u64 {
        lock(&self.state).faults
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn operation(request: &Request<Incoming>) -> Operation {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let copies = request.headers().contains_key("x-amz-copy-source");
    let of_bucket = request.uri().path().trim_matches('/').split('/').count() < 2;
    match *request.method() {
        Method::GET if has("uploads") => Operation::ListMultipartUploads,
        Method::GET if of_bucket && has("list-type") => Operation::ListObjectsV2,
        _ if of_bucket => Operation::Other,
        Method::HEAD => Operation::HeadObject,
        Method::GET if has("uploadId") => Operation::Other,
        Method::GET => Operation::GetObject,
        Method::PUT if has("uploadId") && copies => Operation::UploadPartCopy,
        Method::PUT if has("uploadId") => Operation::UploadPart,
        Method::PUT if copies => Operation::CopyObject,
        Method::PUT => Operation::PutObject,
        Method::POST if has("uploads") => Operation::CreateMultipartUpload,
        Method::POST if has("uploadId") => Operation::CompleteMultipartUpload,
        Method::DELETE if has("uploadId") => Operation::AbortMultipartUpload,
        Method::DELETE => Operation::DeleteObject,
        _ => Operation::Other,
    }
}

async fn serve(
    state: &Mutex<State>,
    upstream: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Spoiled> {
    let (path, operation) = (request.uri().path().to_owned(), operation(&request));
    let (call, fault) = {
        let mut state = lock(state);
        let call = Call { number: state.calls.len() as u64, operation, path };
        let fault = state.rule.as_mut().and_then(|rule| rule(&call));
        state.calls.push(call.clone());
        state.faults += u64::from(fault.is_some());
        (call, fault)
    };
    match fault {
        None => forward(upstream, request).await,
        Some(Fault::Status(status, code)) => refuse(status, code),
        Some(Fault::Reset) => Err("the connection is reset".into()),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            forward(upstream, request).await
        }
        Some(Fault::Cut) => {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let half = body.slice(..body.len() / 2);
            // The head says that there is more.
            send(upstream, Request::from_parts(head, cut(half))).await?;
            Err("the connection is cut".into())
        }
        Some(Fault::LostReply) => {
            let answered = forward(upstream, request).await?;
            answered.into_body().collect().await?;
            Err("the answer is lost".into())
        }
        Some(Fault::Lie) => {
            request.into_body().collect().await?;
            Ok(lie(&call))
        }
        Some(Fault::Short) => {
            let (head, body) = forward(upstream, request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            let half = body.slice(..body.len() / 2);
            Ok(Response::from_parts(head, cut(half)))
        }
    }
}

/// A body that ends in an error after `bytes`.
fn cut(bytes: Bytes) -> Body {
    let frames = [Ok(Frame::data(bytes)), Err(Spoiled::from("it is cut"))];
    // In its turn, so that the bytes are sent before the end is.
    let frames = stream::iter(frames).then(|frame| async {
        tokio::task::yield_now().await;
        frame
    });
    BodyExt::boxed(StreamBody::new(Box::pin(frames)))
}

async fn forward(
    upstream: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Spoiled> {
    send(upstream, request.map(|body| body.map_err(Spoiled::from).boxed())).await
}

async fn send(upstream: SocketAddr, request: Request<Body>) -> Result<Response<Body>, Spoiled> {
    let connection = TokioIo::new(TcpStream::connect(upstream).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(connection).await?;
    tokio::spawn(connection);
    let answered = sender.send_request(request).await?;
    Ok(answered.map(|body| body.map_err(Spoiled::from).boxed()))
}

fn whole(text: String) -> Body {
    Full::from(text).map_err(|never: Infallible| match never {}).boxed()
}

fn refuse(status: u16, code: &str) -> Result<Response<Body>, Spoiled> {
    let text = format!("<Error><Code>{code}</Code><Message>planned</Message></Error>");
    let mut response = Response::new(whole(text));
    *response.status_mut() = StatusCode::from_u16(status)?;
    // Its body was not read.
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    Ok(response)
}

fn lie(call: &Call) -> Response<Body> {
    let etag = "\"00000000000000000000000000000000\"";
    let text = match call.operation {
        Operation::CompleteMultipartUpload => format!(
            "<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>"
        ),
        Operation::CopyObject => {
            format!("<CopyObjectResult><ETag>{etag}</ETag></CopyObjectResult>")
        }
        Operation::ListObjectsV2 => {
            "<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>\
             </ListBucketResult>"
                .to_owned()
        }
        Operation::ListMultipartUploads => {
            "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
             </ListMultipartUploadsResult>"
                .to_owned()
        }
        _ => String::new(),
    };
    let mut response = Response::new(whole(text));
    response.headers_mut().insert(header::ETAG, header::HeaderValue::from_static(etag));
    response
}
