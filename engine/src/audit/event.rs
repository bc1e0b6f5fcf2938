//! What happened: the typed events that the audit trail keeps and that an embedder can subscribe to.

use serde::{Deserialize, Serialize};

use crate::access::{Caller, Origin, Role};
use crate::digest::Digest;
use crate::id::{ChainId, OrganisationId, RegistryId, RepositoryId, SessionId};
use crate::seam::Timestamp;

/// A repository as an event names it: by its id, and by the name it had then.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RepositoryRef {
    /// The id, which stays.
    pub id: RepositoryId,
    /// The registry it is in.
    pub registry: RegistryId,
    /// `organisation/registry/repository` as of then; empty where it, or what it is in, was gone.
    pub path: String,
}

/// What happened. Each acknowledged change has its line, committed with it (I7); what an upload
/// receives on its way, leases, and where the bytes of content lie are no changes in this sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// An organisation was created.
    OrganisationCreated {
        /// Its name.
        name: String,
    },
    /// An organisation's name, quota or other settings changed.
    OrganisationChanged {
        /// What changed, in words.
        change: String,
    },
    /// An organisation was given up; its rows and bytes go away behind.
    OrganisationDeleted {
        /// Its name.
        name: String,
    },
    /// A registry was created.
    RegistryCreated {
        /// Its id.
        registry: RegistryId,
        /// Its name.
        name: String,
    },
    /// A registry's name or settings changed.
    RegistryChanged {
        /// Its id.
        registry: RegistryId,
        /// What changed, in words.
        change: String,
    },
    /// A registry was given up.
    RegistryDeleted {
        /// Its id.
        registry: RegistryId,
        /// Its name.
        name: String,
    },
    /// Somebody was given a role, or another one, or lost it.
    MemberSet {
        /// Who.
        principal: String,
        /// In which registry; in the whole organisation where absent.
        registry: Option<RegistryId>,
        /// Which role; none where it was taken away.
        role: Option<Role>,
    },
    /// A blob became readable in a repository by a push.
    BlobPushed {
        /// Where.
        repository: RepositoryRef,
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A blob became readable in a repository by a mount from another.
    BlobMounted {
        /// Where.
        repository: RepositoryRef,
        /// From where.
        from: RepositoryId,
        /// Which.
        digest: Digest,
    },
    /// A blob was removed from a repository.
    BlobDeleted {
        /// Where.
        repository: RepositoryRef,
        /// Which.
        digest: Digest,
    },
    /// A manifest was pushed, or tags were set on one that was there.
    ManifestPushed {
        /// Where.
        repository: RepositoryRef,
        /// Which.
        digest: Digest,
        /// Its media type.
        media_type: String,
        /// The tags that now point at it by this push.
        tags: Vec<String>,
        /// What it refers to.
        subject: Option<Digest>,
    },
    /// A manifest was removed, with its tags.
    ManifestDeleted {
        /// Where.
        repository: RepositoryRef,
        /// Which.
        digest: Digest,
    },
    /// A tag was removed.
    TagDeleted {
        /// Where.
        repository: RepositoryRef,
        /// Which.
        tag: String,
        /// What it pointed at.
        digest: Digest,
    },
    /// Content was read, `count` times by the same caller within one group.
    Pulled {
        /// Where.
        repository: RepositoryRef,
        /// Which.
        digest: Digest,
        /// The tag it was asked by.
        tag: Option<String>,
        /// How often.
        count: u64,
    },
    /// Somebody signed in, or failed to.
    SignedIn {
        /// How: `password`, `token`, ….
        method: String,
        /// Whether it worked.
        success: bool,
    },
    /// Something was refused.
    Refused {
        /// What was asked for.
        what: String,
    },
    /// An account, robot or token was created, changed or removed.
    Identity {
        /// What was done, in words.
        change: String,
        /// To whom.
        subject: String,
    },
    /// Housekeeping did many things at once: what a deleted tenant left was taken away, a backup was made
    /// or let go, the store was restored.
    Maintained {
        /// What was done, in words.
        what: String,
        /// How many objects.
        objects: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// The heads of all chains of the organisation at this moment, so that a chain whose end was
    /// cut off shows.
    Sealed {
        /// Each chain with its length and last hash.
        heads: Vec<(ChainId, u64, [u8; 32])>,
    },
    /// A repository was created, by the first thing pushed there.
    RepositoryCreated {
        /// Which.
        repository: RepositoryRef,
    },
    /// An upload was started. What it ends in is another line: the push, or that it ended without.
    UploadStarted {
        /// Where.
        repository: RepositoryRef,
        /// Which.
        session: SessionId,
    },
    /// An upload ended without a push.
    UploadEnded {
        /// Where.
        repository: RepositoryRef,
        /// Which.
        session: SessionId,
        /// Why.
        reason: UploadEnd,
    },
    /// A collection removed a blob from a repository: no lease stood, and no manifest named it.
    LinkCollected {
        /// Where.
        repository: RepositoryRef,
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A collection found that no repository has the content any more: its bytes go after a delay.
    ContentGivenUp {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Content that was given up is gone, and its bytes are given back to the organisation.
    ContentDeleted {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Content was found wrong: it answers as absent until a push heals it.
    ContentQuarantined {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// What is wrong with it, in words.
        problem: String,
    },
    /// Content that missed its bytes was given an object that has them.
    ContentAdopted {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The object's key.
        object: String,
    },
    /// An object that nothing names goes. Written before it is deleted; where the store fails at
    /// that, a later collection writes it again.
    OrphanDeleted {
        /// The object's key.
        object: String,
        /// Its size in bytes.
        size: u64,
    },
    /// What an organisation may store was set.
    QuotaChanged {
        /// What it was, in bytes; no bound where absent.
        from_bytes: Option<u64>,
        /// What it is now, in bytes; no bound where absent.
        to_bytes: Option<u64>,
    },
    /// A small manifest whose record was lost or damaged was written anew from the bucket.
    ManifestRebuilt {
        /// Where.
        repository: RepositoryId,
        /// Which.
        digest: Digest,
        /// How many of the things it names are not in its repository.
        missing: u64,
    },
    /// A repository was given up, with all that was in it.
    RepositoryDeleted {
        /// Which.
        repository: RepositoryRef,
    },
    /// Old lines were cut off the trail: what of each chain is gone, by this cut and all before it.
    TrailTrimmed {
        /// Each chain with how many of its first lines are gone and the hash of the last of them.
        gone: Vec<(ChainId, u64, [u8; 32])>,
    },
}

/// Why an upload ended without a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UploadEnd {
    /// Its client gave it up.
    Cancelled,
    /// It came to nothing: its bytes were not what was announced, could not be stored, or were
    /// here already.
    Failed,
    /// Nobody went on with it.
    Expired,
    /// What it was in was deleted.
    Purged,
}

impl EventKind {
    /// What kind it is, as its JSON names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::OrganisationCreated { .. } => "organisation_created",
            Self::OrganisationChanged { .. } => "organisation_changed",
            Self::OrganisationDeleted { .. } => "organisation_deleted",
            Self::RegistryCreated { .. } => "registry_created",
            Self::RegistryChanged { .. } => "registry_changed",
            Self::RegistryDeleted { .. } => "registry_deleted",
            Self::MemberSet { .. } => "member_set",
            Self::BlobPushed { .. } => "blob_pushed",
            Self::BlobMounted { .. } => "blob_mounted",
            Self::BlobDeleted { .. } => "blob_deleted",
            Self::ManifestPushed { .. } => "manifest_pushed",
            Self::ManifestDeleted { .. } => "manifest_deleted",
            Self::TagDeleted { .. } => "tag_deleted",
            Self::Pulled { .. } => "pulled",
            Self::SignedIn { .. } => "signed_in",
            Self::Refused { .. } => "refused",
            Self::Identity { .. } => "identity",
            Self::Maintained { .. } => "maintained",
            Self::Sealed { .. } => "sealed",
            Self::RepositoryCreated { .. } => "repository_created",
            Self::UploadStarted { .. } => "upload_started",
            Self::UploadEnded { .. } => "upload_ended",
            Self::LinkCollected { .. } => "link_collected",
            Self::ContentGivenUp { .. } => "content_given_up",
            Self::ContentDeleted { .. } => "content_deleted",
            Self::ContentQuarantined { .. } => "content_quarantined",
            Self::ContentAdopted { .. } => "content_adopted",
            Self::OrphanDeleted { .. } => "orphan_deleted",
            Self::QuotaChanged { .. } => "quota_changed",
            Self::ManifestRebuilt { .. } => "manifest_rebuilt",
            Self::RepositoryDeleted { .. } => "repository_deleted",
            Self::TrailTrimmed { .. } => "trail_trimmed",
        }
    }

    /// The repository it happened in, where it happened in one.
    pub fn repository(&self) -> Option<&RepositoryRef> {
        match self {
            Self::BlobPushed { repository, .. }
            | Self::BlobMounted { repository, .. }
            | Self::BlobDeleted { repository, .. }
            | Self::ManifestPushed { repository, .. }
            | Self::ManifestDeleted { repository, .. }
            | Self::TagDeleted { repository, .. }
            | Self::Pulled { repository, .. }
            | Self::RepositoryCreated { repository }
            | Self::RepositoryDeleted { repository }
            | Self::UploadStarted { repository, .. }
            | Self::UploadEnded { repository, .. }
            | Self::LinkCollected { repository, .. } => Some(repository),
            Self::OrganisationCreated { .. }
            | Self::OrganisationChanged { .. }
            | Self::OrganisationDeleted { .. }
            | Self::RegistryCreated { .. }
            | Self::RegistryChanged { .. }
            | Self::RegistryDeleted { .. }
            | Self::MemberSet { .. }
            | Self::SignedIn { .. }
            | Self::Refused { .. }
            | Self::Identity { .. }
            | Self::Maintained { .. }
            | Self::Sealed { .. }
            | Self::ContentGivenUp { .. }
            | Self::ContentDeleted { .. }
            | Self::ContentQuarantined { .. }
            | Self::ContentAdopted { .. }
            | Self::OrphanDeleted { .. }
            | Self::QuotaChanged { .. }
            | Self::ManifestRebuilt { .. }
            | Self::TrailTrimmed { .. } => None,
        }
    }
}

/// Something that happened, with who did it, from where and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// In which organisation; [`SYSTEM`] where it belongs to none.
    pub organisation: OrganisationId,
    /// When, by the store's clock.
    pub at: Timestamp,
    /// Who.
    pub principal: String,
    /// From where.
    pub origin: Origin,
    /// What.
    pub kind: EventKind,
}

/// The chain of what belongs to no organisation.
pub const SYSTEM: OrganisationId = OrganisationId(0);

impl Event {
    /// Something that `caller` did.
    pub fn by(
        caller: &Caller,
        organisation: OrganisationId,
        at: Timestamp,
        kind: EventKind,
    ) -> Self {
        Self {
            organisation,
            at,
            principal: caller.principal.as_str().to_owned(),
            origin: caller.origin.clone(),
            kind,
        }
    }

    /// Something that the engine did by its own rules: collection, scrub.
    pub(crate) fn by_system(organisation: OrganisationId, at: Timestamp, kind: EventKind) -> Self {
        let (principal, origin) = ("system".to_owned(), Origin::default());
        Self { organisation, at, principal, origin, kind }
    }
}
