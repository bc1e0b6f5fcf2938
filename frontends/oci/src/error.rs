//! What went wrong, in the protocol's words (distribution spec, "Error Codes").

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ALLOW, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use strongroom_engine::Error;
use strongroom_engine::manifest::ManifestError;
use strongroom_http::RequestBodyError;
use strongroom_http::limits::ShareError;
use strongroom_http::server::Refusal;
use strongroom_identity::IdentityError;
use strongroom_identity::gate::GateError;

use crate::reply::Reply;
use crate::routes::RouteError;

/// When to ask again after what others did at the same moment.
const CONTENTION: Duration = Duration::from_secs(1);
/// When to ask again while a store is away.
const OUTAGE: Duration = Duration::from_secs(5);

/// The codes: the specification's table, which is of clients' errors; and for what is wrong on this
/// side (5xx), where it has none, two of Docker's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    #[serde(rename = "TOOMANYREQUESTS")]
    TooManyRequests,
    Unavailable,
    Unknown,
}

/// One element of `errors`.
#[derive(Debug, Serialize)]
struct Entry {
    code: Code,
    message: Cow<'static, str>,
    #[serde(skip_serializing_if = "Value::is_null")]
    detail: Value,
}

/// The body of every failure.
#[derive(Serialize)]
struct Errors {
    errors: Vec<Entry>,
}

/// A request that failed, ready to be answered.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    errors: Vec<Entry>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(crate) fn new(
        status: StatusCode,
        code: Code,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let errors = vec![Entry { code, message: message.into(), detail: Value::Null }];
        Self { status, errors, headers: Vec::new() }
    }

    /// Adds `detail` to the first error.
    fn detail(mut self, detail: Value) -> Self {
        if let Some(entry) = self.errors.first_mut() {
            entry.detail = detail;
        }
        self
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
        let mut reply = Reply::new(self.status);
        for (name, value) in self.headers {
            reply = reply.with_value(name, value);
        }
        reply.json("application/json", &Errors { errors: self.errors })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use StatusCode as S;
        let text = error.to_string();
        match error {
            Error::NameUnknown { .. } => Self::new(S::NOT_FOUND, Code::NameUnknown, text),
            Error::Denied { .. } => Self::new(S::FORBIDDEN, Code::Denied, text),
            Error::BlobUnknown { digest } => {
                Self::new(S::NOT_FOUND, Code::BlobUnknown, text).detail(json!({ "digest": digest }))
            }
            Error::ManifestUnknown { reference } => {
                Self::new(S::NOT_FOUND, Code::ManifestUnknown, text)
                    .detail(json!({ "reference": reference }))
            }
            Error::UploadUnknown { .. } => Self::new(S::NOT_FOUND, Code::BlobUploadUnknown, text),
            Error::UploadBusy { .. } => Self::new(S::CONFLICT, Code::BlobUploadInvalid, text),
            Error::OutOfOrder { offset, at } => {
                Self::new(S::RANGE_NOT_SATISFIABLE, Code::BlobUploadInvalid, text)
                    .detail(json!({ "offset": offset, "at": at }))
            }
            Error::DigestMismatch { wanted, found } => {
                Self::new(S::BAD_REQUEST, Code::DigestInvalid, text)
                    .detail(json!({ "wanted": wanted, "found": found }))
            }
            Error::LengthMismatch { wanted, found } => {
                Self::new(S::BAD_REQUEST, Code::SizeInvalid, text)
                    .detail(json!({ "wanted": wanted, "found": found }))
            }
            Error::BlobTooLarge { max } => Self::new(S::PAYLOAD_TOO_LARGE, Code::SizeInvalid, text)
                .detail(json!({ "max": max })),
            Error::Manifest(error) => manifest(&error, text),
            Error::References { missing } => {
                let entries = missing.into_iter().map(|missing| Entry {
                    code: Code::ManifestBlobUnknown,
                    message: missing.to_string().into(),
                    detail: json!({
                        "digest": missing.digest, "path": missing.path, "reason": missing.reason
                    }),
                });
                let errors = entries.collect();
                Self { status: S::BAD_REQUEST, errors, headers: Vec::new() }
            }
            // 405 is what the specification leaves for a registry that won't delete.
            Error::InUse { digest, by } => {
                Self::new(S::METHOD_NOT_ALLOWED, Code::Unsupported, text)
                    .detail(json!({ "digest": digest, "named_by": by }))
                    .with(ALLOW, HeaderValue::from_static("GET, HEAD"))
            }
            // 409: asking again, or signing in as somebody else, changes nothing.
            Error::TagImmutable { tag, pattern } => Self::new(S::CONFLICT, Code::Denied, text)
                .detail(json!({ "tag": tag, "pattern": pattern })),
            Error::Changed { .. } => Self::new(S::PRECONDITION_FAILED, Code::Denied, text),
            Error::QuotaExceeded { quota_bytes, used_bytes, wanted_bytes } => {
                Self::new(S::FORBIDDEN, Code::Denied, text).detail(json!({
                    "quota_bytes": quota_bytes,
                    "used_bytes": used_bytes,
                    "wanted_bytes": wanted_bytes,
                }))
            }
            Error::TagMoved { .. } => Self::new(S::CONFLICT, Code::ManifestInvalid, text),
            Error::NameTaken { .. } | Error::NotEmpty { .. } | Error::LastAdmin { .. } => {
                Self::new(S::CONFLICT, Code::Denied, text)
            }
            Error::Invalid(_) => Self::new(S::BAD_REQUEST, Code::Unsupported, text),
            Error::Source(error) => match error.downcast::<RequestBodyError>() {
                Ok(error) => (*error).into(),
                Err(error) => Self::new(S::BAD_REQUEST, Code::BlobUploadInvalid, error.to_string()),
            },
            // 507 and not 503: a disk does not empty itself within a client's retries, and clients
            // that retry every 503 would only send the same bytes again.
            Error::StorageFull(_) => {
                tracing::error!(error = text, "no room for a push");
                let message = "the storage is full; ask the registry's operator to free some";
                Self::new(S::INSUFFICIENT_STORAGE, Code::Unavailable, message)
            }
            Error::Contended { .. } | Error::Collecting { .. } => {
                Self::new(S::SERVICE_UNAVAILABLE, Code::Unavailable, text).retry_after(CONTENTION)
            }
            Error::Unavailable(_) => {
                tracing::error!(error = text, "a store is away");
                let message = "the storage does not answer now; asking again is safe";
                Self::new(S::SERVICE_UNAVAILABLE, Code::Unavailable, message).retry_after(OUTAGE)
            }
            Error::Corrupted(_) => internal(&text),
            // The engine's errors may grow (they are non-exhaustive): until one has its arm here, it
            // is nobody's fault outside.
            _ => internal(&format!("an error without an answer of its own: {text}")),
        }
    }
}

