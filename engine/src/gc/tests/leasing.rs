//! Who collects, on a store that several processes share.

use std::time::Duration;

use super::{DAY, collect, collect_all, objects};
use crate::Error;
use crate::access::Action;
use crate::gc::CollectOptions;
use crate::gc::lease::{Lease, renew_once};
use crate::tests::support::World;

/// A killed collector's right stands for so long.
const MINUTE: Duration = Duration::from_mins(1);

async fn shared() -> World {
    let world = World::new().await;
    world.gate.share();
    world
}

async fn refused(world: &World) -> bool {
    let collected = world.engine.collect(&CollectOptions::default(), &|_| {}).await;
    matches!(collected, Err(Error::Collecting { holder, .. }) if holder == world.engine.core.chain)
}

#[tokio::test]
async fn the_right_of_a_killed_collector_ends_and_the_next_takes_over_what_it_left() {
    let world = shared().await;
    world.push_image("api", b"kept", "v1").await;
    let unused = world.push_blob("api", b"unused").await;
    world.clock.advance(DAY);
    // Killed while it holds it: nothing gives it back, and nobody renews it.
    let killed = Lease::take(&world.engine.core).await.unwrap();
    drop(killed);
    assert!(refused(&world).await);
    world.clock.advance(MINUTE.checked_sub(Duration::from_millis(1)).unwrap());
    assert!(refused(&world).await, "it stands to its end");
    world.clock.advance(Duration::from_millis(1));

    collect(&world).await;
    world.clock.advance(DAY);
    collect(&world).await;

    let repository = world.open("api", Action::Pull).await.unwrap();
    assert!(matches!(repository.stat_blob(&unused).await, Err(Error::BlobUnknown { .. })));
    // The layer, the config, and the copy of the manifest.
    assert_eq!(objects(&world).await, 3);
}

#[tokio::test]
async fn who_is_renewed_keeps_the_right_and_who_was_overtaken_learns_of_it() {
    let world = shared().await;
    let core = &world.engine.core;
    let first = Lease::take(core).await.unwrap();
    for _ in 0..5 {
        world.clock.advance(MINUTE / 2);
        assert!(renew_once(core, first.nonce()).await.unwrap());
        assert!(refused(&world).await);
    }
    // It stalls, and another takes over.
    world.clock.advance(MINUTE);
    let second = Lease::take(core).await.unwrap();
    assert!(!renew_once(core, first.nonce()).await.unwrap(), "it believes it holds it");
    assert!(renew_once(core, second.nonce()).await.unwrap());
    // What the first gives back is not its own any more.
    first.give_back().await.unwrap();
    assert!(refused(&world).await);
    second.give_back().await.unwrap();
    assert!(!refused(&world).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn two_that_both_believe_they_hold_the_right_do_no_harm() {
    let world = shared().await;
    let mut wanted = Vec::new();
    for n in 0..20_u8 {
        world.push_blob("api", &[n]).await;
        wanted.push(world.push_image("api", &[n, n], &format!("v{n}")).await);
    }
    world.clock.advance(DAY);
    // The first is stopped in the middle, for longer than its right stands; the second does all of its
    // work meanwhile; then the first goes on, page for page, until it looks.
    let (clock, second) = (world.clock.clone(), world.engine.clone());
    let stalled = std::sync::atomic::AtomicBool::new(false);
    let (tell, told) = std::sync::mpsc::channel();
    let handle = tokio::runtime::Handle::current();
    let stall = move |_: &crate::gc::Progress| {
        if stalled.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return;
        }
        clock.advance(2 * MINUTE);
        let (second, handle, tell) = (second.clone(), handle.clone(), tell.clone());
        let work = std::thread::spawn(move || {
            let collected = handle.block_on(second.collect(&CollectOptions::default(), &|_| {}));
            tell.send(collected.map(|report| report.complete)).unwrap();
        });
        tokio::task::block_in_place(|| work.join().unwrap());
    };
    let first = world.engine.collect(&CollectOptions::default(), &stall).await;

    assert!(told.recv().unwrap().unwrap(), "the second did not do the work");
    assert!(matches!(first, Ok(_) | Err(Error::Contended { .. })), "{first:?}");
    collect_all(&world).await;
    for digest in &wanted {
        let repository = world.open("api", Action::Pull).await.unwrap();
        repository.manifest(&digest.to_string().parse().unwrap()).await.unwrap();
    }
    // Twenty layers, one config, and the copies of twenty manifests.
    assert_eq!(objects(&world).await, 41);
    let report =
        world.engine.fsck(&crate::gc::FsckOptions::default().deep(), &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}
