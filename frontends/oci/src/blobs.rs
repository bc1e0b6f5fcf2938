//! Blobs: looked at, read whole or in ranges, deleted.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use strongroom_engine::digest::Digest;
use strongroom_engine::{BlobInfo, Repository};
use strongroom_http::blob::{self, BYTES, Redirects, Served};
use strongroom_http::conditional::{self, ETag, Precondition};

use crate::Input;
use crate::error::{Code, Failure};
use crate::reply::{CONTENT_DIGEST, Reply};

/// The answer that the preconditions of a request ask for in place of the content.
pub(crate) fn precondition(headers: &HeaderMap, etag: &ETag) -> Option<Reply> {
    match conditional::check(headers, Some(etag)) {
        Precondition::Holds => None,
        Precondition::NotModified => Some(Reply::new(StatusCode::NOT_MODIFIED)),
        Precondition::Failed => Some(Reply::new(StatusCode::PRECONDITION_FAILED)),
    }
}

/// `HEAD blobs/DIGEST`
pub(crate) async fn head(
    repository: &Repository,
    digest: &Digest,
    input: &Input,
) -> Result<Reply, Failure> {
    let BlobInfo { size, .. } = repository.stat_blob(digest).await?;
    let etag = blob::etag(digest);
    let reply = precondition(&input.headers, &etag).unwrap_or_else(|| {
        Reply::new(StatusCode::OK).with_static(CONTENT_TYPE, BYTES).with(CONTENT_LENGTH, size)
    });
    let mut headers = HeaderMap::new();
    blob::describe(&mut headers, &etag);
    Ok(reply.with_all(headers).with_text(CONTENT_DIGEST, etag.unquoted()))
}

/// `GET blobs/DIGEST`
pub(crate) async fn get(
    repository: &Repository,
    digest: &Digest,
    input: &Input,
    redirects: Option<&Redirects>,
) -> Result<Reply, Failure> {
    let blob = repository.blob(digest).await?;
    match blob::serve(&blob, &input.headers, BYTES, redirects).await? {
        Served::Answer(response) => Ok(Reply::from(response).with(CONTENT_DIGEST, digest)),
        Served::Unsatisfiable { size, headers } => {
            let text = format!("no byte of the {size} lies in the range that was asked for");
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            Ok(Failure::new(status, Code::SizeInvalid, text).into_reply().with_all(headers))
        }
    }
}

/// `DELETE blobs/DIGEST`
pub(crate) async fn delete(repository: &Repository, digest: &Digest) -> Result<Reply, Failure> {
    repository.delete_blob(digest).await?;
    Ok(Reply::new(StatusCode::ACCEPTED))
}
