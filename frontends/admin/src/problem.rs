//! What went wrong, as a problem (RFC 9457): what, why, and which field.

use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;
use strongroom_engine::Error;
use strongroom_http::limits::ShareError;
use strongroom_http::server::Refusal;
use strongroom_http::{Body, RequestBodyError};
use strongroom_identity::IdentityError;
use strongroom_identity::embedded::AccountsError;
use strongroom_identity::founders::FoundError;
use strongroom_identity::gate::GateError;
use strongroom_identity::password::PasswordError;
use strongroom_identity::workload::WorkloadError;
use strongroom_pypi::upstream::UpstreamError;
use strongroom_webhooks::WebhookError;
use utoipa::ToSchema;

/// When to ask again after what others did at the same moment.
const CONTENTION: Duration = Duration::from_secs(1);
/// When to ask again while a store is away.
const OUTAGE: Duration = Duration::from_secs(5);

/// What kind of problem: a status, and what `type` and `title` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BadRequest,
    Unauthorized,
    PasswordNeeded,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NameTaken,
    NotEmpty,
    LastOne,
    InUse,
    UnderWay,
    Changed,
    TooLarge,
    NotJson,
    Invalid,
    KeyReused,
    TooMany,
    Timeout,
    Broken,
    Away,
    Full,
}

impl Kind {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest => (S::BAD_REQUEST, "bad-request", "The request is no good"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "Sign in"),
            Self::PasswordNeeded => {
                (S::FORBIDDEN, "password-needed", "This takes the password, not a token")
            }
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "This is not yours to do"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "This is not known here"),
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "This can't be done here")
            }
            Self::NameTaken => (S::CONFLICT, "name-taken", "The name is taken"),
            Self::NotEmpty => (S::CONFLICT, "not-empty", "There is something in it"),
            Self::LastOne => (S::CONFLICT, "last-one", "Somebody must stay in charge"),
            Self::InUse => (S::CONFLICT, "in-use", "It is in use"),
            Self::UnderWay => (S::CONFLICT, "under-way", "This is being done already"),
            Self::Changed => (S::PRECONDITION_FAILED, "changed", "It has changed meanwhile"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::NotJson => (S::UNSUPPORTED_MEDIA_TYPE, "not-json", "The body is not JSON"),
            Self::Invalid => (S::UNPROCESSABLE_ENTITY, "invalid", "A value is no good"),
            Self::KeyReused => {
                (S::UNPROCESSABLE_ENTITY, "key-reused", "The Idempotency-Key is of another request")
            }
            Self::TooMany => (S::TOO_MANY_REQUESTS, "too-many", "Too many at once"),
            Self::Timeout => (S::REQUEST_TIMEOUT, "timeout", "The body did not come"),
            Self::Broken => (S::INTERNAL_SERVER_ERROR, "broken", "Something is wrong inside"),
            Self::Away => (S::SERVICE_UNAVAILABLE, "away", "This can't be answered now"),
            Self::Full => (S::INSUFFICIENT_STORAGE, "full", "The storage is full"),
        }
    }
}

/// Which field is no good, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// Where in the body: a JSON pointer (RFC 6901).
    pub(crate) pointer: String,
    /// What is wrong with it, and what would be right.
    pub(crate) detail: String,
}

/// A problem.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// Which kind of problem, for programs.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Which kind of problem, for people.
    pub(crate) title: String,
    pub(crate) status: u16,
    /// What is wrong, and what to do.
    pub(crate) detail: String,
    /// The fields that are no good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<FieldError>,
}

/// A request that failed, ready to be answered.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
    pub(crate) errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), headers: Vec::new() }
    }

    /// A field of the body is no good.
    pub(crate) fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.into(), detail.into());
        let mut problem = Self::new(Kind::Invalid, format!("{pointer}: {detail}"));
        problem.errors.push(FieldError { pointer, detail });
        problem
    }

    /// Says which field it is about.
    pub(crate) fn at(mut self, pointer: &str) -> Self {
        let detail = self.detail.clone();
        self.errors.push(FieldError { pointer: pointer.to_owned(), detail });
        self
    }

    pub(crate) fn method(allowed: &[Method]) -> Self {
        let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
        let allowed = allowed.join(", ");
        let detail = format!("{allowed} are what can be done here");
        let value = HeaderValue::try_from(allowed).expect("methods are visible ASCII");
        Self::new(Kind::MethodNotAllowed, detail).with(ALLOW, value)
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        // Rounded up: a client that comes too early was told so.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let (status, kind, title) = self.kind.parts();
        let body = ProblemBody {
            kind: format!("urn:strongroom:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            errors: self.errors,
        };
        let body = serde_json::to_vec(&body).expect("our own types have string keys only");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

/// What is wrong inside is for the log: it may name what the client must not see.
fn internal(text: &str) -> Problem {
    tracing::error!(error = text, "a request failed");
    let detail = "something is wrong inside the registry; its log tells more by the request's id";
    Problem::new(Kind::Broken, detail)
}

fn away(text: &str) -> Problem {
    tracing::error!(error = text, "a store is away");
    let detail = "the storage does not answer now; asking again is safe";
    Problem::new(Kind::Away, detail).retry_after(OUTAGE)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::NameUnknown { .. }
            | Error::BlobUnknown { .. }
            | Error::ManifestUnknown { .. }
            | Error::UploadUnknown { .. } => Self::new(Kind::NotFound, text),
            Error::Denied { .. } | Error::QuotaExceeded { .. } | Error::TagImmutable { .. } => {
                Self::new(Kind::Forbidden, text)
            }
            Error::NameTaken { .. } => Self::new(Kind::NameTaken, text),
            Error::NotEmpty { .. } => {
                Self::new(Kind::NotEmpty, format!("{text}; `force` deletes it with that"))
            }
            Error::LastAdmin { .. } => Self::new(Kind::LastOne, text),
            Error::InUse { .. } => Self::new(Kind::InUse, text),
            Error::Changed { .. } => Self::new(Kind::Changed, text),
            Error::Collecting { .. } => Self::new(Kind::UnderWay, text),
            Error::Invalid(_) => Self::new(Kind::BadRequest, text),
            Error::Contended { .. } => Self::new(Kind::Away, text).retry_after(CONTENTION),
            Error::StorageFull(_) => {
                tracing::error!(error = text, "no room for a change");
                Self::new(
                    Kind::Full,
                    "the storage is full; ask the registry's operator to free some",
                )
            }
            Error::Unavailable(_) => away(&text),
            // Damage, and what only pushes can meet. The engine's errors may grow (they are
            // non-exhaustive): until one has its arm here, it is nobody's fault outside.
            _ => internal(&text),
        }
    }
}

