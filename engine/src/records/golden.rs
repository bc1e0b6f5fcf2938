//! The golden files: what each version of each record looks like, byte for byte.
//!
//! A test that fails here says that a format changed. Where a release wrote the version: give the
//! record a new one and keep reading the old. Where none did, write the files anew with
//! `STRONGROOM_WRITE_GOLDEN=1 cargo test -p strongroom-engine golden`.

use std::fmt::Debug;
use std::path::PathBuf;

use super::*;
use crate::access::{Origin, Role};
use crate::audit::{Event, EventKind, RepositoryRef, UploadEnd, decode_event, encode_event};
use crate::digest::{Algorithm, Hasher};
use crate::epoch::{Epoch, EpochRecord};
use crate::gc::cursor::{CursorRecord, Phase};
use crate::gc::scrub::{Part, ScrubRecord};
use crate::id::{ChainId, OrganisationId};
use crate::presence::OpenRecord;
use crate::retention::{TagRule, UntaggedRule};
use crate::tenancy::purge::{PurgeRecord, Stage, Thing, TurnRecord};

const AT: Timestamp = Timestamp(1_700_000_000_123);
const LATER: Timestamp = Timestamp(1_700_086_400_456);

/// Compares `bytes` with the golden file `name`, or writes it where that was asked for.
pub(crate) fn compare(name: &str, bytes: &[u8]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let path = folder.join(format!("{name}.bin"));
    if std::env::var_os("STRONGROOM_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(const_hex::encode(bytes), const_hex::encode(golden), "{name} has changed");
}

/// One sample of a record: written as its file says, and read back from it.
pub(crate) fn holds<T: Record + PartialEq + Debug>(sample: &str, record: &T) {
    let encoded = record.encode();
    let name = format!("{}.v{}.{sample}", T::KIND, T::VERSION);
    compare(&name, &encoded);
    assert_eq!(T::decode(&encoded).as_ref(), Ok(record));
    let newer = [&[T::VERSION + 1], &encoded[1..]].concat();
    assert!(T::decode(&newer).is_err(), "a version that is not known is not guessed at");
    assert!(T::decode(&encoded[..encoded.len() - 1]).is_err(), "what is cut off is not read");
}

/// What an older version of a record says is read.
fn reads<T: Record + PartialEq + Debug>(name: &str, record: &T) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let older = std::fs::read(folder.join(format!("{name}.bin"))).unwrap();
    assert_eq!(T::decode(&older).as_ref(), Ok(record), "{name}");
    assert!(T::decode(&older[..older.len() - 1]).is_err(), "what is cut off is not read");
}

fn sha256() -> Digest {
    Digest::of(Algorithm::Sha256, b"golden")
}

fn sha512() -> Digest {
    Digest::of(Algorithm::Sha512, b"golden")
}

#[test]
fn records_of_tenants_are_as_their_golden_files() {
    holds("sample", &FormatRecord { version: 1, created_at: AT });
    holds("sample", &SealedRecord { length: 300 });
    holds("sample", &OpenRecord { since: AT, until: LATER });
    let pin = |until| PinRecord { at: AT, until, what: "a backup".to_owned() };
    let pins = [(BackupId(7), pin(None)), (BackupId(8), pin(Some(LATER)))];
    holds("sample", &PinsRecord { pins: BTreeMap::from(pins) });
    let (of, occupied) = (0x0123_4567_89ab_cdef, true);
    for (sample, kind) in [("restore", FillKind::Restore), ("copy", FillKind::Copy)] {
        holds(sample, &FillingRecord { kind, of, occupied, started_at: AT });
    }
    holds("live", &NameRecord::Live(0x0123_4567_89ab_cdef));
    holds("reserved", &NameRecord::Reserved { former: 42, since: AT });
    let organisation = OrganisationRecord {
        name: "acme".to_owned(),
        life: Life::Live,
        created_at: AT,
        quota_bytes: Some(1 << 40),
        admins: 2,
    };
    holds("live", &organisation);
    let closing = Life::Closing { nonce: 0x0123_4567_89ab_cdef };
    holds("closing", &OrganisationRecord { life: closing, ..organisation.clone() });
    let closing = OrganisationRecord { life: Life::Closing { nonce: 0 }, ..organisation.clone() };
    reads("organisation.v1.live", &organisation);
    reads("organisation.v1.closing", &closing);
    let unbound = OrganisationRecord { life: Life::Deleting, quota_bytes: None, ..organisation };
    holds("deleting", &unbound);
    reads("organisation.v1.deleting", &unbound);
    let registry = RegistryRecord {
        name: "backend".to_owned(),
        life: Life::Live,
        created_at: AT,
        public: true,
        sparse_indexes: false,
        immutable_tags: vec!["v[0-9]*".parse().unwrap(), "latest".parse().unwrap()],
        retention: vec![
            RetentionRule::Tags(TagRule {
                repositories: Some("team/*".parse().unwrap()),
                tags: None,
                keep_all: false,
                keep_last: Some(300),
                keep_pushed_days: Some(30),
                keep_pulled_days: None,
            }),
            RetentionRule::Untagged(UntaggedRule { repositories: None, keep_days: 7 }),
        ],
    };
    holds("sample", &registry);
    reads("registry.v2.sample", &registry);
    // With nothing set that the first version did not have.
    let unset = RegistryRecord { immutable_tags: vec![], retention: vec![], ..registry };
    reads("registry.v1.sample", &unset);
    holds("sample", &MomentRecord { at: AT });
    let name = "api/server".to_owned();
    holds("sample", &DoomedRecord { registry: RegistryId(7), name, since: AT });
    holds("sample", &TrimmedRecord { length: 300, hash: [9; 32], before: AT });
    holds("sample", &RetentionCursor { next: b"next".to_vec() });
    let registries = BTreeMap::from([
        (RegistryId(7), Role::Viewer),
        (RegistryId(8), Role::Writer),
        (RegistryId(9), Role::Admin),
    ]);
    holds("sample", &MemberRecord { role: Some(Role::Admin), registries, added_at: AT });
    let name = "api/server".to_owned();
    holds("sample", &RepositoryRecord { registry: RegistryId(7), name, created_at: AT });
}

