//! A backup made into an installation.

use super::*;
use crate::content::fault::{BlobFault, FaultBlobs, How, When};
use crate::content::fs::{Durability, FsStore};
use crate::digest::Algorithm;
use crate::disk::RealDisk;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::fault::{Fault, FaultMeta, FaultPlan};
use crate::records::{FormatRecord, Record};

async fn restored(
    folder: &BackupFolder,
    stores: &Stores,
    seams: &Seams,
) -> Result<RestoreReport, BackupError> {
    let options = RestoreOptions { deep: true, ..RestoreOptions::default() };
    restore(folder, stores, seams, &options, &|_| {}).await
}

#[tokio::test]
async fn what_was_there_is_there_again_but_uploads_under_way() {
    let (home, seams) = (tempfile::tempdir().unwrap(), seams());
    let world = filled().await;
    let made = backup(&world, home.path()).await;
    assert_eq!((made.uploads, made.wrong, made.linked.count), (1, 0, 0));
    assert!(made.copied.bytes > LARGE as u64, "{made:?}");
    world.push_image("api", b"after the backup", "3.0").await;

    let folder = BackupFolder::open(home.path()).unwrap();
    let stores = empty(&seams);
    let report = restored(&folder, &stores, &seams).await.unwrap();

    assert!(report.fsck.is_clean(), "{:?}", report.fsck.findings);
    assert_eq!((report.fsck.counts.uploads.count, report.fsck.counts.garbage.count), (0, 0));
    assert_eq!((report.wrong, report.pin), (0, None));
    let engine = engine(&stores, &seams).await;
    for (name, tag) in [("api", "1.0"), ("api", "2.0"), ("web", "latest")] {
        let before = served(&world.engine, name, tag).await;
        assert!(before.is_some() && served(&engine, name, tag).await == before, "{name}:{tag}");
    }
    assert_eq!(served(&engine, "api", "3.0").await, None);
    let used = stores.meta.get(&keys::usage(OrganisationId(1))).await.unwrap().unwrap();
    let used = i64::from_be_bytes(used.as_ref().try_into().unwrap());
    assert!(used > 0 && used < world.used_bytes().await - 4096 + 1, "the upload reserved 4096");
    // It goes on as any other: pushes, collects, and is backed up again.
    is_clean(&engine).await;
    assert_eq!(engine.pins().await.unwrap(), []);
}

#[tokio::test]
async fn a_second_backup_brings_what_is_new_only_and_either_can_be_restored() {
    let (home, seams) = (tempfile::tempdir().unwrap(), seams());
    let world = filled().await;
    let first = backup(&world, home.path()).await;
    world.clock.advance(std::time::Duration::from_secs(1));
    world.push_image("api", b"after the backup", "3.0").await;
    let second = backup(&world, home.path()).await;
    assert_eq!((second.copied.count, second.there.count), (1, first.copied.count));

    let folder = BackupFolder::open(home.path()).unwrap();
    let ids: Vec<_> = folder.backups().unwrap().iter().map(|info| info.id).collect();
    assert_eq!(ids, [first.id, second.id]);
    for (backup, third) in [(Some(first.id), false), (None, true)] {
        let stores = empty(&seams);
        let options = RestoreOptions { backup, ..RestoreOptions::default() };
        restore(&folder, &stores, &seams, &options, &|_| {}).await.unwrap();
        let engine = engine(&stores, &seams).await;
        assert_eq!(served(&engine, "api", "3.0").await.is_some(), third);
        is_clean(&engine).await;
    }
    assert!(folder.remove(first.id).unwrap() && !folder.remove(first.id).unwrap());
    assert_eq!(folder.verify(None, &|_| {}).await.unwrap().wrong, 0);
}

#[tokio::test]
async fn on_one_file_system_files_are_shared_and_stay_when_the_store_lets_go() {
    let (home, seams) = (tempfile::tempdir().unwrap(), seams());
    let fs = |name: &str| {
        let path = home.path().join(name);
        Arc::new(FsStore::open(Arc::new(RealDisk), path, Durability::Full).unwrap())
    };
    let world = filled().await;
    let source = Stores { meta: empty(&seams).meta, blobs: fs("source") };
    copy_storage(&stores_of(&world.engine), &source, &seams, &crate::Settings::default(), &|_| {})
        .await
        .unwrap();
    let engine = engine(&source, &seams).await;

    let path = home.path().join("backup");
    let folder = BackupFolder::open_or_make(&path).unwrap();
    let made = engine.backup(&folder, &BackupOptions::default(), &|_| {}).await.unwrap();
    assert_eq!((made.copied.count, made.wrong), (0, 0));
    assert!(made.linked.count >= 4);
    std::fs::remove_dir_all(home.path().join("source")).unwrap();

    let verified = folder.verify(None, &|_| {}).await.unwrap();
    assert_eq!((verified.objects, verified.wrong), (made.linked, 0));
    let target = Stores { meta: empty(&seams).meta, blobs: fs("target") };
    assert!(restored(&folder, &target, &seams).await.unwrap().fsck.is_clean());
}

