//! Every route, by everybody, in every kind of place: what each is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::{HeaderMap, StatusCode as S};
use strongroom_engine::access::{Action, Grant};
use strongroom_identity::account::Reach;
use support::dist::{Dist, wheel};
use support::{Answer, World};

/// Places whose names are equally long, so that messages can be compared.
const PRIVATE: &str = "acme/main";
const PUBLIC: &str = "acme/open";
const ABSENT: [&str; 2] = ["acme/nixx", "nixx/main"];

/// Whoever may come, the robot by its token in the ways that clients send one.
const CALLERS: [&str; 6] = ["anonymous", "stranger", "nomad", "viewer", "writer", "admin"];

/// The routes that read, below the registry; the first needs the right to list it.
fn reads(dist: &Dist) -> [String; 6] {
    [
        "simple/".to_owned(),
        "simple/foo/".to_owned(),
        dist.path(),
        format!("{}.metadata", dist.path()),
        format!("integrity/foo/1.0/{}/provenance", dist.name),
        "pypi/foo/json".to_owned(),
    ]
}

async fn furnished() -> (World, Dist) {
    let world = World::new().await;
    let dist = wheel("foo", "1.0", "one");
    for place in [PRIVATE, PUBLIC] {
        world.upload(place, &dist).await.expect(S::OK);
    }
    (world, dist)
}

/// What an answer shows, without what the request itself said.
fn shown(answer: &Answer, place: &str) -> (S, HeaderMap, String) {
    (answer.status, answer.headers.clone(), answer.text().replace(place, "PLACE"))
}

#[tokio::test]
async fn threat_b4_every_route_by_everybody_in_every_place() {
    let (world, dist) = furnished().await;
    for caller in CALLERS {
        let member = matches!(caller, "viewer" | "writer" | "admin");
        for (at, path) in reads(&dist).iter().enumerate() {
            // This file has no provenance, whoever asks.
            let found = if at == 4 { S::NOT_FOUND } else { S::OK };
            for place in [PRIVATE, PUBLIC, ABSENT[0], ABSENT[1]] {
                let answer = world.get(&format!("{place}/{path}")).user(caller).send().await;
                let expected = match place {
                    PRIVATE if member => found,
                    PUBLIC => found,
                    _ if caller == "anonymous" => S::UNAUTHORIZED,
                    _ => S::NOT_FOUND,
                };
                assert_eq!(answer.status, expected, "{caller} {place} {path}: {answer:?}");
                if expected == S::UNAUTHORIZED {
                    assert!(answer.header("www-authenticate").starts_with("Basic realm=\""));
                }
            }
        }
        for place in [PRIVATE, PUBLIC, ABSENT[0], ABSENT[1]] {
            let new = wheel("foo", &format!("2.{}", caller.len()), "new");
            let answer = world.upload_as(place, &new, caller).await;
            let expected = match (place, caller) {
                (_, "anonymous") => S::UNAUTHORIZED,
                (PRIVATE | PUBLIC, "writer" | "admin") => S::OK,
                (PRIVATE | PUBLIC, "viewer") | (PUBLIC, _) => S::FORBIDDEN,
                _ => S::NOT_FOUND,
            };
            assert_eq!(answer.status, expected, "{caller} {place}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn threat_b1_what_is_hidden_answers_as_what_is_absent() {
    let (world, dist) = furnished().await;
    for caller in ["anonymous", "stranger", "nomad"] {
        for path in reads(&dist) {
            let ask = |place: &str| world.get(&format!("{place}/{path}")).user(caller).send();
            let hidden = shown(&ask(PRIVATE).await, PRIVATE);
            for absent in ABSENT {
                assert_eq!(hidden, shown(&ask(absent).await, absent), "{caller} {path}");
            }
        }
        let hidden = shown(&world.upload_as(PRIVATE, &dist, caller).await, PRIVATE);
        for absent in ABSENT {
            let answer = world.upload_as(absent, &dist, caller).await;
            assert_eq!(hidden, shown(&answer, absent), "{caller}");
        }
    }
    // A digest is no right to what has it.
    let other = wheel("bar", "1.0", "two");
    world.upload(PRIVATE, &other).await.expect(S::OK);
    for path in [
        format!("peer/main/{}", dist.path()),
        format!("acme/main/files/{}/foo-1.0-py3-none-any.whl", other.sha256()),
        format!("acme/main/files/{}/{}", dist.sha256(), other.name),
    ] {
        for caller in ["stranger", "viewer"] {
            world.get(&path).user(caller).send().await.expect(S::NOT_FOUND);
        }
    }
}

#[tokio::test]
async fn threat_a11_tokens_do_what_they_are_for_and_wrong_ones_are_never_nobody() {
    let (world, dist) = furnished().await;
    let only = |actions: &[Action]| {
        let grant = Grant {
            organisation: Some("acme".parse().unwrap()),
            registry: Some("main".parse().unwrap()),
            repository: Some("foo".parse().unwrap()),
            below: false,
            actions: actions.to_vec(),
        };
        Reach::Only(vec![grant])
    };
    let all = world.token(Reach::Everything).await;
    let reader = world.token(only(&[Action::List, Action::Pull])).await;
    let pusher = world.token(only(&[Action::Push])).await;
    let page = || world.get("acme/main/simple/foo/");
    for (user, token, expected) in [
        ("__token__", &all, S::OK),
        ("ci", &all, S::OK),
        ("__token__", &reader, S::OK),
        ("__token__", &pusher, S::FORBIDDEN),
    ] {
        let answer = page().basic(user, token).send().await;
        let hidden = expected == S::FORBIDDEN && answer.status == S::NOT_FOUND;
        assert!(answer.status == expected || hidden, "{user}: {answer:?}");
    }
    page().header("authorization", &format!("Bearer {all}")).send().await.expect(S::OK);
    for (user, token) in [("__token__", "wrong"), ("writer", "wrong"), ("", "")] {
        let path = world.get("acme/open/simple/foo/");
        path.basic(user, token).send().await.expect(S::UNAUTHORIZED);
    }
    let send = |token: String, dist: Dist| {
        let (content_type, body) = dist.form();
        let asking = world.request("POST", "acme/main/legacy/").basic("__token__", &token);
        asking.header("content-type", &content_type).body(body).send()
    };
    send(pusher.clone(), wheel("foo", "1.1", "one")).await.expect(S::OK);
    send(pusher.clone(), wheel("foo", "1.1", "one")).await.expect(S::OK);
    send(pusher.clone(), wheel("foo", "1.1", "two"))
        .await
        .refused(S::BAD_REQUEST, "already exists");
    let elsewhere = send(pusher, wheel("bar", "1.1", "one")).await;
    assert!(elsewhere.status.is_client_error(), "{elsewhere:?}");
    let reading = send(reader, wheel("foo", "1.2", "one")).await;
    assert!(reading.status.is_client_error(), "{reading:?}");
    let _ = dist;
}
