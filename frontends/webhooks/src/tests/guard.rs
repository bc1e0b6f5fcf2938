//! Where a hook may lead, and how much a receiver may ask of us.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_outbound::{Resolver, SystemResolver, TargetError};

use super::receiver::{Receiver, Reply};
use super::{Fixed, Yard, acme, caller, loopback, main_registry, settings};
use crate::dispatch::Ended;
use crate::error::WebhookError;
use crate::hooks::NewHook;
use crate::send::Answer;
use crate::settings::Settings;

/// A name whose address is public when it is asked for first, and the receiver's own from then on.
#[derive(Debug, Default)]
struct Rebinding(AtomicUsize);

#[async_trait]
impl Resolver for Rebinding {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        // Documentation's block is refused like all that is not public, so nothing leaves this machine;
        // the test allows it, as if it were public.
        Ok(vec![if first { [192, 0, 2, 1].into() } else { [127, 0, 0, 1].into() }])
    }
}

async fn tried(yard: &Yard, receiver: &Receiver) -> Answer {
    let hook = yard.hook(receiver, &[]).await;
    let (ann, acme, main) = (caller("ann"), acme(), main_registry());
    yard.hooks.test(&ann, &acme, &main, hook.id).await.unwrap().answer
}

#[tokio::test]
async fn threat_c20_a_name_that_changes_its_address_reaches_nothing_inside() {
    let resolver = Arc::new(Rebinding::default());
    let settings = Settings {
        allowed_networks: vec!["192.0.2.0/24".parse().unwrap()],
        timeout: Duration::from_millis(200),
        ..settings()
    };
    let (yard, receiver) = (Yard::with(settings, resolver.clone()).await, Receiver::new().await);
    let first = tried(&yard, &receiver).await;
    // Checked and connected to is the one answer: the public address, where nobody listens.
    assert!(matches!(first, Answer::TimedOut | Answer::Unreachable), "{first:?}");
    assert_eq!(resolver.0.load(Ordering::SeqCst), 1, "a name is asked for once an attempt");
    for _ in 0..3 {
        assert_eq!(tried(&yard, &receiver).await, Answer::Forbidden);
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn threat_c20_one_address_inside_among_others_closes_the_name() {
    let resolver = Arc::new(Fixed(vec![[127, 0, 0, 1].into(), [10, 0, 0, 1].into()]));
    let (yard, receiver) = (Yard::with(settings(), resolver).await, Receiver::new().await);
    assert_eq!(tried(&yard, &receiver).await, Answer::Forbidden);
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn threat_c20_addresses_written_in_odd_ways_are_what_they_are() {
    let settings = Settings { allowed_networks: Vec::new(), ..settings() };
    let resolver: Arc<dyn Resolver> = Arc::new(SystemResolver);
    let (yard, receiver) = (Yard::with(settings, resolver).await, Receiver::new().await);
    let (ann, acme, main) = (caller("ann"), acme(), main_registry());
    let hosts = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "[::1]", "0.0.0.0"];
    for host in hosts.into_iter().chain(["[::ffff:127.0.0.1]", "0177.0.0.1"]) {
        let url = format!("http://{host}:{}/", receiver.port()).parse().unwrap();
        let (hook, _) =
            yard.hooks.create(&ann, &acme, &main, NewHook { url, events: vec![] }).await.unwrap();
        let answer = yard.hooks.test(&ann, &acme, &main, hook.id).await.unwrap().answer;
        // Some systems know some of the ways not at all.
        assert!(matches!(answer, Answer::Forbidden | Answer::Unresolved), "{host}: {answer:?}");
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn threat_c20_redirects_are_not_followed_and_have_not_taken_the_event() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let hook = yard.hook(&receiver, &["blob_pushed"]).await;
    receiver.replies(&[Reply::Redirect]);
    yard.push("acme/main/api", "a").await;

    assert!(matches!(yard.turn(hook.id).await, Ended::Waits(_)));
    let paths: Vec<_> = receiver.received().into_iter().map(|received| received.path).collect();
    assert_eq!(paths, ["/hooks?from=acme"]);
}

#[tokio::test]
async fn an_answer_without_end_and_one_that_never_comes_cost_little() {
    let settings = Settings { timeout: Duration::from_millis(300), ..settings() };
    let (yard, receiver) = (Yard::with(settings, loopback()).await, Receiver::new().await);
    receiver.replies(&[Reply::Endless, Reply::Silent]);
    assert_eq!(tried(&yard, &receiver).await, Answer::Status(200), "its head says enough");
    assert_eq!(tried(&yard, &receiver).await, Answer::TimedOut);
}

#[tokio::test]
async fn http_is_for_whom_the_operator_allowed_it() {
    let settings = Settings { allow_http: false, ..settings() };
    let (yard, receiver) = (Yard::with(settings, loopback()).await, Receiver::new().await);
    let new = NewHook { url: receiver.url(), events: Vec::new() };
    let refused = yard.hooks.create(&caller("ann"), &acme(), &main_registry(), new).await;
    assert!(matches!(refused, Err(WebhookError::Target(TargetError::Plain))), "{refused:?}");
}

#[tokio::test]
async fn a_receiver_that_has_no_tls_gets_nothing_in_clear() {
    let (yard, receiver) = (Yard::new().await, Receiver::new().await);
    let url = format!("https://receiver.example:{}/", receiver.port()).parse().unwrap();
    let (ann, acme, main) = (caller("ann"), acme(), main_registry());
    let (hook, _) =
        yard.hooks.create(&ann, &acme, &main, NewHook { url, events: vec![] }).await.unwrap();
    assert_eq!(yard.hooks.test(&ann, &acme, &main, hook.id).await.unwrap().answer, Answer::Tls);
    assert!(receiver.received().is_empty());
}
