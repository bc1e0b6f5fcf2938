//! The store's format: what an earlier program wrote is read, what a later one wrote is refused.
//!
//! `tests/golden/store-vN` is a store as version N of the format was written. That of this program is
//! written anew on purpose alone: `STRONGROOM_WRITE_GOLDEN=1 cargo test -p strongroom-engine --test
//! format`; those of earlier ones never.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_engine::access::{Action, Caller, PrincipalId, Role};
use strongroom_engine::content::ObjectRead;
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::disk::RealDisk;
use strongroom_engine::gc::{CollectOptions, FsckOptions};
use strongroom_engine::id::SessionId;
use strongroom_engine::meta::{Commit, CommitId, MemoryStore, MetaRead, MetaStore, RedbStore};
use strongroom_engine::seam::{ManualClock, Seams, SeededEntropy, Timestamp};
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_engine::{Chunk, Engine, Error, FORMAT_VERSION, ManifestPush, Settings};

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const LAYER: &[u8] = b"a layer of the first version";
const HALF: &[u8] = b"the first half of an upload, ";
const REST: &[u8] = b"and the rest of it";

fn golden(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/store-v{version}"))
}

fn caller() -> Caller {
    Caller::known(PrincipalId::new("user:golden").unwrap())
}

fn body(bytes: &'static [u8]) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send {
    futures::stream::iter([Ok(Bytes::from_static(bytes))])
}

async fn open(folder: &Path) -> Engine {
    open_with_rows(folder).await.0
}

/// The engine, and its rows past it.
async fn open_with_rows(folder: &Path) -> (Engine, Arc<RedbStore>) {
    let clock = Arc::new(ManualClock::at(NOW));
    let seams = Seams { clock: clock.clone(), entropy: Arc::new(SeededEntropy::new(1)) };
    let meta = Arc::new(RedbStore::open(folder.join("meta.redb"), clock).unwrap());
    let blobs = FsStore::open(Arc::new(RealDisk), folder, Durability::Full).unwrap();
    let mut settings = Settings::default();
    settings.inline_manifest_bytes = 1024;
    let engine = Engine::builder(meta.clone(), Arc::new(blobs));
    (engine.seams(seams).settings(settings).build().await.unwrap(), meta)
}

fn image(note: &str) -> ManifestPush {
    let config = Digest::of(Algorithm::Sha256, b"{}");
    let layer = Digest::of(Algorithm::Sha256, LAYER);
    let size = LAYER.len();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{size}}}],"annotations":{{"note":"{note}"}}}}"#
    );
    push(text, "application/vnd.oci.image.manifest.v1+json")
}

fn index(child: &Digest, size: usize, subject: &Digest) -> ManifestPush {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","artifactType":"application/vnd.example","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{child}","size":{size}}}],"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":{size}}}}}"#
    );
    push(text, "application/vnd.oci.image.index.v1+json")
}

fn push(text: String, content_type: &str) -> ManifestPush {
    let content_type = Some(content_type.to_owned());
    ManifestPush { bytes: text.into(), content_type, digest: None, tags: Vec::new() }
}

