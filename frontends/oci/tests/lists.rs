//! Lists: tags, the catalog, referrers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::StatusCode as S;
use serde_json::{Value, json};
use support::{IMAGE, INDEX, Refused, World, descriptor, image, sha256};

const NAME: &str = "acme/main/team/api";

/// All pages of a list, by following Link.
async fn pages(world: &World, first: &str) -> Vec<Value> {
    let (mut pages, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(path) = next {
        let answer = world.admin("GET", &path).send().await;
        pages.push(answer.expect(S::OK).json());
        next = answer.headers.get("link").map(|link| {
            let link = link.to_str().unwrap().strip_suffix(">; rel=\"next\"").unwrap();
            link.strip_prefix('<').unwrap().to_owned()
        });
    }
    pages
}

#[tokio::test]
async fn tags_come_in_pages_in_the_order_of_their_bytes() {
    let world = World::new().await;
    world.push_image(NAME, "b", b"layer").await;
    for tag in ["a", "B", "a-b", "a.b"] {
        world.push(NAME, tag, &image(b"layer", "")).await;
    }
    let list = format!("/v2/{NAME}/tags/list");
    let tags =
        |pages: Vec<Value>| pages.into_iter().map(|page| page["tags"].clone()).collect::<Vec<_>>();
    assert_eq!(tags(pages(&world, &list).await), [json!(["B", "a", "a-b", "a.b", "b"])]);
    let twos = tags(pages(&world, &format!("{list}?n=2")).await);
    assert_eq!(twos, [json!(["B", "a"]), json!(["a-b", "a.b"]), json!(["b"])]);
    let after = tags(pages(&world, &format!("{list}?n=2&last=a-c")).await);
    assert_eq!(after, [json!(["a.b", "b"])]);
    assert_eq!(tags(pages(&world, &format!("{list}?n=0")).await), [json!([])]);
    assert_eq!(
        tags(pages(&world, &format!("{list}?n=99999999999999999999&last=zz")).await),
        [json!([])]
    );
    world.admin("GET", &format!("{list}?n=-1")).send().await.error(S::BAD_REQUEST, "UNSUPPORTED");
    let absent = world.admin("GET", "/v2/acme/main/absent/tags/list").send().await;
    absent.error(S::NOT_FOUND, "NAME_UNKNOWN");
}

#[tokio::test]
async fn threat_b13_the_catalog_lists_what_its_reader_may_list() {
    let world = World::new().await;
    for name in ["acme/main/b", "acme/main/a/deep", "acme/open/c"] {
        world.push_blob(name, b"x").await;
    }
    let all = pages(&world, "/v2/_catalog?n=2").await;
    assert_eq!(
        all,
        [
            json!({"repositories": ["acme/main/a/deep", "acme/main/b"]}),
            json!({"repositories": ["acme/open/c"]}),
        ]
    );
    let stranger = world.request("GET", "/v2/_catalog").user("stranger").send().await;
    assert_eq!(stranger.expect(S::OK).json(), json!({"repositories": []}));
    let nobody = world.request("GET", "/v2/_catalog").send().await;
    nobody.error(S::UNAUTHORIZED, "UNAUTHORIZED");
    assert!(nobody.header("www-authenticate").contains("scope=\"registry:catalog:*\""));
}

fn referrer(subject: &str, artifact_type: &str, note: &str) -> String {
    image(
        b"layer",
        &format!(
            r#","artifactType":"{artifact_type}","annotations":{{"note":"{note}"}},"subject":{subject}"#
        ),
    )
}

#[tokio::test]
async fn referrers_are_an_index_that_can_be_filtered() {
    let world = World::new().await;
    world.push_image(NAME, "v1", b"layer").await;
    let subject = image(b"layer", "");
    let digest = sha256(subject.as_bytes());
    let subject = descriptor(IMAGE, subject.as_bytes());
    let list = format!("/v2/{NAME}/referrers/{digest}");
    let empty = world.admin("GET", &list).send().await;
    assert_eq!(empty.expect(S::OK).header("content-type"), INDEX);
    let nothing = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    assert_eq!(empty.json(), nothing);

    let (one, two) = (referrer(&subject, "text/one", "1"), referrer(&subject, "text/two", "2"));
    for manifest in [&one, &two] {
        let digest = sha256(manifest.as_bytes());
        let path = format!("/v2/{NAME}/manifests/{digest}");
        let put = world.admin("PUT", &path).header("content-type", IMAGE).body(manifest);
        let subject = put.send().await.expect(S::CREATED).header("oci-subject").to_owned();
        assert_eq!(subject, sha256(image(b"layer", "").as_bytes()).to_string());
    }
    let all = world.admin("GET", &list).send().await;
    assert!(all.headers.get("oci-filters-applied").is_none());
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 2);
    let some = world.admin("GET", &format!("{list}?artifactType=text%2Ftwo")).send().await;
    assert_eq!(some.header("oci-filters-applied"), "artifactType");
    assert_eq!(
        some.json()["manifests"],
        json!([{
            "mediaType": IMAGE, "digest": sha256(two.as_bytes()).to_string(), "size": two.len(),
            "artifactType": "text/two", "annotations": {"note": "2"},
        }])
    );
    let none = world.admin("GET", &format!("{list}?artifactType=text/none")).send().await;
    assert_eq!(none.json(), nothing);
}

