//! Power loss at every effect and every error at every call: what was said to be durable is.

use super::super::Then;
use super::super::suite::read;
use super::*;
use crate::disk::sim::{Fault, FaultPlan, SimDisk};

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn open(disk: &SimDisk) -> io::Result<FsStore> {
    FsStore::open(Arc::new(disk.clone()), "/data", Durability::Full)
}

/// What a caller was promised, and since which effect.
#[derive(Debug, Clone)]
enum Promise {
    Checkpoint(ObjectKey, WriteState, Vec<u8>),
    Object(ObjectKey, Vec<u8>),
}

/// Everything a caller does, noting each promise where it was given. Ends at the first error.
async fn work(
    disk: &SimDisk,
    store: &FsStore,
    promises: &mut Vec<(usize, Promise)>,
) -> Result<(), StoreError> {
    let (unfinished, finished) = (key("0a/in-flight/01"), key("0a/sha256/ab/abcd.01"));
    let mut state = store.start(&unfinished).await?;
    let mut content = Vec::new();
    for piece in [700, 5000, 3] {
        let mut writer = store.resume(&unfinished, &state).await?;
        for _ in 0..2 {
            let bytes: Vec<u8> = (0..=250).cycle().take(piece).collect();
            content.extend_from_slice(&bytes);
            writer.write(vec![bytes.into()]).await?;
        }
        state = writer.checkpoint(Then::Writes).await?;
        let checkpoint = (unfinished.clone(), state.clone(), content.clone());
        let promise = Promise::Checkpoint(checkpoint.0, checkpoint.1, checkpoint.2);
        promises.push((disk.effects(), promise));
    }
    // From here on the checkpoint is finished, or it is not; both are looked at below.
    store.finish(&unfinished, &state, &finished).await?;
    promises.push((disk.effects(), Promise::Object(finished.clone(), content.clone())));
    store.settle(&finished, &key("0a/sha256/cd/settled")).await?;
    promises.push((disk.effects(), Promise::Object(key("0a/sha256/cd/settled"), content)));
    store.put(&key("0b/manifest"), Bytes::from_static(b"{}")).await?;
    promises.push((disk.effects(), Promise::Object(key("0b/manifest"), b"{}".to_vec())));
    let place = key("0b/sha256/ef/place");
    let state = store.start(&place).await?;
    let mut writer = store.resume(&place, &state).await?;
    writer.write(vec![Bytes::from_static(b"in place")]).await?;
    let state = writer.checkpoint(Then::Writes).await?;
    store.finish(&place, &state, &place).await?;
    promises.push((disk.effects(), Promise::Object(place, b"in place".to_vec())));
    Ok(())
}

/// Requires `promise` of the store that a crash left.
async fn kept(store: &FsStore, promise: &Promise) {
    match promise {
        Promise::Object(key, content) => {
            kept_bytes(store, key, content).await;
        }
        Promise::Checkpoint(unfinished, state, content) => {
            let finished = key("0a/sha256/ab/abcd.01");
            // Finishing may have taken the unfinished name away, and is done then.
            if let Ok(mut writer) = store.resume(unfinished, state).await {
                writer.write(vec![Bytes::from_static(b"!")]).await.unwrap();
                let state = writer.checkpoint(Then::Writes).await.unwrap();
                let other = key("0a/sha256/ab/other.01");
                store.finish(unfinished, &state, &other).await.unwrap();
                let found = read(store, &other, 0..state.offset).await.unwrap();
                assert_eq!(found, [content, &b"!"[..]].concat());
            } else {
                store.finish(unfinished, state, &finished).await.unwrap();
                kept_bytes(store, &finished, content).await;
            }
        }
    }
}

async fn kept_bytes(store: &FsStore, key: &ObjectKey, content: &[u8]) {
    let found = read(store, key, 0..content.len() as u64).await;
    assert!(found.is_ok_and(|found| found == *content), "{key} is lost");
}

#[tokio::test]
async fn power_loss_at_any_effect_takes_back_nothing_that_was_promised() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let mut promises = Vec::new();
    work(&disk, &store, &mut promises).await.unwrap();

    let mut images = 0;
    for at in 0..=disk.effects() {
        let seeded = (0..12).map(|seed| disk.image(at, seed * 1000 + at as u64));
        for image in seeded.chain([disk.image_strict(at), disk.image_full(at)]) {
            images += 1;
            let store = open(&image).unwrap();
            let given = || promises.iter().filter(|(since, _)| *since <= at);
            for (_, promise) in given().filter(|(_, p)| matches!(p, Promise::Object(..))) {
                kept(&store, promise).await;
            }
            let mut checkpoints = given().filter(|(_, p)| matches!(p, Promise::Checkpoint(..)));
            if let Some((_, last)) = checkpoints.next_back() {
                kept(&store, last).await;
            }
        }
    }
    assert!(images > 500, "{images} images are too few to mean anything");
}

