//! What can go wrong at the engine's face, with the facts a caller needs.
//!
//! What a caller may not see answers as what does not exist: there is no error that tells them
//! apart. Frontends choose their protocol's code from these in one exhaustive `match`.

use crate::access::Action;
use crate::content::StoreError;
use crate::digest::Digest;
use crate::id::{ChainId, SessionId};
use crate::manifest::ManifestError;
use crate::meta::MetaError;
use crate::records::RecordError;
use crate::seam::Timestamp;

/// A failed call on the engine. Unless said otherwise nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such organisation, registry or repository, or the caller may not see it.
    #[error("{name} is not known here")]
    NameUnknown {
        /// The name as asked.
        name: String,
    },
    /// The caller may see it, but not do this.
    #[error("{principal} may not {action} {name}")]
    Denied {
        /// Who asked.
        principal: String,
        /// What for.
        action: Action,
        /// On what.
        name: String,
    },
    /// The repository has no such blob.
    #[error("blob {digest} is not in this repository")]
    BlobUnknown {
        /// The digest as asked.
        digest: Digest,
    },
    /// The repository has no such manifest or tag.
    #[error("manifest {reference} is not in this repository")]
    ManifestUnknown {
        /// The tag or digest as asked.
        reference: String,
    },
    /// A tag does not point at what was to be replaced. Read it again and decide anew.
    #[error("the tag {tag} points at {} now", found.map_or("nothing".to_owned(), |d| d.to_string()))]
    TagMoved {
        /// The tag.
        tag: String,
        /// What it points at.
        found: Option<Digest>,
    },
    /// There is no such upload of this caller in this repository; it may have expired.
    #[error("upload {id} is not known here; it may be finished, cancelled or expired")]
    UploadUnknown {
        /// The session's id as asked.
        id: String,
    },
    /// Another request is writing to this upload just now.
    #[error(
        "upload {id} is being written to by another request; ask for its status and go on from there"
    )]
    UploadBusy {
        /// The session.
        id: SessionId,
    },
    /// A chunk that does not begin where the upload stands. Go on from `offset`.
    #[error("a chunk begins at byte {at}, but the upload stands at byte {offset}")]
    OutOfOrder {
        /// Where the upload stands.
        offset: u64,
        /// Where the chunk begins.
        at: u64,
    },
    /// The bytes are not those of the digest. The upload is gone.
    #[error("digest mismatch: {wanted} was announced, the bytes are {found}; nothing was stored")]
    DigestMismatch {
        /// What the caller announced.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// More or fewer bytes came than were announced.
    #[error("length mismatch: {wanted} bytes were announced, {found} came")]
    LengthMismatch {
        /// What the caller announced.
        wanted: u64,
        /// What came.
        found: u64,
    },
    /// The blob would be larger than the engine takes.
    #[error("a blob may have at most {max} bytes")]
    BlobTooLarge {
        /// The bound.
        max: u64,
    },
    /// The manifest breaks a rule of the image specification.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest names what this repository does not have: all of it at once.
    #[error("the manifest names {} that this repository does not have: {}", plural(.missing.len()), list(.missing))]
    References {
        /// Each thing that is missing.
        missing: Vec<Missing>,
    },
    /// It can't be deleted while manifests name it.
    #[error("{digest} is named by {}; delete what names it first", list(.by))]
    InUse {
        /// What was to be deleted.
        digest: Digest,
        /// Some of the manifests that name it.
        by: Vec<Digest>,
    },
    /// The tag does not move or go: the registry's settings make it immutable.
    #[error("tag {tag} is immutable here, by the pattern {pattern} of the registry")]
    TagImmutable {
        /// The tag.
        tag: String,
        /// The pattern that it matches.
        pattern: String,
    },
    /// It is not any more what the caller had seen.
    #[error("{name} has changed since; look at it again and then decide")]
    Changed {
        /// What was to be changed.
        name: String,
        /// The version it has now.
        version: String,
    },
    /// The organisation's quota does not leave room for this.
    #[error(
        "the organisation stores {used_bytes} of {quota_bytes} bytes: {wanted_bytes} more do not fit"
    )]
    QuotaExceeded {
        /// What it may store.
        quota_bytes: u64,
        /// What it stores and reserves now.
        used_bytes: u64,
        /// What this would add.
        wanted_bytes: u64,
    },
    /// The name is taken, or was somebody else's and stays reserved.
    #[error("the {what} name {name} is taken")]
    NameTaken {
        /// Organisation, registry, …
        what: &'static str,
        /// The name.
        name: String,
    },
    /// It still has something in it.
    #[error("{name} is not empty: it has {holds}")]
    NotEmpty {
        /// What was to be deleted.
        name: String,
        /// What is in it.
        holds: String,
    },
    /// An organisation keeps at least one admin.
    #[error("{principal} is the last admin of {organisation}; make somebody else admin first")]
    LastAdmin {
        /// Who was to be removed or demoted.
        principal: String,
        /// Where.
        organisation: String,
    },
    /// A value given to the engine is not one it takes.
    #[error("{0}")]
    Invalid(String),
    /// The caller's own stream of bytes broke. What came before is kept as far as it is durable.
    #[error("the bytes stopped coming: {0}")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The stores have no room (or only the reserve that deleting needs).
    #[error("the storage is full: {0}")]
    StorageFull(String),
    /// Too many others changed the same thing at once. Try again.
    #[error("{what} is contended; try again")]
    Contended {
        /// What everybody wants.
        what: &'static str,
    },
    /// Another process that shares the store is collecting. It does this one's work.
    #[error(
        "process {holder} is collecting; wait until it is done, or for a minute where it was killed"
    )]
    Collecting {
        /// Which, by its chain in the audit trail.
        holder: ChainId,
        /// Until when, unless it goes on.
        until: Timestamp,
    },
    /// A store does not answer now. Whether a change happened is not known; asking again is safe.
    #[error("the storage is away: {0}")]
    Unavailable(String),
    /// What was read is not what was written. `fsck` and `scrub` tell more.
    #[error("the storage is damaged: {0}")]
    Corrupted(String),
}

