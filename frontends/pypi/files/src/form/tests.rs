use super::*;

const METADATA: &str = "Metadata-Version: 2.1\nName: Foo.Bar\nVersion: 1.0\nRequires-Python: >=3.8\n\
    Requires-Dist: idna (<4,>=2.5)\nRequires-Dist: x; extra == 'y'\nProvides-Extra: y\n";
const WHEEL: &str = "foo_bar-1.0-py3-none-any.whl";

fn form(fields: &[(&str, &str)]) -> FormFields {
    let mut form = FormFields::default();
    for (name, value) in fields {
        form.add(name, value).unwrap();
    }
    form
}

/// What is said of a form with these fields, all others being as they have to be.
fn told(fields: &[(&str, &str)]) -> Result<(), String> {
    let metadata = CoreMetadata::parse(METADATA.as_bytes()).unwrap();
    let name = FileName::parse(WHEEL).unwrap();
    agree(&form(fields), &name, &metadata).map_err(|error| error.to_string())
}

#[test]
fn a_form_as_clients_send_it_agrees() {
    let fields = [
        (":action", "file_upload"),
        ("protocol_version", "1"),
        ("filetype", "bdist_wheel"),
        ("pyversion", "py3"),
        ("metadata_version", "2.1"),
        ("name", "foo-bar"),
        ("version", "1.0"),
        ("requires_python", ">= 3.8"),
        ("requires_dist", "x; extra=='y'"),
        ("requires_dist", "idna>=2.5,<4"),
        ("provides_extra", "Y"),
        ("summary", ""),
        ("classifiers", "A"),
        ("classifiers", "B"),
    ];
    assert_eq!(told(&fields), Ok(()));
    let form = form(&fields);
    assert_eq!(form.check(), Ok(()));
    assert_eq!((form.one("name"), form.one("summary")), (Some("foo-bar"), None));
    assert_eq!(form.all("classifiers").collect::<Vec<_>>(), ["A", "B"]);
    assert_eq!(form.digests(), Err(DigestError::Missing));
    // What a form leaves out says nothing: only the file is believed.
    assert_eq!(told(&[("name", "foo.bar"), ("version", "1.0.0")]), Ok(()));
}

#[test]
fn threat_b11_c10_a_form_that_lies_is_refused_with_the_reason() {
    for (field, value, reason) in [
        (
            "filetype",
            "sdist",
            "the form's filetype is \"sdist\", but the file \"foo_bar-1.0-py3-none-any.whl\" is bdist_wheel",
        ),
        (
            "pyversion",
            "source",
            "the form's pyversion is \"source\", but the file \"foo_bar-1.0-py3-none-any.whl\" is for a Python version",
        ),
        ("name", "foobar", "the form's name is \"foobar\", but the file's name is of foo_bar"),
        (
            "name",
            "foo bar",
            "the form's name \"foo bar\" is not valid: \"foo bar\" is not a project name: it consists of ASCII letters, digits, '.', '-' and '_', and begins and ends with a letter or digit",
        ),
        ("version", "1.1", "the form's version is \"1.1\", but the file's name is of 1.0"),
        (
            "version",
            "one",
            "the form's version \"one\" is not valid: \"one\" is not a version of PEP 440, such as 1.0, 2.0rc1 or 1.0.post1",
        ),
        (
            "requires_python",
            ">=3.9",
            "the form's requires_python says \">=3.9\", which the metadata in the file do not",
        ),
        (
            "requires_dist",
            "evil",
            "the form's requires_dist says \"evil\", which the metadata in the file do not",
        ),
        (
            "requires_dist",
            "x; extra=='y'",
            "the form's requires_dist leaves out \"idna (<4,>=2.5)\", which the metadata in the file have",
        ),
        (
            "requires_dist",
            "x @ https://example.com",
            "the form's requires_dist \"x @ https://example.com\" is not valid: it names an address (name @ …); a package of a registry depends on names and versions alone",
        ),
        (
            "provides_extra",
            "z",
            "the form's provides_extra says \"z\", which the metadata in the file do not",
        ),
        (
            "name",
            "a\r\nX-Evil: 1",
            "the form's name \"a\\r\\nX-Evil: 1\" is not valid: \"a\\r\\nX-Evil: 1\" is not a project name: it consists of ASCII letters, digits, '.', '-' and '_', and begins and ends with a letter or digit",
        ),
    ] {
        assert_eq!(told(&[(field, value)]), Err(reason.to_owned()));
    }
}

