use proptest::prelude::*;
use strongroom_engine::digest::Algorithm;

use super::*;

const ID: &str = "00112233445566778899aabbccddeeff";

fn parse(method: &str, path: &str) -> Result<Operation, RouteError> {
    Operation::parse(&method.parse().unwrap(), path)
}

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, b"x")
}

fn task(method: &str, rest: &str) -> Task {
    match parse(method, &format!("/v2/acme/main/a/b/{rest}")).unwrap() {
        Operation::In(path, task) => {
            assert_eq!(path.to_string(), "acme/main/a/b");
            task
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_endpoint_is_found_below_a_name_of_many_slashes() {
    let (digest, id) = (digest(), SessionId::parse(ID).unwrap());
    let by_digest = Reference::Digest(digest);
    let tag: Reference = "v1.0_x".parse().unwrap();
    let (at_digest, upload) = (format!("blobs/{digest}"), format!("blobs/uploads/{ID}"));
    for (method, rest, expected) in [
        ("GET", "tags/list", Task::ListTags),
        ("GET", &format!("referrers/{digest}"), Task::ListReferrers(digest)),
        ("GET", "manifests/v1.0_x", Task::GetManifest(tag.clone())),
        ("HEAD", &format!("manifests/{digest}"), Task::HeadManifest(by_digest.clone())),
        ("PUT", "manifests/v1.0_x", Task::PutManifest(tag)),
        ("DELETE", &format!("manifests/{digest}"), Task::DeleteManifest(by_digest)),
        ("GET", &at_digest, Task::GetBlob(digest)),
        ("HEAD", &at_digest.replace(':', "%3A"), Task::HeadBlob(digest)),
        ("DELETE", &at_digest, Task::DeleteBlob(digest)),
        ("POST", "blobs/uploads/", Task::StartUpload),
        ("POST", "blobs/uploads", Task::StartUpload),
        ("GET", &upload, Task::UploadStatus(id)),
        ("PATCH", &upload, Task::AppendUpload(id)),
        ("PUT", &upload, Task::FinishUpload(id)),
        ("DELETE", &upload, Task::CancelUpload(id)),
    ] {
        assert_eq!(task(method, rest), expected, "{method} {rest}");
    }
    for ping in ["/v2", "/v2/"] {
        assert_eq!(parse("GET", ping), Ok(Operation::Ping));
    }
    assert_eq!(parse("HEAD", "/v2/_catalog"), Ok(Operation::Catalog));
}

#[test]
fn words_of_the_api_may_stand_in_names() {
    let digest = digest();
    for (path, name) in [
        (format!("/v2/acme/main/blobs/uploads/manifests/{digest}"), "acme/main/blobs/uploads"),
        (format!("/v2/a/b/manifests/x/blobs/{digest}"), "a/b/manifests/x"),
        ("/v2/tags/list/manifests/tags/list".to_owned(), "tags/list/manifests"),
        (format!("/v2/v2/a/blobs/blobs/uploads/{ID}"), "v2/a/blobs"),
    ] {
        match parse("GET", &path) {
            Ok(Operation::In(found, _)) => assert_eq!(found.to_string(), name, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn another_method_is_told_which_are_right() {
    for (method, path, allowed) in [
        ("POST", "/v2/", "GET, HEAD"),
        ("DELETE", "/v2/a/b/c/tags/list", "GET, HEAD"),
        ("PUT", "/v2/a/b/c/blobs/uploads/", "POST"),
        ("POST", "/v2/a/b/c/manifests/v1", "GET, HEAD, PUT, DELETE"),
        ("OPTIONS", "/v2/_catalog", "GET, HEAD"),
    ] {
        match parse(method, path) {
            Err(RouteError::Method { allowed: found, .. }) => assert_eq!(found, allowed, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn threat_c7_a_malformed_digest_is_refused_wherever_one_stands() {
    let good = digest().to_string();
    let hex = good.strip_prefix("sha256:").unwrap().to_owned();
    for bad in [
        "sha256:".to_owned(),
        "sha256:../../../etc/passwd".replace('/', "%2F"),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{}", hex.get(1..).unwrap()),
        format!("sha256:{hex}0"),
        format!("md5:{hex}"),
        format!("sha512:{hex}"),
        format!("SHA256:{hex}"),
        format!("sha256:{}\0", hex.get(1..).unwrap()),
        format!("sha256::{hex}"),
        format!("sha256:sha256:{hex}"),
    ] {
        for (method, word) in
            [("GET", "blobs"), ("DELETE", "blobs"), ("GET", "manifests"), ("GET", "referrers")]
        {
            let found = parse(method, &format!("/v2/acme/main/api/{word}/{bad}"));
            assert!(
                matches!(found, Err(RouteError::Digest(_) | RouteError::NoEndpoint)),
                "{word} {bad:?}: {found:?}"
            );
        }
    }
}

#[test]
fn threat_c8_no_encoding_of_a_path_gets_out_of_a_name() {
    let steps = ["..", ".", "%2e%2e", "%2E.", "%252e%252e", "..;", "%00", "%5c..", "~", "a%00b"];
    let slashes = ["/", "%2f", "%2F", "%5c", "\\", "%252f", "//", "%c0%af", "%ef%bc%8f"];
    let mut tried = 0;
    for step in steps {
        for slash in slashes {
            for path in [
                format!("/v2/acme{slash}{step}{slash}main/api/manifests/v1"),
                format!("/v2/acme/main/api{slash}{step}/manifests/v1"),
                format!("/v2/{step}{slash}acme/main/api/tags/list"),
                format!("/v2/acme/main/api/manifests/{step}{slash}{step}{slash}v1"),
            ] {
                let found = parse("GET", &path);
                assert!(found.is_err(), "{path}: {found:?}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 300, "{tried}");
}

#[test]
fn an_escaped_slash_is_a_slash_and_the_name_is_judged_after() {
    let plain = parse("GET", "/v2/acme/main/api/tags/list");
    assert_eq!(parse("GET", "/v2/acme%2Fmain/api%2ftags/list"), plain);
    let twice = parse("GET", "/v2/acme%252Fmain/api/x/tags/list");
    assert!(matches!(twice, Err(RouteError::Name(_))), "{twice:?}");
}

proptest! {
    #[test]
    fn no_path_breaks_it_and_what_comes_out_is_what_went_in(path in "/v2[-a-z0-9._/%:~]{0,80}") {
        if let Ok(Operation::In(name, _)) = parse("GET", &path) {
            let decoded = percent_decode_str(&path).decode_utf8_lossy().into_owned();
            let prefix = format!("/v2/{name}/");
            prop_assert!(decoded.starts_with(&prefix));
        }
    }
}
