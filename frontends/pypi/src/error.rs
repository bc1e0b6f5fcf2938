//! What went wrong, as people with pip and twine see it: plain text, and the same in the reason phrase
//! of HTTP/1, which is all that some of them show.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode};
use hyper::ext::ReasonPhrase;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use strongroom_engine::Error;
use strongroom_http::limits::ShareError;
use strongroom_http::{Body, RequestBodyError};
use strongroom_identity::IdentityError;
use strongroom_identity::gate::GateError;

use crate::routes::RouteError;

pub(crate) type Reply = Response<Body>;

/// When to ask again after what others did at the same moment.
const CONTENTION: Duration = Duration::from_secs(1);
/// When to ask again while a store is away.
pub(crate) const OUTAGE: Duration = Duration::from_secs(5);
/// The longest reason phrase, in bytes: clients hold a status line in a buffer of some kilobytes.
const MAX_REASON: usize = 512;
/// What may stand as it is in the path of an address.
const IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'+');

/// A request that failed, ready to be answered.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    status: StatusCode,
    text: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into(), headers: Vec::new() }
    }

    /// What the client sent is wrong.
    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// There is more of it than is taken.
    pub(crate) fn too_large(limit: u64) -> Self {
        let text = format!("the upload is larger than {limit} bytes, the most that is taken here");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    /// There is no such thing, or the caller may not know of it.
    pub(crate) fn absent() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such project or file here")
    }

    /// The upstream can't be had, or what it sent is not what it promised. Nobody else should be asked for
    /// the name instead, so it is no 404.
    pub(crate) fn upstream(why: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, format!("the registry's upstream: {why}"))
            .retry_after(OUTAGE)
    }

    /// Asks for a name and a password, or `__token__` and a token.
    pub(crate) fn sign_in(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, text)
            .with(WWW_AUTHENTICATE, strongroom_identity::challenge::basic("strongroom"))
    }

    /// What is wrong.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn retry_after(self, wait: Duration) -> Self {
        // Rounded up: a client that comes too early was told so.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    pub(crate) fn into_reply(self) -> Reply {
        let mut reply = Response::new(Body::from(format!("{}\n", self.text)));
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        if let Some(reason) = reason(&self.text) {
            reply.extensions_mut().insert(reason);
        }
        reply
    }
}

/// A reason phrase of what can stand in one: visible ASCII and spaces.
fn reason(text: &str) -> Option<ReasonPhrase> {
    let fit = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let text: String = text.chars().take(MAX_REASON).map(fit).collect();
    ReasonPhrase::try_from(text).ok()
}

/// Sends the client to another spelling of the address.
pub(crate) fn moved(to: &str) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let to = utf8_percent_encode(to, IN_PATH).to_string();
    // Only visible ASCII is left by the escapes.
    if let Ok(to) = HeaderValue::try_from(to) {
        reply.headers_mut().insert(LOCATION, to);
    }
    reply
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use StatusCode as S;
        let text = error.to_string();
        match error {
            Error::NameUnknown { .. }
            | Error::ManifestUnknown { .. }
            | Error::BlobUnknown { .. } => Self::absent(),
            Error::Denied { .. } | Error::QuotaExceeded { .. } => Self::new(S::FORBIDDEN, text),
            Error::BlobTooLarge { .. } => Self::new(S::PAYLOAD_TOO_LARGE, text),
            Error::DigestMismatch { .. }
            | Error::LengthMismatch { .. }
            | Error::Manifest(_)
            | Error::Invalid(_) => Self::bad(text),
            Error::NameTaken { .. }
            | Error::TagImmutable { .. }
            | Error::NotEmpty { .. }
            | Error::LastAdmin { .. }
            | Error::InUse { .. } => Self::new(S::CONFLICT, text),
            Error::Source(error) => match error.downcast::<multer::Error>() {
                Ok(error) => (*error).into(),
                Err(error) => Self::bad(error.to_string()),
            },
            Error::StorageFull(_) => {
                tracing::error!(error = text, "no room for an upload");
                let message = "the storage is full; ask the registry's operator to free some";
                Self::new(S::INSUFFICIENT_STORAGE, message)
            }
            // Others were at the same version, or collection at what was just uploaded.
            Error::Contended { .. }
            | Error::Collecting { .. }
            | Error::TagMoved { .. }
            | Error::References { .. }
            | Error::UploadUnknown { .. }
            | Error::UploadBusy { .. }
            | Error::OutOfOrder { .. } => {
                Self::new(S::SERVICE_UNAVAILABLE, text).retry_after(CONTENTION)
            }
            Error::Unavailable(_) => {
                tracing::error!(error = text, "a store is away");
                let message = "the storage does not answer now; asking again is safe";
                Self::new(S::SERVICE_UNAVAILABLE, message).retry_after(OUTAGE)
            }
            Error::Corrupted(_) => internal(&text),
            // The engine's errors may grow (they are non-exhaustive): until one has its arm here, it
            // is nobody's fault outside.
            _ => internal(&format!("an error without an answer of its own: {text}")),
        }
    }
}

