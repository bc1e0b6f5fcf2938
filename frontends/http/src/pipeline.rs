//! The one way of every request: id, origin, bounds, handler, metrics, log line.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use futures::FutureExt;
use http::header::{
    CONNECTION, CONTENT_SECURITY_POLICY, HOST, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::body::{Body, BodyError, Part, RequestBody};
use crate::context::RequestContext;
use crate::forwarded::TrustedProxies;
use crate::framing::Verdict;
use crate::limits::{Limits, Share, ShareError, Shares, client_key};
use crate::log;
use crate::metrics::{self, RequestMetrics};
use crate::request_id::{self, RequestId};
use crate::server::{Activity, Handler, Handling, Outgoing, Refusal};

/// Nothing of an answer runs, loads, sends or is framed, should a browser take it for a page.
const POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What all connections of a server share.
pub(crate) struct Pipeline<H> {
    handler: H,
    limits: Limits,
    proxies: TrustedProxies,
    requests: Shares<IpAddr>,
    principals: Shares<Arc<str>>,
    metrics: Arc<RequestMetrics>,
}

impl<H: Handler> Pipeline<H> {
    pub(crate) fn new(handler: H, limits: Limits, proxies: TrustedProxies) -> Self {
        let (requests, principals) = (Shares::default(), Shares::default());
        let metrics = Arc::default();
        Self { handler, limits, proxies, requests, principals, metrics }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn proxies(&self) -> &TrustedProxies {
        &self.proxies
    }

    /// Answers one request of the connection that `activity` belongs to.
    pub(crate) async fn run(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        tls: bool,
        activity: &Activity,
    ) -> Response<Tracked> {
        let (handling, verdict) = activity.request();
        let host = request.uri().authority().map(http::uri::Authority::as_str);
        let host = host.or_else(|| request.headers().get(HOST)?.to_str().ok());
        let origin = self.proxies.origin(peer, tls, host, request.headers());
        let given =
            origin.via_proxy().then(|| RequestId::from_headers(request.headers())).flatten();
        let client = origin.client();
        let id = given.unwrap_or_else(RequestId::generate);
        let limits = &self.limits;
        let principals = (self.principals.clone(), limits.max_requests_per_principal);
        let context = Arc::new(RequestContext::among(id, origin, peer, principals));
        if http_body::Body::is_end_stream(request.body()) {
            context.end_body();
        }
        let mut record = self.record(&request, &context, handling);

        let (most, of_one) = (limits.max_requests, limits.max_requests_per_address);
        let response = match self.requests.take(client_key(client), most, of_one) {
            Err(full) => self.overloaded(&record.path, full),
            Ok(share) => {
                record.share = Some(share);
                let framing = framing(&request, verdict);
                if framing == Some(Verdict::Ambiguous) {
                    let why = "the request says in more than one way where its body ends";
                    closing(self.refuse(&record.path, StatusCode::BAD_REQUEST, why))
                } else {
                    let response = self.handle(request, &record.path, &context).await;
                    if framing == Some(Verdict::Unknown) { closing(response) } else { response }
                }
            }
        };
        record.respond(response)
    }

    fn record(
        &self,
        request: &Request<Incoming>,
        context: &Arc<RequestContext>,
        handling: Handling,
    ) -> Record {
        self.metrics.began();
        Record {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            context: Arc::clone(context),
            started: Instant::now(),
            status: None,
            bytes_out: 0,
            whole: false,
            handling,
            share: None,
            metrics: Arc::clone(&self.metrics),
        }
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
        path: &str,
        context: &Arc<RequestContext>,
    ) -> Response<Body> {
        let idle = self.limits.body_idle_timeout;
        let request = request.map(|body| RequestBody::incoming(body, Arc::clone(context), idle));
        // The call itself may panic too, not only the future that it returns.
        let handling = pin!(async { self.handler.handle(request, Arc::clone(context)).await });
        AssertUnwindSafe(handling).catch_unwind().await.unwrap_or_else(|panic| {
            log::panicked(context, message_of(&*panic));
            metrics::panicked();
            let why = "the request failed inside the server";
            self.refuse(path, StatusCode::INTERNAL_SERVER_ERROR, why)
        })
    }

    fn refuse(&self, path: &str, status: StatusCode, why: &'static str) -> Response<Body> {
        self.handler.refuse(path, Refusal { status, why })
    }

    fn overloaded(&self, path: &str, full: ShareError) -> Response<Body> {
        let mut response = match full {
            ShareError::Client { .. } => {
                let why = "this client has too many requests under way";
                self.refuse(path, StatusCode::TOO_MANY_REQUESTS, why)
            }
            ShareError::Full { .. } => {
                let why = "the server has too many requests under way";
                self.refuse(path, StatusCode::SERVICE_UNAVAILABLE, why)
            }
        };
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }
}

/// The verdict on a request whose framing matters: HTTP/1.1, with or without Transfer-Encoding, and
/// ambiguous, or with it and not followed.
fn framing(request: &Request<Incoming>, verdict: Verdict) -> Option<Verdict> {
    let h1 = request.version() < Version::HTTP_2;
    let coded = request.headers().contains_key(http::header::TRANSFER_ENCODING);
    match verdict {
        Verdict::Ambiguous if h1 => Some(verdict),
        Verdict::Unknown if h1 && coded => Some(verdict),
        _ => None,
    }
}

fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// One request from its header to the last byte of its response. Dropping it writes its line and
/// gives back what it held, however it ended.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) context: Arc<RequestContext>,
    pub(crate) started: Instant,
    /// `None` where the client left before there was a response.
    status: Option<StatusCode>,
    pub(crate) bytes_out: u64,
    /// Whether the response went out whole, as far as we can see.
    pub(crate) whole: bool,
    handling: Handling,
    share: Option<Share<IpAddr>>,
    metrics: Arc<RequestMetrics>,
}

impl Record {
    /// The status for the log and the metrics: 499, of no standard, where the client left before.
    pub(crate) fn status(&self) -> u16 {
        self.status.map_or(499, |status| status.as_u16())
    }

    fn respond(mut self, mut response: Response<Body>) -> Response<Tracked> {
        let headers = response.headers_mut();
        headers.insert(request_id::HEADER, self.context.id().header_value());
        // What people push is never a page of ours, whatever it says it is (threat C18).
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        self.status = Some(response.status());
        self.whole = self.method == Method::HEAD || http_body::Body::is_end_stream(response.body());
        self.handling.sending();
        response.map(|body| Tracked { body, record: self })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.context.body_ended() {
            self.handling.left_unread();
        }
        let took = self.started.elapsed();
        self.metrics.ended(self, took);
        log::request(self, took);
    }
}

/// The body of a response, counted on its way out.
#[derive(Debug)]
pub(crate) struct Tracked {
    body: Body,
    record: Record,
}

impl http_body::Body for Tracked {
    type Data = Outgoing;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Outgoing>, BodyError>>> {
        let Self { body, record } = &mut *self;
        let part = std::task::ready!(body.poll_part(context, record.handling.sends_files()));
        let frame = part.map(|part| {
            part.map(|part| match part {
                Part::Bytes(bytes) => Outgoing::Bytes(bytes),
                Part::Stretch(stretch) => record.handling.promise(stretch, &record.context),
            })
        });
        match &frame {
            Some(Ok(data)) => {
                record.handling.moved();
                record.bytes_out += data.remaining() as u64;
            }
            Some(Err(error)) => log::body_failed(&record.context, &**error),
            None => {}
        }
        record.whole = frame.is_none() || http_body::Body::is_end_stream(body);
        Poll::Ready(frame.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
