//! What the loop does with good messages and with bad ones, and with what is away.

use super::*;

#[tokio::test(start_paused = true)]
async fn messages_that_come_thrice_and_in_any_order_make_one_organisation_each() {
    for seed in 0..5 {
        let town = Town::new().await;
        let names: Vec<_> = (0..12).map(|number| format!("jo{number}")).collect();
        town.queue.misbehave(seed, 0);
        for name in names.iter().chain(&names).chain(&names) {
            town.queue.send(&sign_up(name).to_text());
        }
        town.drain(&town.worker()).await;
        town.check(&names).await;
        assert_eq!(town.queue.dead(), []);
        let (_, most_held) = town.queue.held();
        assert!(
            (2..=4).contains(&most_held),
            "several at once, and no more than was set: {most_held}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn lost_replies_of_both_sides_and_two_workers_change_nothing() {
    for seed in 0..20 {
        let town = Town::new().await;
        let names: Vec<_> = (0..6).map(|number| format!("jo{number}")).collect();
        town.queue.misbehave(seed, 30);
        town.meta.set_plan(FaultPlan::seeded(seed, 100));
        for name in names.iter().chain(&names) {
            town.queue.send(&sign_up(name).to_text());
        }
        let (one, two) = (town.worker(), town.worker());
        futures::join!(town.drain(&one), town.drain(&two));
        town.back();
        town.check(&names).await;
        assert_eq!(town.queue.dead(), [], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_is_a_dead_letter_at_once_and_stops_nobody() {
    let town = Town::new().await;
    let shouted = SignUp { sub: "NOT AN ID".to_owned(), ..sign_up("ann") };
    let bad = ["", "{}", "no JSON", &shouted.to_text()];
    for body in bad {
        town.queue.send(body);
    }
    town.queue.send(&sign_up("jo").to_text());
    town.drain(&town.worker()).await;
    town.check(["jo"]).await;
    let mut dead = town.queue.dead();
    dead.sort();
    let mut wanted: Vec<_> = bad.iter().map(|body| (*body).to_owned()).collect();
    wanted.sort();
    assert_eq!(dead.iter().map(|(body, _)| body.clone()).collect::<Vec<_>>(), wanted);
    for (body, reason) in dead {
        let says = if body == shouted.to_text() { "the provider's id" } else { "it is no sign-up" };
        assert!(reason.contains(says), "{body}: {reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_kept_before_the_message_is_deleted() {
    for seed in 0..20 {
        let town = Town::new().await;
        town.queue.misbehave(seed, 50);
        town.queue.send("poison");
        town.drain(&town.worker()).await;
        assert!(!town.queue.dead().is_empty(), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_version_waits_for_who_knows_it_and_is_a_dead_letter_in_the_end() {
    let town = Town::new().await;
    let later = r#"{"version":2,"who":"jo"}"#;
    town.queue.send(later);
    let stop = CancellationToken::new();
    let worker = town.worker();
    let watch = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        assert_eq!(town.queue.dead(), [], "another may know it");
        assert_eq!(town.queue.receives(), [2], "after ten seconds once more");
        town.queue.emptied().await;
        stop.cancel();
    };
    futures::join!(worker.consume(&stop), watch);
    let dead = town.queue.dead();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].1.contains("of version 2"), "{dead:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_for_them_bad_messages_are_left_to_the_redrive_policy() {
    let town = Town::new().await;
    town.queue.without_dead_letters();
    town.queue.send("poison");
    let stop = CancellationToken::new();
    let worker = town.worker();
    let watch = async {
        tokio::time::sleep(Duration::from_secs(200)).await;
        stop.cancel();
    };
    futures::join!(worker.consume(&stop), watch);
    let receives = town.queue.receives();
    assert!(
        (3..=5).contains(&receives[0]),
        "each minute once, for the queue to count: {receives:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_metadata_are_away_messages_are_held_and_no_more_are_received() {
    let town = Town::new().await;
    let names: Vec<_> = (0..20).map(|number| format!("jo{number}")).collect();
    town.away();
    for name in &names {
        town.queue.send(&sign_up(name).to_text());
    }
    let stop = CancellationToken::new();
    let worker = town.worker();
    let watch = async {
        // Far longer than a message is held at once.
        tokio::time::sleep(Duration::from_hours(2)).await;
        let receives = town.queue.receives();
        assert_eq!(receives.iter().sum::<u32>(), 4, "an outage uses up no receipts: {receives:?}");
        assert_eq!(town.queue.held(), (4, 4));
        town.back();
        town.queue.emptied().await;
        stop.cancel();
    };
    futures::join!(worker.consume(&stop), watch);
    town.check(&names).await;
    assert_eq!(town.queue.dead(), []);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_asked_to_end_in_an_outage_gives_back_what_it_holds() {
    let town = Town::new().await;
    town.away();
    for name in ["ann", "jo"] {
        town.queue.send(&sign_up(name).to_text());
    }
    let stop = CancellationToken::new();
    let worker = town.worker();
    let end = async {
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(town.queue.held().0, 2);
        stop.cancel();
    };
    futures::join!(worker.consume(&stop), end);
    assert_eq!(town.queue.held().0, 0, "others see them at once");
    assert_eq!(town.queue.receives(), [1, 1]);
    town.back();
    town.drain(&town.worker()).await;
    town.check(["ann", "jo"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_the_worker_is_asked_to_end_is_finished() {
    let town = Town::new().await;
    for name in ["ann", "jo", "kim"] {
        town.queue.send(&sign_up(name).to_text());
    }
    let stop = CancellationToken::new();
    let worker = town.worker();
    let end = async {
        while town.queue.held().0 == 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    futures::join!(worker.consume(&stop), end);
    let (held, _) = town.queue.held();
    assert_eq!(held, 0, "nothing is left for its time to run out");
    town.drain(&town.worker()).await;
    town.check(["ann", "jo", "kim"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_old_message_changes_nothing_of_a_profile_that_is_there() {
    let town = Town::new().await;
    let moved = NewUser { email: Some("jo@new.example".to_owned()), ..user("jo") };
    let made = profiles::ensure(&town.engine, &moved, First::default()).await.unwrap();
    town.queue.send(&sign_up("jo").to_text());
    town.drain(&town.worker()).await;
    assert_eq!(town.profile(&sub("jo")).await, Some(made));
    assert_eq!(profiles::find(&town.engine, "jo@acme.example").await.unwrap(), []);
    town.check(["jo"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_away_is_asked_ever_more_seldom_and_found_again() {
    let town = Town::new().await;
    town.queue.misbehave(1, 100);
    town.queue.send(&sign_up("jo").to_text());
    let stop = CancellationToken::new();
    let worker = town.worker();
    let watch = async {
        tokio::time::sleep(Duration::from_hours(1)).await;
        let calls = town.queue.calls();
        assert!((50..90).contains(&calls), "about once a minute: {calls}");
        town.queue.misbehave(1, 0);
        town.queue.emptied().await;
        stop.cancel();
    };
    futures::join!(worker.consume(&stop), watch);
    town.check(["jo"]).await;
}
