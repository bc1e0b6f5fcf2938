//! Uploads: started (or spared by a mount), appended to, asked for, finished, cancelled.
//!
//! An address of an upload carries its id and nothing else: no state, and no right. Every answer
//! says where the upload stands, so that a client can go on from any of them.
//!
//! A chunk that is the one taken last is answered as taken, whether it comes by PATCH or PUT: its
//! answer was lost, and it is sent again. One from before that is 416 with the place to go on from: a
//! client that has lost so much must not take its next chunk for the right one.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use strongroom_engine::access::Action;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::id::SessionId;
use strongroom_engine::name::RepositoryPath;
use strongroom_engine::{Chunk, Error, Repository, Upload};
use strongroom_http::RequestBody;

use crate::error::{Code, Failure};
use crate::gate::Asked;
use crate::reply::{CONTENT_DIGEST, Reply};
use crate::warnings::warned;
use crate::{Input, Oci};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// `POST blobs/uploads/`
pub(crate) async fn start(
    oci: &Oci,
    asked: &Asked<'_>,
    repository: &Repository,
    input: &Input,
    body: RequestBody,
) -> Result<Reply, Failure> {
    if let Some(digest) = input.query.get("mount") {
        let digest = digest_of(digest)?;
        if mounted(oci, asked, repository, &digest, input.query.get("from")).await? {
            return Ok(stored(repository, &digest));
        }
    } else if let Some(digest) = input.query.get("digest") {
        let digest = digest_of(digest)?;
        repository.push_blob(&digest, body.length(), body).await?;
        return Ok(warned(stored(repository, &digest), repository).await);
    }
    let upload = match input.query.get("digest-algorithm") {
        Some(text) => {
            let algorithm: Algorithm = text.parse().map_err(crate::routes::RouteError::Digest)?;
            repository.start_upload_of(algorithm).await?
        }
        None => repository.start_upload(None, None).await?,
    };
    let reply = standing(StatusCode::ACCEPTED, repository, upload);
    Ok(reply.with(CHUNK_MIN_LENGTH, oci.settings.chunk_min_bytes))
}

