//! Our reading of manifests against that of Go's encoding/json, which docker, containerd, oras and
//! helm read with: what we let pass says the same to both. Needs `go`; `cargo xtask test` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::manifest::{Limits, Manifest};

/// How many texts both read.
const TEXTS: usize = 20_000;

/// What is done to the fields of an object.
type Doing<'a> = dyn Fn(&mut Vec<(String, Text)>) + 'a;

/// JSON as it is written: keys and scalars stand there with their escapes, and as often as they do.
#[derive(Debug, Clone)]
enum Text {
    Object(Vec<(String, Text)>),
    Array(Vec<Text>),
    Scalar(String),
}

impl Text {
    fn of(value: &Value) -> Self {
        match value {
            Value::Object(fields) => Self::Object(
                fields.iter().map(|(name, value)| (name.clone(), Self::of(value))).collect(),
            ),
            Value::Array(items) => Self::Array(items.iter().map(Self::of).collect()),
            scalar => Self::Scalar(scalar.to_string()),
        }
    }

    fn write(&self, into: &mut String) {
        match self {
            Self::Object(fields) => {
                into.push('{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    into.push_str(if at > 0 { ",\"" } else { "\"" });
                    into.push_str(name);
                    into.push_str("\":");
                    value.write(into);
                }
                into.push('}');
            }
            Self::Array(items) => {
                into.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        into.push_str(", ");
                    }
                    item.write(into);
                }
                into.push(']');
            }
            Self::Scalar(text) => into.push_str(text),
        }
    }

    /// Changes the object that is the `nth` of those in it; false where there are fewer.
    fn change(&mut self, nth: &mut usize, change: &Doing<'_>) -> bool {
        match self {
            Self::Object(fields) => {
                if *nth == 0 {
                    change(fields);
                    return true;
                }
                *nth -= 1;
                fields.iter_mut().any(|(_, value)| value.change(nth, change))
            }
            Self::Array(items) => items.iter_mut().any(|item| item.change(nth, change)),
            Self::Scalar(_) => false,
        }
    }
}

/// One thing that is done to one object.
#[derive(Debug, Clone)]
enum Change {
    Again(usize, String),
    Case(usize, usize),
    Escape(usize, usize),
    Value(usize, String),
    Field(String, String),
    Gone(usize),
}

impl Change {
    fn make(&self, fields: &mut Vec<(String, Text)>) {
        let size = fields.len().max(1);
        match self {
            Self::Again(at, value) => {
                if let Some((name, _)) = fields.get(at % size) {
                    let again = (name.clone(), Text::Scalar(value.clone()));
                    fields.insert(at % size, again);
                }
            }
            Self::Case(at, letter) => {
                if let Some((name, _)) = fields.get_mut(at % size) {
                    let letter = letter % name.chars().count().max(1);
                    let turned = |(n, c): (usize, char)| match c {
                        c if n != letter => c,
                        // They fold to one another in Go's reading.
                        's' if letter.is_multiple_of(2) => '\u{17f}',
                        'k' => '\u{212a}',
                        c if c.is_lowercase() => c.to_ascii_uppercase(),
                        c => c.to_ascii_lowercase(),
                    };
                    *name = name.chars().enumerate().map(turned).collect();
                }
            }
            Self::Escape(at, letter) => {
                if let Some((name, _)) = fields.get_mut(at % size)
                    && let Some(c) = name.chars().nth(letter % name.chars().count().max(1))
                {
                    *name = name.replacen(c, &format!("\\u{:04x}", u32::from(c)), 1);
                }
            }
            Self::Value(at, value) => {
                if let Some((_, old)) = fields.get_mut(at % size) {
                    *old = Text::Scalar(value.clone());
                }
            }
            Self::Field(name, value) => fields.push((name.clone(), Text::Scalar(value.clone()))),
            Self::Gone(at) => {
                if !fields.is_empty() {
                    fields.remove(at % size);
                }
            }
        }
    }
}

fn values() -> impl Strategy<Value = String> {
    let odd = [
        "null",
        "true",
        "0",
        "-0",
        "1",
        "01",
        "2",
        "2.0",
        "2e0",
        "6",
        "6.0",
        "-1",
        "1e400",
        "1E2",
        "9223372036854775807",
        "9223372036854775808",
        "\"\"",
        "\"a\"",
        "\"\\u0061\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\"\\/\"",
        "\"\\x\"",
        "\"\t\"",
        "\"Zm9v\"",
        "\"Zm9vCg\"",
        "[]",
        "{}",
        "[{}]",
        "[null]",
        "[\"a\"]",
        "{\"a\":\"b\"}",
        "{\"a\":null}",
        "{\"a\":1}",
        "{\"a\":\"1\",\"a\":\"2\"}",
        " 1 ",
        "1,",
        "nul",
        "\u{feff}1",
        "/**/1",
        "'a'",
        "NaN",
    ];
    proptest::sample::select(odd.to_vec()).prop_map(str::to_owned)
}

fn names() -> impl Strategy<Value = String> {
    let known = [
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
        "digest",
        "size",
        "urls",
        "data",
        "platform",
        "os",
        "os.version",
        "os.features",
        "variant",
        "architecture",
        "schemaVersion",
        "fsLayers",
        "x",
        "Layers",
        "MEDIATYPE",
        "",
        "\\u006Fs",
    ];
    proptest::sample::select(known.to_vec()).prop_map(str::to_owned)
}

