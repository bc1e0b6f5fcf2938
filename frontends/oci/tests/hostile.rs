//! What breaks registries: sizes, contradictions, odd paths and values that are sent back.
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
use strongroom_oci::Settings;
use support::{IMAGE, INDEX, Refused, World, descriptor, image, sha256};

const NAME: &str = "acme/main/team/api";

async fn put(world: &World, content_type: &str, manifest: &str) -> support::Answer {
    let path = format!("/v2/{NAME}/manifests/v1");
    world.admin("PUT", &path).header("content-type", content_type).body(manifest).send().await
}

#[tokio::test]
async fn threat_c1_a_manifest_has_a_bound_to_the_byte() {
    let mut settings = Settings::default();
    settings.manifest_max_bytes = 1000;
    let world = World::with(settings).await;
    world.push_image(NAME, "v0", b"layer").await;
    let manifest = image(b"layer", "");
    let most = format!("{manifest}{}", " ".repeat(1000 - manifest.len()));
    put(&world, IMAGE, &most).await.expect(S::CREATED);
    let error = put(&world, IMAGE, &format!("{most} ")).await;
    error.error(S::PAYLOAD_TOO_LARGE, "SIZE_INVALID");
    let endless = std::iter::repeat_n("x".repeat(100), 11);
    let path = format!("/v2/{NAME}/manifests/v1");
    let asking = world.admin("PUT", &path).header("content-type", IMAGE);
    let asking = endless.fold(asking, support::Asking::body);
    asking.send().await.error(S::PAYLOAD_TOO_LARGE, "SIZE_INVALID");
}

