//! The rules of a registry with an upstream: whose a name is, what is offered of it, and what stays when the
//! upstream goes away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode as S;
use serde_json::json;
use strongroom_engine::access::Action;
use strongroom_engine::audit::TrailQuery;
use strongroom_engine::name::Reference;
use strongroom_pypi::artifact::{FILE, RELEASE, UPSTREAM};
use strongroom_pypi::manage::{Files, Manager};
use strongroom_pypi::records::Status;
use support::dist::{sdist, wheel};
use support::index::{Index, Names, Say, both, entry, reach, set};
use support::{JSON, Refused, World, known, place, project, sha256};

const MAIN: &str = "acme/main";
const MINUTE: Duration = Duration::from_secs(61);
const DAY: Duration = Duration::from_hours(24);

async fn get(world: &World, dist: &support::dist::Dist) -> support::Answer {
    world.get(&format!("{MAIN}/{}", dist.path())).user("viewer").send().await
}

/// The lines of the trail that speak of changes of the registry.
async fn trail(world: &World) -> Vec<String> {
    let (admin, acme) = (known("admin"), "acme".parse().unwrap());
    let query = TrailQuery { kinds: vec!["registry_changed".to_owned()], ..TrailQuery::default() };
    let page = world.engine.trail(&admin, Some(&acme), &query, None, 1_000).await.unwrap();
    page.items
        .iter()
        .map(|line| format!("{} {:?}", line.event.principal, line.event.kind))
        .collect()
}

