//! Requests to an upstream: a GET over a connection of its own, with a bound on all of it.
//!
//! A redirect is followed a few times, each hop checked like the first; from `https` none leads to `http`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST,
    IF_NONE_MATCH, LOCATION, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use strongroom_outbound::{ConnectError, Connector, Resolver, Target};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::settings::Settings;

/// How often one request is sent on.
const MAX_REDIRECTS: usize = 3;
/// The largest head of an answer.
const MAX_HEAD: usize = 32 << 10;

/// Why there is no answer, or no good one. Its text names no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it {0}")]
    Connect(#[from] ConnectError),
    #[error("it took too long")]
    TimedOut,
    #[error("it gave no answer of HTTP, or broke it off")]
    Broken,
    #[error("it answered {0}")]
    Status(u16),
    #[error("it redirects more than {MAX_REDIRECTS} times")]
    Redirects,
    #[error("it redirects to {0}")]
    Elsewhere(String),
    #[error("its answer has more than {0} bytes")]
    TooLarge(u64),
    #[error("its answer is in an encoding that was not asked for")]
    Encoding,
    #[error("its page can't be read: {0}")]
    Page(String),
    #[error("too much is fetched for this registry at the moment")]
    Busy,
    #[error("it failed a moment ago and is left alone for a while: {0}")]
    Resting(Box<Fault>),
}

/// What is asked for.
pub(super) struct Ask<'a> {
    pub(super) target: Target,
    pub(super) accept: &'static str,
    /// What we have of it already.
    pub(super) etag: Option<&'a str>,
    /// What proves who we are, to this origin alone.
    pub(super) authorization: Option<(&'a Target, HeaderValue)>,
}

/// An answer that has begun. Dropping it ends the connection.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Where it came from in the end.
    pub(super) at: Target,
    pub(super) body: AnswerBody,
}

/// The body of an answer.
pub(super) struct AnswerBody {
    incoming: Incoming,
    idle: Duration,
    _connection: Connection,
}

/// The task that drives a connection; it ends with this.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends requests to upstreams.
#[derive(Debug)]
pub(super) struct Client {
    connector: Connector,
    head: Duration,
    idle: Duration,
    allow_http: bool,
}

impl Client {
    pub(super) fn new(
        resolver: Arc<dyn Resolver>,
        settings: &Settings,
    ) -> Result<Self, ConnectError> {
        let connector = Connector::new(resolver, settings.allowed_networks.clone())?;
        let (head, idle) = (settings.head_timeout, settings.idle_timeout);
        Ok(Self { connector, head, idle, allow_http: settings.allow_http })
    }

    /// Gets something, wherever it was moved to.
    pub(super) async fn get(&self, ask: Ask<'_>) -> Result<Answer, Fault> {
        let mut target = ask.target.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = timeout(self.head, self.send(&ask, &target)).await;
            let answer = answer.map_err(|_| Fault::TimedOut)??;
            if !answer.status.is_redirection() || answer.status == StatusCode::NOT_MODIFIED {
                let encoding = answer.headers.get(CONTENT_ENCODING);
                if encoding.is_some_and(|value| value != "identity") {
                    return Err(Fault::Encoding);
                }
                return Ok(answer);
            }
            let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let location = location.ok_or(Fault::Broken)?;
            let next = join(&target, location);
            let next =
                next.ok_or_else(|| Fault::Elsewhere(location.chars().take(200).collect()))?;
            if (target.is_https() || !self.allow_http) && !next.is_https() {
                return Err(Fault::Elsewhere("an address without TLS".to_owned()));
            }
            target = next;
        }
        Err(Fault::Redirects)
    }

    async fn send(&self, ask: &Ask<'_>, target: &Target) -> Result<Answer, Fault> {
        let mut request = Request::get(target.path_and_query())
            .header(HOST, target.authority())
            .header(ACCEPT, HeaderValue::from_static(ask.accept))
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .header(USER_AGENT, HeaderValue::from_static("strongroom"))
            .header(CONNECTION, HeaderValue::from_static("close"));
        if let Some(etag) = ask.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some((origin, value)) = &ask.authorization
            && origin.same_origin(target)
        {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| Fault::Broken)?;
        let stream = self.connector.connect(target).await?;
        let mut client = hyper::client::conn::http1::Builder::new();
        client.max_buf_size(MAX_HEAD);
        let handshake = client.handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|_| Fault::Broken)?;
        // What it ends with, the body's reader sees too.
        let connection = Connection(tokio::spawn(async move { drop(connection.await) }));
        let response = sender.send_request(request).await.map_err(|_| Fault::Broken)?;
        let (parts, incoming) = response.into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            at: target.clone(),
            body: AnswerBody { incoming, idle: self.idle, _connection: connection },
        })
    }
}

impl Answer {
    /// How long the body is, where that is said.
    pub(super) fn length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// A header as text.
    pub(super) fn header(&self, name: http::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl AnswerBody {
    /// The next bytes; none at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let frame = timeout(self.idle, self.incoming.frame()).await;
            match frame.map_err(|_| Fault::TimedOut)? {
                None => return Ok(None),
                Some(Err(_)) => return Err(Fault::Broken),
                Some(Ok(frame)) => {
                    // Trailers say nothing that is looked at.
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// All of it, at most `most` bytes.
    pub(super) async fn whole(mut self, most: u64) -> Result<Bytes, Fault> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.chunk().await? {
            if (all.len() + bytes.len()) as u64 > most {
                return Err(Fault::TooLarge(most));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

/// What an address means where it stands at another one; its fragment is left out.
pub(super) fn join(base: &Target, reference: &str) -> Option<Target> {
    let base = url::Url::parse(&base.to_string()).ok()?;
    let mut joined = base.join(reference).ok()?;
    joined.set_fragment(None);
    joined.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_joined_as_clients_join_them() {
        let base: Target = "https://index.example/simple/foo/".parse().unwrap();
        for (reference, wanted) in [
            ("../../files/a.whl#sha256=1", Some("https://index.example/files/a.whl")),
            ("a.whl?x=1", Some("https://index.example/simple/foo/a.whl?x=1")),
            ("//other.example/a", Some("https://other.example/a")),
            ("https://u:p@other.example/a", None),
            ("file:///etc/passwd", None),
            ("ftp://other.example/a", None),
            ("https://", None),
        ] {
            let joined = join(&base, reference).map(|target| target.to_string());
            assert_eq!(joined.as_deref(), wanted, "{reference}");
        }
    }
}
