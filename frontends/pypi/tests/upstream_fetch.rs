//! Files and pages on their way from an upstream that lies, is slow, leads elsewhere or sends without end.
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
use http_body_util::BodyExt;
use serde_json::json;
use strongroom_engine::access::Action;
use strongroom_engine::gc::CollectOptions;
use strongroom_http::auth::Secret;
use support::dist::{Dist, attestations, sdist, wheel, wheel_of};
use support::index::{
    FILES, HOST, Index, LONG_AGO, Names, Say, both, entry, file_path, reach, set,
};
use support::{JSON, Refused, World, known};
use tokio::sync::Semaphore;

const MAIN: &str = "acme/main";

fn asking<'a>(world: &'a World, dist: &Dist) -> support::Asking<'a> {
    world.get(&format!("{MAIN}/{}", dist.path())).user("viewer")
}

/// Fails unless nothing of a project is here: no file, and no byte that collection would not take.
async fn nothing_of(world: &World, project: &str) {
    let pull = world.open(&format!("{MAIN}/{project}"), Action::Pull).await;
    let tags = pull.tags(None, 10).await;
    assert!(tags.as_ref().map_or(true, |tags| tags.items.is_empty()), "{tags:?}");
    for _ in 0..3 {
        world.engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
        world.clock.advance(Duration::from_hours(48));
    }
    let usage = world.engine.usage(&known("admin"), &"acme".parse().unwrap()).await.unwrap();
    assert_eq!(usage.used_bytes, 0, "{usage:?}");
}

/// Some megabytes.
fn large(version: &str) -> Dist {
    wheel_of("foo", version, "py3-none-any", &b"x = 1\n".repeat(500_000))
}

/// A large file, of which the upstream sends half, and the rest once the gate has a permit.
fn held(index: &Index) -> (Dist, Arc<Semaphore>) {
    let dist = large("1.0");
    index.publish("foo", &[&dist]);
    let gate = Arc::new(Semaphore::new(0));
    let bytes = bytes::Bytes::from(dist.bytes.clone());
    index.say(&file_path(&dist), Say::Held(bytes, Arc::clone(&gate)));
    (dist, gate)
}

#[tokio::test]
async fn many_clients_are_one_fetch_and_read_it_as_it_comes() {
    let (world, index) = both().await;
    let (dist, gate) = held(&index);
    // The upstream has sent half, and each has some of it.
    let mut bodies = Vec::new();
    for _ in 0..8 {
        let response = asking(&world, &dist).begin().await;
        assert_eq!(response.status(), S::OK);
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(!first.is_empty() && dist.bytes.starts_with(&first));
        bodies.push((first.to_vec(), body));
    }
    // One leaves; the others are not disturbed.
    bodies.pop();
    gate.add_permits(1);
    for (mut got, body) in bodies {
        got.extend(body.collect().await.unwrap().to_bytes());
        assert!(got == dist.bytes);
    }
    assert_eq!(index.fetched(&dist), 1);
    assert!(asking(&world, &dist).send().await.expect(S::OK).body == dist.bytes);
    assert_eq!(index.fetched(&dist), 1);
}

#[tokio::test]
async fn a_fetch_ends_by_itself_when_all_have_left() {
    let (world, index) = both().await;
    let (dist, gate) = held(&index);
    let response = asking(&world, &dist).begin().await;
    drop(response);
    gate.add_permits(1);
    // Whoever comes now joins it, or finds what was kept.
    assert!(asking(&world, &dist).send().await.expect(S::OK).body == dist.bytes);
    assert_eq!(index.fetched(&dist), 1);
}

#[tokio::test]
async fn threat_b16_bytes_with_another_digest_are_served_to_nobody_and_not_kept() {
    let (world, index) = both().await;
    // A small one is known to be wrong before a byte of it goes out; of a large one the end never comes.
    for (promised, sent) in [
        (wheel("foo", "1.0", "one"), wheel("foo", "1.0", "two")),
        (large("2.0"), wheel_of("foo", "2.0", "py3-none-any", &b"y = 1\n".repeat(500_000))),
    ] {
        assert_eq!(promised.bytes.len(), sent.bytes.len());
        index.publish("foo", &[&promised]);
        index.say(&file_path(&promised), Say::File(sent.bytes.clone().into()));
        world.clock.advance(Duration::from_secs(61));
        match asking(&world, &promised).broken_or_whole().await {
            Ok(answer) => answer.refused(S::BAD_GATEWAY, "promises sha256:"),
            Err(answer) => assert!(answer.body.len() < promised.bytes.len()),
        }
        asking(&world, &sent).send().await.expect(S::NOT_FOUND);
    }
    nothing_of(&world, "foo").await;
}

