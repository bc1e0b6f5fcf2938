//! What clients of the API lean on: problems, pages, tags of entities, keys of creations, jobs, and a
//! description that says what is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode as S;
use serde_json::{Value, json};
use strongroom_admin::routes::{BASE, Route};
use strongroom_identity::Access;
use support::House;
use support::ask::{Ask, Refused, body};

#[tokio::test]
async fn the_description_has_every_route_and_every_name_in_it_leads_somewhere() {
    let house = House::new().await;
    let text = house.ask_at("GET", "/openapi.json", "anonymous", None).await;
    let description = text.expect(S::OK).json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = BTreeSet::new();
    for route in Route::ALL {
        let spec = route.spec();
        let method = spec.method.as_str().to_lowercase();
        let operation = &description["paths"][spec.path][&method];
        assert_eq!(operation["operationId"], route.id(), "{route:?}");
        assert!(ids.insert(route.id()));
        assert!(operation["responses"][spec.status.as_str()].is_object(), "{route:?}");
        assert!(operation["responses"]["default"].is_object(), "{route:?}");
        assert_eq!(operation["requestBody"].is_object(), spec.body.is_some(), "{route:?}");
        let places = spec.path.matches('{').count();
        let named = operation["parameters"]
            .as_array()
            .map_or(0, |all| all.iter().filter(|parameter| parameter["in"] == "path").count());
        assert_eq!(named, places, "{route:?}");
    }
    let mut operations = 0;
    for item in description["paths"].as_object().unwrap().values() {
        operations += item.as_object().unwrap().len();
    }
    assert_eq!(operations, Route::ALL.len());
    each_reference(&description, &description);
}

fn each_reference(of: &Value, root: &Value) {
    match of {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(root.pointer(pointer).is_some(), "{reference}");
            }
            fields.values().for_each(|value| each_reference(value, root));
        }
        Value::Array(items) => items.iter().for_each(|value| each_reference(value, root)),
        _ => {}
    }
}