impl From<UpstreamError> for Problem {
    fn from(error: UpstreamError) -> Self {
        let text = error.to_string();
        match error {
            UpstreamError::Engine(error) => error.into(),
            UpstreamError::None => Self::new(Kind::NotFound, text),
            UpstreamError::Field { field, why } => Self::field(format!("/{field}"), why),
            _ => internal(&text),
        }
    }
}

impl From<AccountsError> for Problem {
    fn from(error: AccountsError) -> Self {
        let text = error.to_string();
        match error {
            AccountsError::Unknown { .. } | AccountsError::UnknownToken { .. } => {
                Self::new(Kind::NotFound, text)
            }
            AccountsError::Taken { .. } => Self::new(Kind::NameTaken, text),
            AccountsError::Denied { .. } => Self::new(Kind::PasswordNeeded, text),
            AccountsError::LastOperator { .. } => Self::new(Kind::LastOne, text),
            AccountsError::NoPassword { .. } | AccountsError::Invalid(_) => {
                Self::new(Kind::Invalid, text)
            }
            AccountsError::Name(_) | AccountsError::Id(_) => Self::field("/name", text),
            AccountsError::WeakPassword { .. } | AccountsError::Password(PasswordError::Length) => {
                Self::field("/password", text)
            }
            AccountsError::Password(PasswordError::Busy) => {
                Self::new(Kind::Away, text).retry_after(CONTENTION)
            }
            AccountsError::Engine(error) => error.into(),
            _ => internal(&text),
        }
    }
}

impl From<WorkloadError> for Problem {
    fn from(error: WorkloadError) -> Self {
        let text = error.to_string();
        match error {
            WorkloadError::Invalid(_) => Self::new(Kind::Invalid, text),
            WorkloadError::Unknown { .. } => Self::new(Kind::NotFound, text),
            WorkloadError::Identity(error) => error.into(),
            WorkloadError::Accounts(error) => error.into(),
            WorkloadError::Engine(error) => error.into(),
            // What only an exchange meets, and damage.
            _ => internal(&text),
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let text = error.to_string();
        match error {
            WebhookError::Unknown { .. } => Self::new(Kind::NotFound, text),
            WebhookError::Target(error) => Self::field("/url", error.to_string()),
            WebhookError::Kind { .. } => Self::field("/events", text),
            WebhookError::TooMany { .. } => Self::new(Kind::InUse, text),
            WebhookError::Engine(error) => error.into(),
            _ => internal(&text),
        }
    }
}

impl From<FoundError> for Problem {
    fn from(error: FoundError) -> Self {
        let text = error.to_string();
        match error {
            FoundError::Operators | FoundError::TooMany { .. } => Self::new(Kind::Forbidden, text),
            FoundError::UnderWay => Self::new(Kind::UnderWay, text).retry_after(CONTENTION),
            FoundError::Engine(error) => error.into(),
            _ => internal(&text),
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        let text = error.to_string();
        match error {
            IdentityError::TooMany { retry_after } => {
                Self::new(Kind::TooMany, text).retry_after(retry_after)
            }
            IdentityError::Unavailable(_) => {
                tracing::error!(error = text, "nobody can sign in");
                let detail = "nobody can be signed in now; try again";
                Self::new(Kind::Away, detail).retry_after(OUTAGE)
            }
            _ => Self::new(Kind::Unauthorized, text),
        }
    }
}

impl From<GateError> for Problem {
    fn from(error: GateError) -> Self {
        match error {
            GateError::Identity(error) => error.into(),
            GateError::Share(error) => error.into(),
            error => Self::new(Kind::Unauthorized, error.to_string()),
        }
    }
}

impl From<ShareError> for Problem {
    fn from(error: ShareError) -> Self {
        Self::new(Kind::TooMany, error.to_string()).retry_after(CONTENTION)
    }
}

impl From<RequestBodyError> for Problem {
    fn from(error: RequestBodyError) -> Self {
        let kind = match error {
            RequestBodyError::TooLarge { .. } => Kind::TooLarge,
            RequestBodyError::Idle { .. } => Kind::Timeout,
            _ => Kind::BadRequest,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(Refusal { status, why }: Refusal) -> Self {
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => Kind::TooMany,
            StatusCode::SERVICE_UNAVAILABLE => Kind::Away,
            StatusCode::INTERNAL_SERVER_ERROR => Kind::Broken,
            _ => Kind::BadRequest,
        };
        Self::new(kind, why)
    }
}
