//! Any bytes as what another index says of a file, and as the one statement of what is right but for it: an
//! answer; what is taken is of this file alone and is read again as it is given out, and what is told of the
//! others can stand in a header.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use strongroom_python::{FileName, Provenance};

const SHA256: [u8; 32] = [0xAB; 32];

fuzz_target!(|input: &[u8]| {
    read(input);
    let attestation = json!({
        "version": 1,
        "verification_material": { "certificate": "MIIC", "transparency_entries": [{}] },
        "envelope": { "statement": STANDARD.encode(input), "signature": "MEUC" },
    });
    let bundle = json!({ "publisher": { "kind": "GitHub" }, "attestations": [attestation] });
    let whole = json!({ "version": 1, "attestation_bundles": [bundle] });
    read(whole.to_string().as_bytes());
});

fn read(json: &[u8]) {
    let name = FileName::parse("foo-1.0.tar.gz").unwrap();
    let provenance = match Provenance::parse(json, &name, &SHA256) {
        Ok(provenance) => provenance,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(['\r', '\n', '\x1b']), "{text:?}");
            return;
        }
    };
    let other = FileName::parse("foo-1.1.tar.gz").unwrap();
    assert!(Provenance::parse(json, &other, &SHA256).is_err());
    assert!(Provenance::parse(json, &name, &[0; 32]).is_err());
    let given = serde_json::to_value(&provenance).unwrap();
    let again = Provenance::parse(given.to_string().as_bytes(), &name, &SHA256).unwrap();
    // A fraction may lose its last digit; nobody signs one.
    assert!(again == provenance || has_fraction(&given));
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(all) => all.iter().any(has_fraction),
        Value::Object(all) => all.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}
