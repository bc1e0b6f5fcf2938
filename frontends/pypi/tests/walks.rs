//! What clients do, from the upload to the download.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::StatusCode as S;
use strongroom_engine::access::Action;
use strongroom_engine::audit::TrailQuery;
use strongroom_engine::name::{Reference, Tag};
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_engine::{Error, ManifestPush};
use strongroom_pypi::artifact::RELEASE;
use strongroom_pypi::manage::{Files, Manager};
use strongroom_pypi::records::Status;
use support::dist::{attestations, sdist, wheel, wheel_of};
use support::{JSON, Refused, World, known, place, project, sha256};

const MAIN: &str = "acme/main";

#[tokio::test]
async fn what_is_uploaded_is_offered_and_downloaded() {
    let world = World::new().await;
    let (wheel, mut sdist) = (wheel("Foo-Bar", "1.0", "one"), sdist("foo-bar", "1.0", "one"));
    sdist.file_first = true;
    for dist in [&wheel, &sdist] {
        let answer = world.upload(MAIN, dist).await;
        assert_eq!(answer.expect(S::OK).text(), "");
    }
    let page = world.page(MAIN, "foo-bar").await.unwrap();
    assert_eq!(page["versions"], serde_json::json!(["1.0"]));
    let files = page["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    for dist in [&wheel, &sdist] {
        let file = files.iter().find(|file| file["filename"] == dist.name).unwrap();
        assert_eq!(file["hashes"]["sha256"], dist.sha256());
        assert_eq!(file["size"], dist.bytes.len());
        assert_eq!(file["upload-time"], "2023-11-14T22:13:20Z");
        let url = format!("../../{}", dist.path());
        assert_eq!(file["url"], url);
        let path = format!("{MAIN}/{}", dist.path());
        let whole = world.get(&path).user("viewer").send().await;
        assert_eq!(whole.expect(S::OK).body, dist.bytes);
        let part = world.get(&path).user("viewer").header("range", "bytes=-10").send().await;
        assert_eq!(part.expect(S::PARTIAL_CONTENT).body, dist.bytes[dist.bytes.len() - 10..]);
        let head = world.request("HEAD", &path).user("viewer").send().await;
        assert_eq!(head.expect(S::OK).header("content-length"), dist.bytes.len().to_string());
        let etag = whole.header("etag");
        let again = world.get(&path).user("viewer").header("if-none-match", etag).send().await;
        again.expect(S::NOT_MODIFIED);
        let metadata = world.get(&format!("{path}.metadata")).user("viewer").send().await;
        assert_eq!(metadata.expect(S::OK).text(), dist.metadata);
        assert_eq!(file["core-metadata"]["sha256"], hex(dist.metadata.as_bytes()));
    }
    let wheel_entry = files.iter().find(|file| file["filename"] == wheel.name).unwrap();
    assert_eq!(wheel_entry["requires-python"], ">=3.8");
    let about = world.get("acme/main/pypi/foo-bar/json").user("viewer").send().await;
    let about = about.expect(S::OK).json();
    assert_eq!(about["info"]["version"], "1.0");
    assert_eq!(about["urls"].as_array().unwrap().len(), 2);
    let url = format!("http://registry.test/pypi/acme/main/{}", wheel.path());
    let urls = about["releases"]["1.0"].as_array().unwrap().clone();
    assert!(urls.iter().any(|entry| entry["url"] == url), "{urls:?}");
}

fn hex(bytes: &[u8]) -> String {
    sha256(bytes).to_string().replace("sha256:", "")
}

