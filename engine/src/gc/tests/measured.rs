//! What takes long tells how much of it is done.

use std::sync::Mutex;

use super::{DAY, used};
use crate::gc::{AdoptOptions, CollectOptions, Extent, FsckOptions, Progress, ScrubOptions};
use crate::tests::support::{World, image};

/// What was told, in its order.
#[derive(Default)]
struct Told(Mutex<Vec<Progress>>);

impl Told {
    fn hear(&self, progress: &Progress) {
        self.0.lock().unwrap().push(progress.clone());
    }

    /// How much was said to be done in each of these phases: something each time, of as much each time,
    /// and never less than before.
    fn extents(&self, phases: &[&str]) -> Vec<Extent> {
        let told = self.0.lock().unwrap();
        let told = told.iter().filter(|told| phases.contains(&told.phase));
        let extents: Vec<_> = told.map(|told| told.extent.expect("it is known")).collect();
        assert!(!extents.is_empty(), "{phases:?}");
        assert!(extents.is_sorted_by_key(|extent| extent.done), "{extents:?}");
        assert!(extents.windows(2).all(|two| two[0].total == two[1].total), "{extents:?}");
        extents
    }
}

/// Images of 200 layers in all.
async fn filled() -> World {
    let world = World::new().await;
    let config = world.push_blob("api", b"{}").await;
    for n in 0..200_u32 {
        let layer = world.push_blob("api", &n.to_be_bytes().repeat(100)).await;
        world.push_manifest("api", &image(&config, 2, &layer, 400), &[]).await.unwrap();
    }
    world.engine.flush().await.unwrap();
    world
}

#[tokio::test]
async fn a_scrub_tells_how_much_of_all_bytes_it_has_read() {
    let world = filled().await;
    let all = u64::try_from(used(&world).await).unwrap() + 1;
    let told = Told::default();
    world.engine.scrub(&ScrubOptions::default(), &|now| told.hear(now)).await.unwrap();
    let extents = told.extents(&["content"]);
    assert_eq!(*extents.last().unwrap(), Extent { done: all, total: all });
    // 201 pieces of content come first, and lie evenly.
    let half = extents[100].done;
    assert!((all * 4 / 10..all * 6 / 10).contains(&half), "{half} of {all}");
}

#[tokio::test]
async fn a_collection_tells_it_in_each_of_its_walks() {
    let world = filled().await;
    world.clock.advance(DAY);
    let told = Told::default();
    world.engine.collect(&CollectOptions::default(), &|now| told.hear(now)).await.unwrap();
    for phase in ["content", "copies"] {
        let last = *told.extents(&[phase]).last().unwrap();
        assert_eq!(last.done, last.total, "{phase}");
    }
    // Objects lie in the order of digests too: the last is not the end of all, and near it.
    let last = *told.extents(&["objects"]).last().unwrap();
    assert!(last.done > last.total * 9 / 10, "{last:?}");

    let told = Told::default();
    world.engine.adopt(&AdoptOptions::default(), &|now| told.hear(now)).await.unwrap();
    let last = *told.extents(&["objects"]).last().unwrap();
    assert!(last.done > last.total * 9 / 10, "{last:?}");
}

#[tokio::test]
async fn a_check_tells_how_many_of_all_rows_and_objects_it_has_seen() {
    let world = filled().await;
    let told = Told::default();
    world.engine.fsck(&FsckOptions::default(), &|now| told.hear(now)).await.unwrap();
    let last = *told.extents(&["records", "lines", "copies", "trail"]).last().unwrap();
    assert_eq!(
        Some(last.total),
        world.engine.core.meta.snapshot().await.unwrap().about_rows().await.unwrap()
    );
    // Less the few that are the store's own.
    assert!(last.done > last.total - 10, "{last:?}");
    let last = *told.extents(&["objects"]).last().unwrap();
    assert_eq!(last, Extent { done: 401, total: 401 });
}
