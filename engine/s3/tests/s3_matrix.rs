//! Each request that an installation makes of S3, failing in each way, and then all of them at random:
//! what was acknowledged is there, what was not verified is not, and nothing is left behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails as a test does")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use strongroom_engine::Error;
use strongroom_engine::access::Action;
use strongroom_s3_testing::{Fault, Operation, S3Kind, Server};

use self::support::installation::{Installation, MIB, numbered, sha256};

/// How long it lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lasts {
    /// For two requests: asked a third time the service does what it should.
    Twice,
    /// Until it is healed.
    On,
}

/// Fails requests of `operation` from here on.
fn arm(installation: &Installation, operation: Operation, fault: Fault, lasts: Lasts) {
    let times = if lasts == Lasts::Twice { 2 } else { u64::MAX };
    installation.proxy.fail_next(operation, times, fault);
}

/// One row of the table: pushes of every kind, a collection and a deletion, each with the fault.
async fn case(server: &Server, operation: Operation, fault: Fault, lasts: Lasts, number: u32) {
    let case = &format!("{operation:?} {fault:?} {lasts:?}");
    let installation = &Installation::new(server, &format!("case-{number}")).await;
    let (large, small) = (numbered(1, 11 * MIB), numbered(2, 1000));
    let (chunked, few) = (numbered(3, 12 * MIB), numbered(4, 2 * MIB));
    let (left, wrong, never) = (numbered(5, 6 * MIB), numbered(6, 6 * MIB), numbered(7, 6 * MIB));
    let of_old = numbered(8, 100_000);
    installation.push(&of_old).await.unwrap();
    let faults = installation.proxy.faults();

    arm(installation, operation, fault, lasts);
    let pushed = [
        (&large, installation.push(&large).await),
        (&small, installation.push(&small).await),
        (&chunked, installation.push_chunked(&chunked, 4 * MIB).await),
        (&few, installation.push_chunked(&few, MIB).await),
    ];
    installation.push_wrong(&wrong, &sha256(&never)).await;
    let _ = installation.abandon(&left).await;
    // Under the fault a read fails or is right; `reads` sees to that.
    let _ = installation.reads(&of_old).await;
    installation.proxy.heal();

    for (bytes, pushed) in &pushed {
        if let Err(error) = pushed {
            assert!(lasts == Lasts::On, "{case}: a fault that passes is not for clients: {error}");
            assert!(is_for_now(error), "{case}: {error:?} does not say to try again");
        }
        let there = installation.reads(bytes).await.unwrap_or_else(|e| panic!("{case}: {e}"));
        assert!(there || pushed.is_err(), "{case}: what was acknowledged is lost");
    }
    for bytes in [&never, &wrong] {
        assert!(!installation.reads(bytes).await.unwrap(), "{case}: it shows unverified bytes");
    }
    assert!(installation.reads(&of_old).await.unwrap(), "{case}");
    // Whoever was refused tries again.
    for (bytes, pushed) in &pushed {
        if pushed.is_err() {
            installation.push(bytes).await.unwrap_or_else(|e| panic!("{case}: again: {e}"));
        }
    }
    let layers = [&large, &small, &chunked, &few, &of_old].map(Bytes::clone);
    installation.push_image(&layers, "v1").await.unwrap_or_else(|e| panic!("{case}: {e}"));

    // A collection that meets the fault may fail. Nothing that is wanted goes.
    arm(installation, operation, fault, lasts);
    let _ = installation.collect_later().await;
    installation.proxy.heal();
    installation.collect_later().await.unwrap_or_else(|e| panic!("{case}: {e}"));
    for bytes in &layers {
        assert!(installation.reads(bytes).await.unwrap(), "{case}: collected what is named");
    }
    installation.is_sound(case).await;

    installation.delete("v1").await.unwrap();
    arm(installation, operation, fault, lasts);
    for _ in 0..3 {
        let _ = installation.collect_later().await;
    }
    installation.proxy.heal();
    installation.leaves_nothing(server, case).await;
    assert!(installation.proxy.faults() > faults, "{case}: nothing failed");
}

