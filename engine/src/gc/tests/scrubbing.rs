//! A scrub that was stopped goes on where it stood.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;

use super::{ACME, blob};
use crate::Engine;
use crate::digest::Digest;
use crate::gc::{Progress, ScrubOptions, ScrubReport, Subset};
use crate::keys;
use crate::meta::prefix_range;
use crate::seam::Seams;
use crate::tests::support::{World, image};

/// The same stores in another process, as after a kill.
async fn restarted(world: &World) -> Engine {
    let core = &world.engine.core;
    let seams = Seams { clock: world.clock.clone(), ..core.seams.clone() };
    let engine = Engine::builder(Arc::clone(&core.meta), Arc::clone(&core.blobs)).seams(seams);
    engine.settings(core.settings.clone()).build().await.unwrap()
}

/// Scrubs until so many pieces were read, and is killed there.
async fn killed_after(engine: &Engine, options: &ScrubOptions, pieces: u64) {
    let watch = |progress: &Progress| assert!(progress.done < pieces, "as the test asked for");
    let scrub = AssertUnwindSafe(engine.scrub(options, &watch));
    scrub.catch_unwind().await.unwrap_err();
}

async fn scrub(engine: &Engine, options: &ScrubOptions) -> ScrubReport {
    engine.scrub(options, &|_| {}).await.unwrap()
}

/// A world with so many pieces of content, in the order in which they are read.
async fn filled(pieces: u32) -> (World, Vec<Digest>) {
    let world = World::new().await;
    let mut digests = Vec::new();
    for n in 0..pieces {
        digests.push(world.push_blob("api", &n.to_be_bytes()).await);
    }
    digests.sort_by_key(Digest::to_bytes);
    (world, digests)
}

async fn rot(world: &World, digest: &Digest) {
    let key = blob(world, digest).await.unwrap().object(ACME, digest);
    world.engine.core.blobs.put(&key, Bytes::from_static(b"rots")).await.unwrap();
}

async fn places(world: &World) -> usize {
    let rows = world.engine.core.meta.scan(prefix_range(b"!scrub"), 10).await.unwrap();
    rows.len()
}

#[tokio::test]
async fn a_killed_scrub_is_gone_on_with_and_reads_everything() {
    let (world, digests) = filled(900).await;
    // One that was read before the kill, one just where it may have been lost, and one behind.
    for at in [3, 599, 899] {
        rot(&world, &digests[at]).await;
    }
    let options = ScrubOptions::default();
    killed_after(&world.engine, &options, 600).await;
    let engine = restarted(&world).await;
    let rest = scrub(&engine, &options).await;

    assert!(rest.resumed);
    // It is noted each 256 pieces: the second time after 512.
    assert_eq!(rest.good.count + rest.wrong + rest.quarantined.count, 900 - 512);
    for at in [3, 599, 899] {
        let state = blob(&world, &digests[at]).await.unwrap().state;
        assert!(matches!(state, crate::records::BlobState::Quarantined { .. }), "{at}: {state:?}");
    }
    assert_eq!(places(&world).await, 0, "it came to its end");
    let again = scrub(&engine, &options).await;
    assert!(!again.resumed);
    assert_eq!((again.good.count, again.quarantined.count), (897, 3));
}

#[tokio::test]
async fn each_share_has_its_own_place_and_anew_is_from_the_beginning() {
    let (world, _) = filled(1200).await;
    let share = |n| {
        let subset = Subset::new(n, 2);
        ScrubOptions { subset, ..ScrubOptions::default() }
    };
    killed_after(&world.engine, &share(1), 300).await;
    killed_after(&world.engine, &share(2), 300).await;
    assert_eq!(places(&world).await, 2);
    let whole = scrub(&world.engine, &ScrubOptions::default()).await;
    assert_eq!((whole.resumed, whole.good.count), (false, 1200), "that is another scrub");
    let anew = scrub(&world.engine, &ScrubOptions { anew: true, ..share(1) }).await;
    assert!(!anew.resumed);
    let rest = scrub(&world.engine, &share(2)).await;
    assert!(rest.resumed);
    assert_eq!(anew.good.count + rest.good.count, 1200 - 256);
    assert_eq!(places(&world).await, 0);
}

#[tokio::test]
async fn a_scrub_killed_among_manifests_or_copies_is_gone_on_with_there() {
    let world = World::new().await;
    let config = world.push_blob("api", b"{}").await;
    for n in 0..300_u32 {
        let layer = world.push_blob("api", &n.to_be_bytes()).await;
        let name = if n % 2 == 0 { "api" } else { "web" };
        if name == "web" {
            world.push_blob("web", b"{}").await;
            world.push_blob("web", &n.to_be_bytes()).await;
        }
        world.push_manifest(name, &image(&config, 2, &layer, 4), &[]).await.unwrap();
    }
    world.engine.flush().await.unwrap();
    // 301 pieces of content, 300 manifests, 300 copies of them.
    for (killed, noted) in [(301 + 250, 512), (601 + 200, 768)] {
        killed_after(&world.engine, &ScrubOptions { anew: true, ..Default::default() }, killed)
            .await;
        let rest = scrub(&restarted(&world).await, &ScrubOptions::default()).await;
        assert!(rest.resumed);
        assert_eq!(rest.good.count, 901 - noted, "killed after {killed}");
    }
}

#[tokio::test]
async fn a_place_is_not_noted_past_content_that_may_be_missing() {
    let (world, digests) = filled(300).await;
    for digest in &digests[..3] {
        let key = blob(&world, digest).await.unwrap().object(ACME, digest);
        world.engine.core.blobs.delete(&key).await.unwrap();
    }
    // It gives up before it has found anything that is there.
    let careful = ScrubOptions { missing_in_a_row: Some(2), ..ScrubOptions::default() };
    world.engine.scrub(&careful, &|_| {}).await.unwrap_err();
    assert_eq!(places(&world).await, 0);
    let report = scrub(&world.engine, &ScrubOptions::default()).await;
    assert_eq!((report.wrong, report.good.count), (3, 297));
    let key = keys::scrub(crate::id::OrganisationId(0), 1, 1);
    assert_eq!(world.engine.core.meta.get(&key).await.unwrap(), None);
}
