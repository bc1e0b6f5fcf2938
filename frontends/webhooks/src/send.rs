//! One attempt to deliver one event: a POST over a connection of its own, with a bound on all of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use strongroom_engine::seam::Timestamp;
use strongroom_outbound::{ConnectError, Connector, Resolver, Target};
use tokio::time::{Instant, timeout};

use crate::error::WebhookError;
use crate::event::{MEDIA_TYPE, Message};
use crate::metrics;
use crate::settings::Settings;
use crate::signature::{SigningKey, seconds, signatures};

/// What is read of an answer's body, so that its end can be seen; it is not looked at.
const MAX_BODY: usize = 4 << 10;
/// The largest head of an answer.
const MAX_HEAD: usize = 16 << 10;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "status")]
#[non_exhaustive]
pub enum Answer {
    /// The receiver answered with this status. 2xx has taken the event; no other has, redirects neither.
    Status(u16),
    /// An address of the host is none that may be reached from here.
    Forbidden,
    /// The host has no address.
    Unresolved,
    /// No connection came about.
    Unreachable,
    /// The receiver can't prove who it is, or speaks no TLS.
    Tls,
    /// It took too long.
    TimedOut,
    /// What came back is no answer of HTTP.
    Broken,
}

impl Answer {
    /// Whether the receiver has the event.
    pub fn is_taken(self) -> bool {
        matches!(self, Self::Status(200..=299))
    }

    /// Whether the receiver wants no more.
    pub(crate) fn is_gone(self) -> bool {
        self == Self::Status(410)
    }

    /// What it is in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Status(200..=299) => "taken",
            Self::Status(_) => "refused",
            Self::Forbidden => "forbidden",
            Self::Unresolved => "unresolved",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::TimedOut => "timed_out",
            Self::Broken => "broken",
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Status(status) => return write!(f, "answered {status}"),
            Self::Forbidden => "leads to an address that is not public; the operator may allow it",
            Self::Unresolved => "the host has no address",
            Self::Unreachable => "takes no connection",
            Self::Tls => "has no TLS that can be trusted",
            Self::TimedOut => "took too long",
            Self::Broken => "gave no answer of HTTP",
        })
    }
}

impl From<ConnectError> for Answer {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Forbidden => Self::Forbidden,
            ConnectError::Unresolved => Self::Unresolved,
            ConnectError::Tls => Self::Tls,
            // The rest, and what may come to be: there was no connection.
            _ => Self::Unreachable,
        }
    }
}

/// An attempt with what is to be known about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) answer: Answer,
    pub(crate) took: Duration,
    /// How long the receiver wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

/// Sends events.
#[derive(Debug)]
pub(crate) struct Sender {
    connector: Connector,
    timeout: Duration,
}

impl Sender {
    pub(crate) fn new(
        resolver: Arc<dyn Resolver>,
        settings: &Settings,
    ) -> Result<Self, WebhookError> {
        let connector = Connector::new(resolver, settings.allowed_networks.clone())?;
        Ok(Self { connector, timeout: settings.timeout })
    }

    /// Offers an event to a receiver once. Dropping the future breaks the connection off; whether the
    /// receiver has the event then is not known.
    pub(crate) async fn send(
        &self,
        target: &Target,
        keys: &[SigningKey],
        message: &Message,
        now: Timestamp,
    ) -> Attempt {
        let started = Instant::now();
        let sent = timeout(self.timeout, self.post(target, keys, message, now)).await;
        let (answer, retry_after) = match sent {
            Ok(Ok(answered)) => answered,
            Ok(Err(failed)) => (failed, None),
            Err(_) => (Answer::TimedOut, None),
        };
        let took = started.elapsed();
        metrics::attempted(answer, took);
        Attempt { answer, took, retry_after }
    }

    async fn post(
        &self,
        target: &Target,
        keys: &[SigningKey],
        message: &Message,
        now: Timestamp,
    ) -> Result<(Answer, Option<Duration>), Answer> {
        let request = request(target, keys, message, now).ok_or(Answer::Broken)?;
        let stream = self.connector.connect(target).await?;
        let mut client = hyper::client::conn::http1::Builder::new();
        client.max_buf_size(MAX_HEAD);
        let handshake = client.handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|_| Answer::Broken)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|_| Answer::Broken)?;
            let answer = Answer::Status(response.status().as_u16());
            let retry_after = retry_after(&response);
            // A receiver may wait until its answer was read; what it says is nobody's business here.
            let _unread = Limited::new(response.into_body(), MAX_BODY).collect().await;
            Ok((answer, retry_after))
        };
        // Polled here and not in a task of its own, so that the connection ends with this attempt.
        let mut connection = std::pin::pin!(connection);
        let mut answered = std::pin::pin!(answered);
        tokio::select! {
            biased;
            answered = &mut answered => answered,
            _ = &mut connection => answered.await,
        }
    }
}

fn request(
    target: &Target,
    keys: &[SigningKey],
    message: &Message,
    now: Timestamp,
) -> Option<Request<Full<Bytes>>> {
    let signatures = signatures(keys, &message.id, now, &message.body);
    let request: Result<_, http::Error> = Request::builder()
        .method(Method::POST)
        .uri(target.path_and_query())
        .header(HOST, target.authority())
        .header(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))
        .header(USER_AGENT, HeaderValue::from_static("strongroom-webhooks"))
        .header(CONNECTION, HeaderValue::from_static("close"))
        .header("webhook-id", message.id.as_str())
        .header("webhook-timestamp", seconds(now))
        .header("webhook-signature", signatures)
        .body(Full::<Bytes>::new(message.body.clone()));
    request.ok()
}

/// How long a receiver that is busy asks to be left alone, where it says so in seconds.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    let asked = response.headers().get(RETRY_AFTER).filter(|_| busy.contains(&response.status()));
    asked?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