#[test]
fn records_of_content_are_as_their_golden_files() {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(&[7; 100]);
    let session = SessionRecord {
        repository: RepositoryId(3),
        principal: "user:ann".to_owned(),
        epoch: 5,
        digest: Some(sha256()),
        hash: hasher.save(),
        write: WriteState { offset: 100, state: vec![1, 2, 3] },
        reserved_bytes: 1 << 26,
        started_at: AT,
        expires_at: LATER,
    };
    holds("sha256", &session);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&[7; 300]);
    holds("sha512", &SessionRecord { digest: None, hash: hasher.save(), ..session });
    let blob = BlobRecord {
        size: 123_456_789,
        generation: SessionId([9; 16]),
        settled: true,
        state: BlobState::Live,
        stored_at: AT,
    };
    for (sample, state) in [
        ("live", BlobState::Live),
        ("condemned", BlobState::Condemned { nonce: u64::MAX }),
        ("deleting", BlobState::Deleting { since: LATER }),
        ("quarantined", BlobState::Quarantined { since: LATER }),
    ] {
        holds(sample, &BlobRecord { state, ..blob.clone() });
    }
    let link = LinkRecord {
        number: Number(1 << 60),
        size: 123_456_789,
        blob: true,
        manifest: None,
        state: LinkState::Live,
        leased_until: LATER,
    };
    holds("blob", &link);
    let state = LinkState::Condemned { nonce: 1 };
    let manifest = Some(ManifestPlace::Blob);
    holds("manifest", &LinkRecord { blob: false, manifest, state, ..link.clone() });
    let manifest = Some(ManifestPlace::Record);
    holds("inline", &LinkRecord { manifest, ..link });
}

#[test]
fn records_of_manifests_are_as_their_golden_files() {
    let manifest = ManifestRecord {
        digest: sha256(),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        kind: ManifestKind::OciImage,
        size: 2,
        artifact_type: Some("application/vnd.example".to_owned()),
        subject: Some(sha512()),
        children: vec![
            ChildRecord { digest: sha512(), number: Some(Number(1 << 60)) },
            ChildRecord { digest: sha256(), number: None },
        ],
        pushed_at: AT,
        body: Body::Inline(b"{}".to_vec()),
    };
    for (sample, kind) in [
        ("oci-image", ManifestKind::OciImage),
        ("oci-index", ManifestKind::OciIndex),
        ("docker-image", ManifestKind::DockerImage),
        ("docker-list", ManifestKind::DockerList),
    ] {
        holds(sample, &ManifestRecord { kind, ..manifest.clone() });
    }
    holds("stored", &ManifestRecord { body: Body::Stored, ..manifest });
    let copy = CopyRecord { size: 2, generation: SessionId([9; 16]), stored: true, at: AT };
    holds("stored", &copy);
    holds("coming", &CopyRecord { stored: false, ..copy });
    let current = Epoch { number: 300, nonce: u64::MAX };
    let epoch = EpochRecord { current, next: None, at: AT };
    holds("at-rest", &epoch);
    holds("advancing", &EpochRecord { next: Some(Epoch { number: 301, nonce: 7 }), ..epoch });
    holds("sample", &TagRecord { digest: sha256(), number: Number(1 << 60), pushed_at: AT });
    let referrer = ReferrerRecord {
        digest: sha256(),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        size: 700,
        artifact_type: Some("application/vnd.example".to_owned()),
        annotations: BTreeMap::from([("key".to_owned(), "value".to_owned())]),
    };
    holds("sample", &referrer);
}