#[tokio::test]
async fn without_a_sha256_a_file_is_not_offered() {
    let (world, index) = both().await;
    let (good, bad) = (wheel("foo", "1.0", "one"), wheel("foo", "2.0", "two"));
    for hashes in [json!({}), json!({ "md5": "0".repeat(32) }), json!({ "sha256": "12" })] {
        let mut entries = vec![entry(&good), entry(&bad)];
        entries[1]["hashes"] = hashes;
        index.publish_as("foo", &[&good, &bad], &entries);
        world.clock.advance(Duration::from_secs(61));
        assert_eq!(world.files(MAIN, "foo").await, [good.name.as_str()]);
        asking(&world, &bad).send().await.expect(S::NOT_FOUND);
    }
    let html = format!(
        "<a href=\"/packages/{0}\">{0}</a><a href=\"/packages/{0}#md5=00\">{0}</a>",
        bad.name
    );
    index.say("/simple/foo/", Say::Page("text/html", html));
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.files(MAIN, "foo").await, Vec::<String>::new());
}

#[tokio::test]
async fn threat_b11_files_of_other_projects_and_odd_names_are_not_offered() {
    let (world, index) = both().await;
    let good = wheel("foo", "1.0", "one");
    let names = [
        "bar-1.0-py3-none-any.whl",
        "foo_bar-1.0.tar.gz",
        "../foo-1.0.tar.gz",
        "foo-1.0.zip",
        "foo-1.0.exe",
        "foo-1.0-py3-none-any.whl ",
        "foo-\r\n1.0.tar.gz",
        "",
        "foo-1.0-py3.none-any.whl",
    ];
    let mut entries = vec![entry(&good), json!("no file"), json!({ "filename": 7 })];
    for name in names {
        let mut one = entry(&good);
        one["filename"] = name.into();
        entries.push(one);
    }
    for url in ["file:///etc/passwd", "http://u:p@index.example/x", "gopher://index.example/x", ""]
    {
        let mut one = entry(&wheel("foo", "2.0", "two"));
        one["url"] = url.into();
        if !url.is_empty() {
            entries.push(one);
        }
    }
    // The second of a name is not the file.
    let mut twice = entry(&good);
    twice["hashes"]["sha256"] = "0".repeat(64).into();
    entries.push(twice);
    index.publish_as("foo", &[&good], &entries);
    let page = world.page(MAIN, "foo").await.unwrap();
    assert_eq!(page["files"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["files"][0]["hashes"]["sha256"], good.sha256());
    // What lies in a wheel is another project's.
    let liar = wheel("bar", "3.0", "one");
    let mut one = entry(&liar);
    one["filename"] = "foo-3.0-py3-none-any.whl".into();
    index.publish_as("foo", &[&liar], &[one]);
    world.clock.advance(Duration::from_secs(61));
    let path = format!("{MAIN}/files/{}/foo-3.0-py3-none-any.whl", liar.sha256());
    world.get(&path).user("viewer").send().await.refused(S::BAD_GATEWAY, "refused");
    nothing_of(&world, "foo").await;
}

#[tokio::test]
async fn threat_c20_no_upstream_file_or_redirect_leads_inside() {
    let (world, index) = both().await;
    let dist = wheel("foo", "1.0", "one");
    index.publish("foo", &[&dist]);
    for to in [
        "http://inside.example/x".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        index.at("127.0.0.2", "/x"),
        "http://[::1]/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://u:p@index.example/x".to_owned(),
    ] {
        index.say(&file_path(&dist), Say::Redirect(to.clone()));
        let answer = asking(&world, &dist).send().await;
        answer.refused(S::BAD_GATEWAY, "upstream");
        index.say("/simple/bar/", Say::Redirect(to));
        let page = world.get("acme/main/simple/bar/").user("viewer").send().await;
        page.refused(S::BAD_GATEWAY, "upstream");
    }
    let mut one = entry(&dist);
    one["url"] = "http://inside.example/x".into();
    index.publish_as("foo", &[&dist], &[one]);
    world.clock.advance(Duration::from_secs(61));
    asking(&world, &dist).send().await.refused(S::BAD_GATEWAY, "not public");
    set(&world, &index, |new| new.url = "http://inside.example/simple/".parse().unwrap()).await;
    let page = world.get("acme/main/simple/new/").user("viewer").send().await;
    page.refused(S::BAD_GATEWAY, "not public");
    nothing_of(&world, "foo").await;
}

#[tokio::test]
async fn threat_a16_credentials_go_to_the_upstreams_own_origin_alone() {
    let (world, index) = both().await;
    set(&world, &index, |new| {
        new.username = Some("reader".to_owned());
        new.password = Some(Secret::new("hunter22"));
    })
    .await;
    let (here, there, moved) =
        (wheel("foo", "1.0", "one"), wheel("foo", "2.0", "two"), wheel("foo", "3.0", "three"));
    let mut entries = vec![entry(&here), entry(&there), entry(&moved)];
    entries[1]["url"] = index.at(FILES, &file_path(&there)).into();
    index.publish_as("foo", &[&here, &there, &moved], &entries);
    index.say("/moved", Say::File(moved.bytes.clone().into()));
    index.say(&file_path(&moved), Say::Redirect(index.at(FILES, "/moved")));
    for dist in [&here, &there, &moved] {
        assert!(asking(&world, dist).send().await.expect(S::OK).body == dist.bytes);
    }
    // Basic cmVhZGVyOmh1bnRlcjIy is reader:hunter22.
    let sent = |path: &str| {
        let seen = index.seen(path);
        assert_eq!(seen.len(), 1, "{path}");
        seen[0].headers.get("authorization").map(|value| value.to_str().unwrap().to_owned())
    };
    let proof = Some("Basic cmVhZGVyOmh1bnRlcjIy".to_owned());
    assert_eq!(sent("/simple/foo/"), proof);
    assert_eq!(sent(&file_path(&here)), proof);
    assert_eq!(sent(&file_path(&moved)), proof);
    assert_eq!(sent(&file_path(&there)), None);
    assert_eq!(sent("/moved"), None);
    for seen in index.seen("/") {
        assert!(seen.headers["host"].to_str().unwrap().starts_with(
            [HOST, FILES][usize::from(seen.path == "/moved" || seen.path == file_path(&there))]
        ));
    }
}

#[tokio::test]
async fn threat_c25_the_upstreams_password_lies_nowhere_in_the_clear() {
    let (world, index) = both().await;
    set(&world, &index, |new| {
        new.username = Some("reader".to_owned());
        new.password = Some(Secret::new("hunter22"));
    })
    .await;
    index.publish("foo", &[&wheel("foo", "1.0", "one")]);
    asking(&world, &wheel("foo", "1.0", "one")).send().await.expect(S::OK);
    let rows = world.engine.extension("pypi").scan("", None, 100).await.unwrap();
    assert!(rows.items.len() > 2);
    for row in rows.items {
        for secret in [&b"hunter22"[..], b"cmVhZGVyOmh1bnRlcjIy"] {
            let has = row.value.windows(secret.len()).any(|window| window == secret);
            assert!(!has, "{}", String::from_utf8_lossy(&row.key));
        }
    }
    let shown = world.upstreams.get(&known("admin"), &support::place(MAIN)).await.unwrap();
    assert!(!format!("{shown:?}{:?}", world.upstreams).contains("hunter22"));
}

#[tokio::test]
async fn redirects_are_followed_a_few_times() {
    let (world, index) = both().await;
    let dist = wheel("foo", "1.0", "one");
    index.publish("foo", &[&dist]);
    index.say(&file_path(&dist), Say::Redirect("/a".to_owned()));
    index.say("/a", Say::Redirect(index.at(FILES, "/b")));
    index.say("/b", Say::Redirect("c".to_owned()));
    index.say("/c", Say::File(dist.bytes.clone().into()));
    assert!(asking(&world, &dist).send().await.expect(S::OK).body == dist.bytes);
    index.say("/simple/bar/", Say::Redirect("/simple/bar/".to_owned()));
    let page = world.get("acme/main/simple/bar/").user("viewer").send().await;
    page.refused(S::BAD_GATEWAY, "redirects");
    assert_eq!(index.asked("bar"), 4);
}

#[tokio::test]
async fn pages_and_files_without_end_are_cut() {
    let (mut world, index) = both().await;
    let mut settings = reach();
    settings.page_max_bytes = 1 << 20;
    settings.head_timeout = Duration::from_secs(1);
    settings.idle_timeout = Duration::from_secs(1);
    world.restart(settings, Arc::new(Names));
    let page = async |say: Say| {
        index.say("/simple/bar/", say);
        world.get("acme/main/simple/bar/").user("viewer").send().await
    };
    page(Say::Endless(JSON)).await.refused(S::BAD_GATEWAY, "more than 1048576 bytes");
    page(Say::Encoded).await.refused(S::BAD_GATEWAY, "encoding");
    page(Say::Silent).await.refused(S::BAD_GATEWAY, "too long");
    page(Say::Status(500)).await.refused(S::BAD_GATEWAY, "answered 500");
    page(Say::Page("text/plain", "x".to_owned())).await.refused(S::BAD_GATEWAY, "neither");
    page(Say::Page(JSON, "{".to_owned())).await.refused(S::BAD_GATEWAY, "can't be read");
    let other = json!({ "meta": {}, "name": "other", "files": [] }).to_string();
    page(Say::Page(JSON, other)).await.refused(S::BAD_GATEWAY, "another project");
    let later = json!({ "meta": { "api-version": "2.0" }, "name": "bar", "files": [] });
    page(Say::Page(JSON, later.to_string())).await.refused(S::BAD_GATEWAY, "version");

    // Whether it says how long it is, or not; of some size, and of none.
    let dist = large("1.0");
    let bytes = bytes::Bytes::from(dist.bytes.clone());
    let mut unsized_entry = entry(&dist);
    unsized_entry.as_object_mut().unwrap().remove("size");
    for (one, say) in [
        (unsized_entry.clone(), Say::Endless("application/octet-stream")),
        (unsized_entry, Say::Held(bytes.clone(), Arc::new(Semaphore::new(0)))),
        (entry(&dist), Say::Longer(bytes.clone())),
        (entry(&dist), Say::File(bytes.slice(1..))),
        (entry(&dist), Say::Silent),
        (entry(&dist), Say::Status(404)),
    ] {
        index.publish_as("foo", &[&dist], &[one]);
        index.say(&file_path(&dist), say.clone());
        world.clock.advance(Duration::from_secs(61));
        match asking(&world, &dist).broken_or_whole().await {
            Ok(answer) => assert!(!answer.status.is_success(), "{answer:?}"),
            Err(answer) => assert!(answer.body.len() < dist.bytes.len() || say.is_endless()),
        }
        assert!(world.page(MAIN, "foo").await.unwrap()["files"][0].get("core-metadata").is_none());
    }
    nothing_of(&world, "foo").await;
}

#[tokio::test]
async fn an_archive_that_lies_is_refused_and_an_old_one_is_kept_without_its_metadata() {
    let (world, index) = both().await;
    // Bytes behind the end: some unpackers see another archive.
    let mut lying = wheel("foo", "1.0", "one");
    lying.bytes.extend_from_slice(b"more");
    index.publish("foo", &[&lying]);
    asking(&world, &lying).send().await.refused(S::BAD_GATEWAY, "refused");
    nothing_of(&world, "foo").await;
    // Core metadata of before there were rules.
    let mut old = sdist("old", "1.0", "one");
    let text = &old.metadata;
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*old.bytes), &mut tar).unwrap();
    let at = tar.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    tar[at..at + "Metadata-Version: 2.2".len()].copy_from_slice(b"Metadata-Version: 0.9");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    old.bytes = gzip.finish().unwrap();
    index.publish("old", &[&old]);
    assert!(asking(&world, &old).send().await.expect(S::OK).body == old.bytes);
    let page = world.page(MAIN, "old").await.unwrap();
    assert!(page["files"][0].get("core-metadata").is_none(), "{page}");
    assert_eq!(page["files"][0]["requires-python"], ">=3.8");
    assert_eq!(page["files"][0]["upload-time"], LONG_AGO);
    assert!(asking(&world, &old).send().await.expect(S::OK).body == old.bytes);
    assert_eq!(index.fetched(&old), 1);
}

