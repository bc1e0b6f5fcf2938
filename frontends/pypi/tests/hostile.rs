//! Uploads that lie, break off or are too much: refused with a reason, and nothing of them is left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::StatusCode as S;
use support::dist::{Dist, sdist, wheel};
use support::{Answer, Refused, World};

const MAIN: &str = "acme/main";

async fn nothing_is_left(world: &World, project: &str) {
    assert_eq!(world.page(MAIN, project).await, None, "{project}");
    let path = format!("{MAIN}/{project}");
    let opened = world.open(&path, strongroom_engine::access::Action::Pull).await;
    assert!(!opened.exists(), "{project} was created");
}

async fn refused(world: &World, dist: Dist, part: &str) {
    world.upload(MAIN, &dist).await.refused(S::BAD_REQUEST, part);
}

#[tokio::test]
async fn threat_c10_a_form_that_tells_another_story_than_its_file_is_refused() {
    let world = World::new().await;
    let good = || wheel("foo", "1.0", "one");
    for (field, value, part) in [
        (":action", Some("submit"), "action"),
        (":action", None, "action"),
        ("protocol_version", Some("2"), "protocol_version"),
        ("name", Some("bar"), "bar"),
        ("name", None, "name"),
        ("version", Some("2.0"), "2.0"),
        ("version", Some("x"), "version"),
        ("filetype", Some("sdist"), "filetype"),
        ("filetype", Some("bdist_egg"), "filetype"),
        ("sha256_digest", None, "digest"),
        ("sha256_digest", Some("00"), "sha256_digest"),
        ("sha256_digest", Some(&*"0".repeat(64)), "sha256_digest"),
        ("md5_digest", Some(&*"0".repeat(32)), "md5_digest"),
        ("blake2_256_digest", Some(&*"0".repeat(64)), "blake2_256_digest"),
        ("requires_python", Some(">=2"), "requires_python"),
        ("requires_dist", Some("evil"), "requires_dist"),
        ("attestations", Some("{"), "attestation"),
    ] {
        for file_first in [false, true] {
            let dist = Dist { file_first, ..good().with(field, value) };
            refused(&world, dist, part).await;
            nothing_is_left(&world, "foo").await;
        }
    }
    world.upload(MAIN, &good()).await.expect(S::OK);
}

#[tokio::test]
async fn threat_c9_a_file_that_is_not_what_it_is_called_is_refused() {
    let world = World::new().await;
    let good = || wheel("foo", "1.0", "one");
    let named = |name: &str| Dist { name: name.to_owned(), ..good() };
    for (name, part) in [
        ("", "file name"),
        ("foo-1.0-py3-none-any.exe", "neither"),
        ("foo-1.0.zip", "neither"),
        ("../foo-1.0-py3-none-any.whl", "character"),
        ("foo-1.0-any.whl", "parts"),
        ("foo-1.0-py3-none-plan9.whl", "platform"),
        ("foo-1.1-py3-none-any.whl", "1.1"),
        ("bar-1.0-py3-none-any.whl", "bar"),
        ("foo-1.0.tar.gz", "sdist"),
    ] {
        refused(&world, named(name), part).await;
    }
    for bytes in [
        Vec::new(),
        b"not a zip".to_vec(),
        [good().bytes, b"more".to_vec()].concat(),
        [b"more".to_vec(), good().bytes].concat(),
        good().bytes[..good().bytes.len() / 2].to_vec(),
        sdist("foo", "1.0", "one").bytes,
    ] {
        let dist = Dist { bytes, ..good() };
        let sha256 = dist.sha256();
        let answer = world.upload(MAIN, &dist.with("sha256_digest", Some(&sha256))).await;
        answer.expect(S::BAD_REQUEST);
        assert!(answer.reason.is_some_and(|reason| !reason.is_empty()));
    }
    nothing_is_left(&world, "foo").await;
    nothing_is_left(&world, "bar").await;
}

async fn post(world: &World, content_type: &str, body: Vec<u8>) -> Answer {
    let asking = world.request("POST", "acme/main/legacy/").user("writer");
    asking.header("content-type", content_type).body(body).send().await
}

#[tokio::test]
async fn a_form_that_can_not_be_read_is_refused() {
    let world = World::new().await;
    let (content_type, body) = wheel("foo", "1.0", "one").form();
    post(&world, "application/json", b"{}".to_vec()).await.expect(S::UNSUPPORTED_MEDIA_TYPE);
    post(&world, "multipart/form-data", body.clone()).await.expect(S::UNSUPPORTED_MEDIA_TYPE);
    for bytes in [Vec::new(), body[..body.len() / 2].to_vec(), body[..body.len() - 4].to_vec()] {
        post(&world, &content_type, bytes).await.expect(S::BAD_REQUEST);
    }
    let twice = Dist { file_first: true, ..wheel("foo", "1.0", "one") }.form().1;
    let end = b"--b0undary--\r\n".len();
    let both = [&twice[..twice.len() - end], &body[..]].concat();
    post(&world, &content_type, both).await.refused(S::BAD_REQUEST, "more than once");
    let none = "--b0undary\r\nContent-Disposition: form-data; name=\":action\"\r\n\r\nfile_upload\r\n--b0undary--\r\n";
    post(&world, &content_type, none.as_bytes().to_vec()).await.expect(S::BAD_REQUEST);
    nothing_is_left(&world, "foo").await;
}

#[tokio::test]
async fn threat_c1_forms_without_bounds_are_refused() {
    let world = World::new().await;
    let long = wheel("foo", "1.0", "one").with("description", Some(&"x".repeat(9 << 20)));
    let answer = world.upload(MAIN, &long).await;
    assert!(answer.status.is_client_error(), "{:?}", answer.reason);
    let mut many = wheel("foo", "1.0", "one");
    many.fields.extend((0..5_000).map(|n| ("classifiers".to_owned(), n.to_string())));
    refused(&world, many, "fields").await;
    nothing_is_left(&world, "foo").await;
}
