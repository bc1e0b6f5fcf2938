//! Answers with the bytes of a blob, for every frontend in one way: whole, in ranges, not at all
//! where the client has them, or with an address at the blob store.
//!
//! **Promises.** What is sent is what its tag says: a blob never changes. One pull is one line of the
//! trail, however many ranges it has. An address is good for one blob and a while.
//!
//! **Never.** It decides who may have a blob: whoever has a [`Blob`] was let to it. It words no
//! refusal: each protocol has a form of its own.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION,
    RANGE, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use strongroom_engine::content::ObjectRead;
use strongroom_engine::digest::Digest;
use strongroom_engine::{Blob, Error};

use crate::Body;
use crate::conditional::{self, ETag, Precondition};
use crate::range::{self, Multipart, Selection};

/// What blobs are served as, unless something better is known: what they hold is never a browser's to
/// say.
pub const BYTES: &str = "application/octet-stream";

/// What has a digest in its address never changes; a proxy may not share it between clients.
pub const IMMUTABLE: &str = "private, max-age=31536000, immutable";

/// Which pulls are answered with 307 and an address at the blob store, which is good for a while and
/// for that blob alone. The pull is in the trail before the address is given out.
#[derive(Debug, Clone)]
pub struct Redirects {
    /// Smaller blobs are served from here: another round trip would cost more than their bytes.
    pub min_bytes: u64,
    /// How long an address is good.
    pub expires: Duration,
    /// Clients that are served from here, by the beginning of their `User-Agent`.
    pub except: Vec<String>,
}

impl Redirects {
    /// Whether a pull of `size` bytes is sent on.
    fn take(&self, headers: &HeaderMap, size: u64) -> bool {
        let agent = headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        let excepted = self.except.iter().any(|begins| agent.starts_with(begins.as_bytes()));
        size >= self.min_bytes && !excepted
    }
}

/// How a `GET` of a blob is answered.
#[derive(Debug)]
pub enum Served {
    /// So.
    Answer(Response<Body>),
    /// No byte lies in the range that was asked for: 416 in the protocol's form, with these headers.
    Unsatisfiable {
        /// How many bytes the blob has.
        size: u64,
        /// The headers that a client goes on by.
        headers: HeaderMap,
    },
}

/// The tag of what has this digest.
#[expect(clippy::missing_panics_doc, reason = "it never does")]
pub fn etag(digest: &Digest) -> ETag {
    ETag::new(digest).expect("a digest is visible ASCII without quotes")
}