#[tokio::test]
async fn threat_b9_no_route_takes_a_field_that_it_does_not_declare() {
    let house = House::new().await;
    let mut checked = 0;
    for route in Route::ALL {
        let Some(mut body) = body(*route) else { continue };
        for field in ["id", "operator_too", "created_at", "is_admin", "Role"] {
            body[field] = json!(true);
            let caller = match route.spec().access {
                strongroom_identity::Access::Operator => "operator",
                _ => "admin",
            };
            let path = house.path(*route, caller);
            let method = route.spec().method;
            let ask = Ask { body: Some(body.clone()), ..Ask::new(method.as_str(), &path, caller) };
            let problem = house.send(ask).await.problem(S::UNPROCESSABLE_ENTITY, "invalid");
            assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"), "{route:?}");
            body.as_object_mut().unwrap().remove(field);
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

#[tokio::test]
async fn a_body_that_is_no_good_is_refused_for_what_is_wrong_with_it() {
    let house = House::new().await;
    let path = "/organisations/acme/registries";
    let post = async |body: Value| house.ask_at("POST", path, "admin", Some(body)).await;
    let problem = post(json!({ "name": "Bad Name" })).await;
    let problem = problem.problem(S::UNPROCESSABLE_ENTITY, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "/name");
    post(Value::String("{".to_owned())).await.problem(S::BAD_REQUEST, "bad-request");
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(70_000));
    post(Value::String(large)).await.problem(S::PAYLOAD_TOO_LARGE, "too-large");
    post(json!({ "name": "main" })).await.problem(S::CONFLICT, "name-taken");
    let path = format!("{BASE}{path}");
    let plain = Ask {
        headers: vec![("content-type", "text/plain".to_owned())],
        body: Some(json!({ "name": "fresh" })),
        ..Ask::new("POST", &path, "admin")
    };
    house.send(plain).await.problem(S::UNSUPPORTED_MEDIA_TYPE, "not-json");
    let wrong = house.ask_at("PUT", "/me", "admin", None).await;
    wrong.problem(S::METHOD_NOT_ALLOWED, "method-not-allowed");
    assert_eq!(wrong.header("allow"), "HEAD, GET");
    house.ask_at("GET", "/nothing", "admin", None).await.problem(S::NOT_FOUND, "not-found");
    let last =
        house.ask_at("DELETE", "/organisations/acme/members/user:admin", "admin", None).await;
    last.problem(S::CONFLICT, "last-one");
}

#[tokio::test]
async fn pages_lead_from_the_first_item_to_the_last_and_cursors_are_opaque() {
    let house = House::new().await;
    for at in 0..5 {
        let body = json!({ "name": format!("more-{at}") });
        let made = house.ask_at("POST", "/organisations/acme/registries", "admin", Some(body));
        made.await.expect(S::CREATED);
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/organisations/acme/registries?limit=2{cursor}");
        let page = house.ask_at("GET", &path, "viewer", None).await.expect(S::OK).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["main", "more-0", "more-1", "more-2", "more-3", "more-4"]);
    for cursor in ["x", "zz", "ff", "00"] {
        let path = format!("/organisations/acme/audit?cursor={cursor}");
        house.ask_at("GET", &path, "admin", None).await.problem(S::BAD_REQUEST, "bad-request");
    }
}

#[tokio::test]
async fn what_has_changed_since_it_was_seen_is_not_changed_over_it() {
    let house = House::new().await;
    let path = format!("{BASE}/organisations/acme/registries/main");
    let seen = house.send(Ask::new("GET", &path, "admin")).await;
    let tag = seen.expect(S::OK).header("etag").to_owned();
    let same =
        Ask { headers: vec![("if-none-match", tag.clone())], ..Ask::new("GET", &path, "admin") };
    house.send(same).await.expect(S::NOT_MODIFIED);
    let change = |tag: &str, public: bool| Ask {
        headers: vec![("if-match", tag.to_owned())],
        body: Some(json!({ "public": public })),
        ..Ask::new("PATCH", &path, "admin")
    };
    let changed = house.send(change(&tag, true)).await;
    assert_eq!(changed.expect(S::OK).json()["public"], true);
    house.send(change(&tag, false)).await.problem(S::PRECONDITION_FAILED, "changed");
    let now = house.send(Ask::new("GET", &path, "admin")).await;
    assert_eq!(now.json()["public"], true);
    assert_eq!(now.header("etag"), changed.header("etag"));
    house.send(change(now.header("etag"), false)).await.expect(S::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_with_a_key_is_done_once_and_answered_the_same() {
    let house = House::new().await;
    let path = format!("{BASE}/organisations/acme/registries");
    let create = |caller: &'static str, key: &str, name: &str| Ask {
        headers: vec![("idempotency-key", key.to_owned())],
        body: Some(json!({ "name": name })),
        ..Ask::new("POST", &path, caller)
    };
    let first = house.send(create("admin", "k1", "one")).await;
    let again = house.send(create("admin", "k1", "one")).await;
    assert_eq!(first.expect(S::CREATED).json(), again.expect(S::CREATED).json());
    house.send(create("admin", "k1", "two")).await.problem(S::UNPROCESSABLE_ENTITY, "key-reused");
    // Somebody else's key is another one; and what failed is not kept.
    house.send(create("writer", "k1", "one")).await.expect(S::FORBIDDEN);
    house.send(create("admin", "k2", "one")).await.problem(S::CONFLICT, "name-taken");
    house.send(create("admin", "k2", "two")).await.expect(S::CREATED);
    for bad in ["", " ", &"x".repeat(256)] {
        house.send(create("admin", bad, "three")).await.problem(S::BAD_REQUEST, "bad-request");
    }
    // A day later it is nobody's.
    house.clock.advance(Duration::from_hours(25));
    house.send(create("admin", "k1", "four")).await.expect(S::CREATED);
    house.clock.advance(Duration::from_hours(25));
    house.admin.sweep().await.unwrap();
    let left = house.engine.extension("admin").scan("", None, 10).await.unwrap();
    assert_eq!(left.items, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_requests_with_one_key_at_once_one_is_done() {
    let house = House::new().await;
    let path = format!("{BASE}/organisations/acme/robots/acme+ci/tokens");
    let before = house.send(Ask::new("GET", &path, "admin")).await.json();
    let ask = || Ask {
        headers: vec![("idempotency-key", "k".to_owned())],
        body: Some(json!({ "label": "once" })),
        ..Ask::new("POST", &path, "admin")
    };
    let answers = futures::future::join_all((0..20).map(|_| house.send(ask()))).await;
    let made = answers.iter().filter(|answer| answer.status == S::CREATED).count();
    assert_eq!(made, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != S::CREATED) {
        answer.problem(S::CONFLICT, "under-way");
    }
    // It is shown once, and kept nowhere.
    house.send(ask()).await.problem(S::CONFLICT, "under-way");
    let after = house.send(Ask::new("GET", &path, "admin")).await.json();
    let count = |page: &Value| page["items"].as_array().unwrap().len();
    assert_eq!(count(&after), count(&before) + 1);
    let secret = answers.iter().find(|answer| answer.status == S::CREATED).unwrap().json();
    let secret = secret["token"].as_str().unwrap();
    let kept = house.engine.extension("admin").scan("", None, 10).await.unwrap();
    assert!(
        kept.items.iter().all(|entry| { !String::from_utf8_lossy(&entry.value).contains(secret) })
    );
    house.send(Ask::new("GET", &format!("{BASE}/me"), secret)).await.expect(S::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_robot_of_an_organisation_does_what_its_roles_allow_until_it_is_shut_out() {
    let house = House::new().await;
    let robot =
        house.ask_at("POST", "/organisations/acme/robots", "admin", Some(json!({ "name": "bot" })));
    let robot = robot.await.expect(S::CREATED).json();
    assert_eq!(robot["principal"], "robot:acme+bot");
    let tokens = "/organisations/acme/robots/acme+bot/tokens";
    let made =
        house.ask_at("POST", tokens, "admin", Some(json!({}))).await.expect(S::CREATED).json();
    let secret = made["token"].as_str().unwrap().to_owned();
    let look =
        async || house.ask_at("GET", "/organisations/acme/registries", &secret, None).await.status;
    assert_eq!(look().await, S::NOT_FOUND);
    let role = json!({ "user": "robot:acme+bot", "role": "viewer" });
    let invited = house.ask_at("POST", "/organisations/acme/members", "admin", Some(role)).await;
    invited.expect(S::CREATED);
    assert_eq!(look().await, S::OK);
    let shut = json!({ "disabled": true });
    let disabled = "/organisations/acme/robots/acme+bot/disabled";
    house.ask_at("PUT", disabled, "admin", Some(shut)).await.expect(S::OK);
    assert_eq!(look().await, S::UNAUTHORIZED);
    // Its lines are in the organisation's trail.
    let path = "/organisations/acme/audit?kind=identity";
    let lines = house.ask_at("GET", path, "admin", None).await.expect(S::OK).json();
    assert_eq!(lines["items"][0]["event"]["subject"], "robot:acme+bot", "{lines}");
    // Another organisation's admin makes none here, and none of this name.
    let theirs = house.ask_at(
        "POST",
        "/organisations/peer/robots",
        "foreign",
        Some(json!({ "name": "acme+x" })),
    );
    theirs.await.problem(S::UNPROCESSABLE_ENTITY, "invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_followed_to_its_report() {
    let house = House::new().await;
    for (start, counted) in [
        (json!({ "kind": "collection", "dry_run": true }), "/report/looked_at"),
        (json!({ "kind": "scrub" }), "/report/good/count"),
    ] {
        let started = house.ask_at("POST", "/jobs", "operator", Some(start)).await;
        let id = started.expect(S::CREATED).json()["id"].as_str().unwrap().to_owned();
        let path = format!("/jobs/{id}");
        let job = loop {
            let job = house.ask_at("GET", &path, "operator", None).await.expect(S::OK).json();
            if job["state"] != "running" {
                break job;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(job["state"], "done", "{job}");
        assert!(job.pointer(counted).is_some_and(Value::is_u64), "{job}");
        let part = [&job["part"]["done"], &job["part"]["total"]].map(Value::as_u64);
        let [Some(done), Some(total)] = part else { panic!("not measured: {job}") };
        assert!(total > 0 && done <= total, "{job}");
        let jobs = house.ask_at("GET", "/jobs", "operator", None).await.json();
        assert_eq!(jobs["items"][0]["id"], id.as_str());
    }
}

#[tokio::test]
async fn the_trail_is_filtered_and_exported_as_lines() {
    let house = House::new().await;
    let path = "/organisations/acme/audit?kind=registry_created&order=oldest";
    let lines = house.ask_at("GET", path, "admin", None).await.expect(S::OK).json();
    assert_eq!(lines["items"].as_array().unwrap().len(), 1);
    assert_eq!(lines["items"][0]["event"]["name"], "main");
    let export = house.ask_at("GET", "/organisations/acme/audit/export", "admin", None).await;
    assert_eq!(export.expect(S::OK).header("content-type"), "application/x-ndjson");
    let text = std::str::from_utf8(&export.body).unwrap();
    let kinds: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone())
        .collect();
    assert_eq!(kinds[0], "organisation_created");
    assert!(kinds.contains(&json!("manifest_pushed")), "{kinds:?}");
}

/// The route that has the `ETag` for a change: the longest that is above it, or the same.
fn seen_by(change: &str) -> Option<Route> {
    let above = |route: &Route| {
        let spec = route.spec();
        let rest = change.strip_prefix(spec.path);
        spec.tagged
            && spec.method == http::Method::GET
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = Route::ALL.iter().copied().filter(above);
    found.max_by_key(|route| route.spec().path.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_change_what_both_saw_one_does() {
    let mut raced = 0;
    for route in Route::ALL {
        let spec = route.spec();
        // A new password does not show, so what was seen is still so after it.
        if !spec.tagged || spec.method == http::Method::GET || *route == Route::SetPassword {
            continue;
        }
        let by = if spec.access == Access::Operator { "operator" } else { "admin" };
        let house = House::new().await;
        let Some(seen) = seen_by(spec.path) else { continue };
        let tag = house.ask(seen, by).await.expect(S::OK).header("etag").to_owned();
        let (path, method) = (house.path(*route, by), spec.method.as_str());
        let sent = match route {
            // Another than is there: who sets what is set changes nothing.
            Route::SetPythonUpstream => Some(json!({ "url": "https://other.example/simple/" })),
            _ => body(*route),
        };
        let send = || {
            let headers = vec![("if-match", tag.clone())];
            house.send(Ask { headers, body: sent.clone(), ..Ask::new(method, &path, by) })
        };
        house.metadata_yield();
        let (one, two) = futures::join!(send(), send());
        let lost = if one.status.is_success() { &two } else { &one };
        let done = [&one, &two].iter().filter(|answer| answer.status.is_success()).count();
        assert_eq!(done, 1, "{route:?}: {one:?} {two:?}");
        // What is gone, or has another name, is not there to be another than it was.
        let gone = matches!(method, "DELETE")
            || matches!(route, Route::RenameOrganisation | Route::RenameRegistry);
        match lost.status {
            S::NOT_FOUND if gone => {}
            _ => drop(lost.problem(S::PRECONDITION_FAILED, "changed")),
        }
        raced += 1;
    }
    assert!(raced >= 24, "{raced}");
}