#[tokio::test]
async fn the_upstreams_provenance_is_kept_where_it_is_of_the_file() {
    let (world, index) = both().await;
    let of = |dist| {
        json!({ "version": 1, "attestation_bundles": [{
            "publisher": { "kind": "GitHub", "repository": "someone/foo" },
            "attestations": attestations(dist),
        }] })
    };
    let [good, wrong, away, endless] =
        ["1.0", "1.1", "1.2", "1.3"].map(|version| wheel("foo", version, "one"));
    for (path, say) in [
        ("/of/1.0", Say::Page("application/vnd.pypi.integrity.v1+json", of(&good).to_string())),
        ("/of/1.1", Say::Page("application/vnd.pypi.integrity.v1+json", of(&good).to_string())),
        ("/of/1.2", Say::Status(503)),
        ("/of/1.3", Say::Endless("application/vnd.pypi.integrity.v1+json")),
    ] {
        index.say(path, say);
    }
    let dists = [&good, &wrong, &away, &endless];
    let entries = ["1.0", "1.1", "1.2", "1.3"].iter().zip(dists).map(|(version, dist)| {
        let mut entry = entry(dist);
        entry["provenance"] = format!("/of/{version}").into();
        entry
    });
    index.publish_as("foo", &dists, &entries.collect::<Vec<_>>());
    // As for the metadata: what is not here is not ours to promise.
    let page = world.page(MAIN, "foo").await.unwrap();
    assert!(page["files"][0]["provenance"].is_null(), "{page}");
    for dist in dists {
        assert!(asking(&world, dist).send().await.expect(S::OK).body == dist.bytes);
    }
    let page = world.page(MAIN, "foo").await.unwrap();
    let kept = page["files"].as_array().unwrap().iter().map(|file| file["provenance"].is_string());
    assert_eq!(kept.collect::<Vec<_>>(), [true, false, false, false], "{page}");
    let path = format!("{MAIN}/integrity/foo/1.0/{}/provenance", good.name);
    let given = world.get(&path).user("viewer").send().await;
    assert_eq!(given.expect(S::OK).json(), of(&good));
    let asked: Vec<_> = index.seen("/of/").into_iter().map(|seen| seen.path).collect();
    assert_eq!(asked, ["/of/1.0", "/of/1.1", "/of/1.2", "/of/1.3"]);

    // The same by HTML.
    let bar = wheel("bar", "1.0", "one");
    index.publish("bar", &[&bar]);
    index.say("/of/bar", Say::Page("application/vnd.pypi.integrity.v1+json", of(&bar).to_string()));
    let html = format!(
        "<a href=\"{}#sha256={}\" data-provenance=\"/of/bar\">{}</a>",
        file_path(&bar),
        bar.sha256(),
        bar.name
    );
    index.say("/simple/bar/", Say::Page("text/html", html));
    asking(&world, &bar).send().await.expect(S::OK);
    let page = world.page(MAIN, "bar").await.unwrap();
    assert!(page["files"][0]["provenance"].is_string(), "{page}");
}

