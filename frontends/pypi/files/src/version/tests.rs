use proptest::prelude::*;

use super::*;

#[test]
fn a_tag_stands_for_one_version() {
    for (text, tag) in [
        ("1.0", "1.0"),
        ("1.0+cpu", "1.0_cpu"),
        ("1!2.0", "1__2.0"),
        ("1!2.0rc1.post2.dev3+ubuntu.1", "1__2.0rc1.post2.dev3_ubuntu.1"),
        ("v1.0-RC_1", "1.0rc1"),
    ] {
        let version = Version::parse(text).unwrap();
        assert_eq!(version.tag(), tag);
        assert_eq!(Version::from_tag(tag), Ok(version));
    }
}

#[test]
fn what_is_no_version_is_refused() {
    for bad in ["", "1.0 ", " 1.0", "one", "1..0", "1.0+", "1.0\n", "1!", "sha256:ab", "1.0-"] {
        assert!(matches!(Version::parse(bad), Err(VersionError::Grammar { .. })), "{bad:?}");
    }
    let long = format!("1{}", ".1".repeat(50));
    assert_eq!(Version::parse(&long), Err(VersionError::TooLong { got: 101 }));
    // Its normal form, `…a0`, is what would have to be read again.
    let longer = format!("{}a", "1".repeat(9) + &".1".repeat(45));
    assert_eq!(longer.len(), 100);
    assert_eq!(Version::parse(&longer), Err(VersionError::TooLong { got: 101 }));
    for bad in ["latest", "1.0_CPU", "v1.0", "1.0__2", "1_0_1", "1.0.RC1"] {
        assert!(matches!(Version::from_tag(bad), Err(VersionError::Tag { .. })), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_version_or_refused(text in "\\PC{0,40}") {
        let _ = Version::from_tag(&text);
        if let Ok(version) = Version::parse(&text) {
            prop_assert_eq!(Version::from_tag(&version.tag()).unwrap(), version);
        }
    }

    #[test]
    fn versions_survive_their_tag(text in "([0-9]!)?[0-9]{1,3}(\\.[0-9]{1,3}){0,3}(a[0-9])?(\\.post[0-9])?(\\.dev[0-9])?(\\+[a-z0-9]{1,4}(\\.[a-z0-9]{1,4}){0,2})?") {
        let version = Version::parse(&text).unwrap();
        let tag = version.tag();
        prop_assert!(tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
        prop_assert_eq!(Version::from_tag(&tag).unwrap().to_string(), version.to_string());
    }
}
