use serde_json::{Value, json};

use super::*;
use crate::digest::Algorithm;

mod hostile;

const OCI_IMAGE: &str = ManifestKind::OciImage.media_type();
const OCI_INDEX: &str = ManifestKind::OciIndex.media_type();
const DOCKER_IMAGE: &str = ManifestKind::DockerImage.media_type();
const DOCKER_LIST: &str = ManifestKind::DockerList.media_type();
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn descriptor(media_type: &str, content: &str) -> Value {
    let digest = Digest::of(Algorithm::Sha256, content.as_bytes());
    json!({"mediaType": media_type, "digest": digest, "size": content.len()})
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": descriptor(CONFIG, "config"),
        "layers": [descriptor(LAYER, "lower"), descriptor(LAYER, "upper")],
    })
}

fn index() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(OCI_IMAGE, "amd64"), descriptor(OCI_IMAGE, "arm64")],
    })
}

/// `value` with `change` made at a JSON pointer's place (`null` where there was nothing).
fn with(mut value: Value, pointer: &str, change: impl Into<Value>) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = change.into(),
        parent => parent[name] = change.into(),
    }
    value
}

fn without(mut value: Value, pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    value
}

fn parse_text(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text.as_bytes(), None, &Limits::default())
}

fn parse(value: &Value) -> Result<Manifest, ManifestError> {
    parse_text(&value.to_string())
}

fn parse_as(value: &Value, content_type: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(value.to_string().as_bytes(), Some(content_type), &Limits::default())
}

/// Where it was refused and why, for refusals by a rule.
fn refused(result: Result<Manifest, ManifestError>) -> (String, String) {
    match result {
        Err(ManifestError::Invalid { path, rule }) => (path, rule),
        other => panic!("{other:?}"),
    }
}

fn refused_at(value: &Value) -> String {
    refused(parse(value)).0
}

#[test]
fn an_image_has_its_config_and_layers_as_blobs() {
    let manifest = parse(&image()).unwrap();
    assert_eq!(manifest.kind, ManifestKind::OciImage);
    assert_eq!(manifest.artifact_type.as_deref(), Some(CONFIG));
    let children: Vec<Child> = manifest.children().collect();
    let paths: Vec<&str> = children.iter().map(|child| child.path.as_str()).collect();
    assert_eq!(paths, ["$.config", "$.layers[0]", "$.layers[1]"]);
    assert!(children.iter().all(|child| child.kind == ChildKind::Blob && !child.foreign));
    assert_eq!(children[1].digest, Digest::of(Algorithm::Sha256, b"lower"));
    assert_eq!(children[1].size, 5);
}

#[test]
fn an_index_entry_is_looked_up_as_its_own_media_type_says() {
    let cache = with(index(), "/manifests/1", descriptor(LAYER, "cached"));
    let kinds: Vec<ChildKind> = parse(&cache).unwrap().children().map(|it| it.kind).collect();
    assert_eq!(kinds, [ChildKind::Manifest, ChildKind::Blob]);
    let nested = with(index(), "/manifests/1", descriptor(DOCKER_LIST, "list"));
    let kinds: Vec<ChildKind> = parse(&nested).unwrap().children().map(|it| it.kind).collect();
    assert_eq!(kinds, [ChildKind::Manifest, ChildKind::Manifest]);
}

#[test]
fn the_docker_kinds_are_taken_and_must_say_what_they_are() {
    let docker = with(image(), "/mediaType", DOCKER_IMAGE);
    assert_eq!(parse_as(&docker, DOCKER_IMAGE).unwrap().kind, ManifestKind::DockerImage);
    let list = with(index(), "/mediaType", DOCKER_LIST);
    assert_eq!(parse(&list).unwrap().kind, ManifestKind::DockerList);
    let silent = without(docker, "/mediaType");
    assert_eq!(refused(parse_as(&silent, DOCKER_IMAGE)).0, "$.mediaType");
}

#[test]
fn schema_1_is_refused_by_name_however_it_shows() {
    let old = json!({"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": []});
    assert_eq!(parse(&old), Err(ManifestError::Schema1));
    for media_type in ["manifest.v1+json", "manifest.v1+prettyjws"] {
        let media_type = format!("application/vnd.docker.distribution.{media_type}");
        assert_eq!(parse_as(&old, &media_type), Err(ManifestError::Schema1));
        assert_eq!(parse(&with(image(), "/mediaType", media_type)), Err(ManifestError::Schema1));
    }
}

