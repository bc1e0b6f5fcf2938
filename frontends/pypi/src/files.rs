//! Files by their digest: whole, in ranges, or sent on to the blob store; their metadata and their
//! provenance.
//!
//! What is served must be offered on the project's page at this moment: a file that was deleted, or whose
//! project is quarantined, is not there, though its bytes may lie there a while longer.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use strongroom_engine::Repository;
use strongroom_engine::access::Action;
use strongroom_engine::digest::Digest;
use strongroom_engine::name::Reference;
use strongroom_http::Body;
use strongroom_http::blob::{self, BYTES, Served};
use strongroom_python::{FileName, ProjectName, Version};

use crate::artifact::{FileManifest, INTEGRITY};
use crate::error::{Failure, Reply};
use crate::gate::Asked;
use crate::project::File;
use crate::records::Status;
use crate::routes::Place;
use crate::upstream::{self, Fetching, RemoteFile, Seeing};
use crate::{Inner, Input, read};

const METADATA: &str = "text/plain; charset=utf-8";

/// A project that is open, as it is shown.
pub(crate) struct Offered {
    pub(crate) repository: Repository,
    pub(crate) seeing: Seeing,
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
        let seeing = self.seen(asked, &repository, project).await?;
        if seeing.shown.record.status == Status::Quarantined {
            return Err(Failure::absent());
        }
        Ok(Offered { repository, seeing })
    }
}

impl Offered {
    fn file(&self, name: &FileName, digest: Option<&Digest>) -> Result<&File, Failure> {
        let file = self.seeing.shown.project.file(name.as_str());
        let same = |file: &&File| digest.is_none_or(|digest| file.content == *digest);
        let absent = || self.seeing.away.clone().map_or_else(Failure::absent, Failure::from);
        file.filter(same).ok_or_else(absent)
    }

    /// A file that is not here yet, and by which it may be fetched.
    fn remote(&self, name: &FileName, digest: &Digest) -> Option<(&RemoteFile, &Fetching)> {
        let file = self.seeing.shown.remote_file(name.as_str());
        let file = file.filter(|file| file.sha256 == *digest)?;
        Some((file, self.seeing.fetching.as_ref()?))
    }
}

/// `GET files/SHA256/FILE`
pub(crate) async fn file(
    service: &Arc<Inner>,
    asked: &Asked,
    place: &Place,
    digest: &Digest,
    name: &FileName,
    input: &Input,
) -> Result<Reply, Failure> {
    let offered = service.offered(asked, place, name.project()).await?;
    if let Some((remote, fetching)) = offered.remote(name, digest) {
        return upstream::serve(service, &offered.repository, fetching, remote, input).await;
    }
    offered.file(name, Some(digest))?;
    serve(service, &offered.repository, digest, BYTES, input).await
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
    let redirects = service.settings.redirects.as_ref();
    match blob::serve(&blob, &input.headers, content_type, redirects).await? {
        Served::Answer(reply) => Ok(reply),
        Served::Unsatisfiable { size, headers } => {
            let text = format!("no byte of the {size} lies in the range that was asked for");
            let mut reply = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, text).into_reply();
            reply.headers_mut().extend(headers);
            Ok(reply)
        }
    }
}
