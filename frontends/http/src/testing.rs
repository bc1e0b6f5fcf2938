//! For tests of frontends: a request's context and an answer, without a socket. Behind the feature
//! `testing`.
#![allow(clippy::panic, reason = "a test that meets one should fail")]
#![allow(
    clippy::missing_panics_doc,
    reason = "all of it panics where an answer is not as it must be"
)]
#![allow(clippy::must_use_candidate, reason = "to ask for a header may only say that it is there")]

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::ext::ReasonPhrase;
use serde_json::Value;

use crate::forwarded::TrustedProxies;
use crate::request_id::RequestId;
use crate::{Body, RequestContext};

/// What is known of a request that came from `peer` in the clear, through no proxy, to `host`.
#[must_use]
pub fn context(peer: impl Into<SocketAddr>, host: Option<&str>) -> Arc<RequestContext> {
    let peer = peer.into();
    let origin = TrustedProxies::default().origin(peer, false, host, &HeaderMap::new());
    Arc::new(RequestContext::new(RequestId::generate(), origin, peer))
}

/// An answer, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The words of its status line, where they are not the usual ones.
    pub reason: Option<String>,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The whole of `response`.
    pub async fn of(response: Response<Body>) -> Self {
        let answer = Self::broken_or_whole(response).await;
        answer.unwrap_or_else(|answer| panic!("the body broke off: {answer:?}"))
    }

    /// The whole of `response`; as an error, what came of it where its body broke off before its end.
    pub async fn broken_or_whole(response: Response<Body>) -> Result<Self, Self> {
        let (parts, body) = response.into_parts();
        let reason = parts.extensions.get::<ReasonPhrase>();
        let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
        let (mut body, mut got, mut whole) = (pin!(body), Vec::new(), true);
        while whole && let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => got.extend(frame.into_data().unwrap_or_default()),
                Err(_broke_off) => whole = false,
            }
        }
        let (status, headers, body) = (parts.status, parts.headers, got.into());
        let answer = Self { status, headers, reason, body };
        if whole { Ok(answer) } else { Err(answer) }
    }

    /// It has this status.
    #[track_caller]
    pub fn expect(&self, status: StatusCode) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The value of a header that it has.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// Its body, for people.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Its body, which is JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
