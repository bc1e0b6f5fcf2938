//! Paths: text in, a typed [`Operation`] out, and the table of what each one needs.
//!
//! A repository's name has slashes of its own, so a path is read from its end: the fixed words
//! stand at known places from there (distribution spec, "Endpoints"). Escapes are undone once, for
//! the whole path, before anything is looked at: whatever comes out must pass the grammars of names,
//! tags, digests and ids, and nothing else of it is ever used.

use http::Method;
use percent_encoding::percent_decode_str;
use strongroom_engine::access::Action;
use strongroom_engine::digest::{Digest, DigestError};
use strongroom_engine::id::SessionId;
use strongroom_engine::name::{NameError, Reference, RepositoryPath};
use strongroom_identity::Access;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Is this the API, and am I signed in?
    Ping,
    /// The repositories the caller may list.
    Catalog,
    /// Something in one repository.
    In(RepositoryPath, Task),
}

/// What a request asks of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// `GET tags/list`
    ListTags,
    /// `GET referrers/DIGEST`
    ListReferrers(Digest),
    /// `GET manifests/REFERENCE`
    GetManifest(Reference),
    /// `HEAD manifests/REFERENCE`
    HeadManifest(Reference),
    /// `PUT manifests/REFERENCE`
    PutManifest(Reference),
    /// `DELETE manifests/REFERENCE`
    DeleteManifest(Reference),
    /// `GET blobs/DIGEST`
    GetBlob(Digest),
    /// `HEAD blobs/DIGEST`
    HeadBlob(Digest),
    /// `DELETE blobs/DIGEST`
    DeleteBlob(Digest),
    /// `POST blobs/uploads/`
    StartUpload,
    /// `GET blobs/uploads/ID`
    UploadStatus(SessionId),
    /// `PATCH blobs/uploads/ID`
    AppendUpload(SessionId),
    /// `PUT blobs/uploads/ID`
    FinishUpload(SessionId),
    /// `DELETE blobs/uploads/ID`
    CancelUpload(SessionId),
}

impl Task {
    /// The action a caller must be allowed in the repository; [`Operation::access`] declares it.
    pub const fn action(&self) -> Action {
        match self {
            Self::ListTags => Action::List,
            Self::ListReferrers(_)
            | Self::GetManifest(_)
            | Self::HeadManifest(_)
            | Self::GetBlob(_)
            | Self::HeadBlob(_) => Action::Pull,
            Self::PutManifest(_)
            | Self::StartUpload
            | Self::UploadStatus(_)
            | Self::AppendUpload(_)
            | Self::FinishUpload(_)
            | Self::CancelUpload(_) => Action::Push,
            Self::DeleteManifest(_) | Self::DeleteBlob(_) => Action::Delete,
        }
    }
}

/// Why a path or method is none of this API's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// No endpoint has this form.
    #[error("there is no such endpoint; see the endpoints of the OCI distribution specification")]
    NoEndpoint,
    /// The endpoint exists, but not with this method.
    #[error("{method} is not supported here; {allowed} are")]
    Method {
        /// What was sent.
        method: Method,
        /// What may be sent, as in the Allow header.
        allowed: &'static str,
    },
    /// The repository's name is none.
    #[error(transparent)]
    Name(NameError),
    /// The digest is none.
    #[error(transparent)]
    Digest(DigestError),
    /// The tag is none, so no manifest has it.
    #[error("{error}")]
    Tag {
        /// What is wrong.
        error: NameError,
        /// Whether a manifest was to be pushed under it.
        push: bool,
    },
    /// The upload's id is none that was ever given out.
    #[error("this is not the id of an upload")]
    Upload,
}