#[tokio::test]
async fn a_torn_or_altered_archive_is_refused_before_anything_is_written() {
    let (home, seams) = (tempfile::tempdir().unwrap(), seams());
    let made = backup(&filled().await, home.path()).await;
    let folder = BackupFolder::open(home.path()).unwrap();
    let whole = std::fs::read(&made.path).unwrap();
    let stores = empty(&seams);
    let regions = (0..whole.len()).step_by(whole.len() / 40).chain([whole.len() - 1]);
    for at in regions {
        let mut altered = whole.clone();
        altered[at] ^= 0x10;
        for bytes in [&altered[..], &whole[..at]] {
            std::fs::write(&made.path, bytes).unwrap();
            let refused = restored(&folder, &stores, &seams).await;
            assert!(matches!(refused, Err(BackupError::Archive { .. })), "{at}: {refused:?}");
            assert!(folder.verify(None, &|_| {}).await.is_err());
        }
    }
    assert!(stores.meta.scan(crate::meta::prefix_range(b""), 1).await.unwrap().is_empty());
    std::fs::write(&made.path, &whole).unwrap();
    restored(&folder, &stores, &seams).await.unwrap();
}

#[tokio::test]
async fn only_empty_stores_are_restored_into() {
    let (home, seams) = (tempfile::tempdir().unwrap(), seams());
    let world = filled().await;
    backup(&world, home.path()).await;
    let folder = BackupFolder::open(home.path()).unwrap();
    let into_itself = restored(&folder, &stores_of(&world.engine), &seams).await;
    assert!(matches!(into_itself, Err(BackupError::NotEmpty { .. })), "{into_itself:?}");
    // Only its objects: for who lost the metadata alone, and says so.
    let occupied = Stores { meta: empty(&seams).meta, blobs: stores_of(&world.engine).blobs };
    let over = restored(&folder, &occupied, &seams).await.unwrap_err();
    assert!(over.to_string().contains("blob store has objects"), "{over}");

    world.push_image("api", b"after the backup", "3.0").await;
    let options = RestoreOptions { over_objects: true, ..RestoreOptions::default() };
    let report = restore(&folder, &occupied, &seams, &options, &|_| {}).await.unwrap();
    assert_eq!((report.copied.count, report.wrong), (0, 0));
    assert!(report.fsck.is_clean() && report.fsck.counts.garbage.count > 0);
    // What was pushed since the backup is in no row, and stays until somebody has looked.
    let (pin, engine) = (report.pin.unwrap(), engine(&occupied, &seams).await);
    let nothing = engine.collect(&crate::gc::CollectOptions::default(), &|_| {}).await.unwrap();
    // But for half an upload, which nobody needs.
    assert!(nothing.orphans.bytes == 4 && nothing.pinned.count > 0, "{nothing:?}");
    assert!(engine.drop_pin(pin).await.unwrap());
    let swept = engine.collect(&crate::gc::CollectOptions::default(), &|_| {}).await.unwrap();
    assert!(swept.orphans.count > 0 && swept.pinned.count == 0, "{swept:?}");
    is_clean(&engine).await;
}

#[tokio::test]
async fn a_lost_or_rotten_object_of_the_folder_stops_a_restore_unless_losses_are_allowed() {
    let (home, seams) = (tempfile::tempdir().unwrap(), seams());
    backup(&filled().await, home.path()).await;
    let folder = BackupFolder::open(home.path()).unwrap();
    let rotten = Digest::of(Algorithm::Sha256, b"a layer").hex();
    let path = find_file(&home.path().join("objects"), &rotten);
    std::fs::write(&path, b"A layer").unwrap();
    let verified = folder.verify(None, &|_| {}).await.unwrap();
    assert!(verified.wrong == 1 && verified.problems[0].contains(&rotten), "{verified:?}");

    let stores = empty(&seams);
    let stopped = restored(&folder, &stores, &seams).await.unwrap_err();
    assert!(stopped.to_string().contains(&rotten), "{stopped}");
    let options = RestoreOptions { lossy: true, ..RestoreOptions::default() };
    let report = restore(&folder, &stores, &seams, &options, &|_| {}).await.unwrap();
    assert_eq!(report.wrong, 1);
    assert!(report.fsck.findings[0].what.contains(&rotten), "{:?}", report.fsck.findings);
}

fn find_file(folder: &Path, part: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(part) {
                return path;
            }
        }
    }
    panic!("no file of {part}")
}