#[tokio::test]
async fn what_the_upstream_has_is_offered_fetched_once_and_kept_as_an_artifact() {
    let (world, index) = both().await;
    let (wheel, sdist) = (wheel("Foo-Bar", "1.0", "one"), sdist("foo-bar", "1.1", "one"));
    index.publish("foo-bar", &[&wheel, &sdist]);
    let page = world.page(MAIN, "foo-bar").await.unwrap();
    assert_eq!(page["versions"], json!(["1.0", "1.1"]));
    let file = &page["files"][0];
    assert_eq!((&file["filename"], &file["size"]), (&json!(wheel.name), &json!(wheel.bytes.len())));
    assert_eq!(file["url"], format!("../../{}", wheel.path()));
    assert_eq!(file["hashes"]["sha256"], wheel.sha256());
    assert_eq!(
        (&file["requires-python"], &file["upload-time"]),
        (&json!(">=3.8"), &json!("2022-11-14T22:13:20Z"))
    );
    // What the upstream says of the metadata is not ours to promise.
    assert!(file.get("core-metadata").is_none(), "{file}");
    assert_eq!(index.fetched(&wheel), 0);

    let head =
        world.request("HEAD", &format!("{MAIN}/{}", wheel.path())).user("viewer").send().await;
    assert_eq!(head.expect(S::OK).header("content-length"), wheel.bytes.len().to_string());
    assert_eq!(index.fetched(&wheel), 0);
    let got = get(&world, &wheel).await;
    assert!(got.expect(S::OK).body == wheel.bytes);
    assert_eq!(got.header("content-length"), wheel.bytes.len().to_string());

    // From here on it is served and resolved as what was uploaded.
    let page = world.page(MAIN, "foo-bar").await.unwrap();
    assert!(page["files"][0]["core-metadata"]["sha256"].is_string(), "{page}");
    assert_eq!(page["files"][0]["upload-time"], "2022-11-14T22:13:20Z");
    assert_eq!(page["files"].as_array().unwrap().len(), 2);
    let path = format!("{MAIN}/{}", wheel.path());
    let metadata = world.get(&format!("{path}.metadata")).user("viewer").send().await;
    assert_eq!(metadata.expect(S::OK).text(), wheel.metadata);
    let part = world.get(&path).user("viewer").header("range", "bytes=0-9").send().await;
    assert_eq!(part.expect(S::PARTIAL_CONTENT).body, wheel.bytes[..10]);
    assert_eq!(index.fetched(&wheel), 1);

    let pull = world.open("acme/main/foo-bar", Action::Pull).await;
    let release = pull.stat_manifest(&"1.0".parse::<Reference>().unwrap()).await.unwrap();
    assert_eq!(release.artifact_type.as_deref(), Some(RELEASE));
    let release: serde_json::Value = serde_json::from_slice(&release.bytes).unwrap();
    let digest = release["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
    let file = pull.stat_manifest(&Reference::Digest(digest)).await.unwrap();
    assert_eq!(file.artifact_type.as_deref(), Some(FILE));
    let file: serde_json::Value = serde_json::from_slice(&file.bytes).unwrap();
    assert_eq!(file["annotations"][UPSTREAM], format!("{}foo-bar/", index.url()));
    let lines = trail(&world).await;
    let line = |line: &&String| line.contains("foo-bar: its files are fetched from");
    let line = lines.iter().find(line).unwrap();
    assert!(line.starts_with("system:python-upstream"), "{line}");
}

#[tokio::test]
async fn both_forms_of_the_upstreams_page_are_read() {
    let (world, index) = both().await;
    let (one, two) = (wheel("foo", "1.0", "one"), sdist("foo", "2.0", "two"));
    index.publish("foo", &[&one, &two]);
    let html = format!(
        "<!DOCTYPE html><html><head><base href=\"/packages/\"><meta name=\"pypi:repository-version\" \
         content=\"1.0\"></head><body><a href=\"{}#sha256={}\" data-requires-python=\"&gt;=3.8\" \
         data-yanked=\"it&#39;s bad\">{}</a><br>\n<a href='{}#sha256={}'>{}</a><a href='x-1.tar.gz'>x</a>\
         </body></html>",
        one.name,
        one.sha256(),
        one.name,
        two.name,
        two.sha256(),
        two.name
    );
    index.say("/simple/foo/", Say::Page("text/html; charset=utf-8", html));
    let page = world.page(MAIN, "foo").await.unwrap();
    assert_eq!(page["versions"], json!(["1.0", "2.0"]));
    assert_eq!(page["files"][0]["yanked"], "it's bad");
    assert_eq!(page["files"][0]["requires-python"], ">=3.8");
    for dist in [&one, &two] {
        assert!(get(&world, dist).await.expect(S::OK).body == dist.bytes);
    }
    let html = world.get("acme/main/simple/foo/").user("viewer").header("accept", "text/html");
    let html = html.send().await.expect(S::OK).text();
    assert!(html.contains("data-yanked=\"it&#39;s bad\""), "{html}");
}

#[tokio::test]
async fn threat_b16_a_name_of_the_registrys_own_is_never_looked_up() {
    let (world, index) = both().await;
    let (own, evil) = (wheel("foo", "1.0", "own"), wheel("foo", "99.0", "evil"));
    index.publish("foo", &[&evil]);
    world.upload(MAIN, &own).await.expect(S::OK);
    assert_eq!(world.files(MAIN, "foo").await, [own.name.as_str()]);
    get(&world, &evil).await.expect(S::NOT_FOUND);
    // Neither when its files are gone, by whichever way, nor when it was never a Python project.
    let manager = Manager::new(&world.engine);
    let of = (&place(MAIN), &project("foo"));
    manager.delete(&known("writer"), of, &Files::All).await.unwrap();
    assert_eq!(world.page(MAIN, "foo").await, None);
    index.publish("bar", &[&wheel("bar", "99.0", "evil")]);
    world.upload(MAIN, &wheel("bar", "1.0", "own")).await.expect(S::OK);
    let repository = world.open("acme/main/bar", Action::Delete).await;
    repository.delete_tag(&"1.0".parse().unwrap()).await.unwrap();
    assert_eq!(world.page(MAIN, "bar").await, None);
    assert_eq!((index.asked("foo"), index.asked("bar")), (0, 0));
    // Another registry has names of its own.
    let open = world.get("acme/open/simple/foo/").header("accept", JSON).send().await;
    assert_eq!(open.expect(S::OK).json()["versions"], json!(["99.0"]));
}

#[tokio::test]
async fn threat_b11_b16_a_fetched_name_is_taken_over_by_nobody_unseen() {
    let (world, index) = both().await;
    let (fetched, mine) = (wheel("foo", "1.0", "one"), wheel("foo", "99.0", "mine"));
    index.publish("foo", &[&fetched]);
    get(&world, &fetched).await.expect(S::OK);
    world.upload(MAIN, &mine).await.refused(S::FORBIDDEN, "fetched from");
    assert_eq!(world.files(MAIN, "foo").await, [fetched.name.as_str()]);
    // Somebody with the right to delete makes the name the registry's own: for ever.
    let manager = Manager::new(&world.engine);
    let of = (&place(MAIN), &project("foo"));
    manager.delete(&known("writer"), of, &Files::All).await.unwrap();
    world.upload(MAIN, &mine).await.expect(S::OK);
    assert_eq!(world.files(MAIN, "foo").await, [mine.name.as_str()]);
    manager.delete(&known("writer"), of, &Files::All).await.unwrap();
    let asked = index.asked("foo");
    world.clock.advance(MINUTE);
    assert_eq!(world.page(MAIN, "foo").await, None);
    get(&world, &fetched).await.expect(S::NOT_FOUND);
    assert_eq!(index.asked("foo"), asked);
}

#[tokio::test]
async fn a_project_that_tracks_the_upstream_has_both_and_its_own_first() {
    let (world, index) = both().await;
    let (own, theirs) = (wheel("foo", "1.0", "own"), wheel("foo", "1.0", "theirs"));
    let more = wheel("foo", "2.0", "more");
    index.publish("foo", &[&theirs, &more]);
    world.upload(MAIN, &own).await.expect(S::OK);
    let manager = Manager::new(&world.engine);
    let (writer, main, foo) = (known("writer"), place(MAIN), project("foo"));
    let tracks = vec![format!("{}foo", index.url()), "https://else.example/simple/foo/".to_owned()];
    manager.set_locations(&writer, (&main, &foo), &tracks, &[]).await.unwrap();
    let page = world.page(MAIN, "foo").await.unwrap();
    assert_eq!(page["meta"]["tracks"], json!(tracks));
    assert_eq!(page["files"][0]["hashes"]["sha256"], own.sha256());
    assert_eq!(world.files(MAIN, "foo").await, [own.name.clone(), more.name.clone()]);
    get(&world, &theirs).await.expect(S::NOT_FOUND);
    get(&world, &more).await.expect(S::OK);
    world.upload(MAIN, &wheel("foo", "3.0", "own")).await.expect(S::OK);
    assert_eq!(world.files(MAIN, "foo").await.len(), 3);

    // What is taken out of use here can't be had from there.
    manager.set_status(&writer, (&main, &foo), Status::Quarantined, None).await.unwrap();
    let asked = index.asked("foo");
    world.clock.advance(MINUTE);
    assert_eq!(world.files(MAIN, "foo").await, Vec::<String>::new());
    for dist in [&own, &more, &theirs] {
        get(&world, dist).await.expect(S::NOT_FOUND);
    }
    assert_eq!(index.asked("foo"), asked);
    manager.set_status(&writer, (&main, &foo), Status::Active, None).await.unwrap();
    // Once it tracks no more, what was fetched is a file like the others.
    manager.set_locations(&writer, (&main, &foo), &tracks[1..], &[]).await.unwrap();
    world.clock.advance(MINUTE);
    assert_eq!(world.files(MAIN, "foo").await.len(), 3);
    assert_eq!(index.asked("foo"), asked);
}

#[tokio::test]
async fn only_names_that_the_patterns_let_in_are_looked_up() {
    let (world, index) = both().await;
    for name in ["acme-one", "acme-two", "other"] {
        index.publish(name, &[&wheel(name, "1.0", "one")]);
    }
    set(&world, &index, |new| {
        new.allow = vec!["acme-*".parse().unwrap()];
        new.deny = vec!["*-two".parse().unwrap()];
    })
    .await;
    assert!(world.page(MAIN, "acme-one").await.is_some());
    for name in ["acme-two", "other"] {
        assert_eq!(world.page(MAIN, name).await, None);
        assert_eq!(index.asked(name), 0);
    }
    // A name that is shut out later is gone with what was fetched of it.
    let one = wheel("acme-one", "1.0", "one");
    get(&world, &one).await.expect(S::OK);
    set(&world, &index, |new| new.deny = vec!["acme-*".parse().unwrap()]).await;
    assert_eq!(world.page(MAIN, "acme-one").await, None);
    get(&world, &one).await.expect(S::NOT_FOUND);
}

#[tokio::test]
async fn files_cool_down_before_they_are_offered() {
    let (world, index) = both().await;
    set(&world, &index, |new| {
        (new.cool_down_days, new.fresh_seconds) = (7, Some(604_800));
    })
    .await;
    let all: Vec<_> = ["1.0", "1.1", "1.2"].map(|v| wheel("foo", v, "one")).into_iter().collect();
    let mut entries: Vec<_> = all.iter().map(entry).collect();
    // The clock of the tests stands at 2023-11-14T22:13:20Z.
    entries[1]["upload-time"] = "2023-11-10T00:00:00Z".into();
    entries[2].as_object_mut().unwrap().remove("upload-time");
    index.publish_as("foo", &all.iter().collect::<Vec<_>>(), &entries);
    assert_eq!(world.files(MAIN, "foo").await, [all[0].name.clone()]);
    for dist in &all[1..] {
        get(&world, dist).await.expect(S::NOT_FOUND);
    }
    let page = world.page(MAIN, "foo").await.unwrap();
    assert_eq!(page["versions"], json!(["1.0"]));
    world.clock.advance(DAY * 3);
    assert_eq!(world.files(MAIN, "foo").await, [all[0].name.clone(), all[1].name.clone()]);
    get(&world, &all[1]).await.expect(S::OK);
    assert_eq!(index.asked("foo"), 1);
    // A longer one holds what was fetched back, too.
    set(&world, &index, |new| new.cool_down_days = 30).await;
    assert_eq!(world.files(MAIN, "foo").await, [all[0].name.clone()]);
    get(&world, &all[1]).await.expect(S::NOT_FOUND);
    set(&world, &index, |_| {}).await;
    assert_eq!(world.files(MAIN, "foo").await.len(), 3);
}

#[tokio::test]
async fn a_name_that_looks_like_one_here_is_noted_and_the_answer_is_as_any() {
    let (world, index) = both().await;
    world.upload(MAIN, &wheel("google", "1.0", "one")).await.expect(S::OK);
    let other = wheel("goog1e", "1.0", "one");
    index.publish("goog1e", &[&other]);
    for _ in 0..3 {
        assert_eq!(world.files(MAIN, "goog1e").await, [other.name.as_str()]);
        world.clock.advance(MINUTE);
    }
    get(&world, &other).await.expect(S::OK);
    let lines = trail(&world).await;
    let noted = lines.iter().filter(|line| line.contains("looks like that of google")).count();
    assert_eq!(noted, 1, "{lines:?}");
}

#[tokio::test]
async fn what_was_fetched_is_served_and_what_was_seen_is_shown_while_the_upstream_is_away() {
    let (mut world, index) = both().await;
    let (kept, other) = (wheel("foo", "1.0", "one"), wheel("foo", "2.0", "two"));
    index.publish("foo", &[&kept, &other]);
    index.publish("bar", &[&wheel("bar", "1.0", "one")]);
    get(&world, &kept).await.expect(S::OK);
    assert_eq!(world.files(MAIN, "bar").await.len(), 1);
    drop(index);
    world.clock.advance(MINUTE);
    assert_eq!(world.files(MAIN, "foo").await, [kept.name.clone(), other.name.clone()]);
    assert_eq!(world.files(MAIN, "bar").await.len(), 1);
    assert!(get(&world, &kept).await.expect(S::OK).body == kept.bytes);
    let away = get(&world, &other).await;
    away.refused(S::BAD_GATEWAY, "upstream");
    assert!(away.headers.contains_key("retry-after"));
    // A name that nobody asked for is not "not there": an installer would look elsewhere.
    let page = world.get("acme/main/simple/new/").user("viewer").send().await;
    page.refused(S::BAD_GATEWAY, "upstream");
    // A restart forgets the pages of what nothing was fetched of.
    world.restart(reach(), Arc::new(Names));
    assert_eq!(world.files(MAIN, "foo").await, [kept.name.clone(), other.name.clone()]);
    assert!(get(&world, &kept).await.expect(S::OK).body == kept.bytes);
    let page = world.get("acme/main/simple/bar/").user("viewer").send().await;
    page.expect(S::BAD_GATEWAY);
}

#[tokio::test]
async fn a_page_too_large_to_be_kept_is_unknown_after_a_restart_and_what_was_fetched_is_served() {
    let (mut world, index) = both().await;
    let (kept, other) = (wheel("foo", "1.0", "one"), wheel("foo", "2.0", "two"));
    let mut entries = vec![entry(&kept), entry(&other)];
    // Digests can't be packed: some of them are a megabyte.
    entries.extend((0..32_000).map(|number| {
        let name = format!("foo-3.{number}.tar.gz");
        let sha256 = sha256(name.as_bytes()).to_string().replace("sha256:", "");
        json!({ "filename": name, "url": name, "hashes": { "sha256": sha256 } })
    }));
    index.publish_as("foo", &[&kept, &other], &entries);
    get(&world, &kept).await.expect(S::OK);
    drop(index);
    assert_eq!(world.files(MAIN, "foo").await.len(), entries.len());
    world.restart(reach(), Arc::new(Names));
    assert_eq!(world.files(MAIN, "foo").await, [&*kept.name]);
    assert!(get(&world, &kept).await.expect(S::OK).body == kept.bytes);
    // It is there for all that is known here.
    get(&world, &other).await.refused(S::BAD_GATEWAY, "upstream");
}

#[tokio::test]
async fn pages_are_fresh_for_a_while_and_then_asked_for_by_their_tag() {
    let (world, index) = both().await;
    index.publish("foo", &[&wheel("foo", "1.0", "one")]);
    for _ in 0..3 {
        assert_eq!(world.files(MAIN, "foo").await.len(), 1);
    }
    assert_eq!(index.asked("foo"), 1);
    world.clock.advance(MINUTE);
    assert_eq!(world.files(MAIN, "foo").await.len(), 1);
    let seen = index.seen("/simple/foo/");
    assert_eq!(seen.len(), 2);
    assert!(!seen[0].headers.contains_key("if-none-match"));
    assert!(seen[1].headers.contains_key("if-none-match"));
    index.publish("foo", &[&wheel("foo", "1.0", "one"), &wheel("foo", "2.0", "two")]);
    world.clock.advance(MINUTE);
    assert_eq!(world.files(MAIN, "foo").await.len(), 2);
    // What is not there is asked for once a while, too.
    for _ in 0..3 {
        assert_eq!(world.page(MAIN, "absent").await, None);
    }
    assert_eq!(index.asked("absent"), 1);
}

#[tokio::test]
async fn many_who_ask_for_one_page_are_one_request() {
    let (world, index) = both().await;
    index.publish("foo", &[&wheel("foo", "1.0", "one")]);
    let asking = (0..16).map(|_| world.files(MAIN, "foo"));
    for files in futures::future::join_all(asking).await {
        assert_eq!(files.len(), 1);
    }
    assert_eq!(index.asked("foo"), 1);
}

#[tokio::test]
async fn yanks_status_and_places_follow_the_upstream() {
    let (world, index) = both().await;
    let (one, two) = (wheel("foo", "1.0", "one"), wheel("foo", "2.0", "two"));
    index.publish("foo", &[&one, &two]);
    get(&world, &one).await.expect(S::OK);
    let page = world.page(MAIN, "foo").await.unwrap();
    assert_eq!(page["meta"]["tracks"], json!([format!("{}foo/", index.url())]));
    let mut entries = vec![entry(&one), entry(&two)];
    entries[0]["yanked"] = "breaks".into();
    entries[1]["yanked"] = true.into();
    index.page(
        "foo",
        &json!({
            "meta": { "api-version": "1.4", "tracks": ["https://owner.example/simple/foo/"] },
            "alternate-locations": ["https://also.example/simple/foo/", "no address"],
            "project-status": { "status": "deprecated", "reason": "use bar" },
            "files": entries,
        }),
    );
    world.clock.advance(MINUTE);
    let page = world.page(MAIN, "foo").await.unwrap();
    assert_eq!(page["files"][0]["yanked"], "breaks");
    assert_eq!(page["files"][1]["yanked"], true);
    assert_eq!(page["project-status"], json!({ "status": "deprecated", "reason": "use bar" }));
    // Whoever owns the name is told, and not the mirror that told us.
    assert_eq!(page["meta"]["tracks"], json!(["https://owner.example/simple/foo/"]));
    assert_eq!(page["alternate-locations"], json!(["https://also.example/simple/foo/"]));
    // A yank of our own stays when theirs is taken back.
    let manager = Manager::new(&world.engine);
    let of = (&place(MAIN), &project("foo"));
    let name = Files::Name(one.name.clone());
    manager.yank(&known("writer"), of, &name, "ours").await.unwrap();
    index.publish("foo", &[&one, &two]);
    world.clock.advance(MINUTE);
    let page = world.page(MAIN, "foo").await.unwrap();
    assert_eq!(
        (&page["files"][0]["yanked"], &page["files"][1]["yanked"]),
        (&json!("ours"), &json!(false))
    );
    // What the upstream takes for dangerous is not served from here either.
    index.page("foo", &json!({ "project-status": { "status": "quarantined" } }));
    world.clock.advance(MINUTE);
    assert_eq!(world.files(MAIN, "foo").await, Vec::<String>::new());
    get(&world, &one).await.expect(S::NOT_FOUND);
}

#[tokio::test]
async fn a_fetched_file_that_was_deleted_does_not_come_back() {
    let (world, index) = both().await;
    let (one, two) = (wheel("foo", "1.0", "one"), wheel("foo", "2.0", "two"));
    index.publish("foo", &[&one, &two]);
    get(&world, &one).await.expect(S::OK);
    let manager = Manager::new(&world.engine);
    let of = (&place(MAIN), &project("foo"));
    let name = Files::Name(one.name.clone());
    manager.delete(&known("writer"), of, &name).await.unwrap();
    assert_eq!(world.files(MAIN, "foo").await, [two.name.as_str()]);
    get(&world, &one).await.expect(S::NOT_FOUND);
    assert_eq!(index.fetched(&one), 1);
}

#[tokio::test]
async fn whoever_may_read_may_have_things_fetched_and_nobody_else() {
    let (world, index) = both().await;
    let one = wheel("foo", "1.0", "one");
    index.publish("foo", &[&one]);
    let file = format!("{MAIN}/{}", one.path());
    for (user, status) in
        [("stranger", S::NOT_FOUND), ("nomad", S::NOT_FOUND), ("anonymous", S::UNAUTHORIZED)]
    {
        for path in ["acme/main/simple/foo/", &file, "acme/main/pypi/foo/json"] {
            world.get(path).user(user).send().await.expect(status);
        }
    }
    assert!(index.seen("/").is_empty());
    let open = format!("acme/open/{}", one.path());
    world.get(&open).send().await.expect(S::OK);
    // To keep it is the registry's doing: they push nothing.
    let refused = world.upload_as("acme/open", &one, "viewer").await;
    refused.expect(S::FORBIDDEN);
}

#[tokio::test]
async fn without_an_upstream_what_was_fetched_stays_and_nothing_is_asked() {
    let (world, index) = both().await;
    let (one, two) = (wheel("foo", "1.0", "one"), wheel("foo", "2.0", "two"));
    index.publish("foo", &[&one, &two]);
    get(&world, &one).await.expect(S::OK);
    world.upstreams.remove(&known("admin"), &place(MAIN), None).await.unwrap();
    let asked = index.asked("foo");
    let page = world.page(MAIN, "foo").await.unwrap();
    assert_eq!(page["versions"], json!(["1.0"]));
    assert_eq!(page["meta"]["tracks"], json!([format!("{}foo/", index.url())]));
    get(&world, &two).await.expect(S::NOT_FOUND);
    assert_eq!(index.asked("foo"), asked);
    let viewer = world.upstreams.get(&known("viewer"), &place(MAIN)).await;
    assert!(viewer.is_err(), "{viewer:?}");
    let _index: Index = index;
}
