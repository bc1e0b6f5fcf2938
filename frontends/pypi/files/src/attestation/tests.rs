use serde_json::json;

use super::*;

const SHA256: [u8; 32] = [0xAB; 32];

fn statement() -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "foo-1.0.tar.gz", "digest": {"sha256": "ab".repeat(32)}}],
        "predicateType": "https://docs.pypi.org/attestations/publish/v1",
        "predicate": null,
    })
}

fn of(statement: &Value) -> Value {
    json!({
        "version": 1,
        "verification_material": {
            "certificate": "MIIC", "transparency_entries": [{"logIndex": "1"}],
        },
        "envelope": {"statement": STANDARD.encode(statement.to_string()), "signature": "MEUC"},
    })
}

fn parse(all: &Value) -> Result<Attestations, String> {
    let name = FileName::parse("foo-1.0.tar.gz").unwrap();
    Attestations::parse(&all.to_string(), &name, &SHA256).map_err(|error| error.to_string())
}

fn with(pointer: &str, value: Value) -> Result<Attestations, String> {
    let mut one = of(&statement());
    *one.pointer_mut(pointer).unwrap() = value;
    parse(&json!([one]))
}

fn with_statement(pointer: &str, value: Value) -> Result<Attestations, String> {
    let mut statement = statement();
    *statement.pointer_mut(pointer).unwrap() = value;
    parse(&json!([of(&statement)]))
}

#[test]
fn what_was_sent_is_given_out_as_provenance() {
    let mut slsa = statement();
    slsa["predicateType"] = "https://slsa.dev/provenance/v1".into();
    let all = json!([of(&statement()), of(&slsa)]);
    let attestations = parse(&all).unwrap();
    assert_eq!(attestations.iter().count(), 2);
    let claims = json!({"repository": "a/b"}).as_object().unwrap().clone();
    let provenance = Provenance::new("GitHub", claims, &attestations);
    let wanted = json!({"version": 1, "attestation_bundles": [
        {"publisher": {"kind": "GitHub", "repository": "a/b"}, "attestations": all},
    ]});
    assert_eq!(serde_json::to_value(provenance).unwrap(), wanted);
}

#[test]
fn a_provenance_of_another_index_is_read_as_it_was_given_out() {
    let given = json!({"version": 1, "attestation_bundles": [
        {"publisher": {"kind": "GitHub", "claims": null}, "attestations": [of(&statement())]},
        {"publisher": {"kind": "GitLab"}, "attestations": [of(&statement())]},
    ]});
    let name = FileName::parse("foo-1.0.tar.gz").unwrap();
    let parse = |given: &Value, sha256| {
        let read = Provenance::parse(given.to_string().as_bytes(), &name, sha256);
        read.map(|read| serde_json::to_value(read).unwrap()).map_err(|error| error.to_string())
    };
    assert_eq!(parse(&given, &SHA256), Ok(given.clone()));
    assert!(parse(&given, &[1; 32]).unwrap_err().contains("an attestation is of sha256"));
    for (pointer, value, told) in [
        ("/version", json!(2), "its version is another"),
        ("/attestation_bundles", json!({}), "this is no provenance object of version 1"),
        ("/attestation_bundles", json!([]), "an empty list"),
        ("/attestation_bundles/1/publisher", json!({}), "a publisher has no kind"),
        ("/attestation_bundles/1/attestations/0/version", json!(2), "an attestation has version 2"),
    ] {
        let mut given = given.clone();
        *given.pointer_mut(pointer).unwrap() = value;
        let error = parse(&given, &SHA256).unwrap_err();
        assert!(error.contains(told), "{pointer}: {error}");
    }
}

#[test]
fn an_attestation_of_another_file_is_refused() {
    let told = with_statement("/subject/0/name", "bar-1.0.tar.gz".into());
    assert_eq!(
        told.unwrap_err(),
        "an attestation is of \"bar-1.0.tar.gz\", but the file is \"foo-1.0.tar.gz\""
    );
    assert!(with_statement("/subject/0/name", "Foo-1.0.tar.gz".into()).is_ok(), "one file");
    let told = with_statement("/subject/0/digest/sha256", "cd".repeat(32).into()).unwrap_err();
    assert!(told.starts_with("an attestation is of sha256 \"cdcd"), "{told}");
    let upper = with_statement("/subject/0/digest/sha256", "AB".repeat(32).into());
    assert!(upper.is_err(), "a digest has one spelling");
}

#[test]
fn what_is_not_of_the_shape_is_refused() {
    let statement_wanted = "an attestation's statement is not an in-toto statement, version 1, of one \
                            subject with a sha256";
    for (told, reason) in [
        (with("/version", 2.into()), "an attestation has version 2; known is 1"),
        (
            with("/verification_material/certificate", "".into()),
            "an attestation's certificate is not base64 of something",
        ),
        (
            with("/verification_material/certificate", "-".into()),
            "an attestation's certificate is not base64 of something",
        ),
        (
            with("/verification_material/transparency_entries", json!([])),
            "an attestation's list of transparency entries is not at least one",
        ),
        (
            with("/envelope/signature", "!".into()),
            "an attestation's signature is not base64 of something",
        ),
        (with("/envelope/statement", "e30=".into()), statement_wanted),
        (with_statement("/_type", "x".into()), statement_wanted),
        (with_statement("/subject", json!([])), statement_wanted),
        (with_statement("/subject/0/digest", json!({})), statement_wanted),
        (
            with_statement("/predicateType", "x".into()),
            "an attestation has the predicate type \"x\"; taken are the publish attestation and SLSA provenance, version 1",
        ),
        (
            parse(&json!([])),
            "the attestations are an empty list; leave the field out where there are none",
        ),
        (
            parse(&json!([of(&statement()), of(&statement())])),
            "two attestations have the predicate type \"https://docs.pypi.org/attestations/publish/v1\"; there may be one",
        ),
    ] {
        assert_eq!(told.unwrap_err(), reason);
    }
    for bad in [json!({}), json!([1]), json!([{"version": 1}]), json!([{"version": 1, "x": 2}])] {
        assert!(parse(&bad).unwrap_err().contains("not a JSON array of attestation objects"));
    }
    let name = FileName::parse("foo-1.0.tar.gz").unwrap();
    let deep = "[".repeat(1 << 19);
    assert!(Attestations::parse(&deep, &name, &SHA256).is_err());
    let long = " ".repeat((1 << 20) + 1);
    assert_eq!(
        Attestations::parse(&long, &name, &SHA256),
        Err(AttestationError::TooLarge { got: (1 << 20) + 1 })
    );
}