/// Whether a mount spared the upload. A source that can't be read is like one that is not there:
/// the client uploads.
async fn mounted(
    oci: &Oci,
    asked: &Asked<'_>,
    repository: &Repository,
    digest: &Digest,
    from: Option<&str>,
) -> Result<bool, Failure> {
    let Some(from) = from else { return Ok(repository.mount_from_any(digest).await?) };
    let Ok(from) = from.parse::<RepositoryPath>() else { return Ok(false) };
    oci.allow_source(asked, &from)?;
    match oci.engine.repository(&asked.caller, &from, Action::Pull).await {
        Ok(from) => Ok(repository.mount(digest, &from).await?),
        Err(Error::NameUnknown { .. } | Error::Denied { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// `GET blobs/uploads/ID`
pub(crate) async fn status(repository: &Repository, id: SessionId) -> Result<Reply, Failure> {
    let upload = repository.upload(id).await?;
    Ok(standing(StatusCode::NO_CONTENT, repository, upload))
}

/// `PATCH blobs/uploads/ID`
pub(crate) async fn append(
    repository: &Repository,
    id: SessionId,
    input: &Input,
    body: RequestBody,
) -> Result<Reply, Failure> {
    let chunk = chunk(&input.headers, body.length())?;
    match repository.append(id, chunk, body).await {
        Ok(upload) => Ok(standing(StatusCode::ACCEPTED, repository, upload)),
        Err(error) => Err(failed(repository, id, error)),
    }
}

/// `PUT blobs/uploads/ID?digest=…`
pub(crate) async fn finish(
    repository: &Repository,
    id: SessionId,
    input: &Input,
    body: RequestBody,
) -> Result<Reply, Failure> {
    let Some(digest) = input.query.get("digest") else {
        let message = "an upload is finished with ?digest=, the digest of all its bytes";
        return Err(Failure::new(StatusCode::BAD_REQUEST, Code::DigestInvalid, message));
    };
    let digest = digest_of(digest)?;
    let chunk = chunk(&input.headers, body.length())?;
    match repository.finish_upload_with(id, chunk, body, &digest).await {
        Ok(_) => Ok(warned(stored(repository, &digest), repository).await),
        Err(error) => Err(failed(repository, id, error)),
    }
}

/// `DELETE blobs/uploads/ID`
pub(crate) async fn cancel(repository: &Repository, id: SessionId) -> Result<Reply, Failure> {
    repository.cancel_upload(id).await?;
    Ok(Reply::new(StatusCode::NO_CONTENT))
}

/// What a client needs to go on after a failure, beside the failure.
fn failed(repository: &Repository, id: SessionId, error: Error) -> Failure {
    let Error::OutOfOrder { offset, .. } = &error else { return error.into() };
    let offset = *offset;
    let value = |text: String| HeaderValue::try_from(text).expect("names, ids and numbers");
    Failure::from(error)
        .with(LOCATION, value(location(repository, id)))
        .with(RANGE, value(received(offset)))
        .with(UPLOAD_ID, value(id.to_string()))
}

fn digest_of(text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|error| crate::routes::RouteError::Digest(error).into())
}

/// What the headers say of a chunk: `Content-Range: FIRST-LAST`, both included, without a unit
/// (distribution spec, "Pushing a blob in chunks").
fn chunk(headers: &HeaderMap, told: Option<u64>) -> Result<Chunk, Failure> {
    let Some(value) = headers.get(CONTENT_RANGE) else {
        return Ok(Chunk { at: None, length: told });
    };
    let range = value.to_str().ok().and_then(range);
    let Some((at, length)) = range else {
        let message = "the Content-Range of a chunk is FIRST-LAST, two bytes' places in the blob";
        return Err(Failure::new(StatusCode::BAD_REQUEST, Code::BlobUploadInvalid, message));
    };
    match told {
        Some(told) if told != length => {
            let message =
                format!("Content-Range speaks of {length} bytes, Content-Length of {told}");
            Err(Failure::new(StatusCode::BAD_REQUEST, Code::SizeInvalid, message))
        }
        _ => Ok(Chunk { at: Some(at), length: Some(length) }),
    }
}

/// First byte and length of `FIRST-LAST`.
fn range(text: &str) -> Option<(u64, u64)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok())?
    };
    let (first, last) = text.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    Some((first, last.checked_sub(first)?.checked_add(1)?))
}

fn location(repository: &Repository, id: SessionId) -> String {
    format!("/v2/{}/blobs/uploads/{id}", repository.path())
}

/// The Range header of an upload; `0-0` also where there is nothing yet.
fn received(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

fn standing(status: StatusCode, repository: &Repository, upload: Upload) -> Reply {
    let reply = Reply::new(status)
        .with(LOCATION, location(repository, upload.id))
        .with(RANGE, received(upload.offset))
        .with(UPLOAD_ID, upload.id);
    // 204 has no length (RFC 9110, section 8.6).
    if status == StatusCode::NO_CONTENT { reply } else { reply.with(CONTENT_LENGTH, 0) }
}

fn stored(repository: &Repository, digest: &Digest) -> Reply {
    Reply::new(StatusCode::CREATED)
        .with(LOCATION, format_args!("/v2/{}/blobs/{digest}", repository.path()))
        .with(CONTENT_DIGEST, digest)
        .with(CONTENT_LENGTH, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunks_range_is_two_places_and_nothing_else() {
        assert_eq!(range("0-0"), Some((0, 1)));
        assert_eq!(range("5-9"), Some((5, 5)));
        for bad in ["", "-", "5", "5-", "-5", "9-5", "+5-9", "bytes 0-5", "0-5/9", "0-5,7-9"] {
            assert_eq!(range(bad), None, "{bad}");
        }
        assert_eq!(range(&format!("0-{}", u64::MAX)), None);
        assert_eq!(range("0-99999999999999999999"), None);
    }
}