#[test]
fn content_type_and_media_type_and_fields_agree() {
    assert!(parse_as(&image(), &format!("{OCI_IMAGE}; charset=utf-8")).is_ok());
    assert!(parse_as(&image(), &OCI_IMAGE.to_uppercase()).is_ok());
    assert_eq!(
        parse_as(&image(), DOCKER_IMAGE),
        Err(ManifestError::MediaTypeMismatch { content_type: DOCKER_IMAGE, media_type: OCI_IMAGE })
    );
    let found = "application/json".to_owned();
    assert_eq!(
        parse_as(&image(), &found),
        Err(ManifestError::UnsupportedMediaType { found: found.clone() })
    );
    assert_eq!(
        parse(&with(image(), "/mediaType", &*found)),
        Err(ManifestError::UnsupportedMediaType { found })
    );
    // An index that calls itself an image, by either way.
    assert_eq!(refused_at(&with(index(), "/mediaType", OCI_IMAGE)), "$.manifests");
    let silent = without(index(), "/mediaType");
    assert_eq!(refused(parse_as(&silent, OCI_IMAGE)).0, "$.manifests");
}

#[test]
fn without_any_media_type_the_fields_tell_or_it_is_refused() {
    let kind = |value| parse(&value).map(|manifest| manifest.kind);
    assert_eq!(kind(without(image(), "/mediaType")), Ok(ManifestKind::OciImage));
    assert_eq!(kind(without(index(), "/mediaType")), Ok(ManifestKind::OciIndex));
    assert_eq!(kind(json!({"schemaVersion": 2})), Err(ManifestError::UnknownKind));
    let both = with(without(image(), "/mediaType"), "/manifests", json!([]));
    assert_eq!(kind(both), Err(ManifestError::UnknownKind));
    assert_eq!(
        Manifest::parse(image().to_string().as_bytes(), Some(" "), &Limits::default()),
        parse(&image())
    );
}

#[test]
fn config_and_layers_beside_manifests_are_refused() {
    assert_eq!(refused_at(&with(image(), "/manifests", json!([]))), "$.manifests");
    assert_eq!(refused_at(&with(image(), "/manifests", Value::Null)), "$.manifests");
    assert_eq!(refused_at(&with(image(), "/fsLayers", json!([]))), "$.fsLayers");
    assert_eq!(refused_at(&with(index(), "/layers", json!([]))), "$.layers");
    assert_eq!(refused_at(&with(index(), "/config", descriptor(CONFIG, ""))), "$.config");
}

#[test]
fn required_fields_are_required() {
    for pointer in [
        "/schemaVersion",
        "/config",
        "/layers",
        "/config/mediaType",
        "/config/digest",
        "/layers/1/size",
    ] {
        let dotted = pointer.replace('/', ".").replace(".1", "[1]");
        let (path, rule) = refused(parse(&without(image(), pointer)));
        assert_eq!((path, rule.as_str()), (format!("${dotted}"), "is required"));
        assert_eq!(refused_at(&with(image(), pointer, Value::Null)), format!("${dotted}"));
    }
    assert_eq!(refused_at(&without(index(), "/manifests")), "$.manifests");
    let platform = json!({"architecture": "amd64"});
    assert_eq!(
        refused_at(&with(index(), "/manifests/0/platform", platform)),
        "$.manifests[0].platform.os"
    );
}

#[test]
fn the_schema_version_is_the_integer_2() {
    for version in ["2.0", "2e0", "\"2\"", "3", "-2", "[2]"] {
        let text = image()
            .to_string()
            .replace("\"schemaVersion\":2", &format!("\"schemaVersion\":{version}"));
        assert_eq!(refused(parse_text(&text)).0, "$.schemaVersion", "{version}");
    }
}

#[test]
fn a_field_of_another_type_is_refused_at_its_place() {
    for (pointer, value, path) in [
        ("/config", json!([]), "$.config"),
        ("/layers", json!({}), "$.layers"),
        ("/layers/1", json!("x"), "$.layers[1]"),
        ("/mediaType", json!(1), "$.mediaType"),
        ("/annotations", json!(["a"]), "$.annotations"),
        ("/annotations", json!({"a": 1}), "$.annotations.a"),
        ("/annotations", json!({"org.x": null}), "$.annotations[\"org.x\"]"),
        ("/subject", json!("sha256:"), "$.subject"),
        ("/layers/0/urls", json!(["a", 2]), "$.layers[0].urls[1]"),
        ("/layers/0/mediaType", json!("layer"), "$.layers[0].mediaType"),
        ("/config/digest", json!("sha256:ABC"), "$.config.digest"),
    ] {
        assert_eq!(refused_at(&with(image(), pointer, value)), path);
    }
    assert!(matches!(parse_text("[]"), Err(ManifestError::Invalid { path, .. }) if path == "$"));
}

#[test]
fn what_go_leaves_as_null_counts_as_absent() {
    let mut value = image();
    for pointer in
        ["/subject", "/annotations", "/artifactType", "/layers/0/urls", "/config/platform"]
    {
        value = with(value, pointer, Value::Null);
    }
    assert_eq!(parse(&value), parse(&image()));
}

