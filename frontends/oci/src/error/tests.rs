use strongroom_engine::Missing;
use strongroom_engine::access::Action;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::id::SessionId;

use super::*;

fn code(failure: &Failure) -> (u16, Value) {
    (failure.status.as_u16(), serde_json::to_value(failure.errors.first().unwrap().code).unwrap())
}

#[test]
fn every_failure_of_the_engine_has_its_status_and_code() {
    let digest = Digest::of(Algorithm::Sha256, b"x");
    let text = || "x".to_owned();
    let missing = Missing { path: text(), digest, reason: text() };
    let idle = RequestBodyError::TooLarge { limit: 1 };
    for (error, status, expected) in [
        (Error::NameUnknown { name: text() }, 404, "NAME_UNKNOWN"),
        (Error::Denied { principal: text(), action: Action::Push, name: text() }, 403, "DENIED"),
        (Error::BlobUnknown { digest }, 404, "BLOB_UNKNOWN"),
        (Error::ManifestUnknown { reference: text() }, 404, "MANIFEST_UNKNOWN"),
        (Error::UploadUnknown { id: text() }, 404, "BLOB_UPLOAD_UNKNOWN"),
        (Error::UploadBusy { id: SessionId([0; 16]) }, 409, "BLOB_UPLOAD_INVALID"),
        (Error::OutOfOrder { offset: 1, at: 2 }, 416, "BLOB_UPLOAD_INVALID"),
        (Error::DigestMismatch { wanted: digest, found: digest }, 400, "DIGEST_INVALID"),
        (Error::LengthMismatch { wanted: 1, found: 2 }, 400, "SIZE_INVALID"),
        (Error::BlobTooLarge { max: 1 }, 413, "SIZE_INVALID"),
        (Error::Manifest(ManifestError::TooLarge { size: 2, max: 1 }), 413, "SIZE_INVALID"),
        (Error::Manifest(ManifestError::Schema1), 415, "UNSUPPORTED"),
        (Error::Manifest(ManifestError::UnknownKind), 400, "MANIFEST_INVALID"),
        (Error::References { missing: vec![missing] }, 400, "MANIFEST_BLOB_UNKNOWN"),
        (Error::InUse { digest, by: vec![digest] }, 405, "UNSUPPORTED"),
        (Error::QuotaExceeded { quota_bytes: 1, used_bytes: 1, wanted_bytes: 1 }, 403, "DENIED"),
        (Error::TagImmutable { tag: text(), pattern: text() }, 409, "DENIED"),
        (Error::Changed { name: text(), version: text() }, 412, "DENIED"),
        (Error::Invalid(text()), 400, "UNSUPPORTED"),
        (Error::Source(idle.into()), 413, "SIZE_INVALID"),
        (Error::Source("broke".into()), 400, "BLOB_UPLOAD_INVALID"),
        (Error::StorageFull(text()), 507, "UNAVAILABLE"),
        (Error::Contended { what: "x" }, 503, "UNAVAILABLE"),
        (Error::Unavailable(text()), 503, "UNAVAILABLE"),
        (Error::Corrupted(text()), 500, "UNKNOWN"),
    ] {
        let shown = format!("{error:?}");
        assert_eq!(code(&error.into()), (status, expected.into()), "{shown}");
    }
}

#[test]
fn what_is_wrong_inside_is_not_told_outside() {
    for error in [
        Error::Corrupted("/secret/path".to_owned()),
        Error::Unavailable("/secret/path".to_owned()),
        Error::StorageFull("/secret/path".to_owned()),
    ] {
        let failure = Failure::from(error);
        let told = serde_json::to_string(&failure.errors).unwrap();
        assert!(!told.contains("secret"), "{told}");
    }
}

#[test]
fn what_the_transport_refuses_is_told_in_the_protocols_words() {
    for (status, expected) in [
        (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
    ] {
        let failure = Failure::from(Refusal { status, why: "because" });
        assert_eq!(code(&failure), (status.as_u16(), expected.into()));
    }
    let held = Failure::from(ShareError::Client { limit: 3 });
    assert_eq!(code(&held), (429, "TOOMANYREQUESTS".into()));
}

#[test]
fn a_manifest_that_breaks_off_is_no_blob() {
    let broken = || RequestBodyError::Broken("reset".into());
    assert_eq!(code(&Failure::of_manifest(&broken())), (400, "MANIFEST_INVALID".into()));
    assert_eq!(code(&broken().into()), (400, "BLOB_UPLOAD_INVALID".into()));
    let large = Failure::of_manifest(&RequestBodyError::TooLarge { limit: 1 });
    assert_eq!(code(&large), (413, "SIZE_INVALID".into()));
}

#[test]
fn who_is_told_to_come_again_is_told_when() {
    let after = |failure: Failure| {
        let header = failure.headers.into_iter().find(|(name, _)| name == RETRY_AFTER);
        header.map(|(_, value)| value.to_str().unwrap().to_owned())
    };
    assert_eq!(after(Error::Contended { what: "x" }.into()).as_deref(), Some("1"));
    assert_eq!(after(Error::Unavailable(String::new()).into()).as_deref(), Some("5"));
    assert_eq!(after(Error::StorageFull(String::new()).into()), None);
    for (wait, expected) in [(0, "1"), (1_000, "1"), (1_001, "2")] {
        let retry_after = Duration::from_millis(wait);
        let failure = IdentityError::TooMany { retry_after }.into();
        assert_eq!(after(failure).as_deref(), Some(expected));
    }
}
