use proptest::prelude::*;

use super::*;

/// The grammar as the specification writes it, for proptest to make names from.
const COMPONENT: &str = r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,4}";
const TAG: &str = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";

/// The grammar read another way than the recognisers do: the runs between letters and digits.
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let runs: Vec<&str> =
        text.split(alphanumeric).filter(|separator| !separator.is_empty()).collect();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && runs.iter().all(|run| [".", "_", "__"].contains(run) || run.trim_matches('-').is_empty())
}

fn error(text: &str) -> NameError {
    text.parse::<RepositoryPath>().unwrap_err()
}

#[test]
fn a_path_has_its_three_parts() {
    let path: RepositoryPath = "acme/back-end/team__a/api.v1".parse().unwrap();
    assert_eq!(path.organisation().as_str(), "acme");
    assert_eq!(path.registry().as_str(), "back-end");
    assert_eq!(path.repository().as_str(), "team__a/api.v1");
    assert_eq!(path.to_string(), "acme/back-end/team__a/api.v1");
}

#[test]
fn an_upper_case_letter_gets_its_lower_case_suggested() {
    let wrong = error("acme/main/Api");
    assert_eq!(
        wrong,
        NameError::UpperCase {
            kind: NameKind::Path,
            position: 10,
            found: 'A',
            suggestion: "acme/main/api".into()
        }
    );
    assert!(wrong.to_string().contains("write \"acme/main/api\""));
}

#[test]
fn each_broken_rule_is_named_with_its_place() {
    let kind = NameKind::Path;
    assert_eq!(error(""), NameError::Empty { kind });
    assert_eq!(error("/a/b/c"), NameError::EmptyComponent { kind, position: 0 });
    assert_eq!(error("a//b/c"), NameError::EmptyComponent { kind, position: 2 });
    assert_eq!(error("a/b/c/"), NameError::EmptyComponent { kind, position: 6 });
    assert_eq!(error("a/b"), NameError::TooFewComponents { got: 2 });
    assert_eq!(error("a/-b/c"), NameError::Edge { kind, position: 2, found: '-' });
    assert_eq!(error("a/b./c"), NameError::Edge { kind, position: 3, found: '.' });
    assert_eq!(error("a/../c"), NameError::Edge { kind, position: 2, found: '.' });
    for run in ["..", "___", "._", "_.", "-_", "--."] {
        let found = run.to_owned();
        assert_eq!(
            error(&format!("a/b/c{run}d")),
            NameError::Separator { kind, position: 5, found }
        );
    }
    for found in ['é', ' ', '%', '\\', '\0', ':', '@'] {
        assert!(
            matches!(error(&format!("a/b/c{found}")), NameError::Character { position: 5, .. }),
            "{found:?}"
        );
    }
}

#[test]
fn names_are_as_long_as_allowed_and_no_longer() {
    let text = |length: usize| "a".repeat(length);
    assert!(text(64).parse::<OrganisationName>().is_ok());
    assert_eq!(
        text(65).parse::<RegistryName>(),
        Err(NameError::TooLong { kind: NameKind::Registry, max: 64, got: 65 })
    );
    assert!(format!("a/b/{}", text(251)).parse::<RepositoryPath>().is_ok());
    assert_eq!(
        error(&format!("a/b/{}", text(252))),
        NameError::TooLong { kind: NameKind::Path, max: 255, got: 256 }
    );
    assert_eq!(
        RepositoryPath::new("a".parse().unwrap(), "b".parse().unwrap(), text(252).parse().unwrap()),
        Err(NameError::TooLong { kind: NameKind::Path, max: 255, got: 256 })
    );
    assert_eq!(
        error(&format!("{}/b/c", text(65))),
        NameError::TooLong { kind: NameKind::Organisation, max: 64, got: 65 }
    );
    assert!(text(128).parse::<Tag>().is_ok());
    assert!(text(129).parse::<Tag>().is_err());
}

#[test]
fn an_organisation_has_one_component() {
    assert!(matches!(
        "a/b".parse::<OrganisationName>(),
        Err(NameError::Character { kind: NameKind::Organisation, position: 1, found: '/', .. })
    ));
}

#[test]
fn a_tag_may_begin_with_an_underscore_but_not_with_a_dot_or_dash() {
    assert!("_V1.0-rc".parse::<Tag>().is_ok());
    for found in ['.', '-'] {
        assert_eq!(
            format!("{found}1").parse::<Tag>(),
            Err(NameError::Edge { kind: NameKind::Tag, position: 0, found })
        );
    }
    assert!(matches!(
        "1.0+build".parse::<Tag>(),
        Err(NameError::Character { position: 3, found: '+', .. })
    ));
}

#[test]
fn a_reference_with_a_colon_is_a_digest() {
    let digest = Digest::of(crate::digest::Algorithm::Sha256, b"");
    assert_eq!(digest.to_string().parse(), Ok(Reference::Digest(digest)));
    assert_eq!("latest".parse(), Ok(Reference::Tag("latest".parse().unwrap())));
    assert!(matches!("sha256:ab".parse::<Reference>(), Err(NameError::Digest(_))));
}

#[test]
fn what_is_not_a_name_is_not_deserialised() {
    assert!(serde_json::from_str::<Tag>("\"-x\"").is_err());
    assert!(serde_json::from_str::<RepositoryPath>("\"a/b\"").is_err());
}

proptest! {
    #[test]
    fn what_the_grammar_makes_is_a_path(
        parts in prop::collection::vec(COMPONENT, 3..6), tag in TAG,
    ) {
        let text = parts.join("/");
        let path: RepositoryPath = text.parse().unwrap();
        prop_assert_eq!(path.to_string(), &*text);
        let json = serde_json::to_string(&path).unwrap();
        prop_assert_eq!(serde_json::from_str::<RepositoryPath>(&json).unwrap(), path.clone());
        let record = postcard::to_stdvec(&path).unwrap();
        prop_assert_eq!(postcard::from_bytes::<RepositoryPath>(&record).unwrap(), path);
        let parsed: Tag = tag.parse().unwrap();
        prop_assert_eq!(parsed.as_str(), tag);
    }

    #[test]
    fn the_recogniser_takes_what_the_grammar_has_and_nothing_else(
        text in "[a-c0._/A-]{0,9}|\\PC{0,9}",
    ) {
        let good = !text.is_empty() && text.split('/').all(is_component);
        prop_assert_eq!(text.parse::<RepositoryName>().is_ok(), good);
        prop_assert_eq!(text.parse::<OrganisationName>().is_ok(), is_component(&text));
    }

    #[test]
    fn an_error_stands_inside_the_text(text in "[a-c0._/A-]{0,12}|\\PC{0,300}") {
        let Err(
            NameError::UpperCase { position, .. }
            | NameError::Character { position, .. }
            | NameError::Edge { position, .. }
            | NameError::Separator { position, .. }
            | NameError::EmptyComponent { position, .. },
        ) = text.parse::<RepositoryPath>() else { return Ok(()) };
        prop_assert!(text.is_char_boundary(position));
    }
}
