//! Uploads (`POST legacy/`), as twine, uv, flit, poetry, hatch and pdm send them.
//!
//! The file's name comes before its bytes, and says which project it is of: there the right to push
//! is demanded, before a byte of it is read. The bytes stream: a small file waits in memory and touches
//! no store before all is found right; a larger one goes into an upload of the engine as it comes (the
//! first of a project later, for an upload makes a repository), and a copy of it to a temporary file,
//! in which the archive is looked through. Form, digests, name and what
//! the archive says of itself are compared when all of the form is there, for its fields may come in any
//! order; and only then the upload is finished and its manifests are pushed ([`publish`]). Whatever is
//! wrong, the upload is cancelled, and nothing of it can be seen.

pub(crate) mod content;
pub(crate) mod publish;

use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use multer::{Constraints, Field, Multipart, SizeLimit};
use strongroom_engine::access::Action;
use strongroom_engine::{Error, Repository};
use strongroom_http::{Body, RequestBody};
use strongroom_python::{
    ArchiveError, AttestationError, Attestations, FileName, FormFields, Provenance, agree, inspect,
};

use crate::error::{Failure, Reply, aside, internal};
use crate::gate::Asked;
use crate::records::{Of, ProjectRecord, Status};
use crate::routes::Place;
use crate::{Inner, Input};
use content::{Content, Received, Taking, spool};

/// The most bytes of a form beside the file: a long description, all classifiers, some attestations.
const FORM_MAX_BYTES: u64 = 8 << 20;
/// The most fields of a form: each classifier and each dependency is one.
const MAX_FIELDS: usize = 4_096;
/// Warnings that do not make an upload fail.
const WARNING: HeaderName = HeaderName::from_static("x-strongroom-warning");

/// What came of a file, and where it goes.
struct Uploaded {
    name: FileName,
    repository: Repository,
    content: Content,
}

/// `POST legacy/`
pub(crate) async fn take(
    service: &Inner,
    asked: &Asked,
    place: &Place,
    input: &Input,
    body: RequestBody,
) -> Result<Reply, Failure> {
    let content_type = input.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type.and_then(|value| multer::parse_boundary(value).ok());
    let boundary = boundary.ok_or_else(|| {
        let text = "an upload is a form of the type multipart/form-data, as twine sends it";
        Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
    })?;
    let most = service.settings.file_max_bytes.saturating_add(FORM_MAX_BYTES);
    let sizes = SizeLimit::new().whole_stream(most);
    let constraints = Constraints::new().size_limit(sizes);
    let mut form = Multipart::with_constraints(body, boundary, constraints);
    let mut fields = FormFields::default();
    let mut uploaded: Option<Uploaded> = None;
    let (mut count, mut left) = (0, FORM_MAX_BYTES);
    // Each part's own failure, so that an upload under way is ended by dropping it.
    while let Some(field) = form.next_field().await? {
        count += 1;
        if count > MAX_FIELDS {
            return Err(Failure::bad(format!("a form has at most {MAX_FIELDS} fields")));
        }
        match field.name() {
            Some("content") if uploaded.is_some() => {
                return Err(Failure::bad("the form has the field content more than once"));
            }
            Some("content") => {
                let sent = field.file_name().unwrap_or_default();
                let name = FileName::parse(sent).map_err(bad)?;
                let repository = admit(service, asked, place, &name).await?;
                let settings = &service.settings;
                let (most, in_memory) = (settings.file_max_bytes, settings.in_memory_bytes);
                let taking = Taking { most, in_memory, others: fields.others() };
                let bytes = field.map(|bytes| bytes.map_err(Failure::from));
                let content = Content::take(&repository, bytes, taking, spool(in_memory)).await?;
                uploaded = Some(Uploaded { name, repository, content });
            }
            Some(name) => {
                let name = name.to_owned();
                let text = text(field, &name, &mut left).await?;
                fields.add(&name, &text).map_err(bad)?;
            }
            None => return Err(Failure::bad("a field of the form has no name")),
        }
    }
    fields.check().map_err(bad)?;
    let uploaded = uploaded.ok_or_else(|| Failure::bad("the form has no field content"))?;
    Box::pin(judge(service, asked, fields, uploaded)).await
}

/// The project's repository, where it takes files from the caller.
async fn admit(
    service: &Inner,
    asked: &Asked,
    place: &Place,
    name: &FileName,
) -> Result<Repository, Failure> {
    let repository = service.open(asked, place, name.project(), Action::Push).await?;
    let of = Of { tenant: repository.tenant(), project: name.project() };
    let record = service.records.of(&of).await?.record;
    if let Some(origin) = record.origin.filter(|_| record.tracks.is_empty())
        && is_filled(service, asked, place, name).await?
    {
        let project = name.project().normalised();
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            format!(
                "the files of the project {project} are fetched from {origin}: delete them to take the \
                 name for your own, or say that the project tracks that address to add to them"
            ),
        ));
    }
    match record.status {
        Status::Active | Status::Deprecated => Ok(repository),
        status @ (Status::Archived | Status::Quarantined) => {
            let (project, status) = (name.project().normalised(), status.as_str());
            let text = format!("the project {project} is {status}: it takes no files");
            Err(Failure::new(StatusCode::FORBIDDEN, text))
        }
    }
}