/// The endpoints that a path can be.
enum Endpoint<'a> {
    Ping,
    Catalog,
    Tags { name: &'a str },
    Referrers { name: &'a str, digest: &'a str },
    Manifest { name: &'a str, reference: &'a str },
    Blob { name: &'a str, digest: &'a str },
    Uploads { name: &'a str },
    Upload { name: &'a str, id: &'a str },
}

impl<'a> Endpoint<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix("/v2")?;
        let rest = match path {
            "" | "/" => return Some(Self::Ping),
            "/_catalog" => return Some(Self::Catalog),
            _ => path.strip_prefix('/')?,
        };
        if let Some(name) = rest.strip_suffix("/blobs/uploads") {
            return Some(Self::Uploads { name });
        }
        let (front, last) = rest.rsplit_once('/')?;
        let (name, word) = front.rsplit_once('/')?;
        match word {
            "tags" if last == "list" => Some(Self::Tags { name }),
            "referrers" => Some(Self::Referrers { name, digest: last }),
            "manifests" => Some(Self::Manifest { name, reference: last }),
            "blobs" => Some(Self::Blob { name, digest: last }),
            "uploads" => {
                let name = name.strip_suffix("/blobs")?;
                Some(if last.is_empty() {
                    Self::Uploads { name }
                } else {
                    Self::Upload { name, id: last }
                })
            }
            _ => None,
        }
    }

    /// The methods of the endpoint, as in the Allow header.
    const fn allowed(&self) -> &'static str {
        match self {
            Self::Ping | Self::Catalog | Self::Tags { .. } | Self::Referrers { .. } => "GET, HEAD",
            Self::Manifest { .. } => "GET, HEAD, PUT, DELETE",
            Self::Blob { .. } => "GET, HEAD, DELETE",
            Self::Uploads { .. } => "POST",
            Self::Upload { .. } => "GET, PATCH, PUT, DELETE",
        }
    }

    fn with(&self, method: &Method) -> Result<Operation, RouteError> {
        let wrong = || RouteError::Method { method: method.clone(), allowed: self.allowed() };
        let reading = matches!(*method, Method::GET | Method::HEAD);
        let (name, task) = match *self {
            Self::Ping if reading => return Ok(Operation::Ping),
            Self::Catalog if reading => return Ok(Operation::Catalog),
            Self::Tags { name } if reading => (name, Task::ListTags),
            Self::Referrers { name, digest } if reading => {
                (name, Task::ListReferrers(self::digest(digest)?))
            }
            Self::Manifest { name, reference } => {
                let task = match *method {
                    Method::GET => Task::GetManifest,
                    Method::HEAD => Task::HeadManifest,
                    Method::PUT => Task::PutManifest,
                    Method::DELETE => Task::DeleteManifest,
                    _ => return Err(wrong()),
                };
                (name, task(self::reference(reference, method == Method::PUT)?))
            }
            Self::Blob { name, digest } => {
                let task = match *method {
                    Method::GET => Task::GetBlob,
                    Method::HEAD => Task::HeadBlob,
                    Method::DELETE => Task::DeleteBlob,
                    _ => return Err(wrong()),
                };
                (name, task(self::digest(digest)?))
            }
            Self::Uploads { name } if method == Method::POST => (name, Task::StartUpload),
            Self::Upload { name, id } => {
                let task = match *method {
                    Method::GET => Task::UploadStatus,
                    Method::PATCH => Task::AppendUpload,
                    Method::PUT => Task::FinishUpload,
                    Method::DELETE => Task::CancelUpload,
                    _ => return Err(wrong()),
                };
                (name, task(SessionId::parse(id).ok_or(RouteError::Upload)?))
            }
            Self::Ping
            | Self::Catalog
            | Self::Tags { .. }
            | Self::Referrers { .. }
            | Self::Uploads { .. } => return Err(wrong()),
        };
        Ok(Operation::In(name.parse().map_err(RouteError::Name)?, task))
    }
}

fn digest(text: &str) -> Result<Digest, RouteError> {
    text.parse().map_err(RouteError::Digest)
}

fn reference(text: &str, push: bool) -> Result<Reference, RouteError> {
    text.parse().map_err(|error| match error {
        NameError::Digest(error) => RouteError::Digest(error),
        error => RouteError::Tag { error, push },
    })
}

impl Operation {
    /// What `method` on `path` (as it stands in the request line) asks for.
    pub fn parse(method: &Method, path: &str) -> Result<Self, RouteError> {
        let path = percent_decode_str(path).decode_utf8().map_err(|_| RouteError::NoEndpoint)?;
        Endpoint::parse(&path).ok_or(RouteError::NoEndpoint)?.with(method)
    }

    /// What the operation demands of its caller: the one table of permissions.
    pub const fn access(&self) -> Access {
        match self {
            Self::Ping => Access::Shown,
            Self::Catalog => Access::SignedIn,
            Self::In(_, task) => Access::Allowed(task.action()),
        }
    }

    /// The operation's name in logs and metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Ping => "oci_ping",
            Self::Catalog => "oci_catalog",
            Self::In(_, task) => match task {
                Task::ListTags => "oci_tags",
                Task::ListReferrers(_) => "oci_referrers",
                Task::GetManifest(_) => "oci_manifest_get",
                Task::HeadManifest(_) => "oci_manifest_head",
                Task::PutManifest(_) => "oci_manifest_put",
                Task::DeleteManifest(_) => "oci_manifest_delete",
                Task::GetBlob(_) => "oci_blob_get",
                Task::HeadBlob(_) => "oci_blob_head",
                Task::DeleteBlob(_) => "oci_blob_delete",
                Task::StartUpload => "oci_upload_start",
                Task::UploadStatus(_) => "oci_upload_status",
                Task::AppendUpload(_) => "oci_upload_append",
                Task::FinishUpload(_) => "oci_upload_finish",
                Task::CancelUpload(_) => "oci_upload_cancel",
            },
        }
    }
}

#[cfg(test)]
mod tests;
