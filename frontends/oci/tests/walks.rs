//! The ways of pushing and pulling, each answer exact.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::StatusCode as S;
use strongroom_engine::access::{Caller, PrincipalId};
use strongroom_engine::digest::{Algorithm, Digest};
use support::{IMAGE, Refused, World, image, sha256};

const NAME: &str = "acme/main/team/api";

#[tokio::test]
async fn a_client_finds_the_api_and_is_told_to_sign_in() {
    let world = World::new().await;
    let answer = world.request("GET", "/v2/").send().await;
    answer.error(S::UNAUTHORIZED, "UNAUTHORIZED");
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    let challenge = "Bearer realm=\"http://registry.test/token\",service=\"test\",why=Absent";
    assert_eq!(answer.header("www-authenticate"), challenge);
    let answer = world.admin("GET", "/v2/").send().await;
    assert_eq!((answer.status, &answer.body[..]), (S::OK, &b"{}"[..]));
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    world.request("GET", "/v2/").bearer("anonymous").send().await.expect(S::OK);
}

#[tokio::test]
async fn a_blob_is_pushed_by_post_and_put() {
    let world = World::new().await;
    let answer = world.admin("POST", &format!("/v2/{NAME}/blobs/uploads/")).send().await;
    answer.expect(S::ACCEPTED);
    let id = answer.header("docker-upload-uuid").to_owned();
    let upload = format!("/v2/{NAME}/blobs/uploads/{id}");
    assert_eq!(answer.header("location"), upload);
    assert_eq!(answer.header("range"), "0-0");
    assert_eq!(answer.header("oci-chunk-min-length"), "1048576");

    let digest = sha256(b"hello");
    let finish = format!("{upload}?digest={digest}");
    for _ in 0..2 {
        // The second time the answer was lost.
        let answer = world.admin("PUT", &finish).body("hello").send().await;
        answer.expect(S::CREATED);
        assert_eq!(answer.header("location"), format!("/v2/{NAME}/blobs/{digest}"));
        assert_eq!(answer.header("docker-content-digest"), digest.to_string());
    }
    let answer = world.admin("GET", &format!("/v2/{NAME}/blobs/{digest}")).send().await;
    assert_eq!(answer.expect(S::OK).body, "hello");
    world.admin("GET", &upload).send().await.error(S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_blob_is_pushed_in_chunks_and_a_client_that_lost_its_place_is_told_it() {
    let world = World::new().await;
    let answer = world.admin("POST", &format!("/v2/{NAME}/blobs/uploads/")).send().await;
    let upload = answer.header("location").to_owned();
    let status = world.admin("GET", &upload).send().await;
    assert_eq!(
        (status.expect(S::NO_CONTENT).header("range"), status.header("location")),
        ("0-0", upload.as_str())
    );

    let chunk = |range: &str, bytes: &str| {
        world.admin("PATCH", &upload).header("content-range", range).body(bytes.as_bytes()).send()
    };
    assert_eq!(chunk("0-4", "hello").await.expect(S::ACCEPTED).header("range"), "0-4");
    assert_eq!(chunk("0-4", "hello").await.expect(S::ACCEPTED).header("range"), "0-4");
    for wrong in ["7-8", "0-1", "4-5"] {
        let answer = chunk(wrong, "xx").await;
        answer.error(S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID");
        assert_eq!((answer.header("range"), answer.header("location")), ("0-4", upload.as_str()));
    }
    chunk("bytes 5-6", "xx").await.error(S::BAD_REQUEST, "BLOB_UPLOAD_INVALID");
    chunk("5-9", "xx").await.error(S::BAD_REQUEST, "SIZE_INVALID");
    assert_eq!(world.admin("GET", &upload).send().await.header("range"), "0-4");

    let digest = sha256(b"hello world");
    let finish = format!("{upload}?digest={digest}");
    let late = world.admin("PUT", &finish).header("content-range", "9-10").body("xx").send().await;
    assert_eq!(late.expect(S::RANGE_NOT_SATISFIABLE).header("range"), "0-4");
    let last = world.admin("PUT", &finish).header("content-range", "5-10").body(" world");
    last.send().await.expect(S::CREATED);
}

#[tokio::test]
async fn a_stream_without_ranges_is_one_chunk_after_the_other() {
    let world = World::new().await;
    let answer = world.admin("POST", &format!("/v2/{NAME}/blobs/uploads/")).send().await;
    let upload = answer.header("location").to_owned();
    let one = world.admin("PATCH", &upload).body("one ").body("two ").send().await;
    assert_eq!(one.expect(S::ACCEPTED).header("range"), "0-7");
    world.admin("PATCH", &upload).body("three").send().await.expect(S::ACCEPTED);
    let finish = format!("{upload}?digest={}", sha256(b"one two three"));
    world.admin("PUT", &finish).send().await.expect(S::CREATED);
}

#[tokio::test]
async fn an_upload_is_cancelled_and_gone() {
    let world = World::new().await;
    let answer = world.admin("POST", &format!("/v2/{NAME}/blobs/uploads/")).send().await;
    let upload = answer.header("location").to_owned();
    let cancelled = world.admin("DELETE", &upload).send().await;
    assert!(cancelled.expect(S::NO_CONTENT).body.is_empty());
    for method in ["GET", "PATCH", "DELETE"] {
        let answer = world.admin(method, &upload).send().await;
        answer.error(S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[tokio::test]
async fn a_wrong_digest_is_told_with_both() {
    let world = World::new().await;
    let wanted = sha256(b"hello");
    let path = format!("/v2/{NAME}/blobs/uploads/?digest={wanted}");
    let error = world.admin("POST", &path).body("other").send().await;
    let error = error.error(S::BAD_REQUEST, "DIGEST_INVALID");
    assert_eq!(error["detail"]["wanted"], wanted.to_string());
    assert_eq!(error["detail"]["found"], sha256(b"other").to_string());
    let answer = world.admin("POST", &format!("/v2/{NAME}/blobs/uploads/")).send().await;
    let upload = answer.header("location").to_owned();
    world.admin("PUT", &upload).send().await.error(S::BAD_REQUEST, "DIGEST_INVALID");
    world
        .admin("PUT", &format!("{upload}?digest=sha256:no"))
        .send()
        .await
        .error(S::BAD_REQUEST, "DIGEST_INVALID");
}

#[tokio::test]
async fn sha512_is_a_digest_like_any_other() {
    let world = World::new().await;
    let digest = Digest::of(Algorithm::Sha512, b"hello");
    for start in ["", "?digest-algorithm=sha512"] {
        let path = format!("/v2/{NAME}/blobs/uploads/{start}");
        let upload = world.admin("POST", &path).send().await.header("location").to_owned();
        world.admin("PATCH", &upload).body("hello").send().await.expect(S::ACCEPTED);
        let answer = world.admin("PUT", &format!("{upload}?digest={digest}")).send().await;
        assert_eq!(answer.expect(S::CREATED).header("docker-content-digest"), digest.to_string());
    }
    let odd = format!("/v2/{NAME}/blobs/uploads/?digest-algorithm=md5");
    world.admin("POST", &odd).send().await.error(S::BAD_REQUEST, "DIGEST_INVALID");
    let answer = world.admin("GET", &format!("/v2/{NAME}/blobs/{digest}")).send().await;
    assert_eq!(answer.expect(S::OK).header("etag"), format!("\"{digest}\""));

    world.push_blob(NAME, b"{}").await;
    world.push_blob(NAME, b"layer").await;
    let manifest = image(b"layer", "");
    let digest = Digest::of(Algorithm::Sha512, manifest.as_bytes());
    let path = format!("/v2/{NAME}/manifests/{digest}?tag=v1");
    let put = world.admin("PUT", &path).header("content-type", IMAGE).body(&manifest);
    assert_eq!(
        put.send().await.expect(S::CREATED).header("docker-content-digest"),
        digest.to_string()
    );
    let by_tag = world.admin("GET", &format!("/v2/{NAME}/manifests/v1")).send().await;
    assert_eq!(by_tag.header("docker-content-digest"), digest.to_string());
}

#[tokio::test]
async fn a_blob_is_read_whole_in_ranges_or_not_again() {
    let world = World::new().await;
    let digest = world.push_blob(NAME, b"0123456789").await;
    let path = format!("/v2/{NAME}/blobs/{digest}");
    let whole = world.admin("GET", &path).send().await;
    assert_eq!(whole.expect(S::OK).body, "0123456789");
    for (name, value) in [
        ("content-length", "10"),
        ("content-type", "application/octet-stream"),
        ("accept-ranges", "bytes"),
        ("cache-control", "private, max-age=31536000, immutable"),
        ("x-content-type-options", "nosniff"),
        ("docker-content-digest", &digest.to_string()),
        ("etag", &format!("\"{digest}\"")),
    ] {
        assert_eq!(whole.header(name), value, "{name}");
    }
    let head = world.admin("HEAD", &path).send().await;
    assert_eq!((head.status, &head.headers), (S::OK, &whole.headers));
    assert!(head.body.is_empty());

    for (range, expected, content_range) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-99", "56789", "bytes 5-9/10"),
    ] {
        let part = world.admin("GET", &path).header("range", range).send().await;
        assert_eq!(part.expect(S::PARTIAL_CONTENT).body, expected, "{range}");
        assert_eq!(part.header("content-range"), content_range);
        assert_eq!(part.header("content-length"), expected.len().to_string());
    }
    for range in ["bytes=10-", "bytes=5-4"] {
        let none = world.admin("GET", &path).header("range", range).send().await;
        none.error(S::RANGE_NOT_SATISFIABLE, "SIZE_INVALID");
        assert_eq!(none.header("content-range"), "bytes */10");
    }
    let other = world.admin("GET", &path).header("range", "bytes=2-4").header("if-range", "\"x\"");
    assert_eq!(other.send().await.status, S::OK);
    for method in ["GET", "HEAD"] {
        let known = world.admin(method, &path).header("if-none-match", format!("\"{digest}\""));
        let known = known.send().await;
        assert!(known.expect(S::NOT_MODIFIED).body.is_empty());
        assert_eq!(known.header("etag"), format!("\"{digest}\""));
    }
}

#[tokio::test]
async fn several_ranges_come_in_parts() {
    let world = World::new().await;
    let digest = world.push_blob(NAME, b"0123456789").await;
    let path = format!("/v2/{NAME}/blobs/{digest}");
    let answer = world.admin("GET", &path).header("range", "bytes=0-1,-2").send().await;
    let kind = answer.expect(S::PARTIAL_CONTENT).header("content-type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let expected = format!(
        "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
         \r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 8-9/10\r\n\r\n89\
         \r\n--{boundary}--\r\n"
    );
    assert_eq!(answer.body, expected);
    assert_eq!(answer.header("content-length"), expected.len().to_string());
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_it_may_be_read() {
    let world = World::new().await;
    let digest = world.push_blob("acme/main/base", b"layer").await;
    let mount = |name: &str, more: &str| {
        world.admin("POST", &format!("/v2/{name}/blobs/uploads/?mount={digest}{more}")).send()
    };
    let named = mount("acme/main/one", "&from=acme/main/base").await;
    assert_eq!(
        named.expect(S::CREATED).header("location"),
        format!("/v2/acme/main/one/blobs/{digest}")
    );
    assert_eq!(named.header("docker-content-digest"), digest.to_string());
    mount("acme/open/two", "").await.expect(S::CREATED);
    for from in ["acme/main/absent", "peer/main/x", "not a name", "acme/nowhere/base"] {
        let more = format!("&from={}", from.replace(' ', "+"));
        let answer = mount("acme/main/three", &more).await;
        assert_eq!(answer.expect(S::ACCEPTED).header("range"), "0-0", "{from}");
    }
    let path = format!("/v2/acme/main/three/blobs/{digest}");
    world.admin("HEAD", &path).send().await.expect(S::NOT_FOUND);
    world
        .admin("POST", &format!("/v2/{NAME}/blobs/uploads/?mount=sha256:x"))
        .send()
        .await
        .error(S::BAD_REQUEST, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_manifest_is_served_as_it_was_pushed_by_tag_and_digest() {
    let world = World::new().await;
    world.push_image(NAME, "v1", b"layer").await;
    let manifest = image(b"layer", "");
    let digest = sha256(manifest.as_bytes());
    for (reference, caching) in [
        ("v1".to_owned(), "private, no-cache"),
        (digest.to_string(), "private, max-age=31536000, immutable"),
    ] {
        let path = format!("/v2/{NAME}/manifests/{reference}?ns=docker.io");
        let got = world.admin("GET", &path).header("accept", "text/html").send().await;
        assert_eq!(got.expect(S::OK).body, manifest);
        for (name, value) in [
            ("content-type", IMAGE),
            ("content-length", &manifest.len().to_string()),
            ("cache-control", caching),
            ("docker-content-digest", &digest.to_string()),
            ("etag", &format!("\"{digest}\"")),
        ] {
            assert_eq!(got.header(name), value, "{name}");
        }
        let head = world.admin("HEAD", &path).send().await;
        assert_eq!((head.status, &head.headers), (S::OK, &got.headers));
        assert!(head.body.is_empty());
        let known = world.admin("GET", &path).header("if-none-match", got.header("etag"));
        assert!(known.send().await.expect(S::NOT_MODIFIED).body.is_empty());
    }
}

#[tokio::test]
async fn one_push_sets_several_tags() {
    let world = World::new().await;
    let digest = world.push_image(NAME, "v1", b"layer").await;
    let path = format!("/v2/{NAME}/manifests/{digest}?tag=v2&tag=latest");
    let put = world.admin("PUT", &path).header("content-type", IMAGE).body(image(b"layer", ""));
    let answer = put.send().await;
    let tags: Vec<_> = answer.expect(S::CREATED).headers.get_all("oci-tag").iter().collect();
    assert_eq!(tags, ["v2", "latest"]);
    assert_eq!(answer.header("location"), format!("/v2/{NAME}/manifests/{digest}"));
    let list = world.admin("GET", &format!("/v2/{NAME}/tags/list")).send().await;
    assert_eq!(list.json(), serde_json::json!({"name": NAME, "tags": ["latest", "v1", "v2"]}));
    let bad = format!("/v2/{NAME}/manifests/{digest}?tag=a/b");
    let bad = world.admin("PUT", &bad).header("content-type", IMAGE).body(image(b"layer", ""));
    bad.send().await.error(S::BAD_REQUEST, "MANIFEST_INVALID");
}

#[tokio::test]
async fn what_is_named_stays_and_what_is_deleted_is_gone() {
    let world = World::new().await;
    let digest = world.push_image(NAME, "v1", b"layer").await;
    let blob = format!("/v2/{NAME}/blobs/{}", sha256(b"layer"));
    let refused = world.admin("DELETE", &blob).send().await;
    let error = refused.error(S::METHOD_NOT_ALLOWED, "UNSUPPORTED");
    assert_eq!(error["detail"]["named_by"], serde_json::json!([digest.to_string()]));
    assert_eq!(refused.header("allow"), "GET, HEAD");

    let tag = format!("/v2/{NAME}/manifests/v1");
    world.admin("DELETE", &tag).send().await.expect(S::ACCEPTED);
    world.admin("DELETE", &tag).send().await.error(S::NOT_FOUND, "MANIFEST_UNKNOWN");
    let manifest = format!("/v2/{NAME}/manifests/{digest}");
    world.admin("GET", &manifest).send().await.expect(S::OK);
    world.admin("DELETE", &manifest).send().await.expect(S::ACCEPTED);
    world.admin("GET", &manifest).send().await.error(S::NOT_FOUND, "MANIFEST_UNKNOWN");
    world.admin("DELETE", &blob).send().await.expect(S::ACCEPTED);
    world.admin("GET", &blob).send().await.error(S::NOT_FOUND, "BLOB_UNKNOWN");
    world.admin("DELETE", &blob).send().await.error(S::NOT_FOUND, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_last_chunk_whose_answer_was_lost_may_come_again_with_the_put() {
    let world = World::new().await;
    let path = format!("/v2/{NAME}/blobs/uploads/");
    let upload = world.admin("POST", &path).send().await.header("location").to_owned();
    for (range, bytes) in [("0-2", "abc"), ("3-4", "de")] {
        let chunk = world.admin("PATCH", &upload).header("content-range", range).body(bytes);
        chunk.send().await.expect(S::ACCEPTED);
    }
    let finish = format!("{upload}?digest={}", sha256(b"abcde"));
    let put = |range: &'static str, bytes: &'static str| {
        world.admin("PUT", &finish).header("content-range", range).body(bytes).send()
    };
    put("0-2", "abc").await.error(S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID");
    put("3-4", "de").await.expect(S::CREATED);
    let blob = format!("/v2/{NAME}/blobs/{}", sha256(b"abcde"));
    assert_eq!(world.admin("GET", &blob).send().await.body, "abcde");
}

#[tokio::test]
async fn a_mirrors_parameter_changes_nothing_on_any_request() {
    let world = World::new().await;
    let digest = world.push_image(NAME, "v1", b"layer").await;
    let blob = sha256(b"layer");
    for path in [
        "/v2/".to_owned(),
        "/v2/_catalog".to_owned(),
        format!("/v2/{NAME}/tags/list"),
        format!("/v2/{NAME}/manifests/v1"),
        format!("/v2/{NAME}/manifests/{digest}"),
        format!("/v2/{NAME}/blobs/{blob}"),
        format!("/v2/{NAME}/referrers/{digest}"),
    ] {
        for method in ["GET", "HEAD"] {
            let plain = world.admin(method, &path).send().await;
            let with = world.admin(method, &format!("{path}?ns=docker.io")).send().await;
            assert_eq!(plain.expect(S::OK), &with, "{method} {path}");
        }
    }
    let path = format!("/v2/{NAME}/blobs/uploads/?ns=docker.io&digest={}", sha256(b"more"));
    world.admin("POST", &path).body("more").send().await.expect(S::CREATED);
}

#[tokio::test]
async fn who_fills_a_quota_is_warned_before_it_is_full() {
    let world = World::new().await;
    world.push_blob(NAME, &[7; 899]).await;
    let operator = PrincipalId::new("user:operator").unwrap();
    let operator = Caller { operator: true, ..Caller::known(operator) };
    world.engine.set_quota(&operator, &"acme".parse().unwrap(), Some(1_000)).await.unwrap();
    let digest = sha256(b"x");
    let path = format!("/v2/{NAME}/blobs/uploads/?digest={digest}");
    let pushed = world.admin("POST", &path).body("x").send().await;
    let warning = pushed.expect(S::CREATED).header("warning");
    assert_eq!(warning, "299 - \"this organisation uses 90 % of its quota: 900 of 1000 bytes\"");
    let more = [7; 101];
    let path = format!("/v2/{NAME}/blobs/uploads/?digest={}", sha256(&more));
    world.admin("POST", &path).body(more).send().await.error(S::FORBIDDEN, "DENIED");
    world.engine.set_quota(&operator, &"acme".parse().unwrap(), None).await.unwrap();
    let pushed = world.admin("POST", &path).body(more).send().await;
    assert!(pushed.expect(S::CREATED).headers.get("warning").is_none());
}
