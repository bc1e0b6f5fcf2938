//! The records behind the keys: what each row of the metadata says.
//!
//! A record is one byte of version and then its fields in postcard's encoding. A field is never
//! added to a version that a release wrote: a new version is a new type, and `decode` reads the old
//! one into the new. The golden files in `tests/golden` keep a format from changing by accident.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::content::WriteState;
use crate::digest::{Digest, HasherState};
use crate::id::{BackupId, Number, RegistryId, RepositoryId, SessionId};
use crate::manifest::ManifestKind;
use crate::meta::log::HASH_BYTES;
use crate::pattern::Pattern;
use crate::retention::RetentionRule;
use crate::seam::Timestamp;

#[cfg(test)]
pub(crate) mod golden;

/// A record that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} record can't be read: {reason}")]
pub struct RecordError {
    /// Which record.
    pub kind: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// A typed row.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// What the record is called in errors and in the golden files.
    const KIND: &'static str;
    /// The version that is written.
    const VERSION: u8 = 1;

    /// The row's value.
    fn encode(&self) -> Bytes {
        let buffer = vec![Self::VERSION];
        let encoded = postcard::to_extend(self, buffer);
        Bytes::from(encoded.expect("a record's fields all have an encoding, and memory grows"))
    }

    /// Reads a row's value; a record that had older versions reads those too.
    fn decode(value: &[u8]) -> Result<Self, RecordError> {
        decode_current(value)
    }
}

/// Reads a row's value of the version that is written now.
fn decode_current<T: Record>(value: &[u8]) -> Result<T, RecordError> {
    let error = |reason: String| RecordError { kind: T::KIND, reason };
    match value.split_first() {
        Some((version, fields)) if *version == T::VERSION => {
            postcard::from_bytes(fields).map_err(|e| error(e.to_string()))
        }
        Some((version, _)) => Err(error(format!(
            "it has version {version}; this program reads version {}",
            T::VERSION
        ))),
        None => Err(error("it is empty".to_owned())),
    }
}

/// Reads the fields of an older version of `T`.
fn decode_old<T: Record, Old: DeserializeOwned>(fields: &[u8]) -> Result<Old, RecordError> {
    postcard::from_bytes(fields).map_err(|e| RecordError { kind: T::KIND, reason: e.to_string() })
}

macro_rules! record {
    ($($name:ident = $kind:literal),+ $(,)?) => {
        $(impl Record for $name { const KIND: &'static str = $kind; })+
    };
}

record! {
    FormatRecord = "format",
    NameRecord = "name",
    MemberRecord = "member",
    RepositoryRecord = "repository",
    SessionRecord = "session",
    BlobRecord = "blob",
    LinkRecord = "link",
    ManifestRecord = "manifest",
    TagRecord = "tag",
    ReferrerRecord = "referrer",
    CopyRecord = "copy",
    SealedRecord = "sealed",
    PinsRecord = "pins",
    FillingRecord = "filling",
    MomentRecord = "moment",
    DoomedRecord = "doomed",
    TrimmedRecord = "trimmed",
    RetentionCursor = "retention-cursor",
}

/// `!format`: the version of the whole store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FormatRecord {
    /// Counts up with each change that an older program can't read.
    pub(crate) version: u32,
    /// When the store was made.
    pub(crate) created_at: Timestamp,
}

/// `!sealed`: how much of an audit chain some seal covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedRecord {
    /// How many lines the chain had then.
    pub(crate) length: u64,
}

/// `!pins`: the backups whose objects collection leaves alone. One row for all of them, so that the
/// commit that gives content up can require that no pin was made since it looked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct PinsRecord {
    /// By the backup's id.
    pub(crate) pins: BTreeMap<BackupId, PinRecord>,
}

/// One pin: what was content when it was made stays in the blob store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PinRecord {
    pub(crate) at: Timestamp,
    /// Until when it stands unless it is renewed; for ever where absent.
    pub(crate) until: Option<Timestamp>,
    /// What for, in words.
    pub(crate) what: String,
}

/// What fills a store that was empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FillKind {
    Restore,
    Copy,
}

/// `!filling`: a restore or a copy is under way. The commit that ends it removes this row and
/// writes `!format`; before that nothing opens the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FillingRecord {
    pub(crate) kind: FillKind,
    /// From what: an archive's id, or the beginning of the SHA-256 of the source's `!format`.
    pub(crate) of: u64,
    /// Whether there were objects before it began.
    pub(crate) occupied: bool,
    pub(crate) started_at: Timestamp,
}

/// A name → what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NameRecord {
    /// The id of the thing that has this name.
    Live(u64),
    /// The thing that had this name is gone or renamed; nobody else gets the name (DESIGN D3).
    Reserved {
        /// Who had it.
        former: u64,
        /// Since when it is free of its thing.
        since: Timestamp,
    },
}

