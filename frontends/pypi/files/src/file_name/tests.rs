use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> String {
    FileName::parse(text).unwrap_err().to_string()
}

#[test]
fn a_wheels_name_says_all_its_parts() {
    let name =
        FileName::parse("Foo.Bar-1.0+cpu-2b-cp311.cp312-abi3.none-win32.win_amd64.whl").unwrap();
    assert_eq!(name.project().normalised(), "foo-bar");
    assert_eq!(name.version().to_string(), "1.0+cpu");
    assert_eq!(name.stem(), "Foo.Bar-1.0+cpu");
    let FileKind::Wheel(tags) = name.kind() else { panic!("a wheel") };
    assert_eq!(tags.build.as_deref(), Some("2b"));
    assert_eq!(tags.expanded().len(), 8);
    assert_eq!(tags.expanded()[0], "cp311-abi3-win32");
    let same = FileName::parse("foo_bar-1.0+cpu-2b-cp312.cp311-none.abi3-win_amd64.win32.whl");
    assert_eq!(name.canonical(), same.unwrap().canonical());
    assert_eq!(name.kind().file_type(), "bdist_wheel");
}

#[test]
fn an_sdists_name_is_the_one_of_its_project_and_version() {
    let name = FileName::parse("foo_bar-1.0rc1.tar.gz").unwrap();
    assert_eq!((name.stem(), name.kind()), ("foo_bar-1.0rc1", &FileKind::Sdist));
    assert_eq!(
        refused("Foo-Bar-1.0.tar.gz"),
        "the sdist is named \"Foo-Bar-1.0.tar.gz\"; for this project and version that has to be \
         \"foo_bar-1.0.tar.gz\""
    );
    assert!(refused("foo_bar-1.0-RC1.tar.gz").contains("RC1"));
    assert!(refused("foo_bar-01.0.tar.gz").ends_with("\"foo_bar-1.0.tar.gz\""));
    // What another index has published from before that rule can be read.
    assert!(FileName::parse_published("Foo-Bar-1.0.tar.gz").is_ok());
}

#[test]
fn threat_c16_file_names_that_end_lines_or_lead_elsewhere_are_refused() {
    for (bad, reason) in [
        ("", "the file name is empty"),
        ("../foo-1.0.tar.gz", "the file name \"../foo-1.0.tar.gz\" has the character /"),
        ("a\\foo-1.0.tar.gz", "the character \\\\"),
        ("foo-1.0.tar.gz\r\nX: y", "the character \\r"),
        ("foo-1.0.tar.gz\0", "the character \\u{0}"),
        ("foo-1.0\u{1b}[2J.tar.gz", "the character \\u{1b}"),
        ("föö-1.0.tar.gz", "the character \\u{f6}"),
        ("foo 1.0.tar.gz", "has the character  "),
        ("foo-1.0.zip", "\"foo-1.0.zip\" ends with neither .whl nor .tar.gz"),
        ("foo-1.0.egg", "ends with neither"),
        ("foo-1.0.tar.bz2", "ends with neither"),
        ("foo-1.0.WHL", "ends with neither"),
        ("foo.tar.gz", "the sdist's name \"foo.tar.gz\" is not project-version.tar.gz"),
        ("-1.0.tar.gz", "is not project-version.tar.gz"),
        ("foo-one.tar.gz", "\"one\" is not a version of PEP 440"),
        ("foo-1.0-py3-none.whl", "has 4 parts between dashes"),
        ("foo-1.0-1-x-py3-none-any.whl", "has 7 parts between dashes"),
        ("-1.0-py3-none-any.whl", "the project name is empty"),
        ("foo__bar-1.0-py3-none-any.whl", "two separators in a row"),
        ("_foo-1.0-py3-none-any.whl", "\"_foo\" is not a project name"),
        ("foo-x-py3-none-any.whl", "\"x\" is not a version of PEP 440"),
        ("foo-1.0-b1-py3-none-any.whl", "the build tag \"b1\" does not begin with a digit"),
        ("foo-1.0--py3-none-any.whl", "the build tag \"\" does not begin with a digit"),
        ("foo-1.0-py3.-none-any.whl", "the Python tag \"py3.\" is not one or more"),
        ("foo-1.0-py3-NONE-any.whl", "the ABI tag \"NONE\" is not one or more"),
        ("foo-1.0-py3-none-.whl", "the platform tag \"\" is not one or more"),
    ] {
        let message = refused(bad);
        assert!(message.contains(reason), "{bad:?}: {message}");
        assert!(message.is_ascii() && !message.contains(char::is_control), "{message:?}");
    }
    assert_eq!(
        FileName::parse(&format!("{}-1.0.tar.gz", "a".repeat(250))),
        Err(FileNameError::TooLong { got: 261 })
    );
}

#[test]
fn platforms_are_those_that_installers_ask_for() {
    for known in [
        "any",
        "win32",
        "win_arm64",
        "linux_armv7l",
        "manylinux1_x86_64",
        "manylinux2014_s390x",
        "manylinux_2_28_riscv64",
        "musllinux_1_2_aarch64",
        "macosx_10_9_intel",
        "macosx_11_0_arm64",
        "macosx_26_0_universal2",
        "ios_13_0_arm64_iphoneos",
        "android_21_arm64_v8a",
        "pyemscripten_2025_0_wasm32",
    ] {
        let text = format!("foo-1.0-py3-none-{known}.whl");
        assert!(FileName::parse(&text).is_ok(), "{known}");
    }
    for unknown in [
        "linux_x86_64",
        "manylinux_2_x86_64",
        "manylinux_2_28_sparc",
        "musllinux_1_2_ppc64",
        "macosx_11_1_arm64",
        "macosx_16_0_arm64",
        "macosx_9_0_x86_64",
        "ios_13_0_arm64",
        "solaris",
        "android_x_x86",
        "any.linux_x86_64",
        "freebsd_13_x86_64",
        "pyemscripten_2025_0_wasm64",
    ] {
        let text = format!("foo-1.0-py3-none-{unknown}.whl");
        assert!(matches!(FileName::parse(&text), Err(FileNameError::Platform { .. })), "{unknown}");
        assert!(FileName::parse_published(&text).is_ok());
    }
    assert!(refused("foo-1.0-py3-none-linux_x86_64.whl").contains("auditwheel"));
}

proptest! {
    #[test]
    fn any_text_is_a_file_name_or_refused(text in any::<String>()) {
        let _ = FileName::parse(&text);
    }

    #[test]
    fn a_canonical_name_is_its_own(
        text in "[a-zA-Z][a-z0-9._-]{0,6}-[0-9.]{1,5}(-[0-9]b)?-(py3|cp311)(\\.py2)?-(none|abi3)-(any|win32)(\\.win_amd64)?\\.(whl|tar\\.gz)"
    ) {
        if let Ok(name) = FileName::parse_published(&text) {
            let canonical = FileName::parse(&name.canonical()).unwrap();
            prop_assert_eq!(canonical.canonical(), name.canonical());
        }
    }
}
