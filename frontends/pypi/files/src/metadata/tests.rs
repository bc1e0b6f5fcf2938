use proptest::prelude::*;

use super::*;

const HEAD: &str = "Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n";

fn refused(more: &str) -> String {
    CoreMetadata::parse(format!("{HEAD}{more}").as_bytes()).unwrap_err().to_string()
}

#[test]
fn every_field_is_read() {
    let text = "Metadata-Version: 2.4\r\nName: Foo.Bar\r\nVersion: 1.0\r\nSummary: a thing\r\n\
        Home-page: https://example.com/\nAuthor: A,\n B\nAuthor-email: a@example.com\n\
        License-Expression: MIT OR (Apache-2.0 AND 0BSD)\nLicense-File: LICENSE\n\
        License-File: third/party.txt\nClassifier: A :: B\nPlatform: any\nKeywords: x,y\n\
        Requires-Python: >=3.8,!=3.9.*\nRequires-Dist: idna (<4,>=2.5)\n\
        Requires-Dist: x>=1 ; extra == 'y'\nProvides-Extra: y\nProject-URL: Docs, https://example.com/d\n\
        Dynamic: Summary\nDescription-Content-Type: text/markdown; charset=UTF-8\n\n# Foo\n\nText: 1\n";
    let metadata = CoreMetadata::parse(text.as_bytes()).unwrap();
    assert_eq!(metadata.name.normalised(), "foo-bar");
    assert_eq!(metadata.author.as_deref(), Some("A,\n B"));
    assert_eq!(metadata.license_files, ["LICENSE", "third/party.txt"]);
    assert_eq!(metadata.requires_dist.len(), 2);
    assert_eq!(metadata.requires_python.as_deref(), Some(">=3.8,!=3.9.*"));
    assert_eq!(metadata.description.as_deref(), Some("# Foo\n\nText: 1\n"));
    assert!(metadata.is_reliable_in_sdist() && metadata.is_at_least((2, 4)));
    let json = serde_json::to_value(&metadata).unwrap();
    assert_eq!(json["license_file"][0], "LICENSE");
    assert_eq!(json["project_url"][0], "Docs, https://example.com/d");
    assert_eq!(json["name"], "Foo.Bar");
    assert!(json.get("maintainer").is_none());
    assert_eq!(serde_json::from_value::<CoreMetadata>(json).unwrap(), metadata);
}

#[test]
fn older_metadata_are_read_too() {
    let text = "Metadata-Version: 1.1\nName: foo\nVersion: 1.0\nHome-page: UNKNOWN\nSummary: UNKNOWN\n\
        Description: First\n        second\n        \n          third\nPlatform: UNKNOWN\nAuthor: \n";
    let metadata = CoreMetadata::parse(text.as_bytes()).unwrap();
    assert_eq!(metadata.description.as_deref(), Some("First\nsecond\n\n  third"));
    assert!(
        metadata.summary.is_none() && metadata.home_page.is_none() && metadata.author.is_none()
    );
    assert!(metadata.platforms.is_empty() && !metadata.is_reliable_in_sdist());
}

#[test]
fn malformed_metadata_are_refused_with_the_reason() {
    for (more, reason) in [
        ("Version: 2.0\n", "has the field version more than once"),
        ("name: bar\n", "has the field name more than once"),
        ("Evil: 1\n", "has the field \"evil\", which core metadata does not know"),
        ("no field\n", "line \"no field\" is not \"Field: value\""),
        ("From me: x\n", "line \"From me: x\" is not \"Field: value\""),
        ("Summary: a\rName: bar\n", "a control character in the line \"Summary: a\\rName: bar\""),
        ("Summary: a\0b\n", "a control character in the line"),
        ("Summary: a\u{85}Name: b\n", "a control character in the line"),
        ("Summary: a\n b\n", "field summary has several lines"),
        ("Requires-Python: >=3\n .8\n", "field requires-python has several lines"),
        ("Requires-Python: 3\n", "requires-python \"3\" is not valid"),
        ("Requires-Dist: foo @ https://example.com/x\n", "is not valid: it names an address"),
        ("Requires-Dist: a b\n", "requires-dist \"a b\" is not valid"),
        ("Provides-Extra: a b\n", "provides-extra \"a b\" is not valid"),
        ("Home-page: javascript:alert(1)\n", "has to begin with https:// or http://"),
        ("Project-URL: x, data:text/html,hi\n", "has to begin with https:// or http://"),
        ("Project-URL: https://example.com\n", "it has to be a label, a comma and an address"),
        (
            "Description-Content-Type: text/html\n",
            "has to be text/plain, text/x-rst or text/markdown",
        ),
        ("License-File: ../../etc/passwd\n", "a relative path with \"/\" and no \"..\""),
        ("License-File: /etc/passwd\n", "a relative path"),
        ("License-File: a\\b\n", "a relative path"),
        ("License-Expression: MIT <b>\n", "is not an SPDX expression"),
        ("Dynamic: Name\n", "no such field can be dynamic"),
        ("Dynamic: Nothing\n", "no such field can be dynamic"),
        ("Description: a\n\nb\n", "a description as a field and another as its body"),
    ] {
        let message = refused(more);
        assert!(message.contains(reason), "{more:?}: {message}");
    }
    let long = refused(&format!("Summary: {}\n", "x".repeat(513)));
    assert!(long.contains("at most 512") && long.len() < 300, "{long}");
    assert_eq!(
        refused(&"Classifier: x\n".repeat(20_000)),
        "the metadata has more than 20000 fields"
    );
}

#[test]
fn what_has_to_be_there_is_asked_for() {
    let refused = |text: &str| CoreMetadata::parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(refused(""), "the metadata has no metadata-version");
    assert_eq!(refused("Metadata-Version: 2.1\nVersion: 1\n"), "the metadata has no name");
    assert_eq!(refused("Metadata-Version: 2.1\nName: a\n"), "the metadata has no version");
    assert!(refused("Metadata-Version: 3.0\nName: a\nVersion: 1\n").contains("\"3.0\"; known are"));
    assert!(refused("\n\nName: a\n").contains("no metadata-version"), "all of it is a body");
    assert!(refused(" Name: a\n").contains("is not \"Field: value\""));
    assert!(refused("\u{feff}Metadata-Version: 2.1\n").contains("is not \"Field: value\""));
    assert!(
        refused("Metadata-Version: 2.1\nName: a b\nVersion: 1\n").contains("in the metadata, ")
    );
    assert!(refused("Metadata-Version: 2.1\nName: a\nVersion: x\n").contains("in the metadata, "));
    let error = CoreMetadata::parse(b"Metadata-Version: 2.1\nName: \xff\n").unwrap_err();
    assert_eq!(error.to_string(), "the metadata is not UTF-8 at byte 28: \"\\u{fffd}\\n\"");
}

proptest! {
    #[test]
    fn threat_c13_any_bytes_are_metadata_or_refused(
        bytes in any::<Vec<u8>>(),
        name in "[A-Za-z-]{1,20}",
        value in any::<String>(),
    ) {
        let _ = CoreMetadata::parse(&bytes);
        let text = format!("{HEAD}{name}: {value}\n");
        if let Err(error) = CoreMetadata::parse(text.as_bytes()) {
            let message = error.to_string();
            prop_assert!(!message.contains(char::is_control), "{:?}", message);
        }
    }
}
