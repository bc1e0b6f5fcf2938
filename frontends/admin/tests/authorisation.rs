//! Who may do what: every route of the table as every kind of caller. What comes out must follow
//! from what the route declares.
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
use strongroom_engine::access::Role;
use strongroom_engine::audit::EventKind;
use strongroom_identity::Access;
use support::ask::{Ask, Refused, body};
use support::table::expected;
use support::{CALLERS, House, OTHER, digest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_b9_every_route_answers_every_caller_as_the_table_says() {
    let mut house = House::new().await;
    let mut checked = 0;
    for route in Route::ALL {
        for caller in CALLERS {
            let answer = house.ask(*route, caller.0).await;
            let wanted = expected(*route, caller);
            assert_eq!(answer.status, wanted, "{route:?} as {}: {answer:?}", caller.0);
            assert_eq!(answer.headers.contains_key("www-authenticate"), wanted == S::UNAUTHORIZED);
            if !wanted.is_success() {
                let kind = &answer.headers["content-type"];
                assert_eq!(kind, "application/problem+json", "{route:?} as {}", caller.0);
            } else if route.spec().method != http::Method::GET {
                // It is done; the next one finds everything again.
                house = House::new().await;
            }
            checked += 1;
        }
    }
    assert_eq!(checked, Route::ALL.len() * CALLERS.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_a11_a_token_does_with_tenants_what_its_owner_may_and_nothing_else() {
    let mut house = House::new().await;
    for route in Route::ALL {
        let secret = house.secret.clone();
        let spec = route.spec();
        let wanted = match spec.access {
            Access::Operator => S::FORBIDDEN,
            // Whoever finds a token gets no other one by it.
            Access::SignedIn if spec.path.starts_with("/tokens") => S::FORBIDDEN,
            _ => spec.status,
        };
        let path = house.path(*route, "admin").replace("{job}", "0000000000000000");
        let ask = Ask { body: body(*route), ..Ask::new(spec.method.as_str(), &path, &secret) };
        let answer = house.send(ask).await;
        assert_eq!(answer.status, wanted, "{route:?}: {answer:?}");
        if wanted == S::FORBIDDEN {
            answer.problem(wanted, "password-needed");
        } else if spec.method != http::Method::GET {
            house = House::new().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_c26_every_route_that_changes_something_leaves_one_line() {
    let mut checked = 0;
    let looks = [Route::PreviewRetention, Route::TestWebhook];
    for route in Route::ALL
        .iter()
        .filter(|route| route.spec().method != http::Method::GET && !looks.contains(route))
    {
        let house = House::new().await;
        let caller = match route.spec().access {
            Access::Operator => "operator",
            _ => "admin",
        };
        let job = house.job().await;
        // Signs in, so that the line of that is not among those that are counted.
        house.ask(Route::Me, caller).await.expect(S::OK);
        if *route == Route::StartJob {
            let path = format!("/jobs/{job}");
            house.ask_at("DELETE", &path, "operator", None).await.expect(S::NO_CONTENT);
        }
        let mut events = house.engine.subscribe();
        let path = house.path(*route, caller).replace("{job}", &job);
        let method = route.spec().method;
        let ask = Ask { body: body(*route), ..Ask::new(method.as_str(), &path, caller) };
        house.send(ask).await.expect(route.spec().status);
        let mut lines = Vec::new();
        while let Ok(event) = events.try_recv() {
            if !matches!(event.kind, EventKind::SignedIn { .. }) {
                lines.push(event);
            }
        }
        // A rule is an account, itself, and a role. A file of Python goes by several changes of what is
        // there, each of which has its own.
        let rules = [Route::CreateWorkloadRule, Route::DeleteWorkloadRule];
        let several = matches!(
            route,
            Route::DeletePythonProject | Route::DeletePythonVersion | Route::DeletePythonFile
        );
        let wanted = if rules.contains(route) { 3 } else { 1 };
        assert!(lines.len() == wanted || (several && lines.len() > 1), "{route:?}: {lines:?}");
        for line in lines {
            assert_eq!(line.principal, format!("user:{caller}"), "{route:?}");
            assert!(line.origin.request_id.is_some(), "{route:?}");
        }
        checked += 1;
    }
    assert!(checked > 25, "{checked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_b6_a_child_of_another_is_not_there_and_stays_as_it_is() {
    let house = House::new().await;
    let mut checked = 0;
    for route in Route::ALL {
        let spec = route.spec();
        // Each child that is elsewhere, under parents that are the caller's own.
        for (name, own, foreign) in [
            ("{robot}", "acme+ci", "peer+ci".to_owned()),
            ("{token}", "", house.tokens["robot:peer+ci"].clone()),
            ("{token}", "", house.tokens["user:foreign"].clone()),
            ("{principal}", "user:guest", "user:foreign".to_owned()),
            ("{digest}", "", digest(OTHER)),
            ("{repository}", "repositories/api", "repositories/absent".to_owned()),
            ("{registry}", "registries/main", "registries/absent".to_owned()),
            ("{rule}", house.rules[0].as_str(), house.rules[1].clone()),
            ("{webhook}", house.hooks[0].as_str(), house.hooks[1].clone()),
            ("{project}", "projects/sample", "projects/absent".to_owned()),
            ("{version}", "versions/1.0", "versions/9.9".to_owned()),
            ("{file}", support::WHEEL, "sample-9.9-py3-none-any.whl".to_owned()),
        ] {
            if !spec.path.contains(name) {
                continue;
            }
            // Roles of one registry are given to whoever has an account; what is not there is taken.
            let roles = matches!(route, Route::SetRegistryRole | Route::RemoveRegistryRole);
            if (roles && name == "{principal}")
                || (*route == Route::ListReferrers && name != "{registry}")
            {
                continue;
            }
            let path = house.path(*route, "admin");
            let own = match (name, own) {
                ("{token}", _) if spec.path.contains("{robot}") => {
                    house.tokens["robot:acme+ci"].clone()
                }
                ("{token}", _) => house.tokens["user:admin"].clone(),
                ("{digest}", _) => digest(support::INDEX),
                (_, own) => own.to_owned(),
            };
            let path = path.replace(&own, &foreign);
            assert!(path.contains(&foreign), "{path}");
            house.ask(Route::Me, "admin").await.expect(S::OK);
            let mut events = house.engine.subscribe();
            let ask = Ask { body: body(*route), ..Ask::new(spec.method.as_str(), &path, "admin") };
            house.send(ask).await.problem(S::NOT_FOUND, "not-found");
            while let Ok(event) = events.try_recv() {
                // That it was refused is in the trail; nothing else happened.
                let refused = matches!(event.kind, EventKind::Refused { .. });
                assert!(refused, "{route:?} with {foreign}: {event:?}");
            }
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}

#[tokio::test]
async fn threat_b13_lists_have_what_one_may_see_and_nothing_else() {
    let house = House::new().await;
    let (engine, admin) = (&house.engine, support::known("admin"));
    let acme = "acme".parse().unwrap();
    let settings = strongroom_engine::tenancy::RegistrySettings::default();
    engine.create_registry(&admin, &acme, &"second".parse().unwrap(), settings).await.unwrap();
    let free = strongroom_engine::access::PrincipalId::new("user:free").unwrap();
    let main = "main".parse().unwrap();
    engine.set_role(&admin, &acme, &free, Some(&main), Role::Viewer).await.unwrap();

    let names = async |path: &str, caller: &str| {
        let answer = house.ask_at("GET", path, caller, None).await;
        let items = answer.expect(S::OK).json()["items"].clone();
        let names = items.as_array().unwrap().iter();
        names.map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("/organisations", "free").await, ["acme"]);
    assert_eq!(names("/organisations", "foreign").await, ["peer"]);
    assert_eq!(names("/organisations", "carl").await, [""; 0]);
    assert_eq!(names("/organisations", "operator").await, [""; 0]);
    assert_eq!(names("/organisations?all=true", "operator").await, ["acme", "peer", "pooled"]);
    assert_eq!(names("/organisations/acme/registries", "free").await, ["main"]);
    assert_eq!(names("/organisations/acme/registries", "viewer").await, ["main", "second"]);
    house.ask_at("GET", "/organisations?all=true", "admin", None).await.expect(S::FORBIDDEN);
    house.ask_at("GET", "/organisations/acme/members", "viewer", None).await.expect(S::FORBIDDEN);
    house.ask_at("GET", "/users", "admin", None).await.expect(S::FORBIDDEN);
}

#[tokio::test]
async fn what_is_hidden_and_what_is_not_there_answer_alike() {
    let house = House::new().await;
    for route in Route::ALL {
        let spec = route.spec();
        if !spec.path.contains("{organisation}") {
            continue;
        }
        let path = house.path(*route, "foreign");
        let mut answers = Vec::new();
        for name in ["acme", "nixx"] {
            let path = path.replacen("/acme", &format!("/{name}"), 1);
            let ask =
                Ask { body: body(*route), ..Ask::new(spec.method.as_str(), &path, "foreign") };
            let answer = house.send(ask).await;
            let text = std::str::from_utf8(&answer.body).unwrap().replace(name, "NAME");
            answers.push((answer.status, text));
        }
        assert_eq!(answers[0], answers[1], "{route:?}");
        assert_eq!(answers[0].0, expected(*route, ("foreign", None)), "{route:?}");
    }
}
