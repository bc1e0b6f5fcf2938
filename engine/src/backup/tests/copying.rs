//! From one pair of stores into another.

use super::*;
use crate::Settings;
use crate::content::fault::{BlobFault, FaultBlobs, How, When};
use crate::content::fs::{Durability, FsStore};
use crate::disk::RealDisk;
use crate::keys;
use crate::meta::RedbStore;

async fn copied(
    source: &Stores,
    target: &Stores,
    seams: &Seams,
) -> Result<CopyReport, BackupError> {
    copy_storage(source, target, seams, &Settings::default(), &|_| {}).await
}

fn on_disk(folder: &Path, seams: &Seams) -> Stores {
    std::fs::create_dir_all(folder).unwrap();
    let meta = RedbStore::open(folder.join("meta.redb"), Arc::clone(&seams.clock)).unwrap();
    let blobs = FsStore::open(Arc::new(RealDisk), folder, Durability::Full).unwrap();
    Stores { meta: Arc::new(meta), blobs: Arc::new(blobs) }
}

#[tokio::test]
async fn an_installation_moves_to_disk_and_on() {
    let (home, seams) = (tempfile::tempdir().unwrap(), seams());
    let world = filled().await;
    let first = on_disk(&home.path().join("first"), &seams);
    let report = copied(&stores_of(&world.engine), &first, &seams).await.unwrap();
    assert!(report.fsck.is_clean(), "{:?}", report.fsck.findings);
    assert_eq!((report.uploads, report.there.count), (1, 0));

    let second = on_disk(&home.path().join("second"), &seams);
    let again = copied(&first, &second, &seams).await.unwrap();
    assert_eq!((again.copied, again.uploads), (report.copied, 0));
    let engine = engine(&second, &seams).await;
    is_clean(&engine).await;
    for (name, tag) in [("api", "1.0"), ("api", "2.0"), ("web", "latest")] {
        assert_eq!(served(&engine, name, tag).await, served(&world.engine, name, tag).await);
    }
    let occupied = copied(&first, &second, &seams).await;
    assert!(matches!(occupied, Err(BackupError::NotEmpty { .. })), "{occupied:?}");
}

