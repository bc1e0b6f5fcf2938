//! What a collection did, or would do.

use crate::digest::Digest;

/// How many, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// How much of some work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// What is done of it, in whatever it is measured by.
    pub done: u64,
    /// All of it, never less than what is done. About: what there is changes meanwhile, and some stores
    /// guess.
    pub total: u64,
}

impl Extent {
    /// So much `done` of about `total`; none of nothing.
    pub(crate) fn of(done: u64, total: u64) -> Option<Self> {
        (total > 0).then(|| Self { done, total: total.max(done) })
    }
}

/// How far a walk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What it does: `retention`, `tenants`, `uploads`, `content`, `copies`, `objects`, `records`, `trail`,
    /// `archive`.
    pub phase: &'static str,
    /// How many things it looked at: in this phase, or in a collection in the run so far.
    pub done: u64,
    /// The bytes it read in this phase.
    pub bytes: u64,
    /// How much of the work that is, where it is known how much there is. Of another one in another
    /// phase, or of the same.
    pub extent: Option<Extent>,
}

/// What a collection did; for a dry run, what it would do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CollectReport {
    /// Whether it went on where an earlier run stood.
    pub resumed: bool,
    /// Whether it left the objects that nothing names alone, since the blob store is of another epoch
    /// than the metadata: those were restored from older ones, and may not know what they miss.
    pub refused: bool,
    /// Whether it looked at everything; else its budget ended it.
    pub complete: bool,
    /// Rows of uploads, content and links, and objects looked at.
    pub looked_at: u64,
    /// Tags that the retention rules of registries let go.
    pub expired_tags: u64,
    /// Manifests that went with them, or for want of a tag.
    pub expired_manifests: u64,
    /// Links removed: no lease, and no manifest names them.
    pub links: Tally,
    /// Content that nobody links any more: its object goes once the delay is over.
    pub given_up: Tally,
    /// Content gone: its object deleted and its bytes given back to the organisation.
    pub deleted: Tally,
    /// Objects moved under their digest.
    pub settled: Tally,
    /// Small manifests copied to the blob store, which their push had not brought there.
    pub copied: Tally,
    /// Copies of small manifests that no repository has any more, removed.
    pub uncopied: Tally,
    /// Uploads that expired, and what they had reserved.
    pub uploads: Tally,
    /// Objects that nothing names, deleted.
    pub orphans: Tally,
    /// Objects that would go, were they not pinned for a backup.
    pub pinned: Tally,
    /// Objects in the bucket that are none of ours: left alone.
    pub foreign: Tally,
    /// Rows of deleted organisations and registries removed.
    pub tenant_rows: u64,
    /// Objects of deleted organisations removed.
    pub tenant_objects: Tally,
    /// Rows that can't be read; what they may hold was kept. `fsck` names them.
    pub unreadable: u64,
    /// Steps that the blob store failed at; the next collection tries them again.
    pub failed: u64,
}

impl CollectReport {
    /// Notes a step that the blob store refused.
    pub(crate) fn failure(&mut self, digest: Option<&Digest>, error: &crate::content::StoreError) {
        self.failed += 1;
        let digest = digest.map(Digest::to_string);
        tracing::warn!(digest, %error, "the next collection tries this again");
    }
}
