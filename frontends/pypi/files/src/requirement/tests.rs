use proptest::prelude::*;

use super::*;

#[test]
fn spellings_of_one_requirement_are_one() {
    let read = |text| Requirement::parse(text).unwrap();
    for (one, other) in [
        ("Foo_Bar>=1.0,<2", "foo-bar (<2,>=1.0)"),
        ("foo [B, a]", "foo[a,b]"),
        ("foo; python_version<'3.8'", "foo ; python_version < \"3.8\""),
        ("foo; os.name == 'nt'", "foo; os_name=='nt'"),
        ("foo[]", "foo"),
    ] {
        assert_eq!(read(one), read(other));
    }
    assert_ne!(read("foo>=1"), read("foo>=2"));
    assert_ne!(read("foo"), read("foo[a]"));
    assert_ne!(read("foo; extra == 'a'"), read("foo; extra == 'b'"));
    assert_ne!(read("foo; extra == 'a'"), read("foo"));
}

#[test]
fn markers_of_all_shapes_are_read() {
    for good in [
        "a; (python_version >= '3' and (os_name == 'nt' or extra == 'x')) or sys_platform != 'win32'",
        "a; 'linux' in sys_platform",
        "a; platform_machine not in 'x86_64 aarch64'",
        "a; python_full_version ~= '3.8.1'",
        "a!=1.0.*; implementation_name === 'cpython'",
    ] {
        assert!(Requirement::parse(good).is_ok(), "{good}");
    }
}

#[test]
fn what_is_no_requirement_is_refused() {
    for (bad, reason) in [
        ("", "the project name is empty"),
        ("foo @ https://example.com/foo.whl", "it names an address"),
        ("foo@file:///etc/passwd", "it names an address"),
        ("foo >=", ""),
        ("foo 1.0", ""),
        ("foo (>=1.0", "a bracket \"(\" is not closed"),
        ("foo[a", "a bracket \"[\" is not closed"),
        ("foo[a b]", "of its extras"),
        ("foo>=1.0;", "not comparisons"),
        ("foo; python_version", "not comparisons"),
        ("foo; (os_name == 'nt'", "not comparisons"),
        ("foo; os_name == 'nt')", "not comparisons"),
        ("foo; os_name == 'nt' and", "not comparisons"),
        ("foo; os_name == 'nt", "a quote is not closed"),
        ("foo; __import__('os')", "an unknown word at"),
        ("foo; os_name = 'nt'", "no comparison at"),
        ("./foo", "is not a project name"),
        ("${HOME}", "the project name is empty"),
    ] {
        let message = Requirement::parse(bad).unwrap_err();
        assert!(message.contains(reason) && !message.is_empty(), "{bad}: {message}");
    }
}

#[test]
fn deep_brackets_cost_no_stack() {
    let deep = format!("a; {}os_name=='nt'{}", "(".repeat(2000), ")".repeat(2000));
    assert!(Requirement::parse(&deep).is_ok());
    let long = format!("a; {}os_name=='nt'", "(".repeat(5000));
    assert!(Requirement::parse(&long).unwrap_err().contains("at most 4096"));
}

proptest! {
    #[test]
    fn any_text_is_a_requirement_or_refused(text in any::<String>(), marker in any::<String>()) {
        let _ = Requirement::parse(&text);
        let _ = Requirement::parse(&format!("a; {marker}"));
        let _ = specifiers(&text);
    }
}
