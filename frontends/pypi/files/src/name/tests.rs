use proptest::prelude::*;

use super::*;

#[test]
fn names_are_compared_by_their_normal_form() {
    let name = ProjectName::parse("Zope._-Interface").unwrap();
    assert_eq!(name.normalised(), "zope-interface");
    assert_eq!(name.in_file_names(), "zope_interface");
    assert_eq!(name.as_given(), "Zope._-Interface");
    assert_eq!(name, ProjectName::parse("zope.interface").unwrap());
    assert_eq!(serde_json::to_string(&name).unwrap(), "\"Zope._-Interface\"");
    assert!(serde_json::from_str::<ProjectName>("\"a b\"").is_err());
}

#[test]
fn threat_c16_a_name_that_ends_a_line_is_quoted_in_its_refusal() {
    for bad in ["a\r\nX: y", "a\u{1b}[31m", "-a", "a-", "a/b", "ä", "a b", "\u{200b}a"] {
        let message = ProjectName::parse(bad).unwrap_err().to_string();
        assert!(message.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{message:?}");
    }
    assert_eq!(ProjectName::parse(""), Err(NameError::Empty));
    assert_eq!(ProjectName::parse(&"a".repeat(129)), Err(NameError::TooLong { got: 129 }));
}

#[test]
fn names_that_look_alike_are_found() {
    let alike = |one, other| {
        look_alike(&ProjectName::parse(one).unwrap(), &ProjectName::parse(other).unwrap())
    };
    for (one, other) in [
        ("google", "g00gle"),
        ("pillow", "piIlow"),
        ("flask", "f1ask"),
        ("python-dateutil", "pythondateutil"),
        ("requests", "reque5ts"),
        ("modern", "modem"),
    ] {
        assert!(alike(one, other), "{one} {other}");
    }
    assert!(!alike("requests", "Requests"), "these are one name");
    assert!(!alike("requests", "request"));
}

proptest! {
    #[test]
    fn any_text_is_a_name_or_refused(text in any::<String>()) {
        if let Ok(name) = ProjectName::parse(&text) {
            let again = ProjectName::parse(name.normalised()).unwrap();
            prop_assert_eq!(again.normalised(), name.normalised());
            prop_assert!(!name.normalised().contains("--"));
        }
    }
}
