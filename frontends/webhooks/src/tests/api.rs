//! Who may do what with hooks, and what they are told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_engine::Error;
use strongroom_engine::access::Role;
use strongroom_engine::audit::{EventKind, TrailQuery};

use super::receiver::{Receiver, Reply};
use super::{Yard, acme, caller, main_registry};
use crate::error::WebhookError;
use crate::hooks::{Change, HookId, NewHook, Standing};
use crate::records;
use crate::send::Answer;

/// What each call says to somebody.
async fn all_calls(yard: &Yard, who: &str, hook: HookId, receiver: &Receiver) -> Vec<Error> {
    let (by, acme, main, hooks) = (caller(who), acme(), main_registry(), &yard.hooks);
    let new = NewHook { url: receiver.url(), events: Vec::new() };
    let results = [
        hooks.create(&by, &acme, &main, new).await.map(drop),
        hooks.list(&by, &acme, &main).await.map(drop),
        hooks.update(&by, &acme, &main, hook, Change::default()).await.map(drop),
        hooks.rotate_secret(&by, &acme, &main, hook).await.map(drop),
        hooks.test(&by, &acme, &main, hook).await.map(drop),
        hooks.deliveries(&by, &acme, &main, hook).await.map(drop),
        hooks.delete(&by, &acme, &main, hook).await,
    ];
    let refused = results.into_iter().map(|result| match result.unwrap_err() {
        WebhookError::Engine(error) => error,
        other => panic!("{other:?}"),
    });
    refused.collect()
}

#[tokio::test]
async fn threat_b9_only_who_manages_the_registry_has_to_do_with_its_hooks() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, &[]).await;
    for (who, role) in [("vera", Role::Viewer), ("will", Role::Writer)] {
        yard.grant(who, None, role).await;
        for error in all_calls(&yard, who, hook.id, &receiver).await {
            assert!(matches!(error, Error::Denied { .. }), "{who}: {error:?}");
        }
    }
    // Hidden answers as absent; a role elsewhere shows nothing here.
    yard.grant("olga", Some("other"), Role::Admin).await;
    for who in ["mallory", "olga"] {
        for error in all_calls(&yard, who, hook.id, &receiver).await {
            assert_eq!(error.to_string(), "acme/main is not known here", "{who}");
        }
    }
    assert!(receiver.received().is_empty());
    assert_eq!(yard.shown(hook.id).await, hook);
}

#[tokio::test]
async fn threat_b6_a_hook_of_another_registry_is_not_there() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, &[]).await;
    yard.grant("olga", Some("other"), Role::Admin).await;
    let (olga, acme, other, hooks) =
        (caller("olga"), acme(), "other".parse().unwrap(), &yard.hooks);
    let results = [
        hooks.update(&olga, &acme, &other, hook.id, Change::default()).await.map(drop),
        hooks.rotate_secret(&olga, &acme, &other, hook.id).await.map(drop),
        hooks.test(&olga, &acme, &other, hook.id).await.map(drop),
        hooks.deliveries(&olga, &acme, &other, hook.id).await.map(drop),
        hooks.delete(&olga, &acme, &other, hook.id).await,
    ];
    for result in results {
        assert!(matches!(result, Err(WebhookError::Unknown { .. })), "{result:?}");
    }
    assert!(hooks.list(&olga, &acme, &other).await.unwrap().is_empty());
    assert_eq!(yard.shown(hook.id).await, hook);
}