/// Says of an answer by its tag which blob it is about, that it stays so, and that ranges are served.
pub fn describe(headers: &mut HeaderMap, etag: &ETag) {
    headers.insert(ETAG, value(etag.as_str()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Answers a `GET` with these headers. The errors are those of [`Blob::read`] and [`Blob::url`].
pub async fn serve(
    blob: &Blob,
    headers: &HeaderMap,
    media_type: &'static str,
    redirects: Option<&Redirects>,
) -> Result<Served, Error> {
    let (etag, size) = (etag(&blob.info().digest), blob.info().size);
    let instead = match conditional::check(headers, Some(&etag)) {
        Precondition::Holds => None,
        Precondition::NotModified => Some(StatusCode::NOT_MODIFIED),
        Precondition::Failed => Some(StatusCode::PRECONDITION_FAILED),
    };
    if let Some(status) = instead {
        let mut response = answer(status, Body::empty());
        describe(response.headers_mut(), &etag);
        return Ok(Served::Answer(response));
    }
    if let Some(redirects) = redirects.filter(|redirects| redirects.take(headers, size))
        && let Some(url) = blob.url(redirects.expires, media_type).await?
    {
        return redirect(url).map(Served::Answer);
    }
    let mut response = match selection(headers, &etag, size) {
        Selection::Whole => {
            let mut response = answer(StatusCode::OK, read(blob, 0..size).await?);
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
            response
        }
        Selection::Ranges(ranges) => match ranges.as_slice() {
            [one] => {
                let body = read(blob, one.clone()).await?;
                let mut response = answer(StatusCode::PARTIAL_CONTENT, body);
                let headers = response.headers_mut();
                headers.insert(CONTENT_RANGE, value(&range::content_range(one, size)));
                headers.insert(CONTENT_LENGTH, HeaderValue::from(one.end - one.start));
                response
            }
            several => multipart(blob, several, size, media_type).await?,
        },
        Selection::Unsatisfiable => {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, value(&range::content_range_unsatisfied(size)));
            headers.insert(ETAG, value(etag.as_str()));
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            return Ok(Served::Unsatisfiable { size, headers });
        }
    };
    let headers = response.headers_mut();
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(media_type));
    describe(headers, &etag);
    Ok(Served::Answer(response))
}

fn answer(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digests and numbers are visible ASCII")
}

/// The client asks there with its `Range`, and without the credentials it has for us.
fn redirect(url: String) -> Result<Response<Body>, Error> {
    let location = HeaderValue::try_from(url).map_err(|_| {
        Error::Unavailable("the blob store's address for the blob is no header".to_owned())
    })?;
    let mut response = answer(StatusCode::TEMPORARY_REDIRECT, Body::empty());
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    // The address dies before the blob does.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn selection(headers: &HeaderMap, etag: &ETag, size: u64) -> Selection {
    let mut values = headers.get_all(RANGE).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(header), None) if conditional::range_applies(headers, etag) => {
            range::select(header, size)
        }
        _ => Selection::Whole,
    }
}

async fn read(blob: &Blob, range: Range<u64>) -> Result<Body, Error> {
    let length = range.end - range.start;
    Ok(body(blob.read(range).await?, length))
}

fn body(read: ObjectRead, length: u64) -> Body {
    match read {
        ObjectRead::File { file, offset, length } => Body::file(file, offset, length),
        ObjectRead::Stream(stream) => Body::stream(stream.map_err(Into::into), Some(length)),
    }
}

async fn multipart(
    blob: &Blob,
    ranges: &[Range<u64>],
    size: u64,
    media_type: &'static str,
) -> Result<Response<Body>, Error> {
    // Random, so that nobody can have written it into a blob.
    let frame = Multipart::new(format!("{:032x}", rand::random::<u128>()), media_type, size);
    let mut parts = Vec::with_capacity(ranges.len() * 2 + 1);
    let mut contents = contents(blob, ranges).await?.into_iter();
    for range in ranges {
        parts.push(frame.head(range).into());
        parts.extend(contents.next());
    }
    parts.push(frame.end().into());
    let body = Body::chain(parts);
    let length = body.length();
    let mut response = answer(StatusCode::PARTIAL_CONTENT, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, value(&frame.content_type()));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// The bodies of several ranges: of one open file that all share, or, where the store streams, one
/// stream after the other, each begun when the one before it is sent. Together they are one pull.
async fn contents(blob: &Blob, ranges: &[Range<u64>]) -> Result<Vec<Body>, Error> {
    let Some((first, rest)) = ranges.split_first() else { return Ok(Vec::new()) };
    let length = |range: &Range<u64>| range.end - range.start;
    Ok(match blob.read(first.clone()).await? {
        ObjectRead::File { file, offset, .. } => {
            let file = Arc::new(file);
            // Where the blob begins in its file; it lies there whole.
            let base = offset.saturating_sub(first.start);
            let part = |range: &Range<u64>| {
                Body::file(Arc::clone(&file), base + range.start, length(range))
            };
            ranges.iter().map(part).collect()
        }
        stream @ ObjectRead::Stream(_) => {
            let mut parts = vec![body(stream, length(first))];
            parts.extend(rest.iter().map(|range| {
                let (blob, part) = (blob.clone(), range.clone());
                let size = length(range);
                let later = async move { Ok(body(blob.read_more(part).await?, size)) };
                Body::later(later, size)
            }));
            parts
        }
    })
}
