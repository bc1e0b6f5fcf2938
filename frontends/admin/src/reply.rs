//! Building answers.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;
use strongroom_engine::Page;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_http::Body;
use strongroom_http::conditional::{self, ETag, Precondition};

use crate::input::Input;
use crate::problem::{Kind, Problem};
use crate::routes::Spec;

/// A page of a listing.
#[derive(Serialize)]
struct Listed<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// What a route answers where it succeeds.
#[derive(Debug)]
pub(crate) enum Reply {
    /// JSON. Where the route is tagged, its ETag is made of it.
    Json(Vec<u8>),
    /// Nothing.
    Empty,
    /// Lines of JSON, as they come.
    Lines(Body),
}

impl Reply {
    pub(crate) fn json(value: &impl Serialize) -> Self {
        Self::Json(encode(value))
    }

    /// A page; its cursor is opaque to whoever is given it.
    pub(crate) fn page<T, V: From<T> + Serialize>(page: Page<T>) -> Self {
        let items: Vec<V> = page.items.into_iter().map(V::from).collect();
        Self::json(&Listed { items, next: page.next.map(const_hex::encode) })
    }

    /// A page of a list that was read whole, in the order of what `id` says of each.
    pub(crate) fn cut<T, V: From<T> + Serialize>(
        mut items: Vec<T>,
        id: impl Fn(&T) -> String,
        input: &Input,
    ) -> Result<Self, Problem> {
        let after = input.cursor()?;
        items.sort_by_cached_key(&id);
        items.retain(|item| after.as_ref().is_none_or(|after| id(item) > *after));
        let more = items.len() > input.limit();
        items.truncate(input.limit());
        let next = items.last().filter(|_| more).map(id);
        Ok(Self::page::<_, V>(Page { items, next }))
    }

    pub(crate) fn into_response(self, spec: &Spec, headers: &HeaderMap) -> Response<Body> {
        let (media_type, body) = match self {
            Self::Empty => (None, Body::empty()),
            Self::Lines(body) => (Some("application/x-ndjson"), body),
            Self::Json(bytes) if spec.tagged => {
                let tag = tag(&bytes);
                let mut response = Response::new(Body::from(bytes));
                *response.status_mut() = spec.status;
                if spec.method == http::Method::GET
                    && conditional::check(headers, Some(&tag)) == Precondition::NotModified
                {
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                    *response.body_mut() = Body::empty();
                } else {
                    let json = HeaderValue::from_static("application/json");
                    response.headers_mut().insert(CONTENT_TYPE, json);
                }
                let value = HeaderValue::from_str(tag.as_str()).expect("hexadecimal digits");
                response.headers_mut().insert(ETAG, value);
                return private(response);
            }
            Self::Json(bytes) => (Some("application/json"), Body::from(bytes)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = spec.status;
        if let Some(media_type) = media_type {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        private(response)
    }
}

/// Nothing here is for a cache that others share; what has a tag may be asked for anew by it.
fn private(mut response: Response<Body>) -> Response<Body> {
    let tagged = response.headers().contains_key(ETAG);
    let value = if tagged { "private, no-cache" } else { "no-store" };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(value));
    response
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types have string keys only")
}

fn tag(bytes: &[u8]) -> ETag {
    let digest = Digest::of(Algorithm::Sha256, bytes).to_string();
    let short: String = digest.chars().filter(char::is_ascii_hexdigit).rev().take(32).collect();
    ETag::new(&short).expect("hexadecimal digits")
}

/// Fails where the request is for what something was, and it is not that any more.
pub(crate) fn demand_same(headers: &HeaderMap, now: &impl Serialize) -> Result<(), Problem> {
    if conditional::check(headers, Some(&tag(&encode(now)))) == Precondition::Failed {
        let detail = "it is not what it was any more; look at it again and then decide";
        return Err(Problem::new(Kind::Changed, detail));
    }
    Ok(())
}

/// Whether the request is for what something was.
pub(crate) fn is_conditional(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::IF_MATCH)
}