/// One thing a manifest names that its repository does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Where in the manifest: a JSON path.
    pub path: String,
    /// What is named.
    pub digest: Digest,
    /// What does not fit: absent, or of another size or kind.
    pub reason: String,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {} ({})", self.digest, self.path, self.reason)
    }
}

/// The most items an error's text lists.
const LISTED: usize = 5;

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let text = items.iter().take(LISTED).map(T::to_string).collect::<Vec<_>>().join(", ");
    match items.len().checked_sub(LISTED) {
        None | Some(0) => text,
        Some(more) => format!("{text} and {more} more"),
    }
}

fn plural(count: usize) -> String {
    if count == 1 { "one thing".to_owned() } else { format!("{count} things") }
}

impl From<MetaError> for Error {
    fn from(error: MetaError) -> Self {
        match error {
            MetaError::Conflict { .. } => Self::Contended { what: "a row of the metadata" },
            MetaError::Bound { value, delta, max, .. } => Self::QuotaExceeded {
                quota_bytes: max.try_into().unwrap_or(0),
                used_bytes: value.try_into().unwrap_or(0),
                wanted_bytes: delta.try_into().unwrap_or(0),
            },
            MetaError::Full(reason) => Self::StorageFull(reason),
            MetaError::Unavailable(reason) => Self::Unavailable(reason),
            MetaError::Corrupted(reason) => Self::Corrupted(reason),
            MetaError::TooLarge(reason) => Self::Invalid(reason),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { .. } => Self::StorageFull(error.to_string()),
            StoreError::NotFound(_) | StoreError::WrongSize { .. } | StoreError::Rotten { .. } => {
                Self::Corrupted(error.to_string())
            }
            StoreError::Failed { .. }
            | StoreError::Unlisted { .. }
            | StoreError::Unmeasured { .. } => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        Self::Corrupted(error.to_string())
    }
}
