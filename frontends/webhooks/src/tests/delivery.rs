//! What happened is delivered: at least once, in order, and not to whom it is none of their business.

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::tenancy::RegistrySettings;
use tokio_util::sync::CancellationToken;

use super::receiver::{Receiver, Reply};
use super::{Yard, acme, caller, main_registry, push, turn};
use crate::dispatch::Ended;
use crate::hooks::{Change, Standing};
use crate::send::Answer;

const PUSHED: &[&str] = &["blob_pushed"];

fn subjects(receiver: &Receiver) -> Vec<String> {
    let subject = |event: serde_json::Value| event["subject"].as_str().unwrap().to_owned();
    receiver.received().iter().map(|received| subject(received.event())).collect()
}

#[tokio::test]
async fn what_happens_from_now_on_arrives_once_and_in_order() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    yard.push("acme/main/api", "before").await;
    let hook = yard.hook(&receiver, PUSHED).await;
    for text in ["a", "b", "c"] {
        yard.push("acme/main/api", text).await;
    }
    assert_eq!(yard.turn(hook.id).await, Ended::Idle);
    assert_eq!(yard.turn(hook.id).await, Ended::Idle);

    let received = receiver.received();
    let digests: Vec<_> =
        received.iter().map(|r| r.event()["data"]["digest"].as_str().unwrap().to_owned()).collect();
    let of = |text: &str| Digest::of(Algorithm::Sha256, text.as_bytes()).to_string();
    assert_eq!(digests, [of("a"), of("b"), of("c")]);
    assert_eq!(received[0].event()["data"]["principal"], "user:ann");
    assert_eq!(received[0].event()["source"], "/acme/main");
    assert_eq!(received[0].event()["id"], received[0].header("webhook-id"));
    assert!(yard.shown(hook.id).await.delivered_at.is_some());
}

#[tokio::test]
async fn hooks_stay_with_their_registry_whatever_it_is_called() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, PUSHED).await;
    let (engine, ann) = (&yard.engine, caller("ann"));
    let (prod, apex) = ("prod".parse().unwrap(), "apex".parse().unwrap());
    engine.rename_registry(&ann, &acme(), &main_registry(), &prod).await.unwrap();
    engine.rename_organisation(&ann, &acme(), &apex).await.unwrap();
    yard.push("apex/prod/api", "a").await;
    yard.turn(hook.id).await;
    assert_eq!(receiver.received()[0].event()["source"], "/apex/prod");
    let listed = yard.hooks.list(&ann, &apex, &prod).await.unwrap();
    assert_eq!(listed[0].id, hook.id);
}

#[tokio::test]
async fn threat_b6_a_hook_hears_nothing_of_another_registry_nor_of_what_it_did_not_ask_for() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, PUSHED).await;
    yard.push("acme/other/secret", "a").await;
    yard.push("acme/main/api", "b").await;
    yard.turn(hook.id).await;
    assert_eq!(subjects(&receiver), ["acme/main/api"]);
}

#[tokio::test]
async fn a_page_that_is_not_through_is_gone_on_with_and_nothing_is_sent_twice() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, PUSHED).await;
    for text in ["a", "b", "c"] {
        yard.push("acme/main/api", text).await;
    }
    // The second is refused: the third must not overtake it.
    receiver.replies(&[Reply::Status(204), Reply::Status(500)]);
    let Ended::Waits(wait) = yard.turn(hook.id).await else { panic!("it failed") };
    assert_eq!(receiver.ids().len(), 2);
    assert!(matches!(yard.turn(hook.id).await, Ended::Waits(_)), "it is not its time yet");
    assert_eq!(receiver.ids().len(), 2);

    yard.clock.advance(wait);
    assert_eq!(yard.turn(hook.id).await, Ended::Idle);
    let ids = receiver.ids();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[1], ids[2], "the same event keeps its id");
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 3);
    assert_eq!(yard.shown(hook.id).await.standing, Standing::Active);
    let (ann, acme, main) = (caller("ann"), acme(), main_registry());
    let recent = yard.hooks.deliveries(&ann, &acme, &main, hook.id).await.unwrap();
    let answers: Vec<_> = recent.iter().map(|delivery| delivery.answer).collect();
    let taken = Answer::Status(204);
    assert_eq!(answers, [taken, taken, Answer::Status(500), taken]);
}

#[tokio::test]
async fn one_repository_in_trouble_keeps_no_other_waiting() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, PUSHED).await;
    for (path, text) in [("acme/main/one", "a"), ("acme/main/one", "b"), ("acme/main/two", "c")] {
        yard.push(path, text).await;
    }
    receiver.replies(&[Reply::Status(500)]);
    let Ended::Waits(wait) = yard.turn(hook.id).await else { panic!("one failed") };
    assert_eq!(receiver.ids().len(), 2, "the first of each repository");
    yard.clock.advance(wait);
    yard.turn(hook.id).await;
    let distinct: BTreeSet<_> = receiver.ids().into_iter().collect();
    assert_eq!((distinct.len(), receiver.ids().len()), (3, 4));
}

#[tokio::test]
async fn a_kill_loses_nothing() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, PUSHED).await;
    yard.push("acme/main/api", "a").await;
    receiver.replies(&[Reply::Silent]);
    // Killed while the receiver has the event and has not answered …
    let turn_under_way = yard.turn(hook.id);
    tokio::select! {
        ended = turn_under_way => panic!("{ended:?}"),
        () = async { while receiver.ids().is_empty() { tokio::task::yield_now().await } } => {}
    }
    // … and what happened in another process, before and after.
    yard.clock.advance(Duration::from_secs(1));
    yard.push("acme/main/api", "b").await;
    let (engine, hooks) = yard.restarted().await;
    push(&engine, "acme/main/api", "c").await;
    assert_eq!(turn(&hooks, hook.id).await, Ended::Idle);
    let ids = receiver.ids();
    assert_eq!(ids[0], ids[1], "what may not have arrived is sent again");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[tokio::test]
