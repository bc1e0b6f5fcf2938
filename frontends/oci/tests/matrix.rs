//! What belongs to one tenant, repository or upload and is asked for from another; what tokens and
//! credentials are told. Who may do what is in `authorisation.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::StatusCode as S;
use strongroom_engine::audit::{EventKind, TrailQuery};
use support::{Answer, Asking, IMAGE, Refused, World, image, known, sha256};

const BLOB: &str = "$BLOB";
const SPARE: &str = "$SPARE";
const MANIFEST: &str = "$MANIFEST";
const UPLOAD: &str = "$UPLOAD";

/// Method, path below the repository, whether a manifest is sent.
const TASKS: [(&str, &str, bool); 14] = [
    ("GET", "tags/list", false),
    ("GET", "referrers/$MANIFEST", false),
    ("GET", "manifests/v1", false),
    ("HEAD", "manifests/$MANIFEST", false),
    ("PUT", "manifests/v2", true),
    ("DELETE", "manifests/v1", false),
    ("GET", "blobs/$BLOB", false),
    ("HEAD", "blobs/$BLOB", false),
    ("DELETE", "blobs/$SPARE", false),
    ("POST", "blobs/uploads/", false),
    ("GET", "blobs/uploads/$UPLOAD", false),
    ("PATCH", "blobs/uploads/$UPLOAD", false),
    ("PUT", "blobs/uploads/$UPLOAD?digest=$BLOB", false),
    ("DELETE", "blobs/uploads/$UPLOAD", false),
];

/// Repositories of `acme`; all names are equally long, so that messages can be compared.
const PRIVATE: &str = "acme/main/api";
const PUBLIC: &str = "acme/open/api";
/// Where nothing is, by what is missing: repository, registry, organisation.
const ABSENT: [&str; 3] = ["acme/main/nix", "acme/nixx/api", "nixx/main/api"];

/// A repository with one image, a blob that nothing names, and an upload of `owner`.
async fn furnish(world: &World, name: &str, owner: &str) -> String {
    world.push_image(name, "v1", b"layer").await;
    world.push_blob(name, b"spare").await;
    let path = format!("/v2/{name}/blobs/uploads/");
    let started = world.request("POST", &path).user(owner).send().await;
    match started.status {
        S::ACCEPTED => started.header("docker-upload-uuid").to_owned(),
        _ => "00112233445566778899aabbccddeeff".to_owned(),
    }
}

fn asking<'a>(world: &'a World, task: usize, name: &str, upload: &str) -> Asking<'a> {
    let (method, rest, manifest) = TASKS[task];
    let manifest_digest = sha256(image(b"layer", "").as_bytes()).to_string();
    let rest = rest
        .replace(BLOB, &sha256(b"layer").to_string())
        .replace(SPARE, &sha256(b"spare").to_string())
        .replace(MANIFEST, &manifest_digest)
        .replace(UPLOAD, upload);
    let asking = world.request(method, &format!("/v2/{name}/{rest}"));
    match (manifest, method) {
        (true, _) => asking.header("content-type", IMAGE).body(image(b"layer", "")),
        (false, "PATCH" | "PUT") => asking.body("layer"),
        (false, _) => asking,
    }
}

/// What an answer shows, without what the request itself said.
fn shown(answer: &Answer, name: &str) -> (S, Vec<(String, String)>, String) {
    let strip = |text: &str| text.replace(name, "NAME");
    let headers = answer.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), strip(value.to_str().unwrap())));
    (answer.status, headers.collect(), strip(std::str::from_utf8(&answer.body).unwrap()))
}

