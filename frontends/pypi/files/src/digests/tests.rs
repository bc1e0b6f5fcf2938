use super::*;

const ABC: (&str, &str, &str) = (
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319",
    "900150983cd24fb0d6963f7d28e17f72",
);

fn abc() -> Digests {
    abc_with(Others { blake2b_256: true, md5: true })
}

fn abc_with(others: Others) -> Digests {
    let mut hasher = DigestHasher::new(others);
    hasher.update(b"a");
    hasher.update(b"bc");
    hasher.finish()
}

#[test]
fn one_pass_has_all_three() {
    let got = abc();
    assert_eq!(const_hex::encode(got.sha256), ABC.0);
    assert_eq!(const_hex::encode(got.blake2b_256.unwrap()), ABC.1);
    assert_eq!(const_hex::encode(got.md5.unwrap()), ABC.2);
}

#[test]
fn what_the_form_claims_is_compared() {
    let claimed = |sha256, blake2, md5| ClaimedDigests::parse(sha256, blake2, md5);
    let all = claimed(Some(ABC.0), Some(ABC.1), Some(ABC.2)).unwrap();
    assert_eq!(all.check(&abc()), Ok(()));
    assert_eq!(all.sha256(), Some(abc().sha256));
    // MD5 as the documentation has it.
    let base64 = claimed(None, None, Some("kAFQmDzST7DWlj99KOF_cg")).unwrap();
    assert_eq!(base64.check(&abc()), Ok(()));
    let other = "0".repeat(64);
    let message = claimed(Some(&other), None, None).unwrap().check(&abc()).unwrap_err();
    let wanted = format!("sha256_digest says {other}, but the bytes that arrived have {}", ABC.0);
    assert_eq!(message.to_string(), wanted);
    assert!(claimed(None, Some(&other), Some(ABC.2)).unwrap().check(&abc()).is_err());
    assert!(claimed(None, None, Some(&other[..32])).unwrap().check(&abc()).is_err());
}

#[test]
fn what_is_no_digest_is_refused() {
    assert_eq!(ClaimedDigests::parse(None, Some(""), None), Err(DigestError::Missing));
    let prefixed = format!("0x{}", &ABC.0[2..]);
    for bad in ["abc", "sha256:", &ABC.0[1..], &prefixed, &format!("0x{}", ABC.0)] {
        let refused = ClaimedDigests::parse(Some(bad), None, None);
        assert!(matches!(refused, Err(DigestError::Malformed { .. })), "{bad}");
    }
    assert!(ClaimedDigests::parse(None, None, Some("kAFQmDzST7DWlj99KOF_cg==")).is_err());
}

#[test]
fn what_was_not_computed_is_not_taken() {
    let got = abc_with(Others { blake2b_256: false, md5: false });
    let of = |sha256, blake2, md5| ClaimedDigests::parse(sha256, blake2, md5).unwrap();
    assert_eq!(of(Some(ABC.0), None, None).check(&got), Ok(()));
    assert!(of(Some(ABC.0), Some(ABC.1), None).check(&got).is_err());
    assert!(of(Some(ABC.0), None, Some(ABC.2)).check(&got).is_err());
}