/// What is wrong inside is for the log: it may name what the client must not see.
pub(crate) fn internal(text: &str) -> Failure {
    tracing::error!(error = text, "a request failed");
    let message = "something is wrong inside the registry; its log tells more by the request's id";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// Does work that computes for long, beside the requests that its thread answers.
pub(crate) async fn aside<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| internal(&format!("{what}: {error}")))
}

impl From<multer::Error> for Failure {
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::StreamSizeExceeded { limit }
            | multer::Error::FieldSizeExceeded { limit, .. } => Self::too_large(limit),
            multer::Error::StreamReadFailed(error) => match error.downcast::<RequestBodyError>() {
                Ok(error) => Self::new(error.status(), error.to_string()),
                Err(error) => Self::bad(error.to_string()),
            },
            error => Self::bad(format!("the form can't be read: {error}")),
        }
    }
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        let text = error.to_string();
        match error {
            RouteError::NoEndpoint => Self::new(StatusCode::NOT_FOUND, text),
            RouteError::Method { allowed, .. } => Self::new(StatusCode::METHOD_NOT_ALLOWED, text)
                .with(ALLOW, HeaderValue::from_static(allowed)),
            RouteError::Name(_) => Self::bad(text),
        }
    }
}

impl From<ShareError> for Failure {
    fn from(error: ShareError) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()).retry_after(CONTENTION)
    }
}

impl From<GateError> for Failure {
    fn from(error: GateError) -> Self {
        match error {
            GateError::Identity(error) => error.into(),
            GateError::Share(error) => error.into(),
            error => Self::sign_in(error.to_string()),
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::TooMany { retry_after } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()).retry_after(retry_after)
            }
            IdentityError::Unavailable(_) => {
                tracing::error!(%error, "nobody can sign in");
                let message = "nobody can be signed in now; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(OUTAGE)
            }
            _ => Self::sign_in(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_c16_a_reason_breaks_out_of_no_status_line() {
        let failure = Failure::bad("bad \"name\"\r\nSet-Cookie: x\u{1b}[2J é");
        let reply = failure.into_reply();
        let reason = reply.extensions().get::<ReasonPhrase>().unwrap();
        assert_eq!(reason.as_bytes(), b"bad \"name\"??Set-Cookie: x?[2J ?");
        let long = Failure::bad("x".repeat(5_000)).into_reply();
        assert_eq!(long.extensions().get::<ReasonPhrase>().unwrap().as_bytes().len(), MAX_REASON);
    }

    #[test]
    fn what_is_hidden_answers_as_what_is_absent() {
        let hidden = Failure::from(Error::NameUnknown { name: "acme/main/x".to_owned() });
        let absent = Failure::absent();
        assert_eq!((hidden.status, &hidden.text), (absent.status, &absent.text));
    }
}