#[tokio::test]
async fn the_page_is_negotiated_revalidated_and_compressed() {
    let world = World::new().await;
    world.upload("acme/open", &wheel("foo", "1.0", "one")).await.expect(S::OK);
    let page = || world.get("acme/open/simple/foo/");
    let html = page().header("accept", "text/html").send().await;
    assert_eq!(html.expect(S::OK).header("content-type"), "text/html; charset=utf-8");
    assert_eq!(html.header("vary"), "Accept, Accept-Encoding");
    let json = page().header("accept", JSON).send().await;
    assert_eq!(json.expect(S::OK).header("content-type"), JSON);
    assert_ne!(json.header("etag"), html.header("etag"));
    let etag = json.header("etag");
    let known = page().header("accept", JSON).header("if-none-match", etag).send().await;
    assert!(known.expect(S::NOT_MODIFIED).body.is_empty());
    let gzip = page().header("accept", JSON).header("accept-encoding", "gzip").send().await;
    assert_eq!(gzip.expect(S::OK).header("content-encoding"), "gzip");
    assert_ne!(gzip.header("etag"), etag);
    page().header("accept", "image/png").send().await.expect(S::NOT_ACCEPTABLE);
    let asked = world.get("acme/open/simple/foo/?format=application/vnd.pypi.simple.latest%2Bjson");
    assert_eq!(asked.send().await.expect(S::OK).header("content-type"), JSON);
    world.upload("acme/open", &wheel("foo", "1.1", "one")).await.expect(S::OK);
    let changed = page().header("accept", JSON).header("if-none-match", etag).send().await;
    assert_eq!(changed.expect(S::OK).json()["files"].as_array().unwrap().len(), 2);
    for (path, to) in [
        ("acme/open/simple", "/pypi/acme/open/simple/"),
        ("acme/open/simple/foo", "/pypi/acme/open/simple/foo/"),
        ("acme/open/simple/F.o_O/", "../f-o-o/"),
    ] {
        let moved = world.get(path).send().await;
        assert_eq!(moved.expect(S::MOVED_PERMANENTLY).header("location"), to);
    }
}