#[tokio::test]
async fn threat_c26_each_change_has_one_line_and_a_refused_one_none() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let lines = async || {
        let query =
            TrailQuery { kinds: vec!["registry_changed".to_owned()], ..TrailQuery::default() };
        let page = yard.engine.trail(&caller("ann"), Some(&acme()), &query, None, 100).await;
        let change = |kind| match kind {
            EventKind::RegistryChanged { change, .. } => change,
            other => panic!("{other:?}"),
        };
        page.unwrap().items.into_iter().map(|line| change(line.event.kind)).collect::<Vec<_>>()
    };
    let (ann, acme, main) = (caller("ann"), acme(), main_registry());
    let hook = yard.hook(&receiver, &[]).await.id;
    let off = Change { enabled: Some(false), ..Change::default() };
    yard.hooks.update(&ann, &acme, &main, hook, off).await.unwrap();
    yard.hooks.rotate_secret(&ann, &acme, &main, hook).await.unwrap();
    yard.hooks.delete(&ann, &acme, &main, hook).await.unwrap();
    let said = lines().await;
    assert_eq!(said.len(), 4, "{said:?}");
    for (line, word) in said.iter().rev().zip(["created", "is off", "another secret", "deleted"]) {
        assert!(line.contains(word) && line.contains(&hook.to_string()), "{line}");
    }
    assert!(yard.hooks.delete(&ann, &acme, &main, hook).await.is_err());
    assert_eq!(lines().await.len(), 4);
}

#[tokio::test]
async fn threat_c25_the_secret_is_shown_once_and_kept_sealed() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let (ann, acme, main) = (caller("ann"), acme(), main_registry());
    let new = NewHook { url: receiver.url(), events: Vec::new() };
    let (hook, secret) = yard.hooks.create(&ann, &acme, &main, new).await.unwrap();
    yard.hooks.test(&ann, &acme, &main, hook.id).await.unwrap();
    let text = secret.expose().strip_prefix("whsec_").unwrap();

    let all = yard.hooks.list(&ann, &acme, &main).await.unwrap();
    let recent = yard.hooks.deliveries(&ann, &acme, &main, hook.id).await.unwrap();
    let trail = yard.engine.trail(&ann, Some(&acme), &TrailQuery::default(), None, 100).await;
    let shown = format!("{all:?} {recent:?} {:?} {trail:?}", yard.hooks);
    assert!(!shown.contains(text));
    let key = STANDARD.decode(text).unwrap();
    let rows = yard.engine.extension(records::NAMESPACE).scan("", None, 100).await.unwrap();
    assert!(rows.items.len() >= 2);
    for row in rows.items {
        let numbers = format!("{key:?}").replace(' ', "");
        let kept = String::from_utf8_lossy(&row.value).into_owned();
        assert!(!kept.contains(text) && !kept.contains(numbers.trim_matches(['[', ']'])));
    }
}

#[tokio::test]
async fn what_can_not_be_is_told_and_there_are_not_more_than_may_be() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let (ann, acme, main) = (caller("ann"), acme(), main_registry());
    let new = NewHook { url: receiver.url(), events: vec!["signed_in".to_owned()] };
    let refused = yard.hooks.create(&ann, &acme, &main, new).await.unwrap_err();
    assert!(refused.to_string().starts_with("events: there is no event \"signed_in\"; there are"));
    for _ in 0..20 {
        yard.hook(&receiver, &[]).await;
    }
    let new = NewHook { url: receiver.url(), events: Vec::new() };
    let refused = yard.hooks.create(&ann, &acme, &main, new).await;
    assert!(matches!(refused, Err(WebhookError::TooMany { max: 20 })), "{refused:?}");
}

#[tokio::test]
async fn of_hooks_that_are_made_at_once_none_is_lost() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let made = futures::future::join_all((0..8).map(|_| yard.hook(&receiver, &[]))).await;
    let listed = yard.hooks.list(&caller("ann"), &acme(), &main_registry()).await.unwrap();
    assert_eq!(listed.len(), made.len());
}

#[tokio::test]
async fn a_trial_arrives_signed_and_is_no_event() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    receiver.replies(&[Reply::Status(500)]);
    let hook = yard.hook(&receiver, &[]).await;
    let (ann, acme, main) = (caller("ann"), acme(), main_registry());
    let trial = yard.hooks.test(&ann, &acme, &main, hook.id).await.unwrap();
    assert_eq!((trial.answer, trial.kind.as_str()), (Answer::Status(500), "webhook_tested"));
    let received = receiver.received();
    assert_eq!(received[0].event()["type"], "strongroom.webhook_tested");
    assert_eq!(received[0].header("content-type"), "application/cloudevents+json; charset=utf-8");
    assert!(received[0].header("webhook-signature").starts_with("v1,"));
    assert_eq!(yard.shown(hook.id).await.standing, Standing::Active);
}