#[test]
fn threat_b11_a_name_joined_with_a_version_is_not_split_elsewhere() {
    // `foo-1` 2.0 and `foo` 1-2.0 would be one text.
    let metadata = "Metadata-Version: 2.1\nName: foo-1\nVersion: 2.0\n";
    let metadata = CoreMetadata::parse(metadata.as_bytes()).unwrap();
    let name = FileName::parse("foo_1-2.0-py3-none-any.whl").unwrap();
    assert_eq!(agree(&form(&[("name", "foo-1"), ("version", "2.0")]), &name, &metadata), Ok(()));
    let other = form(&[("name", "foo"), ("version", "1.post2")]);
    assert!(agree(&other, &name, &metadata).is_err());
    assert_eq!(
        FileName::parse("foo-1-2.0.tar.gz").unwrap_err().to_string(),
        "the sdist is named \"foo-1-2.0.tar.gz\"; for this project and version that has to be \"foo_1-2.0.tar.gz\""
    );
}

#[test]
fn an_sdist_is_of_the_kind_source() {
    let metadata = CoreMetadata::parse(METADATA.as_bytes()).unwrap();
    let name = FileName::parse("foo_bar-1.0.tar.gz").unwrap();
    let told = |field, value| agree(&form(&[(field, value)]), &name, &metadata);
    assert_eq!(told("pyversion", "source"), Ok(()));
    assert!(told("pyversion", "py3").unwrap_err().to_string().ends_with("is source"));
    assert!(told("filetype", "bdist_wheel").unwrap_err().to_string().ends_with("is sdist"));
}

#[test]
fn a_form_has_what_an_upload_needs() {
    let whole = [
        (":action", "file_upload"),
        ("protocol_version", "1"),
        ("filetype", "sdist"),
        ("metadata_version", "2.1"),
        ("name", "a"),
        ("version", "1"),
    ];
    assert_eq!(form(&whole).check(), Ok(()));
    for left_out in whole {
        let rest: Vec<_> = whole.into_iter().filter(|field| *field != left_out).collect();
        let message = form(&rest).check().unwrap_err().to_string();
        assert_eq!(message, format!("the form has no {}", left_out.0));
    }
    for (field, value, wanted) in [
        (":action", "submit", "file_upload"),
        ("protocol_version", "2", "1"),
        ("filetype", "bdist_egg", "bdist_wheel or sdist"),
    ] {
        let fields: Vec<_> = whole
            .into_iter()
            .map(|one| if one.0 == field { (field, value) } else { one })
            .collect();
        let message = form(&fields).check().unwrap_err().to_string();
        assert_eq!(message, format!("the form's {field} is \"{value}\"; it has to be {wanted}"));
    }
}

#[test]
fn a_form_is_bounded_and_says_each_thing_once() {
    for once in ONCE {
        let mut form = form(&[(once, "")]);
        let message = form.add(once, "1").unwrap_err().to_string();
        assert_eq!(message, format!("the form has the field {once} more than once"));
    }
    let mut form = FormFields::default();
    assert_eq!(form.add(&"n".repeat(65), ""), Err(FormError::LongName { got: 65 }));
    assert_eq!(form.add("x", &"v".repeat(MAX_BYTES)), Err(FormError::TooLarge));
    let mut many = FormFields::default();
    for _ in 0..MAX_VALUES {
        many.add("classifiers", "x").unwrap();
    }
    assert_eq!(many.add("classifiers", "x"), Err(FormError::TooLarge));
}
