//! What a refused request means, for the store and for a person.

use std::error::Error;
use std::fmt;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use strongroom_engine::content::{ObjectKey, StoreError};

/// What went wrong, as far as the caller of a request acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is no such object.
    Missing,
    /// There is no such multipart upload.
    NoUpload,
    /// An object lies there, or is being made there just now.
    Occupied,
    /// The range lies outside of the object, or the object is not the one that was meant.
    Unsuitable,
    /// No room.
    Full,
    /// Trying again may help; all attempts failed.
    Temporary,
    /// Trying again will not help.
    Permanent,
}

/// A request that failed for good.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Refusal {
    pub(crate) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    /// Reads the SDK's error of the request `what` to `bucket`.
    pub(crate) fn of<E>(what: &str, bucket: &str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.code().unwrap_or_default();
        let kind = kind_of(code, status);
        let reason = match (code, status) {
            ("NoSuchBucket", _) => format!(
                "{what}: there is no bucket {bucket} there; create it, or correct the bucket, the \
                 region or the endpoint"
            ),
            ("AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch", _)
            | (_, Some(403)) => {
                let code = if code.is_empty() { "403" } else { code };
                format!(
                    "{what}: the bucket {bucket} denied access ({code}); check the credentials, the \
                     policy of their role and that of the bucket"
                )
            }
            ("PermanentRedirect" | "AuthorizationHeaderMalformed", _) | (_, Some(301)) => {
                format!("{what}: the bucket {bucket} is in another region; correct the region")
            }
            _ => format!("{what}: {}", told(code, status, error)),
        };
        Self { kind, reason }
    }

    /// The store's error, where the request was about `key`.
    pub(crate) fn at(self, key: &ObjectKey) -> StoreError {
        let (key, reason) = (key.clone(), self.reason);
        match self.kind {
            Kind::Missing | Kind::NoUpload => StoreError::NotFound(key),
            Kind::Full => StoreError::Full { key, reason },
            Kind::Temporary => StoreError::Failed { key, reason, temporary: true },
            Kind::Occupied | Kind::Unsuitable | Kind::Permanent => {
                StoreError::Failed { key, reason, temporary: false }
            }
        }
    }
}

fn kind_of(code: &str, status: Option<u16>) -> Kind {
    match (code, status) {
        ("NoSuchUpload", _) => Kind::NoUpload,
        ("NoSuchBucket", _) => Kind::Permanent,
        ("PreconditionFailed" | "ConditionalRequestConflict", _) => Kind::Occupied,
        ("InvalidRange", _) | (_, Some(416)) => Kind::Unsuitable,
        ("QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage", _) | (_, Some(507)) => {
            Kind::Full
        }
        ("NoSuchKey" | "NotFound", _) | (_, Some(404)) => Kind::Missing,
        (_, Some(409 | 412)) => Kind::Occupied,
        ("NotImplemented", _) | (_, Some(501)) => Kind::Permanent,
        ("RequestTimeout" | "RequestTimeTooSkewed" | "BadDigest" | "SlowDown", _)
        | (_, Some(408 | 429 | 500..=599)) => Kind::Temporary,
        // An answer that says no.
        (_, Some(400..=499)) => Kind::Permanent,
        // No answer, or half of one.
        _ => Kind::Temporary,
    }
}

fn told<E>(code: &str, status: Option<u16>, error: &SdkError<E, HttpResponse>) -> String
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let mut text = match (code, status, error.message()) {
        ("", Some(status), _) => format!("status {status}"),
        (code, Some(status), Some(message)) => format!("{code} (status {status}): {message}"),
        (code, Some(status), None) => format!("{code} (status {status})"),
        _ => error.to_string(),
    };
    // Below the SDK's own words lies what really happened: a time-out, a refused connection.
    if status.is_none() {
        let mut below = error.source();
        while let Some(cause) = below {
            text = format!("{text}: {cause}");
            below = cause.source();
        }
    }
    text
}

/// A failure that trying again does not help.
pub(crate) fn permanent(key: &ObjectKey, reason: impl Into<String>) -> StoreError {
    StoreError::Failed { key: key.clone(), reason: reason.into(), temporary: false }
}

/// A failure that trying again may help.
pub(crate) fn temporary(key: &ObjectKey, reason: impl Into<String>) -> StoreError {
    StoreError::Failed { key: key.clone(), reason: reason.into(), temporary: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_decides_before_the_status_does() {
        assert_eq!(kind_of("NoSuchUpload", Some(404)), Kind::NoUpload);
        assert_eq!(kind_of("NoSuchBucket", Some(404)), Kind::Permanent);
        assert_eq!(kind_of("NoSuchKey", Some(404)), Kind::Missing);
        assert_eq!(kind_of("", Some(404)), Kind::Missing);
        assert_eq!(kind_of("PreconditionFailed", Some(412)), Kind::Occupied);
        assert_eq!(kind_of("XMinioStorageFull", Some(507)), Kind::Full);
        // An error inside of a 200.
        assert_eq!(kind_of("InternalError", Some(200)), Kind::Temporary);
    }

    #[test]
    fn what_may_pass_is_temporary_and_a_refusal_is_not() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(kind_of("", Some(status)), Kind::Temporary, "{status}");
        }
        assert_eq!(kind_of("SlowDown", Some(503)), Kind::Temporary);
        assert_eq!(kind_of("", None), Kind::Temporary);
        for code in ["AccessDenied", "InvalidAccessKeyId"] {
            assert_eq!(kind_of(code, Some(403)), Kind::Permanent, "{code}");
        }
        assert_eq!(kind_of("InvalidArgument", Some(400)), Kind::Permanent);
    }
}
