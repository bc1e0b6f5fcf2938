//! Python projects and upstreams, managed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::StatusCode as S;
use serde_json::json;
use support::ask::{Ask, Refused};
use support::{House, WHEEL};

const PROJECT: &str = "/organisations/acme/registries/main/python/projects/sample";
const UPSTREAM: &str = "/organisations/acme/registries/main/python/upstream";

#[tokio::test]
async fn a_project_is_yanked_marked_and_deleted() {
    let house = House::new().await;
    let ask =
        async |method: &str, path: &str, body| house.ask_at(method, path, "writer", body).await;
    let project = ask("GET", PROJECT, None).await.expect(S::OK).json();
    assert_eq!(project["files"][0]["name"], WHEEL);
    assert_eq!(project["files"][0]["yanked"], false);
    assert_eq!(project["status"], "active");

    let yank = json!({ "yanked": true, "reason": "broken" });
    let path = format!("{PROJECT}/versions/1.0/yanked");
    let yanked = ask("PUT", &path, Some(yank)).await.expect(S::OK).json();
    assert_eq!(yanked["files"][0]["yanked_reason"], "broken");
    let path = format!("{PROJECT}/files/{WHEEL}/yanked");
    let back = ask("PUT", &path, Some(json!({ "yanked": false }))).await.expect(S::OK).json();
    assert_eq!(back["files"][0]["yanked"], false);

    let status = json!({ "status": "archived", "reason": "done" });
    let marked = ask("PUT", &format!("{PROJECT}/status"), Some(status)).await.expect(S::OK).json();
    assert_eq!((&marked["status"], &marked["reason"]), (&"archived".into(), &"done".into()));
    let long = json!({ "status": "active", "reason": "x".repeat(2_000) });
    let refused = ask("PUT", &format!("{PROJECT}/status"), Some(long)).await;
    assert_eq!(
        refused.problem(S::UNPROCESSABLE_ENTITY, "invalid")["errors"][0]["pointer"],
        "/reason"
    );

    ask("DELETE", &format!("{PROJECT}/files/nix.whl"), None)
        .await
        .problem(S::NOT_FOUND, "not-found");
    ask("DELETE", &format!("{PROJECT}/versions/1.0"), None).await.expect(S::NO_CONTENT);
    ask("GET", PROJECT, None).await.problem(S::NOT_FOUND, "not-found");
}

#[tokio::test]
async fn a_change_is_for_what_was_seen_or_is_refused() {
    let house = House::new().await;
    for (path, body) in [
        (format!("{PROJECT}/status"), json!({ "status": "deprecated" })),
        (UPSTREAM.to_owned(), json!({ "url": "https://other.example/simple/" })),
    ] {
        let at = if path == UPSTREAM { UPSTREAM } else { PROJECT };
        let seen = house.ask_at("GET", at, "admin", None).await;
        let tag = seen.expect(S::OK).header("etag").to_owned();
        let full = format!("/api/v1{path}");
        let send = async |tag: &str| {
            let headers = vec![("if-match", tag.to_owned())];
            let ask = Ask::new("PUT", &full, "admin");
            house.send(Ask { headers, body: Some(body.clone()), ..ask }).await
        };
        send("\"0\"").await.problem(S::PRECONDITION_FAILED, "changed");
        send(&tag).await.expect(S::OK);
        send(&tag).await.problem(S::PRECONDITION_FAILED, "changed");
    }
}

#[tokio::test]
async fn threat_c25_an_upstreams_password_is_shown_to_nobody_and_goes_to_no_other_address() {
    let house = House::new().await;
    let put = async |body| house.ask_at("PUT", UPSTREAM, "admin", Some(body)).await;
    let url = "https://index.example/simple";
    let with = json!({ "url": url, "username": "reader", "password": "hunter22" });
    let set = put(with).await.expect(S::OK).json();
    assert_eq!(set["url"], "https://index.example/simple/");
    let shown = house.ask_at("GET", UPSTREAM, "admin", None).await;
    assert_eq!(shown.expect(S::OK).json()["username"], "reader");
    assert!(!shown.json().to_string().contains("hunter22"));
    let trail = house.ask_at("GET", "/organisations/acme/audit", "admin", None).await;
    let trail = trail.expect(S::OK).json().to_string();
    assert!(trail.contains("index.example") && !trail.contains("hunter22"), "{trail}");
    // It stays where nothing about it changes, and has to be given again for another host or user.
    put(json!({ "url": url, "username": "reader", "cool_down_days": 7 })).await.expect(S::OK);
    for body in [
        json!({ "url": "https://evil.example/simple/", "username": "reader" }),
        json!({ "url": "https://index.example:8443/simple/", "username": "reader" }),
        json!({ "url": url, "username": "other" }),
    ] {
        let refused = put(body).await.problem(S::UNPROCESSABLE_ENTITY, "invalid");
        assert_eq!(refused["errors"][0]["pointer"], "/password");
    }
}

#[tokio::test]
async fn what_can_be_no_upstream_is_told() {
    let house = House::new().await;
    let many: Vec<_> = (0..65).map(|n| format!("a{n}")).collect();
    let url = "https://index.example/simple/";
    for (body, pointer) in [
        (json!({ "url": "http://index.example/simple/" }), "/url"),
        (json!({ "url": "https://u:p@index.example/simple/" }), "/url"),
        (json!({ "url": "https://index.example/simple/?a=b" }), "/url"),
        (json!({ "url": url, "allow": many }), "/allow"),
        (json!({ "url": url, "deny": ["["] }), "/deny/0"),
        (json!({ "url": url, "cool_down_days": 4_000 }), "/cool_down_days"),
        (json!({ "url": url, "fresh_seconds": 10_000_000 }), "/fresh_seconds"),
        (json!({ "url": url, "password": "x" }), "/username"),
        (json!({ "url": url, "username": "a:b", "password": "x" }), "/username"),
        (json!({ "url": url, "username": "a", "password": "x\ny" }), "/password"),
    ] {
        let answer = house.ask_at("PUT", UPSTREAM, "admin", Some(body.clone())).await;
        let problem = answer.problem(S::UNPROCESSABLE_ENTITY, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    house.ask_at("DELETE", UPSTREAM, "admin", None).await.expect(S::NO_CONTENT);
    for method in ["GET", "DELETE"] {
        house.ask_at(method, UPSTREAM, "admin", None).await.problem(S::NOT_FOUND, "not-found");
    }
}
