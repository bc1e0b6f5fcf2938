//! What a repository has: links to content, manifests, tags, edges and referrers.
//!
//! [`Repository`] is the only door to content, and [`crate::Engine::repository`] the only way to
//! one: it asks the authorizer. Invariants kept here: I2 (a manifest is committed only with
//! everything it names linked, and what a manifest names is not unlinked), I3 (a tag is one row,
//! replaced whole), I4 (every key begins with the organisation's id).
//!
//! What it never does: touch bytes of blobs. A link is removed in two commits, `condemned` and
//! gone, with a look in between (see [`unlink`]), so that nothing leans on a condition on ranges.

mod blobs;
mod cache;
mod catalog;
mod delete;
mod depth;
mod known;
mod link;
mod listing;
mod manifests;
mod moments;
mod push;
mod quarantine;
mod referrers;
mod repository;
mod revision;
mod scope;
mod tags;
mod verified;

pub use blobs::{Blob, BlobInfo};
pub(crate) use cache::{Cache, stripe_of_organisation, stripe_of_reference, stripe_of_repository};
pub use catalog::Catalog;
pub(crate) use known::Known;
pub(crate) use link::{Closely, Unlinked, keep_content, link_blob, named_by, unlink};
pub(crate) use listing::tag_in;
pub use listing::{ManifestInfo, TagInfo};
pub use manifests::StoredManifest;
pub(crate) use moments::{PulledFrom, note_pulls};
pub(crate) use push::put_manifest;
pub use push::{ManifestPush, PushedManifest};
pub(crate) use quarantine::quarantine;
pub use referrers::Referrer;
pub use repository::Repository;
pub use revision::Revision;
pub(crate) use scope::Scope;

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the order of the listing.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    pub next: Option<String>,
}

/// The most items a page has, whatever was asked.
pub const MAX_PAGE: usize = 1000;