/// Whether a project has files.
async fn is_filled(
    service: &Inner,
    asked: &Asked,
    place: &Place,
    name: &FileName,
) -> Result<bool, Failure> {
    let repository = service.open(asked, place, name.project(), Action::Pull).await?;
    match service.pages.shown(&service.records, &repository, name.project()).await {
        Ok(shown) => Ok(shown.project.exists()),
        Err(Error::NameUnknown { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The text of a field, within what is left for the form.
async fn text(mut field: Field<'_>, name: &str, left: &mut u64) -> Result<String, Failure> {
    let mut all: Vec<u8> = Vec::new();
    while let Some(chunk) = field.next().await.transpose()? {
        *left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
            let text = format!("the fields of a form have at most {FORM_MAX_BYTES} bytes in all");
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        })?;
        all.extend_from_slice(&chunk);
    }
    let shown = name.escape_debug().take(64).collect::<String>();
    String::from_utf8(all).map_err(|_| Failure::bad(format!("the field {shown} is not UTF-8")))
}

/// Compares all that came, and lets the file in.
async fn judge(
    service: &Inner,
    asked: &Asked,
    fields: FormFields,
    uploaded: Uploaded,
) -> Result<Reply, Failure> {
    let Uploaded { name, repository, mut content } = uploaded;
    let mut received = content.received()?;
    if received.size == 0 {
        return Err(Failure::bad("the file is empty"));
    }
    let claimed = fields.digests().map_err(bad)?;
    if received.digests.others() != claimed.others() {
        let again = aside("hashing an upload", move || {
            received.rehash(claimed.others()).map(|()| received)
        });
        received = again.await?.map_err(|error| internal(&error.to_string()))?;
    }
    let Received { digests, file, size } = received;
    claimed.check(&digests).map_err(bad)?;
    let (limits, looked_at) = (service.settings.archive, name.clone());
    let inspected = aside("looking through an archive", move || {
        use std::io::Seek;
        let mut file = file;
        file.rewind().map_err(ArchiveError::Io)?;
        inspect(&looked_at, &mut file, &limits).map(|inspected| (inspected, file))
    });
    let inspected = match inspected.await? {
        Ok((inspected, file)) => {
            content.give_back(file);
            inspected
        }
        Err(ArchiveError::Io(error)) => return Err(internal(&error.to_string())),
        Err(error) => return Err(bad(error)),
    };
    agree(&fields, &name, &inspected.metadata).map_err(bad)?;
    let attestations = fields.attestations().map(|json| {
        let attestations = Attestations::parse(json, &name, &digests.sha256)?;
        // Who uploaded is known by name alone: no workload's identity vouches for where it was built.
        let claims = [("repository".to_owned(), repository.path().to_string().into())];
        Ok(Provenance::new("Strongroom", claims.into_iter().collect(), &attestations))
    });
    let provenance = attestations.transpose().map_err(|error: AttestationError| bad(error))?;
    let found = Some((inspected.metadata, inspected.metadata_bytes.into()));
    let file = publish::NewFile { name, digests, size, metadata: found, provenance, origin: None };
    let of = Of { tenant: repository.tenant(), project: file.name.project() };
    if service.records.of(&of).await?.record.origin.is_some() {
        publish::name_of_deleted(service, &repository, &file).await?;
        // From here on the name is the registry's own, and stays so whatever becomes of the file.
        let line = "it is the registry's own from now on, and not fetched any more";
        let change = |record: &mut ProjectRecord| record.origin = None;
        service.records.change(&asked.caller, &of, line, change).await?;
    }
    let warning = look_alike(service, asked, &repository, &file).await?;
    Box::pin(publish::publish(service, &repository, content, &file)).await?;
    if !repository.exists() {
        // As the repository was when it was opened.
        service.lists.add(repository.tenant(), file.name.project());
    }
    let mut reply = Response::new(Body::empty());
    let headers = reply.headers_mut();
    if let Some(warning) = warning.and_then(|warning| HeaderValue::try_from(warning).ok()) {
        headers.insert(WARNING, warning);
    }
    Ok(reply)
}

/// A warning where a new project's name looks like that of another one here; it is a line in the
/// trail, too.
async fn look_alike(
    service: &Inner,
    asked: &Asked,
    repository: &Repository,
    file: &publish::NewFile,
) -> Result<Option<String>, Failure> {
    let path = repository.path();
    if repository.exists() {
        return Ok(None);
    }
    let (organisation, registry) = (path.organisation(), path.registry());
    let listing = match service.engine.listing(&asked.caller, organisation, registry).await {
        Ok(listing) => listing,
        // Who may push to one project alone learns nothing of others.
        Err(Error::Denied { .. } | Error::NameUnknown { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let project = file.name.project();
    let Some(other) = service.lists.look_alike(&listing, project).await? else { return Ok(None) };
    let of = Of { tenant: repository.tenant(), project };
    let line = format!("it is new, and its name looks like that of the project {other}");
    service.records.note(&asked.caller, &of, &line).await?;
    let name = project.normalised();
    Ok(Some(format!("the name {name} looks like that of the project {other}")))
}

fn bad(error: impl std::fmt::Display) -> Failure {
    Failure::bad(error.to_string())
}

/// Bytes as a stream that a push takes.
fn once(bytes: Bytes) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send {
    futures::stream::iter([Ok(bytes)])
}
