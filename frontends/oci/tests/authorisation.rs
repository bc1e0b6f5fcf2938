//! Who may do what, over the real identity provider: every operation of the route table, as every
//! kind of caller, in what is private, public and absent of two tenants. What comes out must
//! follow from what the operation declares, and "not yours" must be "not there".
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::StatusCode as S;
use strongroom_engine::access::{PrincipalId, Role};
use strongroom_engine::audit::TrailQuery;
use strongroom_oci::routes::{Operation, Task};
use support::house::{CALLERS, House};
use support::routes::{PLACES, ROUTES, asking, expected, furnished, operation, scope, shown};
use support::{IMAGE, Refused, image, known, sha256};

#[tokio::test]
async fn threat_b4_every_operation_answers_every_caller_as_the_table_says() {
    let mut checked = 0;
    for (route, (method, form, ..)) in ROUTES.into_iter().enumerate() {
        let (mut house, mut upload) = furnished().await;
        for caller in CALLERS {
            for place in PLACES {
                let asking = asking(&house.world, route, place.0, &upload);
                let answer = house.ask(asking, caller.0).await;
                let (status, code) = expected(route, caller, place);
                let cell = format!("{method} {form} as {}", caller.0);
                assert_eq!(answer.status, status, "{cell} in {place:?}: {answer:?}");
                match code {
                    Some(code) if method != "HEAD" => {
                        answer.error(status, code);
                    }
                    _ => {}
                }
                assert_eq!(
                    answer.headers.contains_key("www-authenticate"),
                    status == S::UNAUTHORIZED,
                    "{cell}: {answer:?}"
                );
                checked += 1;
                if status.is_success() && method != "GET" && method != "HEAD" {
                    // It is done; the next one finds everything again.
                    (house, upload) = furnished().await;
                }
            }
        }
    }
    assert_eq!(checked, ROUTES.len() * CALLERS.len() * PLACES.len());
}

/// A password, a machine token (in each way that clients send one) and a token of the endpoint for any of
/// them: whatever somebody shows, the answer is the same.
#[tokio::test]
async fn threat_a11_one_request_has_one_decision_in_every_form_of_credentials() {
    let mut checked = 0;
    for (route, (method, form, ..)) in ROUTES.into_iter().enumerate() {
        let (mut house, mut upload) = furnished().await;
        for caller in CALLERS.into_iter().filter(|caller| caller.0 != "anonymous") {
            for place in PLACES {
                let status = expected(route, caller, place).0;
                let changes = status.is_success() && method != "GET" && method != "HEAD";
                let scope = scope(route, place.0);
                let mut forms = house.forms(caller.0, scope.as_deref()).await;
                for number in 0..forms.len() {
                    let (shown, header) = forms[number].clone();
                    let asking = asking(&house.world, route, place.0, &upload);
                    let answer = asking.header("authorization", &header).send().await;
                    let cell = format!("{method} {form} as {} by {shown}", caller.0);
                    // A token that was asked for a deletion alone, and did not get it, reaches nothing:
                    // what its owner may see otherwise is hidden from it.
                    let reaches_nothing = status == S::FORBIDDEN
                        && shown.contains("endpoint")
                        && scope.as_deref().is_some_and(|scope| scope.ends_with(":delete"));
                    let status = if reaches_nothing { S::NOT_FOUND } else { status };
                    assert_eq!(answer.status, status, "{cell} in {place:?}: {answer:?}");
                    checked += 1;
                    if changes {
                        (house, upload) = furnished().await;
                        forms = house.forms(caller.0, scope.as_deref()).await;
                    }
                }
            }
        }
    }
    assert!(checked > 5_000, "{checked}");
}

