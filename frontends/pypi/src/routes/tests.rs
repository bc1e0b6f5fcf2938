use super::*;

fn read(path: &str) -> Result<Task, RouteError> {
    Operation::parse(&Method::GET, path).map(|operation| match operation {
        Operation::In(_, task) => task,
        Operation::Trusted(..) => panic!("{path} is no task"),
    })
}

#[test]
fn every_endpoint_is_found() {
    let project = || ProjectName::parse("foo-bar").unwrap();
    let wheel = "foo_bar-1.0+cpu-py3-none-any.whl";
    let file = || FileName::parse_published(wheel).unwrap();
    let hex = "ab".repeat(32);
    let digest: Digest = format!("sha256:{hex}").parse().unwrap();
    for (path, task) in [
        ("simple/", Task::Projects),
        ("simple/foo-bar/", Task::Project(project())),
        (&format!("files/{hex}/{wheel}"), Task::File(digest, file())),
        (&format!("files/{hex}/foo_bar-1.0%2Bcpu-py3-none-any.whl"), Task::File(digest, file())),
        (&format!("files/{hex}/{wheel}.metadata"), Task::Metadata(digest, file())),
        ("pypi/foo-bar/json", Task::About(project(), None)),
    ] {
        assert_eq!(read(&format!("/pypi/acme/main/{path}")), Ok(task), "{path}");
    }
    for path in ["/pypi/acme/main/legacy/", "/pypi/acme/main/legacy"] {
        let operation = Operation::parse(&Method::POST, path).unwrap();
        let Operation::In(place, Task::Upload) = operation else { panic!("{operation:?}") };
        assert_eq!(place.repository(&project()).unwrap().to_string(), "acme/main/foo-bar");
    }
}

#[test]
fn tokens_are_exchanged_at_the_top_and_below_each_registry() {
    let here = Place { organisation: "acme".parse().unwrap(), registry: "main".parse().unwrap() };
    for (below, place) in [("", None), ("/pypi/acme/main", Some(here))] {
        for (method, step, found) in [
            (Method::GET, "audience", Step::Audience),
            (Method::HEAD, "audience", Step::Audience),
            (Method::POST, "mint-token", Step::Mint),
        ] {
            let path = format!("{below}/_/oidc/{step}");
            assert!(Operation::owns(&path));
            let operation = Operation::parse(&method, &path).unwrap();
            assert_eq!(operation, Operation::Trusted(place.clone(), found), "{path}");
        }
        for (path, error) in [
            ("/_/oidc/mint-token", RouteError::Method { method: Method::GET, allowed: "POST" }),
            ("/_/oidc/mint-token/", RouteError::NoEndpoint),
            ("/_/oidc/x", RouteError::NoEndpoint),
        ] {
            let path = format!("{below}{path}");
            assert_eq!(Operation::parse(&Method::GET, &path), Err(error), "{path}");
        }
    }
}

#[test]
fn another_spelling_of_a_page_leads_to_it() {
    for (path, to) in [
        ("simple", "/pypi/acme/main/simple/"),
        ("simple/foo", "/pypi/acme/main/simple/foo/"),
        ("simple/Foo_Bar/", "../foo-bar/"),
        ("simple/Foo_Bar", "foo-bar/"),
    ] {
        let found = read(&format!("/pypi/acme/main/{path}"));
        assert_eq!(found, Ok(Task::Elsewhere(to.to_owned())), "{path}");
    }
}

#[test]
fn threat_c8_what_is_no_name_leads_nowhere() {
    let hex = "ab".repeat(32);
    for path in [
        "/pypi/acme/main/simple/../x/".to_owned(),
        "/pypi/acme/main/simple/%2e%2e/".to_owned(),
        "/pypi/acme/main/simple/a%2Fb/".to_owned(),
        "/pypi/acme/main/simple/a%0d%0ab/".to_owned(),
        "/pypi/acme/main/simple//".to_owned(),
        format!("/pypi/acme/main/files/{hex}/../../x.whl"),
        format!("/pypi/acme/main/files/{}/a-1.tar.gz", "AB".repeat(32)),
        "/pypi/acme/main/files/zz/a-1.tar.gz".to_owned(),
        "/pypi/acme/main/none/".to_owned(),
        "/pypi/acme/main".to_owned(),
        "/pypi/".to_owned(),
        "/other/acme/main/simple/".to_owned(),
    ] {
        assert_eq!(read(&path), Err(RouteError::NoEndpoint), "{path}");
    }
    assert!(matches!(read("/pypi/Acme/main/simple/"), Err(RouteError::Name(_))));
}

#[test]
fn a_method_that_is_not_taken_is_told_which_are() {
    for (method, path, allowed) in [
        (Method::GET, "legacy/", "POST"),
        (Method::POST, "simple/", READS),
        (Method::DELETE, "simple/foo/", READS),
    ] {
        let refused = Operation::parse(&method, &format!("/pypi/acme/main/{path}"));
        assert_eq!(refused, Err(RouteError::Method { method, allowed }), "{path}");
    }
}
