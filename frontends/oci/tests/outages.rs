//! The table of who may do what once more, with each thing that requests depend on away in its turn:
//! nothing passes that would not, what is hidden stays what is not there, and who asks is told that it
//! can't be answered now, and when to ask again. The receivers of webhooks and the queue of sign-ups are not
//! among those: no request here waits for them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::StatusCode as S;
use support::house::{CALLERS, Dependency, House};
use support::routes::{PLACES, Place, ROUTES, asking, expected, furnished, shown};
use support::{Answer, Asking, Refused};

/// Everything is there, and then this is lost.
async fn without(what: Dependency) -> (House, String) {
    let (mut house, upload) = furnished().await;
    house.lose(what);
    (house, upload)
}

async fn ask(house: &House, what: Dependency, asking: Asking<'_>, caller: &str) -> Answer {
    match house.shown_despite(what, caller).await {
        Some(header) => asking.header("authorization", header).send().await,
        None => asking.send().await,
    }
}

/// Whether a request as `caller` can be answered at all while this is away, where it needs no bytes.
fn can_be_known(what: Dependency, caller: &str) -> bool {
    match what {
        Dependency::Metadata => false,
        Dependency::Blobs => true,
        Dependency::Pool => caller != "pooled",
        Dependency::Issuer => caller != "run",
    }
}

#[tokio::test]
async fn threat_a17_with_anything_away_nothing_passes_that_would_not() {
    for what in Dependency::ALL {
        let (mut as_ever, mut not_now) = (0, 0);
        for (route, (method, form, ..)) in ROUTES.into_iter().enumerate() {
            let (mut house, mut upload) = without(what).await;
            for caller in CALLERS {
                for place in PLACES {
                    let asking = asking(&house.world, route, place.0, &upload);
                    let answer = ask(&house, what, asking, caller.0).await;
                    let cell = format!("{method} {form} as {} without {what:?}", caller.0);
                    let (usual, code) = expected(route, caller, place);
                    if answer.status == S::SERVICE_UNAVAILABLE {
                        assert!(answer.headers.contains_key("retry-after"), "{cell}: {answer:?}");
                        if method != "HEAD" {
                            answer.error(S::SERVICE_UNAVAILABLE, "UNAVAILABLE");
                        }
                        let needs_bytes = what == Dependency::Blobs && usual.is_success();
                        let known = can_be_known(what, caller.0);
                        assert!(needs_bytes || !known, "{cell} in {place:?}: {answer:?}");
                        not_now += 1;
                        continue;
                    }
                    // A token that nobody can check is no good, whatever it is good for otherwise.
                    let unchecked = (what, caller.0) == (Dependency::Issuer, "run");
                    let usual = if unchecked { S::UNAUTHORIZED } else { usual };
                    assert_eq!(answer.status, usual, "{cell} in {place:?}: {answer:?}");
                    if let Some(code) = code.filter(|_| !unchecked && method != "HEAD") {
                        answer.error(usual, code);
                    }
                    as_ever += 1;
                    if usual.is_success() && method != "GET" && method != "HEAD" {
                        (house, upload) = without(what).await;
                    }
                }
            }
        }
        let asked = ROUTES.len() * CALLERS.len() * PLACES.len();
        assert_eq!(as_ever + not_now, asked);
        // Else nothing was away, or nothing is said of what does not need it.
        let away = not_now > 0 || what == Dependency::Issuer;
        assert!(away && as_ever > 0, "{what:?}: {as_ever} as ever, {not_now} not");
        if what == Dependency::Metadata {
            assert!(as_ever < asked / 20, "{as_ever} need no look at the store");
        }
    }
}

#[tokio::test]
async fn threat_a17_with_anything_away_what_is_not_yours_is_what_is_not_there() {
    for what in Dependency::ALL {
        let (house, upload) = without(what).await;
        let mut compared = 0;
        for (route, (_, form, ..)) in ROUTES.into_iter().enumerate() {
            for caller in CALLERS {
                let hidden = PLACES.into_iter().filter(|place| {
                    let code = expected(route, caller, *place).1;
                    // That a public one is there is no secret, also where nobody may push.
                    place.1 != Place::Public
                        && matches!(code, Some("NAME_UNKNOWN" | "UNAUTHORIZED"))
                });
                let mut first = None;
                for (name, ..) in hidden {
                    let asking = asking(&house.world, route, name, &upload);
                    let answer = shown(&ask(&house, what, asking, caller.0).await, name);
                    let first = first.get_or_insert_with(|| answer.clone());
                    let cell = format!("{form} as {} without {what:?}", caller.0);
                    assert_eq!(answer, *first, "{cell}: {name}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 500, "{compared}");
    }
}

#[tokio::test]
async fn what_was_away_is_used_again_once_it_is_back() {
    let (house, _) = without(Dependency::Metadata).await;
    let path = format!("/v2/{}/manifests/v1", PLACES[0].0);
    let header = house.shown_despite(Dependency::Metadata, "viewer").await.unwrap();
    let ask = || house.world.request("GET", &path).header("authorization", &header).send();
    ask().await.expect(S::SERVICE_UNAVAILABLE);
    house.world.stores.meta_is_away(false);
    ask().await.expect(S::OK);
}
