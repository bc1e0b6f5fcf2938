//! Blobs: looked at, read whole or in ranges, deleted.

use std::ops::Range;
use std::sync::Arc;

use futures::TryStreamExt;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION,
    RANGE, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use strongroom_engine::content::ObjectRead;
use strongroom_engine::digest::Digest;
use strongroom_engine::{Blob, BlobInfo, Error, Repository};
use strongroom_http::Body;
use strongroom_http::conditional::{self, ETag, Precondition};
use strongroom_http::range::{self, Multipart, Selection};

use crate::error::{Code, Failure};
use crate::reply::{CONTENT_DIGEST, Reply};
use crate::{Input, Redirects};

/// What blobs are served as: what they hold is the manifest's to say, never a browser's.
const BLOB: &str = "application/octet-stream";
/// What has a digest in its address never changes; a proxy may not share it between clients.
pub(crate) const IMMUTABLE: &str = "private, max-age=31536000, immutable";

/// The tag of what has this digest.
pub(crate) fn etag(digest: &Digest) -> ETag {
    ETag::new(&digest.to_string()).expect("a digest is visible ASCII without quotes")
}

/// The answer that the preconditions of a request ask for in place of the content.
pub(crate) fn precondition(headers: &HeaderMap, digest: &Digest) -> Option<Reply> {
    match conditional::check(headers, Some(&etag(digest))) {
        Precondition::Holds => None,
        Precondition::NotModified => Some(Reply::new(StatusCode::NOT_MODIFIED)),
        Precondition::Failed => Some(Reply::new(StatusCode::PRECONDITION_FAILED)),
    }
}

fn described(reply: Reply, digest: &Digest) -> Reply {
    reply
        .with(CONTENT_DIGEST, digest)
        .with(ETAG, etag(digest).as_str())
        .with_static(CACHE_CONTROL, IMMUTABLE)
        .with_static(ACCEPT_RANGES, "bytes")
        .with_static(X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// `HEAD blobs/DIGEST`
pub(crate) async fn head(
    repository: &Repository,
    digest: &Digest,
    input: &Input,
) -> Result<Reply, Failure> {
    let BlobInfo { size, .. } = repository.stat_blob(digest).await?;
    if let Some(reply) = precondition(&input.headers, digest) {
        return Ok(described(reply, digest));
    }
    let reply = Reply::new(StatusCode::OK).with_static(CONTENT_TYPE, BLOB);
    Ok(described(reply.with(CONTENT_LENGTH, size), digest))
}

/// `GET blobs/DIGEST`
pub(crate) async fn get(
    repository: &Repository,
    digest: &Digest,
    input: &Input,
    redirects: Option<&Redirects>,
) -> Result<Reply, Failure> {
    let blob = repository.blob(digest).await?;
    let size = blob.info().size;
    if let Some(reply) = precondition(&input.headers, digest) {
        return Ok(described(reply, digest));
    }
    if let Some(redirects) = redirects.filter(|redirects| redirects.take(&input.headers, size))
        && let Some(url) = blob.url(redirects.expires, BLOB).await?
    {
        return redirect(digest, url);
    }
    let reply = match selection(&input.headers, digest, size) {
        Selection::Whole => {
            let reply = Reply::new(StatusCode::OK).with_static(CONTENT_TYPE, BLOB);
            reply.with(CONTENT_LENGTH, size).body(read(&blob, 0..size).await?)
        }
        Selection::Ranges(ranges) => match ranges.as_slice() {
            [one] => {
                let reply = Reply::new(StatusCode::PARTIAL_CONTENT)
                    .with_static(CONTENT_TYPE, BLOB)
                    .with(CONTENT_RANGE, range::content_range(one, size))
                    .with(CONTENT_LENGTH, one.end - one.start);
                reply.body(read(&blob, one.clone()).await?)
            }
            several => multipart(&blob, several, size).await?,
        },
        Selection::Unsatisfiable => {
            let text = format!("no byte of the {size} lies in the range that was asked for");
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let reply = Failure::new(status, Code::SizeInvalid, text).into_reply();
            return Ok(reply
                .with(CONTENT_RANGE, range::content_range_unsatisfied(size))
                .with(ETAG, etag(digest).as_str())
                .with_static(ACCEPT_RANGES, "bytes"));
        }
    };
    Ok(described(reply, digest))
}

impl Redirects {
    /// Whether a pull of `size` bytes is sent on.
    fn take(&self, headers: &HeaderMap, size: u64) -> bool {
        let agent = headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        let excepted = self.except.iter().any(|begins| agent.starts_with(begins.as_bytes()));
        size >= self.min_bytes && !excepted
    }
}

/// The client asks there with its `Range`, and without the credentials it has for us.
fn redirect(digest: &Digest, url: String) -> Result<Reply, Failure> {
    let location = HeaderValue::try_from(url).map_err(|_| {
        Error::Unavailable("the blob store's address for the blob is no header".to_owned())
    })?;
    let reply = Reply::new(StatusCode::TEMPORARY_REDIRECT)
        .with_value(LOCATION, location)
        .with(CONTENT_DIGEST, digest)
        .with(CONTENT_LENGTH, 0)
        // The address dies before the blob does.
        .with_static(CACHE_CONTROL, "no-store");
    Ok(reply)
}

fn selection(headers: &HeaderMap, digest: &Digest, size: u64) -> Selection {
    let mut values = headers.get_all(RANGE).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(header), None) if conditional::range_applies(headers, &etag(digest)) => {
            range::select(header, size)
        }
        _ => Selection::Whole,
    }
}

async fn read(blob: &Blob, range: Range<u64>) -> Result<Body, Failure> {
    let length = range.end - range.start;
    Ok(body(blob.read(range).await?, length))
}

fn body(read: ObjectRead, length: u64) -> Body {
    match read {
        ObjectRead::File { file, offset, length } => Body::file(file, offset, length),
        ObjectRead::Stream(stream) => Body::stream(stream.map_err(Into::into), Some(length)),
    }
}

async fn multipart(blob: &Blob, ranges: &[Range<u64>], size: u64) -> Result<Reply, Failure> {
    // Random, so that nobody can have written it into a blob.
    let frame = Multipart::new(format!("{:032x}", rand::random::<u128>()), BLOB, size);
    let mut parts = Vec::with_capacity(ranges.len() * 2 + 1);
    let mut contents = contents(blob, ranges).await?.into_iter();
    for range in ranges {
        parts.push(frame.head(range).into());
        parts.extend(contents.next());
    }
    parts.push(frame.end().into());
    let body = Body::chain(parts);
    let reply = Reply::new(StatusCode::PARTIAL_CONTENT).with(CONTENT_TYPE, frame.content_type());
    Ok(match body.length() {
        Some(length) => reply.with(CONTENT_LENGTH, length),
        None => reply,
    }
    .body(body))
}

/// The bodies of several ranges: of one open file that all share, or, where the store streams, one
/// stream after the other, each begun when the one before it is sent. Together they are one pull.
async fn contents(blob: &Blob, ranges: &[Range<u64>]) -> Result<Vec<Body>, Failure> {
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

/// `DELETE blobs/DIGEST`
pub(crate) async fn delete(repository: &Repository, digest: &Digest) -> Result<Reply, Failure> {
    repository.delete_blob(digest).await?;
    Ok(Reply::new(StatusCode::ACCEPTED))
}