#[tokio::test]
async fn a_name_never_stands_for_two_files() {
    let world = World::new().await;
    let (one, other) = (wheel("foo", "1.0", "one"), wheel("foo", "1.0", "other"));
    world.upload(MAIN, &one).await.expect(S::OK);
    world.upload(MAIN, &one).await.expect(S::OK);
    world.upload(MAIN, &other).await.refused(S::BAD_REQUEST, "File already exists");
    world.upload(MAIN, &sdist("foo", "1.0", "one")).await.expect(S::OK);
    world
        .upload(MAIN, &sdist("foo", "1.0", "other"))
        .await
        .refused(S::BAD_REQUEST, "already exists");
    let manager = Manager::new(&world.engine);
    let (place, sample) = (place(MAIN), project("foo"));
    let which = Files::Name(one.name.clone());
    assert_eq!(manager.delete(&known("writer"), (&place, &sample), &which).await.unwrap(), 1);
    assert_eq!(world.files(MAIN, "foo").await, ["foo-1.0.tar.gz"]);
    world.get(&format!("{MAIN}/{}", one.path())).user("viewer").send().await.expect(S::NOT_FOUND);
    world.upload(MAIN, &other).await.refused(S::BAD_REQUEST, "File already exists");
    world.upload(MAIN, &one).await.expect(S::OK);
    assert_eq!(world.files(MAIN, "foo").await, [&*one.name, "foo-1.0.tar.gz"]);
    manager.delete(&known("writer"), (&place, &sample), &Files::All).await.unwrap();
    assert_eq!(world.page(MAIN, "foo").await, None);
    let gone = manager.delete(&known("writer"), (&place, &sample), &Files::All).await;
    assert!(matches!(gone, Err(Error::NameUnknown { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_deleted_files_name_is_not_offered_with_other_bytes_pushed_by_oci() {
    let world = World::new().await;
    let (one, other) = (wheel("foo", "1.0", "one"), wheel("foo", "1.0", "other"));
    world.upload(MAIN, &one).await.expect(S::OK);
    let manager = Manager::new(&world.engine);
    let (place, sample, writer) = (place(MAIN), project("foo"), known("writer"));
    let of = (&place, &sample);
    let version = Files::Version("1.0".parse().unwrap());
    manager.delete(&writer, of, &version).await.unwrap();
    let path = format!("{MAIN}/{}", other.path());
    // Twice: what is taken out again does not get the name either. And by another spelling of it.
    for name in [&*other.name, &*other.name, "Foo-1.0-py3-none-any.whl"] {
        world.push_by_oci("acme/main/foo", name, &other.bytes, "1.0").await;
        assert_eq!(world.files(MAIN, "foo").await, Vec::<String>::new(), "{name}");
        world.get(&path).user("viewer").send().await.expect(S::NOT_FOUND);
        let yanked = manager.yank(&writer, of, &version, "").await;
        assert!(matches!(yanked, Err(Error::NameUnknown { .. })), "{yanked:?}");
        world.upload(MAIN, &other).await.refused(S::BAD_REQUEST, "File already exists");
        // The name is still the first's, whatever stands in its place.
        world.upload(MAIN, &one).await.expect(S::OK);
        assert_eq!(world.files(MAIN, "foo").await, [&*one.name]);
        assert_eq!(manager.delete(&writer, of, &version).await.unwrap(), 2);
        assert_eq!(world.page(MAIN, "foo").await, None);
    }
}

#[tokio::test]
async fn yanks_and_statuses_show_and_hold() {
    let world = World::new().await;
    let dist = wheel("foo", "1.0", "one");
    world.upload(MAIN, &dist).await.expect(S::OK);
    let manager = Manager::new(&world.engine);
    let (place, sample, writer) = (place(MAIN), project("foo"), known("writer"));
    let of = (&place, &sample);
    let which = Files::Version("1.0".parse().unwrap());
    manager.yank(&writer, of, &which, "broken").await.unwrap();
    assert_eq!(world.page(MAIN, "foo").await.unwrap()["files"][0]["yanked"], "broken");
    manager.unyank(&writer, of, &which).await.unwrap();
    assert_eq!(world.page(MAIN, "foo").await.unwrap()["files"][0]["yanked"], false);
    let no_such = Files::Version("2.0".parse().unwrap());
    manager.yank(&writer, of, &no_such, "").await.unwrap_err();
    let viewer = manager.yank(&known("viewer"), of, &which, "").await;
    assert!(matches!(viewer, Err(Error::Denied { .. })), "{viewer:?}");
    let stranger = manager.yank(&known("stranger"), of, &which, "").await;
    assert!(matches!(stranger, Err(Error::NameUnknown { .. })), "{stranger:?}");

    let next = wheel("foo", "1.1", "one");
    manager.set_status(&writer, of, Status::Archived, Some("done")).await.unwrap();
    world.upload(MAIN, &next).await.refused(S::FORBIDDEN, "archived");
    world.get(&format!("{MAIN}/{}", dist.path())).user("viewer").send().await.expect(S::OK);
    manager.set_status(&writer, of, Status::Quarantined, None).await.unwrap();
    let page = world.page(MAIN, "foo").await.unwrap();
    assert_eq!(
        (&page["files"], &page["project-status"]["status"]),
        (&serde_json::json!([]), &"quarantined".into())
    );
    for path in [dist.path(), format!("{}.metadata", dist.path()), "pypi/foo/json".to_owned()] {
        let answer = world.get(&format!("{MAIN}/{path}")).user("viewer").send().await;
        answer.expect(S::NOT_FOUND);
    }
    manager.set_status(&writer, of, Status::Active, None).await.unwrap();
    world.upload(MAIN, &next).await.expect(S::OK);
}

#[tokio::test]
async fn what_oci_does_shows_at_once() {
    let world = World::new().await;
    world.upload(MAIN, &wheel("foo", "1.0", "one")).await.expect(S::OK);
    world.upload(MAIN, &wheel("foo", "1!2.0+cpu", "one")).await.expect(S::OK);
    assert_eq!(world.files(MAIN, "foo").await.len(), 2);
    let repository = world.open("acme/main/foo", Action::Delete).await;
    repository.delete_tag(&"1__2.0_cpu".parse().unwrap()).await.unwrap();
    assert_eq!(world.files(MAIN, "foo").await, ["foo-1.0-py3-none-any.whl"]);
    let pull = world.open("acme/main/foo", Action::Pull).await;
    let reference: Reference = "1.0".parse().unwrap();
    let index = pull.stat_manifest(&reference).await.unwrap();
    assert_eq!(index.artifact_type.as_deref(), Some(RELEASE));
    repository.delete_manifest(&index.digest).await.unwrap();
    assert_eq!(world.page(MAIN, "foo").await, None);
    assert_eq!(listed(&world).await, Vec::<String>::new());
}

async fn listed(world: &World) -> Vec<String> {
    let asking = world.get("acme/main/simple/").user("viewer").header("accept", JSON);
    let list = asking.send().await.expect(S::OK).json();
    let names = list["projects"].as_array().unwrap();
    names.iter().map(|project| project["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_package_pushed_by_oci_is_offered_where_it_is_what_it_says() {
    let world = World::new().await;
    world.push_by_oci("acme/main/foo", "foo-1.0-py3-none-any.whl", b"the wheel", "1.0").await;
    assert_eq!(world.files(MAIN, "foo").await, ["foo-1.0-py3-none-any.whl"]);
    assert_eq!(listed(&world).await, ["foo"]);
    let path = format!("{MAIN}/files/{}/foo-1.0-py3-none-any.whl", hex(b"the wheel"));
    let got = world.get(&path).user("viewer").send().await;
    assert_eq!(got.expect(S::OK).text(), "the wheel");
    // Another project's name, another version's, and no name at all.
    for (title, tag) in [
        ("bar-1.0-py3-none-any.whl", "1.0"),
        ("foo-1.0-py3-none-any.whl", "2.0"),
        ("../foo-3.0-py3-none-any.whl", "3.0"),
    ] {
        world.push_by_oci("acme/main/foo", title, b"the wheel", tag).await;
        let files = world.files(MAIN, "foo").await;
        assert!(files.iter().all(|file| file == "foo-1.0-py3-none-any.whl"), "{title}: {files:?}");
    }
}

#[tokio::test]
async fn uploads_of_one_version_at_once_all_end_up_in_it() {
    let world = World::new().await;
    let dists: Vec<_> = (0..8)
        .map(|n| wheel_of("foo", "1.0", &format!("py3-none-manylinux_2_{n}_x86_64"), b"one"))
        .collect();
    let uploads = dists.iter().map(|dist| world.upload(MAIN, dist));
    for answer in futures::future::join_all(uploads).await {
        answer.expect(S::OK);
    }
    assert_eq!(world.files(MAIN, "foo").await.len(), dists.len());
    // Of two of one name one wins, and the other is told.
    let rivals = [wheel("foo", "2.0", "one"), wheel("foo", "2.0", "two")];
    let both = futures::join!(world.upload(MAIN, &rivals[0]), world.upload(MAIN, &rivals[1]));
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort();
    assert_eq!(statuses, [S::OK, S::BAD_REQUEST]);
}

#[tokio::test]
async fn a_large_file_streams() {
    let world = World::new().await;
    let mut salt = b"x = 1\n".repeat(600_000);
    let dist = wheel_of("foo", "1.0", "py3-none-any", &salt);
    world.upload(MAIN, &dist).await.expect(S::OK);
    let got = world.get(&format!("{MAIN}/{}", dist.path())).user("viewer").send().await;
    assert!(got.expect(S::OK).body == dist.bytes);
    salt.extend(b"y = 2\n".repeat(1_000_000));
    let dist = wheel_of("foo", "1.1", "py3-none-any", &salt);
    world.upload(MAIN, &dist).await.refused(S::PAYLOAD_TOO_LARGE, "larger than");
    assert_eq!(world.files(MAIN, "foo").await.len(), 1);
}

#[tokio::test]
async fn a_new_name_that_looks_like_another_is_warned_of() {
    let world = World::new().await;
    let first = world.upload(MAIN, &wheel("google", "1.0", "one")).await;
    assert!(first.expect(S::OK).headers.get("x-strongroom-warning").is_none());
    let second = world.upload(MAIN, &wheel("goog1e", "1.0", "one")).await;
    assert!(second.expect(S::OK).header("x-strongroom-warning").contains("google"));
    let again = world.upload(MAIN, &wheel("goog1e", "1.1", "one")).await;
    assert!(again.expect(S::OK).headers.get("x-strongroom-warning").is_none());
    let lines = world.changes("acme").await;
    let lines: Vec<_> = lines.iter().filter(|line| line.contains("looks like")).collect();
    let line =
        "project goog1e: it is new, and its name looks like that of the project google".to_owned();
    assert_eq!(lines, [&line]);
}

#[tokio::test]
async fn threat_b16_no_page_is_of_another_host_or_another_registry() {
    let world = World::new().await;
    let dist = wheel("foo", "1.0", "one");
    let attested = attestations(&dist).to_string();
    let dist = dist.with("attestations", Some(&attested));
    world.upload(MAIN, &dist).await.expect(S::OK);
    let other = wheel("foo", "1.0", "another tenant's");
    world.upload_as("peer/main", &other, "stranger").await.expect(S::OK);
    // Whoever asks under another name for this server gets that name; nobody else does, before or after.
    for host in ["registry.test", "evil.test", "registry.test"] {
        for (place, user, dist) in [(MAIN, "viewer", &dist), ("peer/main", "stranger", &other)] {
            let asking = world.get(&format!("{place}/simple/foo/")).user(user).host(host);
            let page = asking.header("accept", JSON).send().await.expect(S::OK).json();
            let files = page["files"].as_array().unwrap();
            assert_eq!(files.len(), 1, "{page}");
            assert_eq!(files[0]["hashes"]["sha256"], dist.sha256());
            // Where the bytes are is told relative to the page, and by their digest.
            assert_eq!(files[0]["url"], format!("../../{}", dist.path()));
            if place == MAIN {
                let provenance = files[0]["provenance"].as_str().unwrap();
                let base = format!("http://{host}/pypi/{MAIN}/integrity/foo/1.0/");
                assert!(provenance.starts_with(&base), "{provenance}");
            }
        }
    }
    // A file is what its address says, or is not there.
    let crossed = format!("{MAIN}/{}", other.path());
    world.get(&crossed).user("viewer").send().await.expect(S::NOT_FOUND);
}

#[tokio::test]
async fn where_tags_are_immutable_a_version_gets_more_files_and_keeps_those_it_has() {
    let world = World::new().await;
    let (admin, acme, main) = (known("admin"), "acme".parse().unwrap(), "main".parse().unwrap());
    let settings = RegistrySettings {
        immutable_tags: vec!["*".parse().unwrap()],
        ..RegistrySettings::default()
    };
    world.engine.set_registry(&admin, &acme, &main, &settings, None).await.unwrap();
    let (sdist, wheel) = (sdist("foo", "1.0", "one"), wheel("foo", "1.0", "one"));
    for dist in [&sdist, &wheel, &sdist, &wheel] {
        world.upload(MAIN, dist).await.expect(S::OK);
    }
    let offered = world.files(MAIN, "foo").await;
    assert_eq!(offered.len(), 2, "{offered:?}");
    let other = support::dist::wheel("foo", "1.0", "two");
    world.upload(MAIN, &other).await.refused(S::BAD_REQUEST, "File already exists");

    // By OCI nobody moves the tag, and here nobody takes a file away; nor is its name kept for that.
    let repository = world.open("acme/main/foo", Action::Push).await;
    let tag: Tag = "1.0".parse().unwrap();
    let release = repository.manifest_to_replace(&Reference::Tag(tag.clone())).await.unwrap();
    let release = release.unwrap();
    let mut more: serde_json::Value = serde_json::from_slice(&release.bytes).unwrap();
    more["annotations"]["more"] = "of it".into();
    let push = ManifestPush {
        bytes: more.to_string().into(),
        content_type: None,
        digest: None,
        tags: vec![tag],
    };
    let refused = repository.push_manifest(&push).await;
    assert!(matches!(refused, Err(Error::TagImmutable { .. })), "{refused:?}");
    let (manager, foo) = (Manager::new(&world.engine), project("foo"));
    let lines = async || {
        let query = TrailQuery::default();
        world.engine.trail(&admin, Some(&acme), &query, None, 1000).await.unwrap().items.len()
    };
    let before = lines().await;
    let refused = manager.delete(&known("writer"), (&place(MAIN), &foo), &Files::All).await;
    assert!(matches!(refused, Err(Error::TagImmutable { .. })), "{refused:?}");
    assert_eq!(lines().await, before);
    assert_eq!(world.files(MAIN, "foo").await, offered);
}