async fn a_hook_that_fails_is_tried_ever_more_seldom_then_switched_off_and_loses_nothing_by_it() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, PUSHED).await;
    yard.push("acme/main/api", "a").await;
    receiver.always(Reply::Status(503));
    let mut waits = Vec::new();
    while let Ended::Waits(wait) = yard.turn(hook.id).await {
        waits.push(wait);
        let failing = matches!(yard.shown(hook.id).await.standing, Standing::Failing { .. });
        assert_eq!(failing, waits.len() >= 3, "from the third on");
        yard.clock.advance(wait);
        assert!(waits.len() < 1000);
    }
    assert!(waits[0] <= Duration::from_secs(5) && waits[20] >= Duration::from_mins(30));
    // Five days of at most an hour each, and of at least half of one.
    assert!((120..300).contains(&waits.len()), "{}", waits.len());
    let Standing::Disabled { because: Some(because) } = yard.shown(hook.id).await.standing else {
        panic!("it is off")
    };
    assert!(because.contains("answered 503"), "{because}");

    yard.push("acme/main/api", "b").await;
    receiver.always(Reply::Status(200));
    let before = receiver.ids().len();
    assert_eq!(yard.turn(hook.id).await, Ended::Gone);
    let on = Change { enabled: Some(true), ..Change::default() };
    yard.hooks.update(&caller("ann"), &acme(), &main_registry(), hook.id, on).await.unwrap();
    assert_eq!(yard.turn(hook.id).await, Ended::Idle);
    assert_eq!(receiver.ids().len() - before, 2, "what waited, and what happened meanwhile");
}

#[tokio::test]
async fn a_receiver_that_is_gone_or_busy_is_believed() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, PUSHED).await;
    yard.push("acme/main/api", "a").await;
    receiver.replies(&[Reply::RetryAfter(600), Reply::Status(410)]);
    let ended = yard.turn(hook.id).await;
    assert_eq!(ended, Ended::Waits(Duration::from_mins(10)));
    yard.clock.advance(Duration::from_mins(10));
    assert_eq!(yard.turn(hook.id).await, Ended::Gone);
    assert!(matches!(yard.shown(hook.id).await.standing, Standing::Disabled { .. }));
}

#[tokio::test]
async fn a_hook_ends_with_its_registry() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, PUSHED).await;
    let (ann, acme, main) = (caller("ann"), acme(), main_registry());
    yard.engine.delete_registry(&ann, &acme, &main, true).await.unwrap();
    assert_eq!(yard.turn(hook.id).await, Ended::Gone);
    let rows = yard.engine.extension(crate::records::NAMESPACE).scan("", None, 10).await.unwrap();
    assert_eq!(rows.items, []);
}

#[tokio::test]
async fn a_secret_that_was_replaced_signs_for_a_day_more() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, &[]).await;
    let (ann, acme, main) = (caller("ann"), acme(), main_registry());
    let signatures = async || {
        yard.hooks.test(&ann, &acme, &main, hook.id).await.unwrap();
        let received = receiver.received();
        received.last().unwrap().header("webhook-signature").split(' ').count()
    };
    assert_eq!(signatures().await, 1);
    yard.hooks.rotate_secret(&ann, &acme, &main, hook.id).await.unwrap();
    assert_eq!(signatures().await, 2);
    yard.clock.advance(Duration::from_hours(24));
    assert_eq!(signatures().await, 1);
}

#[tokio::test]
async fn the_loop_delivers_what_happens_and_ends_when_it_is_asked() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (hooks, stop) = (yard.hooks.clone(), stop.clone());
        async move { hooks.run(stop).await }
    });
    let arrived = async |count: usize| {
        let waiting = async {
            while receiver.ids().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    };
    yard.hook(&receiver, PUSHED).await;
    for count in 1..4 {
        yard.push("acme/main/api", &count.to_string()).await;
        arrived(count).await;
    }
    // Another process has nothing to do while this one sends.
    let (other_engine, others) = yard.restarted().await;
    let idle = tokio::spawn({
        let stop = stop.clone();
        async move { others.run(stop).await }
    });
    push(&other_engine, "acme/main/api", "of the other").await;
    arrived(4).await;
    stop.cancel();
    running.await.unwrap();
    idle.await.unwrap();
    assert_eq!(receiver.ids().len(), 4);
    // The lease is given back.
    let lease = yard.engine.extension(crate::records::NAMESPACE).get("sender").await.unwrap();
    assert_eq!(lease, None);
}

#[tokio::test]
async fn a_hook_may_ask_for_changes_of_its_registry() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, &["registry_changed"]).await;
    let settings = RegistrySettings { public: true, ..RegistrySettings::default() };
    for registry in [main_registry(), "other".parse().unwrap()] {
        yard.engine
            .set_registry(&caller("ann"), &acme(), &registry, &settings, None)
            .await
            .unwrap();
    }
    yard.turn(hook.id).await;
    let told = receiver.received();
    let changes: Vec<_> = told.iter().map(|r| r.event()["data"]["change"].to_string()).collect();
    // That it was created itself, and what became of its own registry.
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(changes[1].contains("public"), "{changes:?}");
}