/// Makes the world's store say that it has another format.
async fn set_format(world: &World, version: u32) {
    let core = &world.engine.core;
    let seen: crate::change::Seen<FormatRecord> = core.read(keys::FORMAT.to_vec()).await.unwrap();
    let record = FormatRecord { version, ..seen.value.clone().unwrap() };
    let mut change = crate::change::Change::new(core);
    change.replace(&seen, &record);
    change.commit().await.unwrap();
}

#[tokio::test]
async fn a_backup_of_an_older_format_is_migrated_and_one_of_a_later_is_refused() {
    let (home, seams) = (tempfile::tempdir().unwrap(), seams());
    let world = filled().await;
    for (version, taken) in [(1, true), (crate::FORMAT_VERSION + 1, false)] {
        set_format(&world, version).await;
        world.clock.advance(std::time::Duration::from_secs(1));
        backup(&world, home.path()).await;
        let folder = BackupFolder::open(home.path()).unwrap();
        let stores = empty(&seams);
        let answer = restored(&folder, &stores, &seams).await;
        let (source, target) = (stores_of(&world.engine), empty(&seams));
        let settings = crate::Settings::default();
        let copy = copy_storage(&source, &target, &seams, &settings, &|_| {}).await;
        assert_eq!(copy.is_ok(), taken, "{copy:?}");
        match answer {
            Ok(report) => {
                assert!(taken && report.fsck.is_clean(), "{:?}", report.fsck.findings);
                let row = stores.meta.get(keys::FORMAT).await.unwrap().unwrap();
                assert_eq!(FormatRecord::decode(&row).unwrap().version, crate::FORMAT_VERSION);
                assert!(served(&engine(&stores, &seams).await, "api", "2.0").await.is_some());
            }
            Err(error) => assert!(!taken && error.to_string().contains("newer"), "{error}"),
        }
    }
}

/// A kill is a store that answers nothing any more, from some call on.
#[tokio::test]
async fn a_restore_killed_at_any_call_is_no_installation_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    backup(&filled().await, home.path()).await;
    let folder = BackupFolder::open(home.path()).unwrap();
    let whole = {
        let (seams, stores) = (seams(), empty(&seams()));
        restored(&folder, &stores, &seams).await.unwrap();
        without_line(rows(&stores).await)
    };
    let (mut killed, mut call) = (0, 0);
    loop {
        let seams = seams();
        let meta = Arc::new(FaultMeta::new(MemoryStore::new(&seams), FaultPlan::None));
        let blobs = FaultBlobs::new(OpendalStore::memory().unwrap());
        let stores = Stores { meta: meta.clone(), blobs: Arc::new(blobs.clone()) };
        // Every second kill is one of the metadata.
        if call % 2 == 0 {
            let dead = (call / 2..call / 2 + 10_000).map(|call| (call, Fault::Before));
            meta.set_plan(FaultPlan::Script(dead.collect()));
        } else {
            let how = How::Failed { temporary: false };
            blobs.fail(BlobFault { call: call / 2, when: When::After, how, lasting: true });
        }
        let first = restored(&folder, &stores, &seams).await;
        let dead = first.is_err();
        meta.set_plan(FaultPlan::None);
        blobs.heal();
        if dead {
            killed += 1;
            let begun = meta.get_filling().await;
            if begun {
                let (meta, blobs) = (Arc::clone(&stores.meta), Arc::clone(&stores.blobs));
                let refused = Engine::builder(meta, blobs).build().await;
                let text = refused.unwrap_err().to_string();
                assert!(text.contains("run the same one again"), "{text}");
            }
            match restored(&folder, &stores, &seams).await {
                Ok(report) => assert!(report.fsck.is_clean(), "{:?}", report.fsck.findings),
                // Killed while the whole installation was checked already.
                Err(BackupError::NotEmpty { .. }) => {
                    assert!(stores.meta.get(keys::FORMAT).await.unwrap().is_some());
                }
                Err(error) => panic!("call {call}: {error}"),
            }
        }
        assert_eq!(without_line(rows(&stores).await), whole, "call {call}");
        is_clean(&engine(&stores, &seams).await).await;
        if !dead && call > 1 {
            break;
        }
        call += 1;
    }
    assert!(killed > 20, "{killed}");
}

/// The trail of the system has a line for the restore, in a chain of its own.
fn without_line(mut rows: Vec<crate::meta::Row>) -> Vec<crate::meta::Row> {
    rows.retain(|(key, _)| !key.starts_with(b"l\0\0\0\0\0\0\0\0"));
    rows
}

impl FaultMeta<MemoryStore> {
    async fn get_filling(&self) -> bool {
        use crate::meta::MetaRead;
        self.inner().get(keys::FILLING).await.unwrap().is_some()
    }
}
