//! Trusted publishing, as twine and uv do it: the audience, the exchange, the upload.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::collections::BTreeMap;

use http::StatusCode as S;
use serde_json::json;
use strongroom_engine::access::Action;
use strongroom_identity::workload::NewRule;
use support::dist::wheel;
use support::issuer::{AUDIENCE, ISSUER, codes};
use support::{Answer, NOW_MS, World, known};

const TOP: &str = "/_/oidc/mint-token";

fn rule(organisation: &str, registry: &str, project: &str) -> NewRule {
    NewRule {
        organisation: organisation.parse().unwrap(),
        registry: registry.parse().unwrap(),
        issuer: ISSUER.to_owned(),
        audience: Some(AUDIENCE.to_owned()),
        claims: BTreeMap::from([("repository".to_owned(), "acme/foo".to_owned())]),
        repository: Some(project.parse().unwrap()),
        actions: vec![Action::Push, Action::Pull],
        lifetime_seconds: 600,
    }
}

async fn mint(world: &World, path: &str, token: &str) -> Answer {
    let body = json!({ "token": token }).to_string();
    let asking = world.request("POST", path).header("content-type", "application/json");
    asking.body(body.into_bytes()).send().await
}

#[tokio::test]
async fn a_run_publishes_with_no_stored_secret() {
    let world = World::new().await;
    world.workloads.add(&known("admin"), rule("acme", "main", "foo")).await.unwrap();
    let audience = world.get("/_/oidc/audience").send().await;
    assert_eq!(audience.expect(S::OK).json(), json!({ "audience": AUDIENCE }));
    let given = mint(&world, TOP, &world.issuer.token("1", "acme/foo", NOW_MS)).await;
    let given = given.expect(S::OK).json();
    assert_eq!(
        (&given["success"], &given["expires"]),
        (&true.into(), &(NOW_MS / 1_000 + 600).into())
    );
    let token = given["token"].as_str().unwrap();
    let upload = |project: &str| {
        let (content_type, body) = wheel(project, "1.0", "one").form();
        let asking = world.request("POST", "acme/main/legacy/").basic("__token__", token);
        asking.header("content-type", &content_type).body(body).send()
    };
    upload("foo").await.expect(S::OK);
    let other = upload("bar").await;
    assert!(other.status.is_client_error(), "{other:?}");
    assert_eq!(world.files("acme/main", "foo").await.len(), 1);
}

#[tokio::test]
async fn a_refused_exchange_says_why_in_the_form_that_clients_read() {
    let world = World::new().await;
    world.workloads.add(&known("admin"), rule("acme", "main", "foo")).await.unwrap();
    let token = world.issuer.token("1", "acme/foo", NOW_MS);
    mint(&world, TOP, &token).await.expect(S::OK);
    let stranger = world.issuer.token("2", "else/foo", NOW_MS);
    let old = world.issuer.token("3", "acme/foo", NOW_MS - 600_000);
    for (token, code) in [
        (token.as_str(), "invalid-reuse-token"),
        (&stranger, "invalid-publisher"),
        (&old, "invalid-token"),
        ("nonsense", "invalid-token"),
        ("", "invalid-token"),
    ] {
        let answer = mint(&world, TOP, token).await;
        let refused = answer.expect(S::UNPROCESSABLE_ENTITY).json();
        assert_eq!(codes(&refused), [code], "{refused}");
        assert!(refused["errors"][0]["description"].is_string() && refused["message"].is_string());
    }
    for body in ["", "[]", "{}", "{\"token\": 1}"] {
        let asking = world.request("POST", TOP).body(body.as_bytes().to_vec());
        let refused = asking.send().await.expect(S::UNPROCESSABLE_ENTITY).json();
        assert_eq!(codes(&refused), ["invalid-payload"]);
    }
    let long = world.request("POST", TOP).body(vec![b' '; 64 << 10]).send().await;
    assert_eq!(codes(&long.expect(S::PAYLOAD_TOO_LARGE).json()), ["invalid-payload"]);
}

#[tokio::test]
async fn of_several_registries_the_one_whose_address_is_asked_is_meant() {
    let world = World::new().await;
    for registry in ["main", "open"] {
        world.workloads.add(&known("admin"), rule("acme", registry, "foo")).await.unwrap();
    }
    let token = world.issuer.token("1", "acme/foo", NOW_MS);
    let unsure = mint(&world, TOP, &token).await;
    assert_eq!(codes(&unsure.expect(S::UNPROCESSABLE_ENTITY).json()), ["ambiguous-publisher"]);
    mint(&world, "acme/open/_/oidc/mint-token", &token).await.expect(S::OK);
}

#[tokio::test]
async fn where_it_is_not_set_there_is_none() {
    let world = World::with(|settings| settings.trusted_publishing = None).await;
    world.get("/_/oidc/audience").send().await.expect(S::NOT_FOUND);
    mint(&world, TOP, "x").await.expect(S::NOT_FOUND);
}