#[tokio::test]
async fn what_is_kept_counts_against_the_quota() {
    let (world, index) = both().await;
    let (small, dist) = (wheel("foo", "1.0", "one"), large("2.0"));
    index.publish("foo", &[&small, &dist]);
    let operator = strongroom_engine::access::Caller { operator: true, ..known("operator") };
    let acme = "acme".parse().unwrap();
    world.engine.set_quota(&operator, &acme, Some(1 << 20)).await.unwrap();
    asking(&world, &small).send().await.expect(S::OK);
    let used = world.engine.usage(&known("admin"), &acme).await.unwrap();
    assert!(used.used_bytes >= small.bytes.len() as u64, "{used:?}");
    match asking(&world, &dist).broken_or_whole().await {
        Ok(answer) => answer.refused(S::FORBIDDEN, "bytes"),
        Err(answer) => assert!(answer.body.len() < dist.bytes.len()),
    }
    assert_eq!(world.files(MAIN, "foo").await.len(), 2);
    // What was begun is given back by a task of its own.
    while world.engine.usage(&known("admin"), &acme).await.unwrap() != used {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_registry_whose_upstream_is_slow_keeps_no_other_waiting() {
    let (world, index) = both().await;
    let slow = Index::new().await;
    let place = support::place("acme/open");
    let new = strongroom_pypi::upstream::NewUpstream {
        url: slow.url().parse().unwrap(),
        allow: Vec::new(),
        deny: Vec::new(),
        cool_down_days: 0,
        fresh_seconds: None,
        username: None,
        password: None,
    };
    world.upstreams.set(&known("admin"), &place, &new, None).await.unwrap();
    let names: Vec<_> = (0..40).map(|n| format!("slow{n}")).collect();
    for name in &names {
        slow.say(&format!("/simple/{name}/"), Say::Silent);
    }
    index.publish("foo", &[&wheel("foo", "1.0", "one")]);
    let paths: Vec<_> = names.iter().map(|name| format!("acme/open/simple/{name}/")).collect();
    let waiting = futures::future::join_all(paths.iter().map(|path| world.get(path).send()));
    let other = async {
        // Once as many as may wait there do.
        while slow.seen("/simple/").len() < 8 {
            tokio::task::yield_now().await;
        }
        world.files(MAIN, "foo").await
    };
    tokio::select! {
        _ = waiting => panic!("what is silent answered"),
        files = other => assert_eq!(files.len(), 1),
    }
    assert_eq!(slow.seen("/simple/").len(), 8);
}