#[tokio::test]
async fn a_repository_that_is_not_there_yet_has_no_referrers() {
    let world = World::new().await;
    let path = format!("/v2/acme/main/new/referrers/{}", sha256(b"x"));
    let answer = world.admin("GET", &path).send().await;
    assert_eq!(answer.expect(S::OK).json()["manifests"], json!([]));
    let hidden = world.request("GET", &path).user("stranger").send().await;
    hidden.error(S::NOT_FOUND, "NAME_UNKNOWN");
}

#[tokio::test]
async fn threat_c6_many_referrers_come_in_pages_that_clients_can_read() {
    let world = World::new().await;
    world.push_image(NAME, "v1", b"layer").await;
    let subject = image(b"layer", "");
    let digest = sha256(subject.as_bytes());
    let subject = descriptor(IMAGE, subject.as_bytes());
    let long = "x".repeat(200_000);
    for n in 0..25 {
        world
            .push(NAME, &format!("r{n}"), &referrer(&subject, "text/one", &format!("{n}{long}")))
            .await;
    }
    for filter in ["", "?artifactType=text/one"] {
        let pages = pages(&world, &format!("/v2/{NAME}/referrers/{digest}{filter}")).await;
        assert_eq!(pages.len(), 2, "{filter}");
        let mut seen = std::collections::HashSet::new();
        for page in &pages {
            assert!(page.to_string().len() <= 4 << 20);
            for entry in page["manifests"].as_array().unwrap() {
                assert!(seen.insert(entry["digest"].as_str().unwrap().to_owned()));
            }
        }
        assert_eq!(seen.len(), 25, "{filter}");
    }
    let bad = format!("/v2/{NAME}/referrers/{digest}?from=zz");
    world.admin("GET", &bad).send().await.error(S::BAD_REQUEST, "UNSUPPORTED");
}

#[tokio::test]
async fn what_the_fallback_tag_lists_is_listed_too() {
    let world = World::new().await;
    world.push_image(NAME, "v1", b"layer").await;
    let digest = sha256(image(b"layer", "").as_bytes());
    let subject = descriptor(IMAGE, image(b"layer", "").as_bytes());
    let known = referrer(&subject, "text/one", "1");
    world.push(NAME, "known", &known).await;
    // Pushed by a client that knows no subjects.
    let unknown = image(b"layer", r#","artifactType":"text/old""#);
    world.push(NAME, "unknown", &unknown).await;
    let entry = |manifest: &str, kind: &str| {
        let (digest, size) = (sha256(manifest.as_bytes()), manifest.len());
        format!(
            r#"{{"mediaType":"{IMAGE}","digest":"{digest}","size":{size},"artifactType":"{kind}"}}"#
        )
    };
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{},{}]}}"#,
        entry(&known, "text/one"),
        entry(&unknown, "text/old")
    );
    world.push(NAME, &digest.to_string().replace(':', "-"), &index).await;
    let list = format!("/v2/{NAME}/referrers/{digest}");
    let all = world.admin("GET", &list).send().await.json();
    let digests: Vec<_> =
        all["manifests"].as_array().unwrap().iter().map(|entry| entry["digest"].clone()).collect();
    let (known, unknown) = (sha256(known.as_bytes()), sha256(unknown.as_bytes()));
    assert_eq!(digests, [known.to_string(), unknown.to_string()]);
    let old = world.admin("GET", &format!("{list}?artifactType=text/old")).send().await.json();
    assert_eq!(old["manifests"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn threat_c6_a_large_fallback_index_is_read_in_pages_and_nothing_of_it_is_lost() {
    let world = World::new().await;
    world.push_image(NAME, "v1", b"layer").await;
    let digest = sha256(image(b"layer", "").as_bytes());
    let mut entries = Vec::new();
    for n in 0..300 {
        let manifest = image(b"layer", &format!(r#","annotations":{{"n":"{n}"}}"#));
        let digest = world.push(NAME, &format!("t{n}"), &manifest).await;
        let size = manifest.len();
        entries.push(format!(r#"{{"mediaType":"{IMAGE}","digest":"{digest}","size":{size}}}"#));
    }
    let entries = entries.join(",");
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entries}]}}"#);
    world.push(NAME, &digest.to_string().replace(':', "-"), &index).await;
    for (query, sizes) in [("", &[256, 44][..]), ("?n=100", &[100, 100, 100])] {
        let pages = pages(&world, &format!("/v2/{NAME}/referrers/{digest}{query}")).await;
        let listed = |page: &Value| page["manifests"].as_array().unwrap().len();
        assert_eq!(pages.iter().map(listed).collect::<Vec<_>>(), sizes, "{query}");
    }
    let none = world.admin("GET", &format!("/v2/{NAME}/referrers/{digest}?n=0")).send().await;
    assert_eq!(none.json()["manifests"], json!([]));
    assert!(none.headers.get("link").is_none());
}
