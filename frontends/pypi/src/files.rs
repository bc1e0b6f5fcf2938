//! Files by their digest: whole, in ranges, or sent on to the blob store; their metadata and their
//! provenance.
//!
//! What is served must be offered on the project's page at this moment: a file that was deleted, or whose
//! project is quarantined, is not there, though its bytes may lie there a while longer.

use std::ops::Range;
use std::sync::Arc;

use futures::TryStreamExt;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION,
    RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use strongroom_engine::access::Action;
use strongroom_engine::content::ObjectRead;
use strongroom_engine::digest::Digest;
use strongroom_engine::name::Reference;
use strongroom_engine::{Blob, Error, Repository};
use strongroom_http::Body;
use strongroom_http::conditional::{self, ETag, Precondition};
use strongroom_http::range::{self, Selection};
use strongroom_python::{FileName, ProjectName, Version};

use crate::artifact::{FileManifest, INTEGRITY};
use crate::error::{Failure, Reply};
use crate::gate::Asked;
use crate::pages::Shown;
use crate::project::File;
use crate::records::Status;
use crate::routes::Place;
use crate::simple::with_status;
use crate::{Inner, Input, read};

/// What files are served as: never something that a browser shows.
const FILE: &str = "application/octet-stream";
const METADATA: &str = "text/plain; charset=utf-8";
/// What has a digest in its address never changes; a proxy may not share it between clients.
const IMMUTABLE: &str = "private, max-age=31536000, immutable";

/// A project that is open, as it is shown.
pub(crate) struct Offered {
    pub(crate) repository: Repository,
    pub(crate) shown: Arc<Shown>,
}

impl Inner {
    /// A project whose files are offered to the caller.
    pub(crate) async fn offered(
        &self,
        asked: &Asked,
        place: &Place,
        project: &ProjectName,
    ) -> Result<Offered, Failure> {
        let repository = self.open(asked, place, project, Action::Pull).await?;
        let shown = self.pages.shown(&self.records, &repository, project).await?;
        if shown.record.status == Status::Quarantined {
            return Err(Failure::absent());
        }
        Ok(Offered { repository, shown })
    }
}

impl Offered {
    fn file(&self, name: &FileName, digest: Option<&Digest>) -> Result<&File, Failure> {
        let file = self.shown.project.file(name.as_str());
        let same = |file: &&File| digest.is_none_or(|digest| file.content == *digest);
        file.filter(same).ok_or_else(Failure::absent)
    }
}

/// `GET files/SHA256/FILE`
pub(crate) async fn file(
    service: &Inner,
    asked: &Asked,
    place: &Place,
    digest: &Digest,
    name: &FileName,
    input: &Input,
) -> Result<Reply, Failure> {
    let offered = service.offered(asked, place, name.project()).await?;
    offered.file(name, Some(digest))?;
    serve(service, &offered.repository, digest, FILE, input).await
}

/// `GET files/SHA256/FILE.metadata`
pub(crate) async fn metadata(
    service: &Inner,
    asked: &Asked,
    place: &Place,
    digest: &Digest,
    name: &FileName,
    input: &Input,
) -> Result<Reply, Failure> {
    let offered = service.offered(asked, place, name.project()).await?;
    let metadata = offered.file(name, Some(digest))?.metadata.ok_or_else(Failure::absent)?;
    serve(service, &offered.repository, &metadata, METADATA, input).await
}

/// `GET integrity/PROJECT/VERSION/FILE/provenance`
pub(crate) async fn provenance(
    service: &Inner,
    asked: &Asked,
    place: &Place,
    (project, version, name): (&ProjectName, &Version, &FileName),
) -> Result<Reply, Failure> {
    let offered = service.offered(asked, place, project).await?;
    let file = offered.file(name, None)?;
    if file.name.version() != version {
        return Err(Failure::absent());
    }
    let manifest = file.provenance.ok_or_else(Failure::absent)?;
    let reference = Reference::Digest(manifest);
    let manifest = offered.repository.stat_manifest(&reference).await?;
    let manifest: Option<FileManifest> = serde_json::from_slice(&manifest.bytes).ok();
    let layer = manifest.and_then(|manifest| manifest.layers.into_iter().next());
    let layer = layer.ok_or_else(Failure::absent)?;
    let bytes = read::small(&offered.repository, &layer.digest).await?;
    let mut reply = Response::new(Body::from(bytes));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(INTEGRITY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(reply)
}

async fn serve(
    service: &Inner,
    repository: &Repository,
    digest: &Digest,
    content_type: &'static str,
    input: &Input,
) -> Result<Reply, Failure> {
    let blob = repository.blob(digest).await?;
    let size = blob.info().size;
    let etag = ETag::new(&digest.to_string()).expect("a digest is visible ASCII without quotes");
    match conditional::check(&input.headers, Some(&etag)) {
        Precondition::Holds => {}
        Precondition::NotModified => {
            return Ok(described(with_status(StatusCode::NOT_MODIFIED), &etag));
        }
        Precondition::Failed => return Ok(with_status(StatusCode::PRECONDITION_FAILED)),
    }
    if let Some(redirects) = service.settings.redirects.as_ref().filter(|r| size >= r.min_bytes)
        && let Some(url) = blob.url(redirects.expires, content_type).await?
    {
        return redirect(url);
    }
    let mut reply = match selection(&input.headers, &etag, size) {
        Selection::Ranges(ranges) if ranges.len() == 1 => {
            let range = ranges.into_iter().next().unwrap_or(0..size);
            let mut reply = sized(read_body(&blob, range.clone()).await?, range.end - range.start);
            *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
            header(&mut reply, CONTENT_RANGE, &range::content_range(&range, size));
            reply
        }
        // Installers ask for one; whoever asks for several may be sent the whole (RFC 9110, 14.2).
        Selection::Whole | Selection::Ranges(_) => sized(read_body(&blob, 0..size).await?, size),
        Selection::Unsatisfiable => {
            let text = format!("no byte of the {size} lies in the range that was asked for");
            let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, text);
            let mut reply = failure.into_reply();
            header(&mut reply, CONTENT_RANGE, &range::content_range_unsatisfied(size));
            return Ok(reply);
        }
    };
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(described(reply, &etag))
}

fn sized(body: Body, length: u64) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    reply
}

fn described(mut reply: Reply, etag: &ETag) -> Reply {
    header(&mut reply, ETAG, etag.as_str());
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

fn header(reply: &mut Reply, name: http::HeaderName, value: &str) {
    // Digests, names that were parsed, numbers: all visible ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

/// The client asks there with its `Range`, and without the credentials it has for us.
fn redirect(url: String) -> Result<Reply, Failure> {
    let location = HeaderValue::try_from(url).map_err(|_| {
        Error::Unavailable("the blob store's address for the file is no header".to_owned())
    })?;
    let mut reply = with_status(StatusCode::TEMPORARY_REDIRECT);
    reply.headers_mut().insert(LOCATION, location);
    // The address dies before the file does.
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(reply)
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

async fn read_body(blob: &Blob, range: Range<u64>) -> Result<Body, Failure> {
    let length = range.end - range.start;
    Ok(match blob.read(range).await? {
        ObjectRead::File { file, offset, length } => Body::file(file, offset, length),
        ObjectRead::Stream(stream) => Body::stream(stream.map_err(Into::into), Some(length)),
    })
}