/// Whether a tenant's thing takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Life {
    /// In use.
    Live,
    /// Takes no writes while somebody looks whether it is empty, to delete it: then either
    /// `Deleting` or `Live` again. What a crash left so is made live by the next start
    /// and the next collection. The nonce tells one look from another: what was live in between
    /// may have been filled.
    Closing { nonce: u64 },
    /// Being deleted: answers as absent, and its rows go away behind.
    Deleting,
}

/// [`Life`] as the first records of tenants said it.
#[derive(Debug, Deserialize)]
enum LifeV1 {
    Live,
    Closing,
    Deleting,
}

impl From<LifeV1> for Life {
    fn from(life: LifeV1) -> Self {
        match life {
            LifeV1::Live => Self::Live,
            // Whoever closed it so is gone, or will find that its row changed.
            LifeV1::Closing => Self::Closing { nonce: 0 },
            LifeV1::Deleting => Self::Deleting,
        }
    }
}

/// A tenant and content domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrganisationRecord {
    pub(crate) name: String,
    pub(crate) life: Life,
    pub(crate) created_at: Timestamp,
    /// The most bytes it may store and reserve; no bound where absent.
    pub(crate) quota_bytes: Option<u64>,
    /// How many members are admin of the whole organisation. Kept here, in the commits that change
    /// it, so that two who demote each other at once meet in one row and one admin stays.
    pub(crate) admins: u32,
}

/// The first version of [`OrganisationRecord`].
#[derive(Debug, Deserialize)]
struct OrganisationRecordV1 {
    name: String,
    life: LifeV1,
    created_at: Timestamp,
    quota_bytes: Option<u64>,
    admins: u32,
}

impl Record for OrganisationRecord {
    const KIND: &'static str = "organisation";
    const VERSION: u8 = 2;

    fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let Some((1, fields)) = value.split_first() else { return decode_current(value) };
        let OrganisationRecordV1 { name, life, created_at, quota_bytes, admins } =
            decode_old::<Self, _>(fields)?;
        Ok(Self { name, life: life.into(), created_at, quota_bytes, admins })
    }
}

/// A registry of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RegistryRecord {
    pub(crate) name: String,
    pub(crate) life: Life,
    pub(crate) created_at: Timestamp,
    /// Whether anybody may pull.
    pub(crate) public: bool,
    /// Whether a manifest may name content that is not there.
    pub(crate) sparse_indexes: bool,
    /// Tags of these names neither move nor go.
    pub(crate) immutable_tags: Vec<Pattern>,
    /// What expires.
    pub(crate) retention: Vec<RetentionRule>,
}

impl RegistryRecord {
    /// The pattern that makes `tag` immutable.
    pub(crate) fn immutable(&self, tag: &str) -> Option<&Pattern> {
        self.immutable_tags.iter().find(|pattern| pattern.matches(tag))
    }
}

/// The first version of [`RegistryRecord`].
#[derive(Debug, Deserialize)]
struct RegistryRecordV1 {
    name: String,
    life: LifeV1,
    created_at: Timestamp,
    public: bool,
    sparse_indexes: bool,
}

/// The second.
#[derive(Debug, Deserialize)]
struct RegistryRecordV2 {
    first: RegistryRecordV1,
    immutable_tags: Vec<Pattern>,
    retention: Vec<RetentionRule>,
}

impl Record for RegistryRecord {
    const KIND: &'static str = "registry";
    const VERSION: u8 = 3;

    fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let (first, immutable_tags, retention) = match value.split_first() {
            Some((1, fields)) => (decode_old::<Self, _>(fields)?, Vec::new(), Vec::new()),
            Some((2, fields)) => {
                let second: RegistryRecordV2 = decode_old::<Self, _>(fields)?;
                (second.first, second.immutable_tags, second.retention)
            }
            _ => return decode_current(value),
        };
        let RegistryRecordV1 { name, life, created_at, public, sparse_indexes } = first;
        let life = life.into();
        Ok(Self { name, life, created_at, public, sparse_indexes, immutable_tags, retention })
    }
}

/// What a member of an organisation may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberRecord {
    /// The role in the whole organisation.
    pub(crate) role: Option<crate::access::Role>,
    /// Roles in single registries.
    pub(crate) registries: BTreeMap<RegistryId, crate::access::Role>,
    pub(crate) added_at: Timestamp,
}

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RepositoryRecord {
    pub(crate) registry: RegistryId,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
}