#[test]
fn a_size_is_an_integer_that_everybody_can_hold() {
    for size in ["-1", "-0", "1.0", "1e3", "1e400", "9223372036854775808", "\"5\"", "[]"] {
        let text = image().to_string().replacen("\"size\":6", &format!("\"size\":{size}"), 1);
        assert_eq!(refused(parse_text(&text)).0, "$.config.size", "{size}");
    }
    assert!(parse(&with(image(), "/config/size", i64::MAX)).is_ok());
}

#[test]
fn embedded_data_hash_right_or_are_refused() {
    let data = |text: &str| with(image(), "/config/data", text);
    let good = parse(&data("Y29uZmln")).unwrap();
    assert_eq!(good.config.unwrap().data.as_deref(), Some("Y29uZmln"));
    for (text, rule) in [
        ("Y29uZmln=", "must be base64"),
        ("Y29u-mln", "must be base64"),
        ("Y29uZmlnZw==", "has 7 bytes where size says 6"),
        ("Y29uZmlh", "where digest says"),
    ] {
        let (path, found) = refused(parse(&data(text)));
        assert_eq!(path, "$.config.data");
        assert!(found.contains(rule), "{found}");
    }
}

#[test]
fn the_artifact_type_is_the_field_else_the_config_and_one_must_say_it() {
    let artifact_type = |value: &Value| parse(value).unwrap().artifact_type;
    let sbom = with(image(), "/artifactType", "application/spdx+json");
    assert_eq!(artifact_type(&sbom).as_deref(), Some("application/spdx+json"));
    let empty = descriptor("application/vnd.oci.empty.v1+json", "{}");
    assert_eq!(refused_at(&with(image(), "/config", empty.clone())), "$.artifactType");
    assert!(parse(&with(sbom, "/config", empty)).is_ok());
    assert_eq!(artifact_type(&index()), None);
    let typed = with(index(), "/artifactType", "application/vnd.x");
    assert_eq!(artifact_type(&typed).as_deref(), Some("application/vnd.x"));
    for bad in ["", "sbom", "a/b/c", "a/b;c=d", "/b", "a/", "a /b", ".a/b", "é/b"] {
        assert_eq!(refused_at(&with(image(), "/artifactType", bad)), "$.artifactType", "{bad}");
    }
}

#[test]
fn a_subject_is_a_fact_but_no_child() {
    let about = with(image(), "/subject", descriptor(OCI_IMAGE, "subject"));
    let manifest = parse(&about).unwrap();
    assert_eq!(manifest.children().count(), 3);
    assert_eq!(manifest.subject.unwrap().digest, Digest::of(Algorithm::Sha256, b"subject"));
    let twice = about.to_string().replacen('{', "{\"subject\":null,", 1);
    assert_eq!(refused(parse_text(&twice)).0, "$.subject");
}

#[test]
fn foreign_layers_are_those_of_a_foreign_type_or_with_urls() {
    let foreign = |layer| {
        let manifest = parse(&with(image(), "/layers/1", layer)).unwrap();
        manifest.children().map(|child| child.foreign).collect::<Vec<_>>()
    };
    for media_type in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        assert_eq!(foreign(descriptor(media_type, "w")), [false, false, true]);
    }
    let mut with_urls = descriptor(LAYER, "w");
    with_urls["urls"] = json!(["https://example.com/w"]);
    assert_eq!(foreign(with_urls), [false, false, true]);
    let mut no_urls = descriptor(LAYER, "w");
    no_urls["urls"] = json!([]);
    assert_eq!(foreign(no_urls), [false, false, false]);
}

#[test]
fn one_digest_has_one_size_and_one_kind() {
    assert!(parse(&with(image(), "/layers/1", descriptor(LAYER, "lower"))).is_ok());
    let mut other = descriptor(LAYER, "lower");
    other["size"] = json!(6);
    let digest = Digest::of(Algorithm::Sha256, b"lower");
    let (first, second) = ("$.layers[0]".to_owned(), "$.layers[1]".to_owned());
    assert_eq!(
        parse(&with(image(), "/layers/1", other)),
        Err(ManifestError::Contradiction { digest, first, second })
    );
    let as_blob = with(index(), "/manifests/1", descriptor(LAYER, "amd64"));
    assert!(matches!(parse(&as_blob), Err(ManifestError::Contradiction { .. })));
}

#[test]
fn a_descriptor_renders_as_it_was_written() {
    let mut entry = descriptor(OCI_IMAGE, "amd64");
    entry["platform"] = json!({"architecture": "amd64", "os": "windows", "os.version": "10.0",
        "os.features": ["win32k"], "variant": "v8", "features": ["sse4"]});
    entry["annotations"] = json!({"a": "b"});
    entry["artifactType"] = json!("application/vnd.x");
    entry["urls"] = json!(["https://example.com"]);
    entry["data"] = json!("YW1kNjQ=");
    let bare = descriptor(OCI_IMAGE, "arm64");
    let manifest = parse(&with(index(), "/manifests", json!([entry, bare]))).unwrap();
    assert_eq!(serde_json::to_value(&manifest.manifests).unwrap(), json!([entry, bare]));
}
