//! Python distribution files, judged before anybody is offered them: names, versions, core metadata,
//! wheels, sdists, the fields of an upload, attestations.
//!
//! **Promises.** A file that [`inspect`] accepts is read the same way by every unpacker: its
//! archive has one reading, its names stay inside, it has exactly one metadata file, and that agrees
//! with the file's name. What [`agree`] accepts is a form that tells no other story than the file. Each
//! refusal says what is wrong and what would be right; what it quotes from the file is escaped
//! and cut, so that it can be logged and put in a header. Time and memory are bounded by [`Limits`],
//! whatever the file claims of itself.
//!
//! **Never.** It knows no HTTP and no store, unpacks nothing to disk, runs nothing that a file
//! contains, and mends nothing: what is nearly right is refused.
//!
//! Calls block; a frontend makes them where that may be.

#![forbid(unsafe_code)]

mod archive;
mod attestation;
mod digests;
mod file_name;
mod form;
mod metadata;
mod name;
mod quote;
mod requirement;
mod version;

#[cfg(any(test, feature = "testing"))]
pub use archive::hostile;
pub use archive::{ArchiveError, Inspected, Limits, inspect};
pub use attestation::{Attestation, AttestationError, Attestations, Provenance};
pub use digests::{ClaimedDigests, DigestError, DigestHasher, Digests, Others};
pub use file_name::{FileKind, FileName, FileNameError, WheelTags};
pub use form::{Disagreement, FormError, FormFields, agree};
pub use metadata::{CoreMetadata, MetadataError};
pub use name::{NameError, ProjectName, look_alike, skeleton};
pub use version::{Version, VersionError};
