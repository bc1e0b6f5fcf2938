//! Every route, by everybody, in every kind of place: what each is told; and the same once more with each
//! thing that requests depend on away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::sync::Arc;

use http::{HeaderMap, StatusCode as S};
use strongroom_engine::access::{Action, Grant};
use strongroom_identity::account::Reach;
use strongroom_identity::workload::NewRule;
use support::dist::{Dist, wheel};
use support::index::{Index, Names, both, reach};
use support::issuer::AUDIENCE;
use support::{Answer, NOW_MS, Refused, World, known};

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
async fn threat_b4_trusted_publishing_tells_everybody_the_same_everywhere() {
    let below = [PRIVATE, PUBLIC, ABSENT[0], ABSENT[1]].map(|place| format!("/pypi/{place}"));
    let mut told = Vec::new();
    for caller in CALLERS {
        // One each, for refusals are limited.
        let world = World::new().await;
        for place in below.iter().map(String::as_str).chain([""]) {
            let audience = world.get(&format!("{place}/_/oidc/audience")).user(caller).send().await;
            audience.expect(S::OK);
            let token = world.issuer.token("1", "else/where", NOW_MS);
            let body = format!("{{\"token\": \"{token}\"}}").into_bytes();
            let path = format!("{place}/_/oidc/mint-token");
            let mint = world.request("POST", &path).user(caller).body(body).send().await;
            mint.expect(S::UNPROCESSABLE_ENTITY);
            told.push((audience, mint));
        }
    }
    assert!(told.windows(2).all(|two| two[0] == two[1]), "{told:#?}");
    // Wrong credentials are no lack of credentials here either.
    let world = World::new().await;
    let wrong = world.get("/_/oidc/audience").basic("writer", "wrong").send().await;
    wrong.expect(S::UNAUTHORIZED);
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

/// What requests depend on, and what can be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dependency {
    Metadata,
    Blobs,
    /// The index that packages are fetched from.
    Upstream,
    /// The keys of the issuer of runs.
    Issuer,
}

use Dependency::{Blobs, Issuer, Metadata, Upstream};

/// Files that were uploaded, and the project `bar` at the upstream, of which nothing was asked yet.
async fn with_upstream() -> (World, Option<Index>, Dist) {
    let (world, index) = both().await;
    let dist = wheel("foo", "1.0", "one");
    for place in [PRIVATE, PUBLIC] {
        world.upload(place, &dist).await.expect(S::OK);
    }
    index.publish("bar", &[&wheel("bar", "1.0", "one")]);
    world.workloads.add(&known("admin"), rule()).await.unwrap();
    (world, Some(index), dist)
}

fn rule() -> NewRule {
    let place = support::place(PRIVATE);
    NewRule {
        organisation: place.organisation,
        registry: place.registry,
        issuer: "ci".to_owned(),
        audience: Some(AUDIENCE.to_owned()),
        claims: [("repository".to_owned(), "acme/api".to_owned())].into(),
        repository: None,
        actions: vec![Action::List, Action::Pull, Action::Push],
        lifetime_seconds: 900,
    }
}

/// What everybody is told everywhere: by a name for the request, the place, and the answer.
async fn answers(away: Option<Dependency>) -> Vec<(String, &'static str, Answer)> {
    let (mut world, mut index, dist) = with_upstream().await;
    match away {
        None => {}
        Some(Metadata) => world.lose_metadata(),
        Some(Blobs) => world.lose_blobs(),
        Some(Upstream) => index = None,
        Some(Issuer) => world.lose_issuer(reach(), Arc::new(Names)),
    }
    let mut told = Vec::new();
    for caller in CALLERS {
        for place in [PRIVATE, PUBLIC, ABSENT[0], ABSENT[1]] {
            for path in reads(&dist).into_iter().chain(["simple/bar/".to_owned()]) {
                let asking = world.get(&format!("{place}/{path}")).user(caller);
                let answer = asking.broken_or_whole().await.unwrap_or_else(|broken| broken);
                told.push((format!("{path} as {caller}"), place, answer));
            }
            let new = wheel("foo", &format!("2.{}", caller.len()), "new");
            let answer = world.upload_as(place, &new, caller).await;
            told.push((format!("an upload as {caller}"), place, answer));
        }
    }
    // The run that the rule is for, and one of somebody else.
    for (id, place, repository) in [
        ("1", PRIVATE, "acme/api"),
        ("2", PRIVATE, "else/where"),
        ("3", ABSENT[0], "acme/api"),
        ("4", ABSENT[1], "acme/api"),
    ] {
        let token = world.issuer.token(id, repository, NOW_MS);
        let body = format!("{{\"token\": \"{token}\"}}").into_bytes();
        let path = format!("/pypi/{place}/_/oidc/mint-token");
        let answer = world.request("POST", &path).body(body).send().await;
        told.push((format!("a token for a run of {repository}"), place, answer));
    }
    drop(index);
    told
}

#[tokio::test]
async fn threat_a17_with_anything_away_nothing_passes_that_would_not() {
    let usual = answers(None).await;
    let passes = |told: &[(String, &str, Answer)]| {
        told.iter().filter(|(.., answer)| answer.status.is_success()).count()
    };
    assert!(passes(&usual) > 50, "{}", passes(&usual));
    for away in [Metadata, Blobs, Upstream, Issuer] {
        let told = answers(Some(away)).await;
        let (mut as_ever, mut not_now) = (0, 0);
        for ((request, place, answer), (.., usual)) in told.iter().zip(&usual) {
            let cell = format!("{request} in {place} without {away:?}: {answer:?}");
            let wanted = if away == Upstream { S::BAD_GATEWAY } else { S::SERVICE_UNAVAILABLE };
            if answer.status == wanted {
                assert!(answer.headers.contains_key("retry-after"), "{cell}");
                // Who is refused without what is away is refused.
                let known = matches!(away, Blobs | Upstream);
                assert!(!known || usual.status.is_success(), "{cell}");
                not_now += 1;
            } else {
                assert_eq!(answer.status, usual.status, "{cell}");
                as_ever += 1;
            }
        }
        // Else nothing was away, or nothing is said of what does not need it.
        assert!(not_now > 0 && as_ever > 0, "{away:?}: {as_ever} as ever, {not_now} not");
        // What is hidden is what is not there.
        for (request, place, usual) in &usual {
            if *place != PRIVATE || !matches!(usual.status, S::NOT_FOUND | S::UNAUTHORIZED) {
                continue;
            }
            let there = |wanted: &str| {
                let found = told.iter().find(|(name, at, _)| name == request && *at == wanted);
                shown(&found.unwrap().2, wanted)
            };
            for absent in ABSENT {
                // That a file of theirs has no provenance is no secret to members.
                let member =
                    ["viewer", "writer", "admin"].iter().any(|name| request.ends_with(name));
                assert!(member || there(PRIVATE) == there(absent), "{request} without {away:?}");
            }
        }
    }
}
