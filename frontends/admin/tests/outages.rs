//! Every route as every kind of caller once more, with each thing that requests depend on away in its turn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::StatusCode as S;
use strongroom_admin::routes::Route;
use support::ask::{Answer, Ask, Refused, body};
use support::table::expected;
use support::{CALLERS, Dependency, House};

use Dependency::{Blobs, Metadata, Pool};

async fn without(what: Dependency) -> House {
    let mut house = House::new().await;
    house.lose(what);
    house
}

/// A request of a route while `what` is away; what it names was looked up before.
async fn ask(house: &House, what: Dependency, route: Route, caller: &str) -> Answer {
    house.metadata_are_away(false);
    let mut path = house.path(route, caller);
    if path.contains("{job}") {
        path = path.replace("{job}", &house.job().await);
    }
    house.metadata_are_away(what == Metadata);
    let method = route.spec().method;
    house.send(Ask { body: body(route), ..Ask::new(method.as_str(), &path, caller) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_a17_with_anything_away_nothing_passes_that_would_not() {
    for what in [Metadata, Blobs, Pool] {
        let mut house = without(what).await;
        let (mut as_ever, mut not_now) = (0, 0);
        for route in Route::ALL {
            for caller in CALLERS {
                let answer = ask(&house, what, *route, caller.0).await;
                let usual = expected(*route, caller);
                let cell = format!("{route:?} as {} without {what:?}", caller.0);
                if answer.status == S::SERVICE_UNAVAILABLE {
                    answer.problem(S::SERVICE_UNAVAILABLE, "away");
                    assert!(answer.headers.contains_key("retry-after"), "{cell}: {answer:?}");
                    let known = match what {
                        Metadata => false,
                        Blobs => !usual.is_success(),
                        Pool => caller.0 != "pooled",
                    };
                    assert!(!known, "{cell}: {answer:?}");
                    not_now += 1;
                    continue;
                }
                assert_eq!(answer.status, usual, "{cell}: {answer:?}");
                as_ever += 1;
                if usual.is_success() && route.spec().method != http::Method::GET {
                    house = without(what).await;
                }
            }
        }
        assert_eq!(as_ever + not_now, Route::ALL.len() * CALLERS.len());
        // Else nothing was away, or nothing is said of what does not need it.
        assert!(as_ever > 0, "{what:?}");
        assert!(not_now > 0 || what == Blobs, "{what:?}: nothing was away");
        if what == Metadata {
            // What is open, and who is told to sign in.
            assert!(as_ever < 2 * Route::ALL.len(), "{as_ever} need no look at the store");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_a17_with_anything_away_what_is_hidden_answers_as_what_is_not_there() {
    for what in [Metadata, Blobs, Pool] {
        let house = without(what).await;
        for route in Route::ALL {
            let spec = route.spec();
            if !spec.path.contains("{organisation}") {
                continue;
            }
            for caller in ["anonymous", "foreign", "pooled"] {
                // `pooled` is of acme, and hidden from peer.
                let hidden = if caller == "pooled" { "peer" } else { "acme" };
                let path = house.path(*route, caller);
                let mut answers = Vec::new();
                for name in [hidden, "nixx"] {
                    let path = path.replacen("/acme", &format!("/{name}"), 1);
                    let method = spec.method.as_str();
                    let ask = Ask { body: body(*route), ..Ask::new(method, &path, caller) };
                    let answer = house.send(ask).await;
                    let text = std::str::from_utf8(&answer.body).unwrap().replace(name, "NAME");
                    answers.push((answer.status, text));
                }
                assert_eq!(answers[0], answers[1], "{route:?} as {caller} without {what:?}");
            }
        }
    }
}