#[tokio::test]
async fn a_manifest_of_nearly_four_megabytes_is_taken() {
    let world = World::new().await;
    world.push_blob(NAME, b"{}").await;
    world.push_blob(NAME, b"layer").await;
    let notes: serde_json::Map<_, _> =
        (0..390).map(|n| (format!("note-{n}"), json!("A".repeat(10_000)))).collect();
    let manifest = image(b"layer", &format!(r#","annotations":{}"#, json!(notes)));
    put(&world, IMAGE, &manifest).await.expect(S::CREATED);
    let got = world.admin("GET", &format!("/v2/{NAME}/manifests/v1")).send().await;
    assert!(got.expect(S::OK).body == manifest);
}

#[tokio::test]
async fn threat_c3_c4_a_manifest_says_one_thing() {
    let world = World::new().await;
    world.push_image(NAME, "v0", b"layer").await;
    let manifest = image(b"layer", "");
    let error = put(&world, INDEX, &manifest).await.error(S::BAD_REQUEST, "MANIFEST_INVALID");
    assert_eq!(error["detail"]["path"], "$.mediaType");
    for more in [r#","manifests":[]"#, r#","layers":[]"#, r#","Layers":[]"#, r#","mediatype":"x""#]
    {
        put(&world, IMAGE, &image(b"layer", more)).await.error(S::BAD_REQUEST, "MANIFEST_INVALID");
    }
    put(&world, IMAGE, "{").await.error(S::BAD_REQUEST, "MANIFEST_INVALID");
    let odd = put(&world, "text/plain", &manifest).await;
    odd.error(S::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED");
    let schema1 = r#"{"schemaVersion":1}"#;
    put(&world, IMAGE, schema1).await.error(S::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED");
    let path = format!("/v2/{NAME}/manifests/{}", sha256(b"another"));
    let wrong = world.admin("PUT", &path).header("content-type", IMAGE).body(&manifest);
    wrong.send().await.error(S::BAD_REQUEST, "DIGEST_INVALID");
}

#[tokio::test]
async fn an_index_of_layers_is_buildkits_cache() {
    let world = World::new().await;
    let config = world.push_blob(NAME, b"{}").await;
    world.push_blob(NAME, b"layer").await;
    let layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", b"layer");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{layer},{{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"{config}","size":2}}]}}"#
    );
    put(&world, INDEX, &index).await.expect(S::CREATED);
}

#[tokio::test]
async fn threat_c16_nothing_that_is_said_breaks_out_of_an_answer() {
    let world = World::new().await;
    let mut tried = 0;
    for bad in ["%0d%0aSet-Cookie:%20a=b", "%1b%5b31m", "%00", "%e2%80%ae", "%22%3e%3cscript%3e"] {
        for path in [
            format!("/v2/acme/main/{bad}/tags/list"),
            format!("/v2/{NAME}/manifests/{bad}"),
            format!("/v2/{NAME}/blobs/{bad}"),
            format!("/v2/{NAME}/referrers/sha256:{bad}"),
            format!("/v2/{NAME}/blobs/uploads/{bad}"),
            format!("/v2/{NAME}/tags/list?n={bad}"),
            format!("/v2/{NAME}/tags/list?last={bad}&n=1"),
            format!("/v2/_catalog?last={bad}&n=1"),
            format!("/v2/{NAME}/referrers/{}?artifactType={bad}", sha256(b"x")),
            format!("/v2/{bad}"),
        ] {
            let answer = world.admin("GET", &path).send().await;
            for (name, value) in &answer.headers {
                let clean = value.as_bytes().iter().all(|b| matches!(b, b' '..=b'~'));
                assert!(clean && name != "set-cookie", "{path}: {answer:?}");
            }
            let clean = answer.body.iter().all(|b| *b >= b' ' && *b != 0x7f);
            assert!(clean, "{path}: {answer:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, 50);
}

#[tokio::test]
async fn threat_c17_every_address_in_an_answer_is_this_servers_own_path() {
    let world = World::new().await;
    let path = format!("/v2/{NAME}/blobs/uploads/");
    for (name, value) in [
        ("host", "evil.test"),
        ("x-forwarded-host", "evil.test"),
        ("forwarded", "host=evil.test"),
        ("x-original-url", "//evil.test/"),
    ] {
        let answer = world.admin("POST", &path).header(name, value).send().await;
        let location = answer.expect(S::ACCEPTED).header("location");
        assert!(location.starts_with("/v2/acme/"), "{location}");
    }
}

#[tokio::test]
async fn what_is_no_endpoint_is_told_so() {
    let world = World::new().await;
    for path in ["/v2/x", "/v2/a/b/c", "/v2//", "/v2/a/b/c/uploads/x", "/v2/a/b/c/tags/all"] {
        world.admin("GET", path).send().await.error(S::NOT_FOUND, "UNSUPPORTED");
    }
    for path in ["/v2/library/manifests/v1", "/v2/a/b/C/manifests/v1", "/v2/a//b/c/manifests/v1"] {
        world.admin("GET", path).send().await.error(S::BAD_REQUEST, "NAME_INVALID");
    }
    let long = format!("/v2/a/b/{}/manifests/v1", "c".repeat(300));
    world.admin("GET", &long).send().await.error(S::BAD_REQUEST, "NAME_INVALID");
    let tag = format!("/v2/{NAME}/manifests/{}", "t".repeat(129));
    world.admin("GET", &tag).send().await.error(S::NOT_FOUND, "MANIFEST_UNKNOWN");
    let push = world.admin("PUT", &tag).header("content-type", IMAGE).body("{}").send().await;
    push.error(S::BAD_REQUEST, "MANIFEST_INVALID");
    let put = world.admin("POST", &format!("/v2/{NAME}/tags/list")).send().await;
    put.error(S::METHOD_NOT_ALLOWED, "UNSUPPORTED");
    assert_eq!(put.header("allow"), "GET, HEAD");
    assert!(strongroom_oci::Oci::owns("/v2/x") && strongroom_oci::Oci::owns("/v2"));
    assert!(!strongroom_oci::Oci::owns("/v22") && !strongroom_oci::Oci::owns("/"));
}

#[tokio::test]
async fn threat_c28_a_client_without_its_place_never_writes_at_a_wrong_one() {
    let world = World::new().await;
    let path = format!("/v2/{NAME}/blobs/uploads/");
    let upload = world.admin("POST", &path).send().await.header("location").to_owned();
    let mut sent = Vec::new();
    // Every chunk is tried at each place around; only the right one is taken.
    for step in 0..6_usize {
        let bytes = [b'a' + u8::try_from(step).unwrap(); 3];
        let right = sent.len();
        for at in 0..right + 3 {
            let repeated = at + 3 == right;
            if at == right || repeated {
                continue;
            }
            let range = format!("{at}-{}", at + 2);
            let answer = world.admin("PATCH", &upload).header("content-range", range).body(bytes);
            let answer = answer.send().await;
            answer.error(S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID");
            assert_eq!(answer.header("range"), format!("0-{}", right.saturating_sub(1)));
        }
        let range = format!("{right}-{}", right + 2);
        let answer = world.admin("PATCH", &upload).header("content-range", range).body(bytes);
        answer.send().await.expect(S::ACCEPTED);
        sent.extend_from_slice(&bytes);
    }
    let finish = format!("{upload}?digest={}", sha256(&sent));
    world.admin("PUT", &finish).send().await.expect(S::CREATED);
}

#[tokio::test]
async fn too_many_tags_in_one_push_are_refused() {
    let world = World::new().await;
    let digest = world.push_image(NAME, "v1", b"layer").await;
    let tags = (0..101).map(|n| format!("tag=t{n}")).collect::<Vec<_>>().join("&");
    let path = format!("/v2/{NAME}/manifests/{digest}?{tags}");
    let put = world.admin("PUT", &path).header("content-type", IMAGE).body(image(b"layer", ""));
    put.send().await.error(S::BAD_REQUEST, "UNSUPPORTED");
}