fn changes() -> impl Strategy<Value = (usize, Change)> {
    let change = prop_oneof![
        (any::<usize>(), values()).prop_map(|(at, value)| Change::Again(at, value)),
        (any::<usize>(), any::<usize>()).prop_map(|(at, letter)| Change::Case(at, letter)),
        (any::<usize>(), any::<usize>()).prop_map(|(at, letter)| Change::Escape(at, letter)),
        (any::<usize>(), values()).prop_map(|(at, value)| Change::Value(at, value)),
        (names(), values()).prop_map(|(name, value)| Change::Field(name, value)),
        any::<usize>().prop_map(Change::Gone),
    ];
    (0..8_usize, change)
}

fn descriptor(kind: &str, content: &str) -> Value {
    let digest = Digest::of(Algorithm::Sha256, content.as_bytes()).to_string();
    json!({"mediaType": kind, "digest": digest, "size": content.len()})
}

fn originals() -> Vec<Value> {
    let image = "application/vnd.oci.image.manifest.v1+json";
    let mut config = descriptor("application/vnd.oci.empty.v1+json", "{}");
    config["data"] = json!("e30=");
    let mut layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "layer");
    layer["annotations"] = json!({"a": "b"});
    layer["urls"] = json!(["https://example.com/layer"]);
    let mut entry = descriptor(image, "amd64");
    entry["platform"] = json!({"architecture": "arm64", "os": "linux", "variant": "v8", "os.version": "1", "os.features": ["x"]});
    vec![
        json!({
            "schemaVersion": 2, "mediaType": image, "artifactType": "text/x", "config": config,
            "layers": [layer, descriptor("text/y", "upper")], "subject": descriptor(image, "s"),
            "annotations": {"k": "v", "l": ""},
        }),
        json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry, descriptor(image, "other")], "annotations": {"k": "v"},
        }),
    ]
}

/// The texts: each original with none to three changes.
fn texts() -> Vec<String> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy =
        (proptest::sample::select(originals()), proptest::collection::vec(changes(), 0..=3));
    let text = |_| {
        let (original, changes) = strategy.new_tree(&mut runner).unwrap().current();
        let mut text = Text::of(&original);
        for (mut nth, change) in changes {
            text.change(&mut nth, &|fields| change.make(fields));
        }
        let mut written = String::new();
        text.write(&mut written);
        written
    };
    (0..TEXTS).map(text).collect()
}

/// What Go's clients read from each text; null where it is nothing to them.
fn go_reads(texts: &[String]) -> Vec<Value> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decoders/main.go");
    let mut go = Command::new("go")
        .arg("run")
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("go is what this compares with: `cargo xtask test` says where to get it");
    let mut input = go.stdin.take().unwrap();
    let lines: String = texts.iter().map(|text| STANDARD.encode(text) + "\n").collect();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = go.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The facts that both tell, in one form.
fn ours(manifest: &Manifest) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut fact = |name: &str, value: Value, is_there: bool| {
        if is_there {
            facts.insert(name.to_owned(), value);
        }
    };
    let Manifest { config, layers, manifests, subject, annotations, .. } = manifest;
    fact("config", json!(config), config.is_some());
    fact("layers", json!(layers), !layers.is_empty());
    fact("manifests", json!(manifests), !manifests.is_empty());
    fact("subject", json!(subject), subject.is_some());
    fact("annotations", json!(annotations), !annotations.is_empty());
    facts
}

/// Without what is empty, which Go can't tell from what is not there.
fn filled(value: Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, filled(value)));
            fields.filter(|(_, value)| !is_empty(value)).collect()
        }
        Value::Array(items) => items.into_iter().map(filled).collect(),
        scalar => scalar,
    }
}

#[test]
fn threat_c4_what_passes_here_says_the_same_to_clients_written_in_go() {
    let texts = texts();
    let theirs = go_reads(&texts);
    assert_eq!(theirs.len(), texts.len());
    let (mut passed, mut hidden) = (0, 0);
    for (text, mut theirs) in texts.iter().zip(theirs) {
        let Ok(manifest) = Manifest::parse(text.as_bytes(), None, &Limits::default()) else {
            hidden += usize::from(!theirs.is_null());
            continue;
        };
        passed += 1;
        let theirs = theirs.as_object_mut().unwrap_or_else(|| panic!("Go refuses {text}"));
        if let Some(kind) = theirs.remove("mediaType") {
            assert_eq!(kind, manifest.media_type, "{text}");
        }
        // Where it is left out, an image's is its config's kind.
        if let Some(kind) = theirs.remove("artifactType") {
            assert_eq!(
                Some(kind),
                manifest.artifact_type.as_ref().map(|kind| json!(kind)),
                "{text}"
            );
        }
        let (theirs, ours) = (Value::Object(theirs.clone()), Value::Object(ours(&manifest)));
        assert_eq!(filled(theirs), filled(ours), "{text}");
    }
    assert!(passed > TEXTS / 10, "only {passed} passed: this shows little");
    assert!(hidden > TEXTS / 10, "only {hidden} would have been read by Go alone");
}