#[tokio::test]
async fn threat_b5_an_upload_is_its_starters_in_its_repository_alone() {
    let world = World::new().await;
    let upload = furnish(&world, PRIVATE, "writer").await;
    let never = "00112233445566778899aabbccddeeff";
    let digest = sha256(b"fresh");
    for (method, query) in [
        ("GET", String::new()),
        ("PATCH", String::new()),
        ("PUT", format!("?digest={digest}")),
        ("DELETE", String::new()),
    ] {
        for (caller, name) in
            [("admin", PRIVATE), ("writer", "acme/main/two"), ("stranger", "peer/main/x")]
        {
            let ask = |id: &str| {
                let path = format!("/v2/{name}/blobs/uploads/{id}{query}");
                world.request(method, &path).user(caller).body("fresh").send()
            };
            let (foreign, unknown) = (ask(&upload).await, ask(never).await);
            foreign.error(S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN");
            assert_eq!(shown(&foreign, &upload), shown(&unknown, never), "{caller} {method}");
        }
    }
    let path = format!("/v2/{PRIVATE}/blobs/uploads/{upload}");
    let status = world.request("GET", &path).user("writer").send().await;
    status.expect(S::NO_CONTENT);
}

#[tokio::test]
async fn threat_b1_b2_b17_another_tenants_digest_is_as_if_nobody_had_it() {
    let world = World::new().await;
    let name = "peer/main/own";
    let start = |more: String| {
        let path = format!("/v2/{name}/blobs/uploads/{more}");
        world.request("POST", &path).user("stranger").send()
    };
    start(String::new()).await.expect(S::ACCEPTED);
    world.push_blob(PRIVATE, b"{}").await;
    let theirs = world.push_blob(PRIVATE, b"theirs").await;
    let nobodys = sha256(b"nobodys");
    let (manifest_of_theirs, manifest_of_none) = (image(b"theirs", ""), image(b"nobody", ""));
    for digest in [theirs, nobodys] {
        for from in ["", "&from=acme/main/api", "&from=acme/main/nix", "&from=peer/main/own"] {
            let answer = start(format!("?mount={digest}{from}")).await;
            assert_eq!(answer.expect(S::ACCEPTED).header("range"), "0-0");
        }
        for method in ["GET", "HEAD"] {
            let path = format!("/v2/{name}/blobs/{digest}");
            let answer = world.request(method, &path).user("stranger").send().await;
            answer.expect(S::NOT_FOUND);
        }
    }
    for (manifest, layer) in [(manifest_of_theirs, theirs), (manifest_of_none, sha256(b"nobody"))] {
        let path = format!("/v2/{name}/manifests/v1");
        let put = world.request("PUT", &path).user("stranger");
        let answer = put.header("content-type", IMAGE).body(&manifest).send().await;
        answer.error(S::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN");
        let errors = answer.json()["errors"].clone();
        assert_eq!(errors.as_array().unwrap().len(), 2, "config and layer at once");
        assert_eq!(errors[1]["detail"]["digest"], layer.to_string());
        assert_eq!(errors[1]["detail"]["path"], "$.layers[0]");
    }
    // The bytes are asked for all the same, and then it is theirs too.
    let path = format!("/v2/{name}/blobs/uploads/?digest={theirs}");
    let lazy = world.request("POST", &path).user("stranger").send().await;
    lazy.error(S::BAD_REQUEST, "DIGEST_INVALID");
    let whole = world.request("POST", &path).user("stranger").body("theirs").send().await;
    whole.expect(S::CREATED);
}

#[tokio::test]
async fn threat_b3_deleting_here_does_not_come_back_by_reading_there() {
    let world = World::new().await;
    let digest = world.push_blob("acme/main/one", b"shared").await;
    world.push_blob("acme/main/two", b"shared").await;
    let at = |name: &str| format!("/v2/acme/main/{name}/blobs/{digest}");
    world.admin("GET", &at("one")).send().await.expect(S::OK);
    world.admin("DELETE", &at("one")).send().await.expect(S::ACCEPTED);
    world.admin("GET", &at("two")).send().await.expect(S::OK);
    world.admin("GET", &at("one")).send().await.error(S::NOT_FOUND, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_token_for_something_else_is_sent_for_another() {
    let world = World::new().await;
    furnish(&world, PRIVATE, "admin").await;
    let ask = |token: &'static str, task: usize, name: &'static str| {
        asking(&world, task, name, "00112233445566778899aabbccddeeff").bearer(token).send()
    };
    ask("admin/acme/main/api/pull", 2, PRIVATE).await.expect(S::OK);
    ask("admin/acme/main/api/pull", 0, PRIVATE).await.expect(S::OK);
    for (token, task, name, scope) in [
        ("admin/acme/main/api/pull", 9, PRIVATE, "repository:acme/main/api:pull,push"),
        ("admin/acme/main/api/push", 8, PRIVATE, "repository:acme/main/api:delete"),
        ("admin/acme/main/two/pull", 2, PRIVATE, "repository:acme/main/api:pull"),
        ("stranger/acme/main/two/pull", 2, PRIVATE, "repository:acme/main/api:pull"),
        ("stranger/acme/main/two/pull", 2, ABSENT[2], "repository:nixx/main/api:pull"),
    ] {
        let answer = ask(token, task, name).await;
        answer.error(S::UNAUTHORIZED, "UNAUTHORIZED");
        let challenge = answer.header("www-authenticate");
        let ends = format!(",why=InsufficientScope,scope=\"{scope}\"");
        assert!(challenge.ends_with(&ends), "{token}: {challenge}");
    }
    // Asked for this, and not given it: another token would be the same.
    ask("writer/acme/main/api/cut", 2, PRIVATE).await.expect(S::OK);
    ask("writer/acme/main/api/cut", 9, PRIVATE).await.error(S::FORBIDDEN, "DENIED");
    // Issued for this, and yet not allowed: another token would not help.
    ask("stranger/acme/main/api/push", 2, PRIVATE).await.error(S::NOT_FOUND, "NAME_UNKNOWN");
    ask("viewer/acme/main/api/push", 9, PRIVATE).await.error(S::FORBIDDEN, "DENIED");
    ask("anonymous", 2, PRIVATE).await.error(S::UNAUTHORIZED, "UNAUTHORIZED");
}

#[tokio::test]
async fn what_a_token_is_not_for_is_a_line_in_the_trail() {
    let world = World::new().await;
    furnish(&world, PRIVATE, "admin").await;
    for token in ["writer/acme/main/two/pull", "writer/acme/main/api/pull"] {
        let path = format!("/v2/{PRIVATE}/blobs/uploads/");
        world.request("POST", &path).bearer(token).send().await.expect(S::UNAUTHORIZED);
    }
    world.request("GET", "/v2/_catalog").bearer("writer/acme/main/api/pull").send().await;
    world.engine.flush().await.unwrap();
    let kinds = vec!["refused".to_owned()];
    let query = TrailQuery { kinds, ..TrailQuery::default() };
    let acme = "acme".parse().unwrap();
    let page = world.engine.trail(&known("admin"), Some(&acme), &query, None, 10).await.unwrap();
    let said: Vec<_> = page.items.iter().map(|line| &line.event.kind).collect();
    let what = format!("push to {PRIVATE}, and 1 more");
    assert_eq!(said, [&EventKind::Refused { what }]);
}

#[tokio::test]
async fn threat_b10_a_mount_needs_a_token_for_its_source() {
    let world = World::new().await;
    let digest = world.push_blob("acme/main/base", b"layer").await;
    let path = format!("/v2/{PRIVATE}/blobs/uploads/?mount={digest}");
    let named = format!("{path}&from=acme/main/base");
    let scope = "scope=\"repository:acme/main/api:pull,push repository:acme/main/base:pull\"";
    let narrow = "admin/acme/main/api/push";
    for answer in [
        world.request("POST", &named).send().await,
        world.request("POST", &named).bearer(narrow).send().await,
    ] {
        answer.error(S::UNAUTHORIZED, "UNAUTHORIZED");
        assert!(answer.header("www-authenticate").ends_with(scope), "{answer:?}");
    }
    // No token can name a source that is left open: it is looked for where the token reaches.
    world.request("POST", &path).bearer(narrow).send().await.expect(S::ACCEPTED);
    world.admin("HEAD", &format!("/v2/{PRIVATE}/blobs/{digest}")).send().await.expect(S::NOT_FOUND);
    for (caller, path) in [("writer", &path), ("admin", &named)] {
        world.request("POST", path).user(caller).send().await.expect(S::CREATED);
    }
}

#[tokio::test]
async fn threat_a11_wrong_credentials_are_never_nobody() {
    let world = World::new().await;
    world.push_image(PUBLIC, "v1", b"layer").await;
    let path = format!("/v2/{PUBLIC}/manifests/v1");
    world.request("GET", &path).send().await.expect(S::OK);
    for header in ["Basic YTpi", "Basic", "Digest x", "Bearer ", "Basic !!!"] {
        let answer = world.request("GET", &path).header("authorization", header).send().await;
        answer.error(S::UNAUTHORIZED, "UNAUTHORIZED");
        answer.header("www-authenticate");
    }
    let both = world.admin("GET", &path).bearer("admin").send().await;
    both.error(S::UNAUTHORIZED, "UNAUTHORIZED");
    let many = world.request("GET", &path).user("guesser").send().await;
    many.error(S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS");
    assert_eq!(many.header("retry-after"), "2");
    let away = world.request("GET", &path).user("away").send().await;
    away.error(S::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    assert!(!String::from_utf8_lossy(&away.body).contains("secret"));
    away.header("retry-after");
}

#[tokio::test]
async fn threat_b5_nobody_learns_that_an_upload_is_being_written() {
    let world = World::new().await;
    let upload = furnish(&world, PRIVATE, "writer").await;
    let never = "00112233445566778899aabbccddeeff";
    let path = format!("/v2/{PRIVATE}/blobs/uploads/{upload}");
    let writing = world.request("PATCH", &path).user("writer").body("fr").hanging().send();
    let others = async {
        // Its own writer is told to wait, once it is under way.
        loop {
            let busy = world.request("PATCH", &path).user("writer").body("x").send().await;
            if busy.status == S::CONFLICT {
                break;
            }
            tokio::task::yield_now().await;
        }
        for (method, query) in [
            ("GET", String::new()),
            ("PATCH", String::new()),
            ("PUT", format!("?digest={}", sha256(b"fresh"))),
            ("DELETE", String::new()),
        ] {
            for (caller, name) in
                [("admin", PRIVATE), ("writer", "acme/main/two"), ("stranger", "peer/main/x")]
            {
                let ask = |id: &str| {
                    let path = format!("/v2/{name}/blobs/uploads/{id}{query}");
                    world.request(method, &path).user(caller).body("fresh").send()
                };
                let (foreign, unknown) = (ask(&upload).await, ask(never).await);
                foreign.error(S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN");
                assert_eq!(shown(&foreign, &upload), shown(&unknown, never), "{caller} {method}");
            }
        }
    };
    tokio::select! {
        biased;
        ended = writing => panic!("its body has no end: {ended:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn a_token_for_the_catalog_lists_it_and_nothing_else_does() {
    let world = World::new().await;
    furnish(&world, PRIVATE, "admin").await;
    let answer = world.request("GET", "/v2/_catalog").bearer("admin/acme/main/api/pull").send();
    let answer = answer.await;
    answer.error(S::UNAUTHORIZED, "UNAUTHORIZED");
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.ends_with(",why=InsufficientScope,scope=\"registry:catalog:*\""),
        "{challenge}"
    );
    world.request("GET", "/v2/_catalog").bearer("admin").send().await.expect(S::OK);
}
