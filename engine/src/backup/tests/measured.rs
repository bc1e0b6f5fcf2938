//! Who makes, restores or reads a backup hears how much of it is done.

use std::sync::Mutex;

use super::*;
use crate::Settings;
use crate::gc::{Extent, Progress};

/// What was told of rows and objects: never less than before, of as much each time.
#[derive(Default)]
struct Told(Mutex<Vec<(&'static str, Extent)>>);

impl Told {
    fn hear(&self, progress: &Progress) {
        let extent = progress.extent.expect("it is known");
        self.0.lock().unwrap().push((progress.phase, extent));
    }

    fn last(&self, phases: &[&str]) -> Extent {
        let told = self.0.lock().unwrap();
        let told = told.iter().filter(|(phase, _)| phases.contains(phase));
        let extents: Vec<_> = told.map(|(_, extent)| *extent).collect();
        assert!(extents.is_sorted_by_key(|extent| extent.done), "{extents:?}");
        assert!(extents.windows(2).all(|two| two[0].total == two[1].total), "{extents:?}");
        *extents.last().unwrap()
    }
}

#[tokio::test]
async fn each_tells_how_much_of_all_it_has_carried() {
    let (world, home) = (filled().await, tempfile::tempdir().unwrap());
    let folder = BackupFolder::open_or_make(home.path()).unwrap();
    let told = Told::default();
    let options = BackupOptions::default();
    world.engine.backup(&folder, &options, &|now| told.hear(now)).await.unwrap();
    let last = told.last(&["objects", "archive"]);
    // The upload stays behind, and small manifests are rows.
    assert!(last.total > LARGE as u64 && last.done > last.total * 9 / 10, "{last:?}");

    let told = Told::default();
    let read = folder.verify(None, &|now| told.hear(now)).await.unwrap();
    let (archive, objects) = (told.last(&["archive"]), told.last(&["objects"]));
    assert_eq!((archive.done, archive.total), (read.backup.bytes, read.backup.bytes));
    assert_eq!((objects.done, objects.total), (read.objects.bytes, read.objects.bytes));

    // Behind it each is checked: that is measured by rows, of which there are fewer than bytes.
    let by_bytes = |told: &Told, now: &Progress| {
        if now.extent.is_some_and(|extent| extent.total > LARGE as u64) {
            told.hear(now);
        }
    };
    let (seams, told) = (seams(), Told::default());
    let stores = empty(&seams);
    let hear = |now: &Progress| by_bytes(&told, now);
    restore(&folder, &stores, &seams, &RestoreOptions::default(), &hear).await.unwrap();
    let last = told.last(&["objects", "records"]);
    assert_eq!(last.done, last.total);

    // A copy is measured by what its source has.
    let told = Told::default();
    let target = empty(&seams);
    world.engine.close().await.unwrap();
    let hear = |now: &Progress| by_bytes(&told, now);
    copy_storage(&stores_of(&world.engine), &target, &seams, &Settings::default(), &hear)
        .await
        .unwrap();
    let last = told.last(&["objects", "records"]);
    assert!(last.done > last.total * 9 / 10, "{last:?}");
}