/// Whether an error tells a client that the same may work later.
fn is_for_now(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::UploadBusy { .. } | Error::Contended { .. })
}

/// One column of the table.
async fn column(fault: Fault) {
    let server = Server::start(S3Kind::Versity).await;
    let mut number = 0;
    for operation in Operation::ASKED {
        for lasts in [Lasts::Twice, Lasts::On] {
            number += 1;
            case(&server, operation, fault, lasts, number).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s15_each_request_refused_with_an_error() {
    column(Fault::Status(500, "InternalError")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s15_each_request_told_to_slow_down() {
    column(Fault::Status(503, "SlowDown")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s13_each_request_with_its_reply_lost() {
    column(Fault::LostReply).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s15_each_request_cut_in_its_middle() {
    column(Fault::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s15_each_request_answered_slowly() {
    column(Fault::Slow(Duration::from_millis(100))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s15_each_answer_cut_in_its_middle() {
    column(Fault::Short).await;
}

/// The same numbers for the same seed (splitmix64).
fn chance(mut state: u64) -> impl FnMut() -> u64 + Send {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Several clients at once, while each request fails by chance.
async fn mix(server: &Server, per_mille: u64, seed: u64) {
    const FAULTS: [Fault; 7] = [
        Fault::Status(500, "InternalError"),
        Fault::Status(503, "SlowDown"),
        Fault::Reset,
        Fault::LostReply,
        Fault::Cut,
        Fault::Short,
        Fault::Slow(Duration::from_millis(30)),
    ];
    let case = &format!("{per_mille} of 1000, seed {seed}");
    let installation = &Installation::new(server, &format!("mix-{per_mille}-{seed}")).await;
    let mut draw = chance(seed);
    installation.proxy.fail(move |_| {
        let hit = draw() % 1000 < per_mille;
        let which = usize::try_from(draw() % FAULTS.len() as u64).unwrap();
        hit.then(|| FAULTS.get(which).copied()).flatten()
    });
    let client = |client: u32| async move {
        let mut pushed = Vec::new();
        for round in 0..4 {
            let number = client * 100 + round;
            let bytes = match round % 4 {
                0 => numbered(number, 11 * MIB),
                1 => numbered(number, 3000),
                2 => numbered(number, 7 * MIB),
                _ => numbered(number, 2 * MIB),
            };
            let told = match round % 2 {
                0 => installation.push(&bytes).await,
                _ => installation.push_chunked(&bytes, 3 * MIB).await,
            };
            if let Err(error) = &told {
                assert!(is_for_now(error), "{case}: {error:?}");
                assert!(per_mille > 10, "{case}: retries do not help: {error:?}");
            }
            let tag = format!("t{number}");
            let named = told.is_ok()
                && installation.push_image(std::slice::from_ref(&bytes), &tag).await.is_ok();
            let _ = installation.reads(&bytes).await;
            pushed.push((bytes, tag, told.is_ok(), named));
        }
        pushed
    };
    let pushed = futures::future::join_all((1..=4).map(client)).await.concat();
    // A collection in the midst of it, too.
    let named: Vec<_> = pushed.iter().filter(|(.., named)| *named).collect();
    let acknowledged: Vec<_> = pushed.iter().filter(|(_, _, told, _)| *told).collect();
    installation.proxy.heal();
    for (bytes, tag, ..) in &acknowledged {
        assert!(installation.reads(bytes).await.unwrap(), "{case}: {tag} is lost");
    }
    let mut draw = chance(seed + 1);
    installation
        .proxy
        .fail(move |_| (draw() % 1000 < per_mille).then_some(Fault::Status(500, "InternalError")));
    for _ in 0..2 {
        let _ = installation.collect_later().await;
    }
    installation.proxy.heal();
    installation.collect_later().await.unwrap();
    for (bytes, tag, ..) in &named {
        assert!(installation.reads(bytes).await.unwrap(), "{case}: {tag} was collected");
        let repository = installation.open(Action::Pull).await.unwrap();
        repository.manifest(&tag.parse().unwrap()).await.unwrap();
    }
    installation.is_sound(case).await;
    for (_, tag, ..) in &pushed {
        match installation.delete(tag).await {
            Ok(()) | Err(Error::ManifestUnknown { .. } | Error::NameUnknown { .. }) => {}
            Err(error) => panic!("{case}: {error}"),
        }
    }
    installation.leaves_nothing(server, case).await;
    assert!(per_mille < 100 || installation.proxy.faults() > 10, "{case}: hardly anything failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s15_one_ten_and_fifty_of_a_hundred_requests_fail_at_random() {
    let server = Server::start(S3Kind::Versity).await;
    let seeds = if std::env::var_os("STRONGROOM_LONG").is_some() { 1..=20 } else { 1..=2 };
    for seed in seeds {
        for per_mille in [10, 100, 500] {
            mix(&server, per_mille, seed).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s16_while_s3_is_away_records_are_served_and_it_goes_on_by_itself_afterwards() {
    let server = Server::start(S3Kind::Versity).await;
    let installation = Installation::new(&server, "outage").await;
    let before = numbered(1, 7 * MIB);
    installation.push(&before).await.unwrap();
    installation.push_image(std::slice::from_ref(&before), "v1").await.unwrap();
    for fault in [Fault::Reset, Fault::Status(503, "ServiceUnavailable")] {
        installation.proxy.fail(move |_| Some(fault));
        let during = numbered(2, 7 * MIB);
        let refused = installation.push(&during).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{fault:?}: {refused:?}");
        let refused = installation.reads(&before).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{fault:?}: {refused:?}");
        // What needs no bytes of the bucket is as ever.
        let repository = installation.open(Action::Pull).await.unwrap();
        repository.stat_blob(&sha256(&before)).await.unwrap();
        repository.stat_manifest(&"v1".parse().unwrap()).await.unwrap();
        assert_eq!(repository.tags(None, 10).await.unwrap().items.len(), 1);
        let collected = installation.collect_later().await;
        assert!(collected.is_err(), "{fault:?}: a collection saw nothing and said it was done");

        installation.proxy.heal();
        assert!(!installation.reads(&during).await.unwrap());
        installation.push(&during).await.unwrap();
        assert!(installation.reads(&before).await.unwrap());
        assert!(installation.reads(&during).await.unwrap());
        installation.collect_later().await.unwrap();
    }
    installation.is_sound("after an outage").await;
    installation.delete("v1").await.unwrap();
    installation.leaves_nothing(&server, "after an outage").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_s18_listings_that_show_nothing_yet_change_nothing_but_when_garbage_goes() {
    let server = Server::start(S3Kind::Versity).await;
    let installation = Installation::new(&server, "stale").await;
    let lists = [Operation::ListObjectsV2, Operation::ListMultipartUploads];
    installation.proxy.fail(move |call| lists.contains(&call.operation).then_some(Fault::Lie));
    let layers = [numbered(1, 11 * MIB), numbered(2, 9 * MIB), numbered(3, 1000)];
    installation.push(&layers[0]).await.unwrap();
    installation.push_chunked(&layers[1], 4 * MIB).await.unwrap();
    installation.push(&layers[2]).await.unwrap();
    installation.push_image(&layers, "v1").await.unwrap();
    installation.abandon(&numbered(4, 6 * MIB)).await.unwrap();
    for _ in 0..3 {
        installation.collect_later().await.unwrap();
        for layer in &layers {
            assert!(installation.reads(layer).await.unwrap());
        }
    }
    installation.delete("v1").await.unwrap();
    installation.collect_later().await.unwrap();
    installation.collect_later().await.unwrap();
    installation.proxy.heal();
    installation.leaves_nothing(&server, "after stale listings").await;
}