#[tokio::test]
async fn a_finish_that_power_loss_cut_short_is_done_by_the_next() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let (unfinished, finished) = (key("in-flight/01"), key("sha256/ab/abcd.01"));
    let state = store.start(&unfinished).await.unwrap();
    let mut writer = store.resume(&unfinished, &state).await.unwrap();
    writer.write(vec![Bytes::from_static(b"whole")]).await.unwrap();
    let state = writer.checkpoint(Then::Writes).await.unwrap();
    let before = disk.effects();
    store.finish(&unfinished, &state, &finished).await.unwrap();

    for at in before..=disk.effects() {
        for seed in 0..20 {
            let image = disk.image(at, seed);
            open(&image).unwrap().finish(&unfinished, &state, &finished).await.unwrap();
            let store = open(&image.image_strict(image.effects())).unwrap();
            kept_bytes(&store, &finished, b"whole").await;
        }
    }
}

#[tokio::test]
async fn every_error_at_every_call_is_told_and_takes_back_nothing() {
    let calls = {
        let disk = SimDisk::new();
        let store = open(&disk).unwrap();
        let before = disk.calls();
        work(&disk, &store, &mut Vec::new()).await.unwrap();
        before..disk.calls()
    };
    for fault in [Fault::Full, Fault::Broken, Fault::Denied, Fault::ShortWrite] {
        for call in calls.clone() {
            for lasting in [false, true] {
                one_fault(FaultPlan { call, fault, lasting }).await;
            }
        }
    }
}

async fn one_fault(plan: FaultPlan) {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let mut promises = Vec::new();
    disk.fail(plan);
    let result = work(&disk, &store, &mut promises).await;
    disk.heal();
    match &result {
        Ok(()) => assert_eq!(promises.len(), 7),
        Err(StoreError::Full { .. }) => assert_eq!(plan.fault, Fault::Full),
        Err(StoreError::Failed { .. }) => assert_ne!(plan.fault, Fault::ShortWrite),
        Err(other) => panic!("{plan:?}: {other:?}"),
    }

    // The store goes on in the same process, with a new upload and the promises of before.
    for unfinished in ["0a/in-flight/01", "0b/sha256/ef/place"] {
        if result.is_err() && !promised(&promises, unfinished) {
            store.abort(&key(unfinished), &WriteState::default()).await.unwrap();
        }
    }
    let (next, done) = (key("0a/in-flight/02"), key("0a/sha256/ab/next.02"));
    let state = store.start(&next).await.unwrap();
    let mut writer = store.resume(&next, &state).await.unwrap();
    writer.write(vec![Bytes::from_static(b"next")]).await.unwrap();
    let state = writer.checkpoint(Then::Writes).await.unwrap();
    store.finish(&next, &state, &done).await.unwrap();
    promises.push((0, Promise::Object(done, b"next".to_vec())));
    // What failed may be done again.
    let (settled, manifest) = (key("0a/sha256/cd/settled"), key("0b/manifest"));
    let from = promises.iter().find_map(|(_, promise)| match promise {
        Promise::Object(key, content) if key.as_str().ends_with("abcd.01") => Some(content.clone()),
        _ => None,
    });
    if let Some(content) = from {
        store.settle(&key("0a/sha256/ab/abcd.01"), &settled).await.unwrap();
        promises.push((0, Promise::Object(settled, content)));
    }
    store.put(&manifest, Bytes::from_static(b"{}")).await.unwrap();
    promises.push((0, Promise::Object(manifest, b"{}".to_vec())));

    // And power loss now loses none of them.
    let store = open(&disk.image_strict(disk.effects())).unwrap();
    for (_, promise) in &promises {
        if let Promise::Object(..) = promise {
            kept(&store, promise).await;
        }
    }
    // What was not promised is not there in part.
    for (whole, size) in [("0a/sha256/ab/abcd.01", 11_406), ("0a/sha256/cd/settled", 11_406)] {
        let found = store.stat(&key(whole)).await.unwrap();
        assert!(found.is_none_or(|found| found == size), "{plan:?}: {whole} has {found:?}");
    }
}

fn promised(promises: &[(usize, Promise)], text: &str) -> bool {
    promises.iter().any(|(_, promise)| match promise {
        Promise::Object(key, _) => key.as_str() == text,
        Promise::Checkpoint(..) => false,
    })
}

#[tokio::test]
async fn a_file_whose_fsync_failed_is_never_fsynced_again() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let unfinished = key("in-flight/01");
    let state = store.start(&unfinished).await.unwrap();
    let mut writer = store.resume(&unfinished, &state).await.unwrap();
    writer.write(vec![Bytes::from_static(b"lost")]).await.unwrap();
    disk.fail(FaultPlan { call: disk.calls(), fault: Fault::Broken, lasting: false });
    writer.checkpoint(Then::Writes).await.unwrap_err();
    let effects = disk.effects();

    // The disk says yes again, and would lie.
    writer.checkpoint(Then::Writes).await.unwrap_err();
    assert!(store.resume(&unfinished, &state).await.is_err());
    let claimed = WriteState { offset: 4, state: Vec::new() };
    store.finish(&unfinished, &claimed, &key("done")).await.unwrap_err();
    assert_eq!(disk.effects(), effects, "nothing was touched");

    store.abort(&unfinished, &state).await.unwrap();
    let state = store.start(&unfinished).await.unwrap();
    store.finish(&unfinished, &state, &key("done")).await.unwrap();
}