#[tokio::test]
async fn a_copy_that_broke_off_goes_on_with_what_the_source_is_then() {
    for call in [0, 1, 2, 3, 5, 8, 13, 18] {
        let seams = seams();
        let world = filled().await;
        let source = stores_of(&world.engine);
        let blobs = FaultBlobs::new(OpendalStore::memory().unwrap());
        let target = Stores { blobs: Arc::new(blobs.clone()), ..empty(&seams) };
        let how = How::Failed { temporary: true };
        blobs.fail(BlobFault { call, when: When::Before, how, lasting: true });
        let first = copied(&source, &target, &seams).await;
        blobs.heal();
        // The last ones fail in the check at the end: the target is whole then.
        assert!(matches!(first, Err(BackupError::Engine(_))), "{call}: {first:?}");
        // Somebody went on with the source for a while: a new tag, and one that is gone.
        world.push_image("api", b"late", "late").await;
        let tag = world.digest_of("web", "latest").await.unwrap();
        let repository = world.open("web", Action::Delete).await.unwrap();
        repository.delete_manifest(&tag).await.unwrap();
        if target.meta.get(keys::FORMAT).await.unwrap().is_none() {
            let report = copied(&source, &target, &seams).await.unwrap();
            assert!(report.fsck.is_clean(), "{:?}", report.fsck.findings);
            let target = engine(&target, &seams).await;
            assert!(served(&target, "api", "late").await.is_some());
            assert_eq!(served(&target, "web", "latest").await, None);
            is_clean(&target).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_serves_is_neither_copied_nor_filled() {
    let seams = seams();
    let world = filled().await;
    world.gate.share();
    let source = stores_of(&world.engine);
    world.engine.announce().await.unwrap();
    let refused = copied(&source, &empty(&seams), &seams).await;
    let Err(BackupError::Open { what: "the source", holder }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(holder, world.engine.core.chain);

    // It ends; but another comes and goes while the copy is on its way, when the last object is read.
    world.engine.close().await.unwrap();
    world.clock.advance(std::time::Duration::from_secs(1));
    let target = empty(&seams);
    let (again, clock) = (world.engine.clone(), Arc::clone(&world.clock));
    let came = std::sync::atomic::AtomicBool::new(false);
    let watch = move |progress: &crate::gc::Progress| {
        if progress.phase == "records" && !came.swap(true, std::sync::atomic::Ordering::SeqCst) {
            clock.advance(std::time::Duration::from_secs(1));
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    again.announce().await.unwrap();
                    again.close().await.unwrap();
                });
            });
        }
    };
    let refused = copy_storage(&source, &target, &seams, &Settings::default(), &watch).await;
    assert!(matches!(refused, Err(BackupError::Open { .. })), "{refused:?}");
    assert_eq!(target.meta.get(keys::FORMAT).await.unwrap(), None, "nothing opens it");

    world.clock.advance(std::time::Duration::from_secs(1));
    let report = copied(&source, &target, &seams).await.unwrap();
    assert!(report.fsck.is_clean(), "{:?}", report.fsck.findings);
    assert!(report.there.count > 0, "{report:?}");

    // A node that goes on over stores which were emptied beneath it keeps saying so.
    for (key, _) in source.meta.scan(crate::meta::prefix_range(b""), 10_000).await.unwrap() {
        let mut commit = crate::meta::Commit::new(crate::meta::CommitId(seams.random_16()));
        commit.delete.push(key);
        source.meta.commit(commit).await.unwrap();
    }
    for entry in source.blobs.list("", None, 1000).await.unwrap() {
        source.blobs.delete(&entry.key).await.unwrap();
    }
    world.engine.announce().await.unwrap();
    let refused = copied(&target, &source, &seams).await;
    let there = matches!(refused, Err(BackupError::Open { what: "the stores to be filled", .. }));
    assert!(there, "{refused:?}");
    world.clock.advance(std::time::Duration::from_secs(31));
    copied(&target, &source, &seams).await.unwrap();
}

#[tokio::test]
async fn what_was_brought_is_not_brought_again() {
    let seams = seams();
    let world = World::new().await;
    for number in 0..200_u32 {
        world.push_image("api", &number.to_be_bytes(), "latest").await;
    }
    let source = stores_of(&world.engine);
    let blobs = FaultBlobs::new(OpendalStore::memory().unwrap());
    let target = Stores { blobs: Arc::new(blobs.clone()), ..empty(&seams) };
    let how = How::Failed { temporary: true };
    blobs.fail(BlobFault { call: 300, when: When::Before, how, lasting: true });
    copied(&source, &target, &seams).await.unwrap_err();
    blobs.heal();
    let report = copied(&source, &target, &seams).await.unwrap();
    assert!(report.there.count >= 64 && report.copied.count < 140, "{report:?}");
    assert_eq!(report.there.count + report.copied.count, 201);
}

#[tokio::test]
async fn another_source_or_a_restore_does_not_go_on_in_the_same_target() {
    let (home, seams) = (tempfile::tempdir().unwrap(), seams());
    let world = filled().await;
    backup(&world, home.path()).await;
    let blobs = FaultBlobs::new(OpendalStore::memory().unwrap());
    let target = Stores { blobs: Arc::new(blobs.clone()), ..empty(&seams) };
    let how = How::Failed { temporary: true };
    blobs.fail(BlobFault { call: 3, when: When::Before, how, lasting: true });
    copied(&stores_of(&world.engine), &target, &seams).await.unwrap_err();
    blobs.heal();
    let folder = BackupFolder::open(home.path()).unwrap();
    let other = restore(&folder, &target, &seams, &RestoreOptions::default(), &|_| {}).await;
    assert!(matches!(other, Err(BackupError::Unfinished { kind: "copy", .. })), "{other:?}");
    let itself = copied(&target, &empty(&seams), &seams).await;
    assert!(matches!(itself, Err(BackupError::Source(_))), "{itself:?}");
    let nothing = copied(&empty(&seams), &empty(&seams), &seams).await;
    assert!(matches!(nothing, Err(BackupError::Source(_))), "{nothing:?}");
}
