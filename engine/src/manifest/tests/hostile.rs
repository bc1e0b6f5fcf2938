//! What somebody sends who wants two decoders to differ, or one to fall over.

use proptest::prelude::*;

use super::*;

#[test]
fn threat_c4_a_known_field_twice_or_in_another_case_is_refused() {
    let text = image().to_string();
    let twice = text.replacen('{', "{\"layers\":[],", 1);
    let (path, rule) = refused(parse_text(&twice));
    assert_eq!((&*path, &*rule), ("$.layers", "stands there twice"));
    // Escapes don't hide a name.
    let escaped = text.replacen('{', "{\"l\\u0061yers\":[],", 1);
    assert_eq!(refused(parse_text(&escaped)).0, "$.layers");
    for (name, path) in [
        ("Layers", "$.Layers"),
        ("MEDIATYPE", "$.MEDIATYPE"),
        ("layer\u{17f}", "$[\"layerſ\"]"),
        ("FSLayers", "$.FSLayers"),
    ] {
        let (found, rule) = refused(parse(&with(image(), &format!("/{name}"), Value::Null)));
        assert_eq!(found, path);
        assert!(rule.contains("must be written"), "{rule}");
    }
    assert_eq!(refused_at(&with(image(), "/layers/1/Digest", "x")), "$.layers[1].Digest");
    let platform = json!({"architecture": "amd64", "os": "linux", "OS": "windows"});
    assert_eq!(
        refused_at(&with(index(), "/manifests/0/platform", platform)),
        "$.manifests[0].platform.OS"
    );
    let twice = image().to_string().replacen("{\"digest\"", "{\"size\":1,\"digest\"", 1);
    assert_eq!(refused(parse_text(&twice)).0, "$.config.size");
    let twice = text.replacen('{', r#"{"annotations":{"k":"1","k":"2"},"#, 1);
    assert_eq!(refused(parse_text(&twice)).0, "$.annotations.k");
}

#[test]
fn unknown_fields_are_passed_over_whatever_is_in_them() {
    let text = image().to_string();
    let more =
        text.replacen('{', r#"{"x":1e400,"x":[{"layers":null}],"Y":"\ud800","config2":0,"#, 1);
    assert_eq!(parse_text(&more), parse(&image()));
}

#[test]
fn what_is_not_json_is_told_by_line_and_column() {
    for (bytes, line) in [
        (&b""[..], 1),
        (b"{\n}}", 2),
        (b"{\n\"a\":\n\xff}", 3),
        (b"\xef\xbb\xbf{}", 1),
        (b"{\"a\": 01}", 1),
        (b"{'a': 1}", 1),
        (b"{\"a\": 1,}", 1),
        (b"{\"a\": NaN}", 1),
    ] {
        match Manifest::parse(bytes, None, &Limits::default()) {
            Err(ManifestError::NotJson { line: found, .. }) if found == line => {}
            other => panic!("{bytes:?}: {other:?}"),
        }
    }
    // A lone surrogate is grammar, but no text: known fields may not have it.
    let broken = image().to_string().replacen('{', r#"{"annotations":{"a":"\ud800"},"#, 1);
    assert_eq!(refused(parse_text(&broken)).0, "$.annotations.a");
    let broken = image().to_string().replacen('{', r#"{"\ud800":1,"#, 1);
    assert_eq!(refused(parse_text(&broken)).0, "$");
}

#[test]
fn threat_c5_more_than_the_limits_is_refused_before_it_costs() {
    let max = Limits::default().max_bytes;
    assert_eq!(
        parse_text(&" ".repeat(max + 1)),
        Err(ManifestError::TooLarge { size: max + 1, max })
    );
    for bracket in ["[", "{\"a\":"] {
        let deep = bracket.repeat(100_000);
        assert!(matches!(parse_text(&deep), Err(ManifestError::TooDeep { max: 64, .. })));
        let hidden = image().to_string().replacen('{', &format!("{{\"x\":{deep}"), 1);
        assert!(matches!(parse_text(&hidden), Err(ManifestError::TooDeep { .. })));
    }
    let harmless = with(image(), "/x", "[".repeat(100_000));
    assert!(parse(&harmless).is_ok());

    let many = format!("{{\"schemaVersion\":2,\"manifests\":[0{}]}}", ",0".repeat(1_000_000));
    assert!(
        matches!(parse_text(&many), Err(ManifestError::TooMany { path, max: 10_000, .. }) if path == "$.manifests")
    );
    let keys: String =
        (0..300_000).fold(String::new(), |keys, key| keys + &format!("\"{key}\":\"\","));
    let annotated =
        image().to_string().replacen('{', &format!("{{\"annotations\":{{{keys}\"\":\"\"}},"), 1);
    assert!(matches!(parse_text(&annotated), Err(ManifestError::TooMany { max: 1_000, .. })));
    let unknown = image().to_string().replacen('{', &format!("{{{keys}"), 1);
    assert!(parse_text(&unknown).is_ok());
    let long = with(image(), "/annotations", json!({"a": "b".repeat(300_000)}));
    assert!(parse(&long).is_ok());
    let referrer = with(long, "/subject", descriptor(OCI_IMAGE, "subject"));
    assert!(matches!(parse(&referrer), Err(ManifestError::TooMany { max: 262_144, .. })));
}

/// How long reading takes at best: a busy machine only adds.
fn fastest(text: &str) -> std::time::Duration {
    let read = |_| {
        let start = std::time::Instant::now();
        let _refused_or_not = parse_text(text);
        start.elapsed()
    };
    (0..3).map(read).min().unwrap()
}

#[test]
fn threat_c5_a_bomb_costs_what_its_bytes_cost() {
    let max = Limits::default().max_bytes;
    let fill = |begin: &str, piece: &str, end: &str| {
        let pieces = (max - begin.len() - end.len()) / piece.len();
        format!("{begin}{}{end}", piece.repeat(pieces))
    };
    let harmless = fastest(&fill("{\"x\":[", "1234567,", "0]}"));
    let key = |keys: String, key: usize| keys + &format!("\"{key:07}\":0,");
    let keys = (0..max / 13).fold(String::new(), key);
    for (name, bomb) in [
        ("brackets", fill("", "[", "")),
        ("objects", fill("", "{\"a\":", "")),
        ("closed brackets", fill("", "[]", "")),
        ("empty objects", fill("{\"x\":[", "{},", "{}]}")),
        ("large numbers", fill("{\"x\":[", "1e400,", "0]}")),
        ("long numbers", fill("{\"schemaVersion\":", "9", "}")),
        ("escapes", fill("{\"mediaType\":\"", "\\u0061", "\"}")),
        ("one key again and again", fill("{", "\"x\":0,", "\"x\":0}")),
        ("many keys", format!("{{{keys}\"x\":0}}")),
        ("many annotations", format!("{{\"annotations\":{{{keys}\"x\":0}}}}")),
        ("many layers", fill("{\"schemaVersion\":2,\"layers\":[", "{},", "{}]}")),
    ] {
        let took = fastest(&bomb);
        // What grows with the square of its length is thousands of times slower.
        assert!(
            took < harmless * 50,
            "{name}: {took:?}, {harmless:?} for as many bytes of numbers"
        );
    }
}

/// Pieces that matter to the grammar, to be put anywhere.
fn splinters() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\\",
        "\\u",
        "null",
        "1e400",
        "-",
        "\"layers\":",
        "\"Config\":",
        "\"data\":\"\"",
        "\u{17f}",
        "sha512:",
        "\n",
        "2.0",
    ];
    prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #[test]
    fn mutated_manifests_never_panic_and_pass_only_with_good_facts(
        seed in prop::sample::select(vec![image(), index()]),
        cuts in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..8, splinters()), 0..4,
        ),
        content_type in prop::option::of(prop::sample::select(vec![
            OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST, "", "text/plain",
        ])),
    ) {
        let mut bytes = seed.to_string().into_bytes();
        for (at, length, piece) in cuts {
            let from = at.index(bytes.len() + 1);
            let to = (from + length).min(bytes.len());
            bytes.splice(from..to, piece);
        }
        let limits = Limits::default();
        let result = Manifest::parse(&bytes, content_type, &limits);
        prop_assert_eq!(&result, &Manifest::parse(&bytes, content_type, &limits));
        let Ok(manifest) = result else { return Ok(()) };
        // What passes, serde_json reads the same way
        // (it may not, where an unknown field has a number or an escape beyond it).
        let Ok(value) = serde_json::from_slice::<Value>(&bytes) else { return Ok(()) };
        let name = if manifest.kind.is_index() { "manifests" } else { "layers" };
        let listed = manifest.layers.iter().chain(&manifest.manifests);
        let digests: Vec<Value> = listed.map(|it| json!(it.digest)).collect();
        let expected: Vec<Value> =
            value[name].as_array().unwrap().iter().map(|it| it["digest"].clone()).collect();
        prop_assert_eq!(digests, expected);
    }
}