#[tokio::test]
async fn threat_b1_b6_what_is_not_yours_is_what_is_not_there() {
    let (house, upload) = furnished().await;
    let mut compared = 0;
    for (route, (_, form, ..)) in ROUTES.into_iter().enumerate() {
        for caller in CALLERS {
            // What is there and hidden, and what is not there: all that is refused so.
            let hidden = PLACES.into_iter().filter(|place| {
                let code = expected(route, caller, *place).1;
                matches!(code, Some("NAME_UNKNOWN" | "UNAUTHORIZED"))
            });
            let mut first = None;
            for (name, ..) in hidden {
                let asking = asking(&house.world, route, name, &upload);
                let answer = shown(&house.ask(asking, caller.0).await, name);
                let first = first.get_or_insert_with(|| answer.clone());
                assert_eq!(answer, *first, "{form} as {}: {name}", caller.0);
                compared += 1;
            }
        }
    }
    assert!(compared > 600, "{compared}");
    // Nothing of it changed anything.
    let world = &house.world;
    let name = PLACES[0].0;
    for path in ["manifests/v1", &format!("blobs/{}", sha256(b"spare"))] {
        let path = format!("/v2/{name}/{path}");
        house.ask(world.request("GET", &path), "admin").await.expect(S::OK);
    }
    let path = format!("/v2/{name}/blobs/uploads/{upload}");
    let standing = house.ask(world.request("GET", &path), "admin").await;
    assert_eq!(standing.expect(S::NO_CONTENT).header("range"), "0-0");
}

#[tokio::test]
async fn threat_a11_a12_a_role_that_is_taken_is_gone_at_the_next_request_in_every_form() {
    let (house, _) = furnished().await;
    let name = PLACES[0].0;
    let scope = format!("repository:{name}:pull,push");
    let mut headers = Vec::new();
    for by_token in [false, true] {
        headers.push(house.authorization("writer", by_token, Some(&scope)).await.unwrap());
    }
    let ask = async |method: &'static str, rest: &str| {
        let mut statuses = Vec::new();
        for header in &headers {
            let asking = house.world.request(method, &format!("/v2/{name}/{rest}"));
            statuses.push(asking.header("authorization", header).send().await.status);
        }
        assert_eq!(statuses[0], statuses[1], "{method} {rest}: one decision, whatever the form");
        statuses[0]
    };
    let (acme, writer) = ("acme".parse().unwrap(), PrincipalId::new("user:writer").unwrap());
    let (engine, admin) = (&house.world.engine, known("admin"));
    assert_eq!(ask("GET", "manifests/v1").await, S::OK);
    assert_eq!(ask("POST", "blobs/uploads/").await, S::ACCEPTED);
    engine.set_role(&admin, &acme, &writer, None, Role::Viewer).await.unwrap();
    assert_eq!(ask("GET", "manifests/v1").await, S::OK);
    assert_eq!(ask("POST", "blobs/uploads/").await, S::FORBIDDEN);
    engine.remove_role(&admin, &acme, &writer, None).await.unwrap();
    assert_eq!(ask("GET", "manifests/v1").await, S::NOT_FOUND);
    assert_eq!(ask("POST", "blobs/uploads/").await, S::NOT_FOUND);
    // What stands elsewhere in a request is no credential.
    for (path, cookie) in [
        (format!("/v2/{name}/manifests/v1?access_token=x&token={}", &headers[1][7..]), "a=b"),
        (format!("/v2/{name}/manifests/v1"), &*format!("token={}", &headers[1][7..])),
    ] {
        let answer = house.world.request("GET", &path).header("cookie", cookie).send().await;
        answer.error(S::UNAUTHORIZED, "UNAUTHORIZED");
    }
}

/// What the trail of the organisation says of an operation that was done; exhaustive, so that an
/// operation that is added must say.
const fn lines(operation: &Operation) -> &'static [&'static str] {
    let Operation::In(_, task) = operation else { return &[] };
    match task {
        Task::ListTags
        | Task::ListReferrers(_)
        | Task::HeadManifest(_)
        | Task::HeadBlob(_)
        | Task::UploadStatus(_)
        // What it ends in has the line.
        | Task::AppendUpload(_) => &[],
        Task::GetManifest(_) | Task::GetBlob(_) => &["pulled"],
        Task::PutManifest(_) => &["manifest_pushed"],
        Task::DeleteManifest(_) => &["tag_deleted"],
        Task::DeleteBlob(_) => &["blob_deleted"],
        Task::StartUpload => &["upload_started"],
        Task::FinishUpload(_) => &["blob_pushed"],
        Task::CancelUpload(_) => &["upload_ended"],
    }
}