/// What is wrong inside is for the log: it may name what the client must not see.
fn internal(text: &str) -> Failure {
    tracing::error!(error = text, "a request failed");
    let message = "something is wrong inside the registry; its log tells more by the request's id";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, message)
}

fn manifest(error: &ManifestError, text: String) -> Failure {
    let (status, code) = match error {
        ManifestError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid),
        ManifestError::Schema1 | ManifestError::UnsupportedMediaType { .. } => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unsupported)
        }
        _ => (StatusCode::BAD_REQUEST, Code::ManifestInvalid),
    };
    let detail = match error {
        ManifestError::Invalid { path, .. } | ManifestError::TooMany { path, .. } => {
            json!({ "path": path })
        }
        ManifestError::MediaTypeMismatch { .. } => json!({ "path": "$.mediaType" }),
        ManifestError::Contradiction { digest, first, second } => {
            json!({ "digest": digest, "paths": [first, second] })
        }
        _ => Value::Null,
    };
    Failure::new(status, code, text).detail(detail)
}

impl From<RequestBodyError> for Failure {
    fn from(error: RequestBodyError) -> Self {
        Self::of_body(&error, Code::BlobUploadInvalid)
    }
}

impl Failure {
    /// A manifest's body that could not be read.
    pub(crate) fn of_manifest(error: &RequestBodyError) -> Self {
        Self::of_body(error, Code::ManifestInvalid)
    }

    fn of_body(error: &RequestBodyError, broken: Code) -> Self {
        let status = error.status();
        let large = status == StatusCode::PAYLOAD_TOO_LARGE;
        let code = if large { Code::SizeInvalid } else { broken };
        Self::new(status, code, error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(Refusal { status, why }: Refusal) -> Self {
        let code = match status {
            StatusCode::TOO_MANY_REQUESTS => Code::TooManyRequests,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            StatusCode::INTERNAL_SERVER_ERROR => Code::Unknown,
            _ => Code::Unsupported,
        };
        Self::new(status, code, why)
    }
}

impl From<ShareError> for Failure {
    fn from(error: ShareError) -> Self {
        let text = error.to_string();
        Self::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, text)
            .retry_after(CONTENTION)
    }
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        use StatusCode as S;
        let text = error.to_string();
        match error {
            RouteError::NoEndpoint => Self::new(S::NOT_FOUND, Code::Unsupported, text),
            RouteError::Method { allowed, .. } => {
                Self::new(S::METHOD_NOT_ALLOWED, Code::Unsupported, text)
                    .with(ALLOW, HeaderValue::from_static(allowed))
            }
            RouteError::Name(_) => Self::new(S::BAD_REQUEST, Code::NameInvalid, text),
            RouteError::Digest(_) => Self::new(S::BAD_REQUEST, Code::DigestInvalid, text),
            RouteError::Tag { push: true, .. } => {
                Self::new(S::BAD_REQUEST, Code::ManifestInvalid, text)
            }
            RouteError::Tag { push: false, .. } => {
                Self::new(S::NOT_FOUND, Code::ManifestUnknown, text)
            }
            RouteError::Upload => Self::new(S::NOT_FOUND, Code::BlobUploadUnknown, text),
        }
    }
}

impl From<GateError> for Failure {
    fn from(error: GateError) -> Self {
        match error {
            GateError::Identity(error) => error.into(),
            GateError::Share(error) => error.into(),
            error => {
                let text = error.to_string();
                Self::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, text)
            }
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::TooMany { retry_after } => {
                let text = error.to_string();
                Self::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, text)
                    .retry_after(retry_after)
            }
            IdentityError::Unavailable(_) => {
                tracing::error!(%error, "nobody can sign in");
                let message = "nobody can be signed in now; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, message)
                    .retry_after(OUTAGE)
            }
            _ => {
                let text = error.to_string();
                Self::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, text)
            }
        }
    }
}

#[cfg(test)]
mod tests;
