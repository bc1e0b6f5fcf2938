//! Manifests: by tag or digest, exactly as they were pushed. What a client accepts is not looked
//! at: nothing is converted.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LOCATION};
use http::{HeaderMap, StatusCode};
use strongroom_engine::name::{Reference, Tag};
use strongroom_engine::{ManifestPush, PushedManifest, Repository, StoredManifest};
use strongroom_http::RequestBody;
use strongroom_http::blob::{IMMUTABLE, etag};
use strongroom_http::conditional;

use crate::Input;
use crate::blobs::precondition;
use crate::error::{Code, Failure};
use crate::reply::{CONTENT_DIGEST, Reply};
use crate::routes::RouteError;
use crate::warnings::warned;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// A tag may move at any time: what is kept must be asked for again.
const REVALIDATE: &str = "private, no-cache";

/// `GET manifests/REFERENCE`
pub(crate) async fn get(
    repository: &Repository,
    reference: &Reference,
    input: &Input,
) -> Result<Reply, Failure> {
    // Who has it already pulls nothing, and so there is no line of a pull.
    if conditional::is_conditional(&input.headers) {
        let manifest = repository.stat_manifest(reference).await?;
        if precondition(&input.headers, &etag(&manifest.digest)).is_some() {
            return Ok(described(&manifest, reference, &input.headers));
        }
    }
    let manifest = repository.manifest(reference).await?;
    Ok(described(&manifest, reference, &input.headers))
}

/// `HEAD manifests/REFERENCE`
pub(crate) async fn head(
    repository: &Repository,
    reference: &Reference,
    input: &Input,
) -> Result<Reply, Failure> {
    let manifest = repository.stat_manifest(reference).await?;
    Ok(described(&manifest, reference, &input.headers))
}

fn described(manifest: &Arc<StoredManifest>, reference: &Reference, headers: &HeaderMap) -> Reply {
    let caching = match reference {
        Reference::Tag(_) => REVALIDATE,
        Reference::Digest(_) => IMMUTABLE,
    };
    let etag = etag(&manifest.digest);
    precondition(headers, &etag)
        .unwrap_or_else(|| {
            Reply::new(StatusCode::OK)
                .with_text(CONTENT_TYPE, &manifest.media_type)
                .with_value(CONTENT_LENGTH, manifest.bytes.len().into())
                .body(manifest.bytes.clone())
        })
        .with_text(CONTENT_DIGEST, etag.unquoted())
        .with_text(ETAG, etag.as_str())
        .with_static(CACHE_CONTROL, caching)
}

/// `PUT manifests/REFERENCE`, with `?tag=` as often as tags are to be set (the specification's
/// development version, "Pushing Manifests").
pub(crate) async fn put(
    repository: &Repository,
    reference: &Reference,
    input: &Input,
    body: RequestBody,
    max_bytes: usize,
) -> Result<Reply, Failure> {
    let asked: Vec<Tag> = input.query.all("tag").map(tag).collect::<Result<_, _>>()?;
    let content_type = match input.headers.get(CONTENT_TYPE).map(|value| value.to_str()) {
        None => None,
        Some(Ok(text)) => Some(text.to_owned()),
        Some(Err(_)) => {
            let message = "the Content-Type is not visible ASCII";
            return Err(Failure::new(StatusCode::BAD_REQUEST, Code::ManifestInvalid, message));
        }
    };
    let (digest, mut tags) = match reference {
        Reference::Digest(digest) => (Some(*digest), Vec::new()),
        Reference::Tag(tag) => (None, vec![tag.clone()]),
    };
    for tag in &asked {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    let bytes =
        body.collect_limited(max_bytes).await.map_err(|error| Failure::of_manifest(&error))?;
    let push = ManifestPush { bytes, content_type, digest, tags };
    let PushedManifest { digest, subject } = repository.push_manifest(&push).await?;
    let mut reply = Reply::new(StatusCode::CREATED)
        .with(LOCATION, format_args!("/v2/{}/manifests/{digest}", repository.path()))
        .with(CONTENT_DIGEST, digest)
        .with(CONTENT_LENGTH, 0);
    if let Some(subject) = subject {
        reply = reply.with(SUBJECT, subject);
    }
    let reply = warned(reply, repository).await;
    // Said only to who asked by parameter: by this such a client knows that it was understood.
    Ok(asked.iter().fold(reply, |reply, tag| reply.with(TAG, tag)))
}

fn tag(text: &str) -> Result<Tag, Failure> {
    text.parse().map_err(|error| RouteError::Tag { error, push: true }.into())
}

/// `DELETE manifests/REFERENCE`
pub(crate) async fn delete(
    repository: &Repository,
    reference: &Reference,
) -> Result<Reply, Failure> {
    match reference {
        Reference::Tag(tag) => repository.delete_tag(tag).await?,
        Reference::Digest(digest) => repository.delete_manifest(digest).await?,
    }
    Ok(Reply::new(StatusCode::ACCEPTED))
}