/// Writes the golden store; returns the upload that is under way in it.
async fn write(folder: &Path) -> SessionId {
    let engine = open(folder).await;
    let caller = caller();
    let (acme, main) = ("acme".parse().unwrap(), "main".parse().unwrap());
    engine.create_organisation(&caller, &acme, Some(1 << 30), None).await.unwrap();
    let settings = RegistrySettings { public: true, ..RegistrySettings::default() };
    engine.create_registry(&caller, &acme, &main, settings).await.unwrap();
    let viewer = PrincipalId::new("user:viewer").unwrap();
    engine.set_role(&caller, &acme, &viewer, None, Role::Viewer).await.unwrap();

    let path = "acme/main/deep/er".parse().unwrap();
    let open = async |action| engine.repository(&caller, &path, action).await.unwrap();
    let repository = open(Action::Push).await;
    for bytes in [b"{}".as_slice(), LAYER] {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        repository.push_blob(&digest, None, body(bytes)).await.unwrap();
    }
    let mut small = image("small");
    small.tags = vec!["v1".parse().unwrap(), "latest".parse().unwrap()];
    let size = small.bytes.len();
    let child = open(Action::Push).await.push_manifest(&small).await.unwrap().digest;
    let mut large = image(&"large ".repeat(400));
    large.tags = vec!["large".parse().unwrap()];
    open(Action::Push).await.push_manifest(&large).await.unwrap();
    open(Action::Push).await.push_manifest(&index(&child, size, &child)).await.unwrap();
    let repository = open(Action::Push).await;
    let upload = repository.start_upload(None, None).await.unwrap();
    repository.append(upload.id, Chunk::default(), body(HALF)).await.unwrap();
    engine.flush().await.unwrap();
    engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
    upload.id
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_of_each_version_is_read_whole() {
    if std::env::var_os("STRONGROOM_WRITE_GOLDEN").is_some() {
        let folder = tempfile::tempdir().unwrap();
        let upload = write(folder.path()).await;
        std::fs::write(folder.path().join("upload"), upload.to_string()).unwrap();
        let _ = std::fs::remove_dir_all(golden(FORMAT_VERSION));
        copy(folder.path(), &golden(FORMAT_VERSION));
    }
    for version in 1..=FORMAT_VERSION {
        is_read_whole(version).await;
    }
}

async fn is_read_whole(version: u32) {
    // A copy, as opening writes.
    let folder = tempfile::tempdir().unwrap();
    copy(&golden(version), folder.path());
    let (engine, meta) = open_with_rows(folder.path()).await;
    let path = "acme/main/deep/er".parse().unwrap();
    let caller = caller();
    let pull = engine.repository(&caller, &path, Action::Pull).await.unwrap();

    let tags = pull.tags(None, 10).await.unwrap().items;
    assert_eq!(tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["large", "latest", "v1"]);
    let small = image("small");
    for (tag, wanted) in
        [("v1", &small), ("latest", &small), ("large", &image(&"large ".repeat(400)))]
    {
        let found = pull.manifest(&tag.parse().unwrap()).await.unwrap();
        assert_eq!(found.bytes, wanted.bytes, "{tag}");
    }
    let child = Digest::of(Algorithm::Sha256, &small.bytes);
    let referrers = pull.referrers(&child, None, None, 10).await.unwrap().items;
    assert_eq!(referrers.len(), 1);
    assert_eq!(referrers[0].artifact_type.as_deref(), Some("application/vnd.example"));
    let blob = pull.blob(&Digest::of(Algorithm::Sha256, LAYER)).await.unwrap();
    match blob.read(0..blob.info().size).await.unwrap() {
        ObjectRead::File { file, .. } => {
            assert_eq!(std::io::read_to_string(file).unwrap().as_bytes(), LAYER);
        }
        ObjectRead::Stream(stream) => {
            assert_eq!(stream.try_collect::<Vec<_>>().await.unwrap().concat(), LAYER);
        }
    }

    // An upload that an older program began goes on, from its saved hash.
    let upload = std::fs::read_to_string(golden(version).join("upload")).unwrap();
    let upload = SessionId::parse(&upload).unwrap();
    let repository = engine.repository(&caller, &path, Action::Push).await.unwrap();
    let chunk = Chunk { at: Some(HALF.len() as u64), length: None };
    repository.append(upload, chunk, body(REST)).await.unwrap();
    let digest = Digest::of(Algorithm::Sha256, &[HALF, REST].concat());
    repository.finish_upload(upload, &digest).await.unwrap();

    let acme = "acme".parse().unwrap();
    assert!(engine.verify_trail(&caller, Some(&acme)).await.unwrap().is_good());
    let members = engine.members(&caller, &acme, None, 10).await.unwrap().items;
    assert_eq!(members.len(), 2);
    let checked = async || {
        let report = engine.fsck(&FsckOptions::default().deep(), &|_| {}).await.unwrap();
        assert!(report.findings.is_empty(), "{report:?}");
        report.counts
    };
    checked().await;
    // What the version before did not do is made good.
    engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
    let counts = checked().await;
    assert_eq!((counts.copies.count, counts.uncopied_manifests.count), (2, 0), "version {version}");
    let format = meta.get(b"!format").await.unwrap().unwrap();
    assert_eq!(u32::from(format[1]), FORMAT_VERSION, "a migrated store says so");
}

#[tokio::test]
async fn a_migrated_store_is_not_migrated_again_and_a_copy_of_before_still_opens() {
    let (one, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy(&golden(1), one.path());
    copy(&golden(1), copied.path());
    for _ in 0..2 {
        drop(open(one.path()).await);
    }
    // Going back: the metadata as they were, over the bucket as it is.
    std::fs::copy(copied.path().join("meta.redb"), one.path().join("meta.redb")).unwrap();
    let engine = open(one.path()).await;
    let report = engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
    assert!(report.refused, "a restore of older metadata is found");
}

#[tokio::test]
async fn a_store_of_a_later_version_is_refused() {
    let seams = Seams::default();
    let meta = Arc::new(MemoryStore::new(&seams));
    let mut commit = Commit::new(CommitId([1; 16]));
    // One byte for the record's version, then the format's number as a varint, and a time.
    let later = u8::try_from(FORMAT_VERSION + 1).unwrap();
    commit.put.push((b"!format".to_vec(), Bytes::from(vec![1, later, 0])));
    meta.commit(commit).await.unwrap();
    let blobs = Arc::new(strongroom_engine::content::opendal::OpendalStore::memory().unwrap());
    match Engine::builder(meta, blobs).build().await {
        Err(Error::Invalid(reason)) => assert!(reason.contains("format"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
