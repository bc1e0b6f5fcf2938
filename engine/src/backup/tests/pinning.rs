//! What a backup needs stays, as long as it does.

use std::time::Duration;

use super::*;
use crate::gc::{CollectOptions, CollectReport};

const DAY: Duration = Duration::from_hours(25);

async fn collect(world: &World) -> CollectReport {
    world.engine.collect(&CollectOptions::default(), &|_| {}).await.unwrap()
}

/// Two collections, each after a lease and the delay.
async fn collect_twice(world: &World) -> CollectReport {
    world.clock.advance(DAY);
    collect(world).await;
    world.clock.advance(DAY);
    collect(world).await
}

async fn delete(world: &World, name: &str, tag: &str) {
    let digest = world.digest_of(name, tag).await.unwrap();
    let repository = world.open(name, Action::Delete).await.unwrap();
    repository.delete_manifest(&digest).await.unwrap();
}

#[tokio::test]
async fn a_pin_keeps_what_was_content_until_it_is_dropped() {
    let (home, seams) = (tempfile::tempdir().unwrap(), seams());
    let world = filled().await;
    let before = served(&world.engine, "api", "2.0").await.unwrap();
    let folder = BackupFolder::open_or_make(home.path()).unwrap();
    let options = BackupOptions::default().pinned();
    let made = world.engine.backup(&folder, &options, &|_| {}).await.unwrap();
    assert_eq!((made.copied.count, made.wrong), (0, 0));
    let pins = world.engine.pins().await.unwrap();
    assert_eq!(pins.iter().map(|pin| (pin.id, pin.until)).collect::<Vec<_>>(), [(made.id, None)]);

    delete(&world, "api", "2.0").await;
    world.push_image("api", b"after the backup", "3.0").await;
    let young = world.digest_of("api", "3.0").await.unwrap();
    let kept = collect_twice(&world).await;
    assert!(kept.pinned.bytes >= LARGE as u64, "{kept:?}");
    // What is pushed again gets an object of its own; the pinned one is nobody's then, and stays.
    world.push_image("api", &large(), "4.0").await;
    collect_twice(&world).await;

    // Over the same bucket, as after the loss of the database alone.
    let stores = Stores { meta: empty(&seams).meta, blobs: stores_of(&world.engine).blobs };
    let report =
        restore(&folder, &stores, &seams, &RestoreOptions::default(), &|_| {}).await.unwrap();
    assert!(report.fsck.is_clean(), "{:?}", report.fsck.findings);
    let restored = engine(&stores, &seams).await;
    assert_eq!(served(&restored, "api", "2.0").await, Some(before));
    drop(restored);

    assert!(world.engine.drop_pin(made.id).await.unwrap());
    assert!(!world.engine.drop_pin(made.id).await.unwrap());
    let gone = collect(&world).await;
    assert!(gone.pinned.count == 0 && gone.orphans.count > 0, "{gone:?}");
    assert_eq!(world.digest_of("api", "3.0").await.unwrap(), young);
    is_clean(&world.engine).await;
}

#[tokio::test]
async fn a_deleted_organisation_leaves_pinned_objects_and_they_go_after_the_pin() {
    let home = tempfile::tempdir().unwrap();
    let world = filled().await;
    let folder = BackupFolder::open_or_make(home.path()).unwrap();
    let options = BackupOptions::default().pinned();
    let made = world.engine.backup(&folder, &options, &|_| {}).await.unwrap();
    let acme = "acme".parse().unwrap();
    world.engine.delete_organisation(&world.caller, &acme, true).await.unwrap();
    collect_twice(&world).await;
    let left = world.engine.core.blobs.list("", None, 100).await.unwrap();
    assert!(left.iter().any(|entry| entry.size == LARGE as u64), "{left:?}");
    world.engine.drop_pin(made.id).await.unwrap();
    collect_twice(&world).await;
    let left = world.engine.core.blobs.list("", None, 100).await.unwrap();
    // Which epoch the bucket is of stays in it.
    assert!(left.iter().all(|entry| entry.key.as_str().starts_with("epoch/")), "{left:?}");
}

#[tokio::test]
async fn what_is_given_up_in_the_moment_of_a_pin_is_kept_whatever_the_clock_says() {
    let home = tempfile::tempdir().unwrap();
    let world = filled().await;
    let folder = BackupFolder::open_or_make(home.path()).unwrap();
    let options = BackupOptions::default().pinned();
    world.engine.backup(&folder, &options, &|_| {}).await.unwrap();
    delete(&world, "api", "2.0").await;
    world.clock.advance(DAY);
    // The clock jumps back behind the pin, and then forth.
    let now = crate::seam::Clock::now(&*world.clock);
    collect(&world).await;
    world.clock.set(now.minus(5 * DAY));
    collect(&world).await;
    world.clock.set(now.plus(5 * DAY));
    let kept = collect_twice(&world).await;
    assert!(kept.deleted.count == 0 && kept.pinned.bytes >= LARGE as u64, "{kept:?}");
}

#[tokio::test]
async fn a_backup_that_was_given_up_holds_nothing_back_after_an_hour() {
    let home = tempfile::tempdir().unwrap();
    let world = filled().await;
    let folder = BackupFolder::open_or_make(home.path()).unwrap();
    {
        let options = BackupOptions::default();
        let mut backup = Box::pin(world.engine.backup(&folder, &options, &|_| {}));
        while world.engine.pins().await.unwrap().is_empty() {
            assert!(futures::poll!(&mut backup).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(world.engine.pins().await.unwrap().len(), 1);
    assert_eq!(folder.backups().unwrap(), []);
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(world.engine.pins().await.unwrap(), []);
    delete(&world, "api", "2.0").await;
    assert!(collect_twice(&world).await.deleted.bytes >= LARGE as u64);
}