/// The kinds of all lines of the organisation, without those of what was refused.
async fn trail(house: &House) -> Vec<String> {
    house.world.engine.flush().await.unwrap();
    let query = TrailQuery { oldest_first: true, ..TrailQuery::default() };
    let (admin, acme) = (known("admin"), "acme".parse().unwrap());
    let page = house.world.engine.trail(&admin, Some(&acme), &query, None, 1000).await.unwrap();
    let kinds = page.items.iter().map(|line| line.event.kind.name().to_owned());
    kinds.filter(|kind| kind != "refused").collect()
}

#[tokio::test]
async fn threat_c26_every_operation_leaves_exactly_its_line() {
    for (route, (_, form, ..)) in ROUTES.into_iter().enumerate() {
        let (house, upload) = furnished().await;
        let before = trail(&house).await;
        let ask = |caller| house.ask(asking(&house.world, route, PLACES[0].0, &upload), caller);
        // Who may not leaves no line of a change.
        for caller in ["anonymous", "stranger", "revoked"] {
            ask(caller).await;
        }
        assert_eq!(trail(&house).await, before, "{form}");
        let answer = ask("admin").await;
        assert!(answer.status.is_success(), "{answer:?}");
        let after = trail(&house).await;
        assert_eq!(&after[before.len()..], lines(&operation(route)), "{form}");
    }
}

/// There are no immutable tags and no rules of what may be deleted yet. What must hold until then:
/// no tag's name and no form of a request gets past the permission, and of racing pushes one is
/// what the tag points to.
#[tokio::test]
async fn threat_b7_latest_is_a_tag_like_any_other() {
    let (house, _) = furnished().await;
    let world = &house.world;
    let name = PLACES[0].0;
    let put = |tag: &str, note: usize| {
        let manifest = image(b"layer", &format!(r#","annotations":{{"n":"{note}"}}"#));
        let asking = world.request("PUT", &format!("/v2/{name}/manifests/{tag}"));
        asking.header("content-type", IMAGE).body(manifest)
    };
    for tag in ["latest", "v1", "LATEST", "new"] {
        for note in 0..2 {
            house.ask(put(tag, note), "viewer").await.error(S::FORBIDDEN, "DENIED");
            house.ask(put(tag, note), "stranger").await.error(S::NOT_FOUND, "NAME_UNKNOWN");
            house.ask(put(tag, note), "writer").await.expect(S::CREATED);
        }
    }
    let pushed = futures::future::join_all((0..50).map(async |note| {
        let answer = house.ask(put("latest", note), "writer").await;
        answer.expect(S::CREATED).header("docker-content-digest").to_owned()
    }))
    .await;
    let path = format!("/v2/{name}/manifests/latest");
    let found = house.ask(world.request("GET", &path), "viewer").await;
    let found = found.expect(S::OK).header("docker-content-digest");
    assert_eq!(pushed.iter().filter(|digest| *digest == found).count(), 1, "one of them won");
}

#[tokio::test]
async fn threat_b8_no_form_of_a_delete_goes_without_the_right_to_it() {
    let (house, _) = furnished().await;
    let world = &house.world;
    let name = PLACES[0].0;
    let manifest = sha256(image(b"layer", "").as_bytes());
    // The tag first: with its manifest gone it is gone, too.
    let forms = [
        "manifests/v1".to_owned(),
        format!("manifests/{manifest}"),
        format!("blobs/{}", sha256(b"spare")),
    ];
    for form in &forms {
        let path = format!("/v2/{name}/{form}");
        for caller in CALLERS {
            // `narrow` may push, which is not to delete.
            if !matches!(caller.0, "writer" | "admin" | "pooled") {
                let refused = house.ask(world.request("DELETE", &path), caller.0).await;
                assert!(refused.status.is_client_error(), "{form} as {}: {refused:?}", caller.0);
                house.ask(world.request("GET", &path), "viewer").await.expect(S::OK);
            }
        }
    }
    for form in &forms {
        let path = format!("/v2/{name}/{form}");
        house.ask(world.request("DELETE", &path), "writer").await.expect(S::ACCEPTED);
        house.ask(world.request("GET", &path), "viewer").await.expect(S::NOT_FOUND);
    }
}