#[test]
fn the_collectors_cursor_is_as_its_golden_file() {
    let next = b"01/sha256/ab/cd.ef".to_vec();
    holds("sample", &CursorRecord { phase: Phase::Objects, next: next.clone() });
    let (thing, stage) = (Thing::Registry(RegistryId(7)), Stage::Members);
    holds("registry", &PurgeRecord { thing, stage, next: next.clone() });
    let thing = Thing::Repositories(vec![RepositoryId(8), RepositoryId(9)]);
    holds("repositories", &PurgeRecord { thing, stage: Stage::Rows, next });
    let (part, next) = (Part::Manifests, b"next".to_vec());
    holds("sample", &ScrubRecord { organisation: OrganisationId(42), part, next });
    holds("sample", &TurnRecord { next: OrganisationId(42) });
}

#[test]
fn lines_of_the_trail_are_as_their_golden_files() {
    let repository = || RepositoryRef {
        id: RepositoryId(3),
        registry: RegistryId(7),
        path: "acme/backend/api".to_owned(),
    };
    let (digest, registry) = (sha256(), RegistryId(7));
    let text = |text: &str| text.to_owned();
    let name = || text("backend");
    let kinds = [
        EventKind::OrganisationCreated { name: text("acme") },
        EventKind::OrganisationChanged { change: text("renamed") },
        EventKind::OrganisationDeleted { name: text("acme") },
        EventKind::RegistryCreated { registry, name: name() },
        EventKind::RegistryChanged { registry, change: text("public") },
        EventKind::RegistryDeleted { registry, name: name() },
        EventKind::MemberSet {
            principal: text("user:bob"),
            registry: Some(registry),
            role: Some(Role::Writer),
        },
        EventKind::BlobPushed { repository: repository(), digest, size: 5 },
        EventKind::BlobMounted { repository: repository(), from: RepositoryId(4), digest },
        EventKind::BlobDeleted { repository: repository(), digest },
        EventKind::ManifestPushed {
            repository: repository(),
            digest,
            media_type: text("application/vnd.oci.image.manifest.v1+json"),
            tags: vec![text("1.0"), text("latest")],
            subject: Some(sha512()),
        },
        EventKind::ManifestDeleted { repository: repository(), digest },
        EventKind::TagDeleted { repository: repository(), tag: text("1.0"), digest },
        EventKind::Pulled { repository: repository(), digest, tag: Some(text("1.0")), count: 9 },
        EventKind::SignedIn { method: text("password"), success: false },
        EventKind::Refused { what: text("push") },
        EventKind::Identity { change: text("created"), subject: text("user:bob") },
        EventKind::Maintained { what: text("collected"), objects: 3, bytes: 4096 },
        EventKind::Sealed { heads: vec![(ChainId(11), 12, [13; 32])] },
        EventKind::RepositoryCreated { repository: repository() },
        EventKind::UploadStarted { repository: repository(), session: SessionId([14; 16]) },
        EventKind::UploadEnded {
            repository: repository(),
            session: SessionId([14; 16]),
            reason: UploadEnd::Expired,
        },
        EventKind::LinkCollected { repository: repository(), digest, size: 4096 },
        EventKind::ContentGivenUp { digest, size: 4096 },
        EventKind::ContentDeleted { digest, size: 4096 },
        EventKind::ContentQuarantined {
            digest,
            size: 4096,
            problem: text("its object is missing"),
        },
        EventKind::ContentAdopted { digest, size: 4096, object: text("01/sha256/ab/cd.ef") },
        EventKind::OrphanDeleted { object: text("01/in-flight/ef"), size: 4096 },
        EventKind::QuotaChanged { from_bytes: None, to_bytes: Some(1 << 40) },
        EventKind::ManifestRebuilt { repository: RepositoryId(3), digest, missing: 1 },
        EventKind::RepositoryDeleted { repository: repository() },
        EventKind::TrailTrimmed { gone: vec![(ChainId(11), 12, [13; 32])] },
    ];
    for kind in kinds {
        let json = serde_json::to_value(&kind).unwrap();
        assert!(json.get(kind.name()).is_some(), "a kind is named as in its JSON: {json}");
        let name = format!("event.v1.{}", kind.name());
        let event = Event {
            organisation: OrganisationId(1),
            at: AT,
            principal: text("user:ann"),
            origin: Origin {
                address: Some([192, 0, 2, 1].into()),
                request_id: Some(text("request")),
                user_agent: Some(text("client/1.0")),
            },
            kind,
        };
        let encoded = encode_event(&event);
        compare(&name, &encoded);
        assert_eq!(decode_event(&encoded), Ok(event));
    }
}