/// An upload that is under way; also the intent row of the object it writes (DESIGN D1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) repository: RepositoryId,
    /// Who began it; nobody else can go on with it.
    pub(crate) principal: String,
    /// Counts the commits of the session: who holds an older one has lost it to another writer.
    pub(crate) epoch: u64,
    /// The digest, where it was known at the start: the object lies under it from the start.
    pub(crate) digest: Option<Digest>,
    /// The hash of the bytes up to `write.offset`.
    pub(crate) hash: HasherState,
    /// How far the bytes are durable, and how to go on.
    pub(crate) write: WriteState,
    /// The bytes held for this session in the organisation's counter.
    pub(crate) reserved_bytes: u64,
    pub(crate) started_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Where a piece of content stands between being used and being gone (DESIGN D6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BlobState {
    /// In use, or may be.
    Live,
    /// A collector is looking whether anybody uses it; the nonce tells one look from another.
    Condemned { nonce: u64 },
    /// Beyond recall: its object goes away. A push meets it with a new generation.
    Deleting { since: Timestamp },
    /// Scrub found its bytes wrong: answers as absent, and is healed by a push.
    Quarantined { since: Timestamp },
}

/// A piece of content of one organisation, stored once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobRecord {
    pub(crate) size: u64,
    /// Which object holds the bytes.
    pub(crate) generation: SessionId,
    /// Whether the object lies under its digest; else in flight still.
    pub(crate) settled: bool,
    pub(crate) state: BlobState,
    pub(crate) stored_at: Timestamp,
}

/// Where a manifest's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ManifestPlace {
    /// In its record.
    Record,
    /// In the blob store, as content of the organisation.
    Blob,
}

/// Where a link stands between being used and being gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LinkState {
    Live,
    /// Somebody looks whether it is in use, to remove it; the nonce tells one look from another.
    Condemned {
        nonce: u64,
    },
}

/// A repository may serve and name this digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkRecord {
    pub(crate) number: Number,
    pub(crate) size: u64,
    /// It was pushed or mounted as a blob.
    pub(crate) blob: bool,
    /// It was pushed as a manifest; the same bytes may be both.
    pub(crate) manifest: Option<ManifestPlace>,
    pub(crate) state: LinkState,
    /// Until when the promise stands that it may be named (DESIGN D6).
    pub(crate) leased_until: Timestamp,
}

impl LinkRecord {
    /// Whether the organisation must keep the bytes for this link.
    pub(crate) fn needs_content(&self) -> bool {
        self.blob || self.manifest == Some(ManifestPlace::Blob)
    }
}

/// Where a manifest's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// Here, exactly as pushed.
    Inline(Vec<u8>),
    /// In the blob store, as content of the organisation.
    Stored,
}

/// One thing a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChildRecord {
    pub(crate) digest: Digest,
    /// Its link's number; absent where a sparse manifest named what was not there.
    pub(crate) number: Option<Number>,
}

/// A manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestRecord {
    pub(crate) digest: Digest,
    pub(crate) media_type: Arc<str>,
    pub(crate) kind: ManifestKind,
    pub(crate) size: u64,
    pub(crate) artifact_type: Option<String>,
    pub(crate) subject: Option<Digest>,
    pub(crate) children: Vec<ChildRecord>,
    pub(crate) pushed_at: Timestamp,
    pub(crate) body: Body,
}

/// The copy in the blob store of a manifest whose bytes are in its record; from before its first
/// byte, so it is also the intent row of that object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopyRecord {
    pub(crate) size: u64,
    /// Which object holds the copy.
    pub(crate) generation: SessionId,
    /// Whether it is durable; else it is on its way.
    pub(crate) stored: bool,
    /// Since when that is so.
    pub(crate) at: Timestamp,
}

/// What a tag points at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TagRecord {
    pub(crate) digest: Digest,
    pub(crate) number: Number,
    pub(crate) pushed_at: Timestamp,
}

/// A manifest that names a subject, as the referrers API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReferrerRecord {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// When something happened to a manifest last, to the hour: it was pulled, or pushed again. A row of
/// its own, so that neither contends with anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MomentRecord {
    pub(crate) at: Timestamp,
}

/// A repository that was given up: it has no record and no name any more, and its rows go away
/// behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DoomedRecord {
    pub(crate) registry: RegistryId,
    /// What it was called.
    pub(crate) name: String,
    pub(crate) since: Timestamp,
}

/// The lines that were cut off the beginning of an audit chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrimmedRecord {
    /// How many.
    pub(crate) length: u64,
    /// The hash of the last of them, which the first that is left follows from.
    pub(crate) hash: [u8; HASH_BYTES],
    /// All of them were written before.
    pub(crate) before: Timestamp,
}

/// `!retention`: where a run over the retention rules was stopped: a hint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetentionCursor {
    /// The key of the name of the repository that is next.
    pub(crate) next: Vec<u8>,
}
