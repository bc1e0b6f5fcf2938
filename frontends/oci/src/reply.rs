//! Building responses.

use std::fmt::Display;
use std::io::Write as _;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;
use strongroom_http::Body;

/// `Docker-Content-Digest`: the digest of what is served.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// `Docker-Distribution-API-Version`: by this old clients know the API.
pub(crate) const API_VERSION: HeaderName =
    HeaderName::from_static("docker-distribution-api-version");
/// The one version there is.
pub(crate) const API_VERSION_2: HeaderValue = HeaderValue::from_static("registry/2.0");

/// Longer than most values: they are written here first, and need memory only once.
const SHORT: usize = 256;

/// A response that is being built.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

impl Reply {
    pub(crate) fn new(status: StatusCode) -> Self {
        // As many as an answer has, with those that are added on its way out: growing costs more.
        Self { status, headers: HeaderMap::with_capacity(12), body: Body::empty() }
    }

    /// Adds a header. `value` is visible ASCII by its type: names, digests, numbers, what
    /// [`crate::query::escaped`] escaped.
    pub(crate) fn with(self, name: HeaderName, value: impl Display) -> Self {
        let mut text = [0; SHORT];
        let mut rest = text.as_mut_slice();
        let written = write!(rest, "{value}").map(|()| SHORT - rest.len());
        let value = match written {
            Ok(length) => HeaderValue::from_bytes(text.get(..length).unwrap_or_default()),
            Err(_longer) => HeaderValue::from_str(&value.to_string()),
        };
        self.with_value(name, value.expect("names, digests and numbers are visible ASCII"))
    }

    /// Adds a header whose value is text, of visible ASCII as in [`Self::with`].
    pub(crate) fn with_text(self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value);
        self.with_value(name, value.expect("names, digests and media types are visible ASCII"))
    }

    pub(crate) fn with_value(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    pub(crate) fn with_static(self, name: HeaderName, value: &'static str) -> Self {
        self.with_value(name, HeaderValue::from_static(value))
    }

    pub(crate) fn with_all(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// A body of JSON.
    pub(crate) fn json(self, content_type: &'static str, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("our own types have string keys only");
        self.with_static(CONTENT_TYPE, content_type).body(body)
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl From<Response<Body>> for Reply {
    fn from(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body }
    }
}
