//! What must cost the same, or no more: shown by counting what the stores are asked for, not by a clock.

use std::sync::Arc;

use super::gate::Asked;
use super::support::{World, body, found, image, sha256};
use crate::access::Action;
use crate::change::Change;
use crate::content::fault::FaultBlobs;
use crate::content::opendal::OpendalStore;
use crate::digest::Digest;
use crate::id::{OrganisationId, RegistryId};
use crate::{ManifestPush, Repository};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A second organisation, `peer`, with a registry `main`.
async fn peer(world: &World) {
    let mut change = Change::new(&world.engine.core);
    found(&mut change, "peer", (OrganisationId(11), RegistryId(12)), None);
    change.commit().await.unwrap();
}

fn push_of(text: &str) -> ManifestPush {
    ManifestPush {
        bytes: text.as_bytes().to_vec().into(),
        content_type: Some(IMAGE.to_owned()),
        digest: None,
        tags: Vec::new(),
    }
}

/// What is done for a stranger who asks in every way for `content` of which `acme` has `theirs`.
async fn work_for(content: &[u8]) -> Vec<(Vec<Asked>, u64)> {
    let blobs = Arc::new(FaultBlobs::new(OpendalStore::memory().unwrap()));
    let world = World::over(Arc::clone(&blobs) as _).await;
    peer(&world).await;
    let theirs = world.push_blob("api", b"theirs").await;
    world.push_image("api", b"theirs", "v1").await;
    assert_eq!(theirs, sha256(b"theirs"));

    let digest = sha256(content);
    let open = async |path: &str, action| -> Repository {
        world.engine.repository(&world.caller, &path.parse().unwrap(), action).await.unwrap()
    };
    let own = sha256(b"{}");
    let repository = open("peer/main/own", Action::Push).await;
    repository.push_blob(&own, None, body(b"{}")).await.unwrap();
    let mut all = Vec::new();
    let mut done = || {
        let asked = world.gate.asked();
        let calls = blobs.calls();
        all.push((asked, calls));
    };
    done();
    let repository = open("peer/main/own", Action::Pull).await;
    repository.stat_blob(&digest).await.unwrap_err();
    done();
    repository.blob(&digest).await.unwrap_err();
    done();
    let repository = open("peer/main/own", Action::Push).await;
    let source = open("acme/main/api", Action::Pull).await;
    assert!(!repository.mount(&digest, &source).await.unwrap());
    done();
    assert!(!repository.mount_from_any(&digest).await.unwrap());
    done();
    let manifest = push_of(&image(&own, 2, &digest, content.len()));
    repository.push_manifest(&manifest).await.unwrap_err();
    done();
    // Its bytes are asked for, hashed and written whole.
    let short = body(&content[1..]);
    repository.push_blob(&digest, None, short).await.unwrap_err();
    done();
    repository.push_blob(&digest, None, body(content)).await.unwrap();
    done();
    repository.push_manifest(&manifest).await.unwrap();
    done();
    all
}

#[tokio::test]
async fn threat_b17_as_much_is_done_for_what_another_tenant_has_as_for_what_nobody_has() {
    let (theirs, nobodys) = (work_for(b"theirs").await, work_for(b"nobody").await);
    assert_eq!(theirs, nobodys);
    let writes = |(asked, _): &(Vec<Asked>, u64)| {
        asked.iter().filter(|asked| matches!(asked, Asked::Commit(_))).count()
    };
    assert!(writes(&theirs[7]) > 0 && theirs[7].1 > theirs[6].1, "their bytes are kept again");
}

const REFERRERS: usize = 100_000;
const PAGE: usize = 100;

/// What one push of a referrer, and one page of referrers from `from` on, ask for.
async fn referrers_cost(world: &World, subject: &Digest, number: usize) -> [Vec<Asked>; 2] {
    let repository = world.open("api", Action::Push).await.unwrap();
    world.gate.asked();
    repository.push_manifest(&referrer(subject, number)).await.unwrap();
    let push = world.gate.asked();
    let repository = world.open("api", Action::Pull).await.unwrap();
    world.gate.asked();
    let page = repository.referrers(subject, None, None, PAGE).await.unwrap();
    assert!(page.items.len() == PAGE && page.next.is_some());
    [push, world.gate.asked()]
}

fn referrer(subject: &Digest, number: usize) -> ManifestPush {
    let config = sha256(b"{}");
    push_of(&format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","artifactType":"text/x",
        "config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},
        "layers":[],"subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":7}},
        "annotations":{{"number":"{number}"}}}}"#
    ))
}

#[tokio::test]
async fn threat_c6_a_hundred_thousand_referrers_of_one_subject_cost_a_page_no_more() {
    let world = World::new().await;
    world.push_blob("api", b"{}").await;
    let subject = sha256(b"what they all are about");
    let repository = world.open("api", Action::Push).await.unwrap();
    for number in 0..=PAGE {
        repository.push_manifest(&referrer(&subject, number)).await.unwrap();
    }
    let few = referrers_cost(&world, &subject, REFERRERS + 1).await;
    for number in PAGE..REFERRERS {
        repository.push_manifest(&referrer(&subject, number)).await.unwrap();
        if number.is_multiple_of(1_000) {
            // They are remembered for this test's others.
            world.gate.committed();
            world.gate.asked();
        }
    }
    let many = referrers_cost(&world, &subject, REFERRERS + 2).await;
    assert_eq!(few, many);

    // Every page, to the last: none reads more than its own rows, and all come once.
    let repository = world.open("api", Action::Pull).await.unwrap();
    let (mut from, mut seen) = (None::<String>, std::collections::HashSet::new());
    world.gate.asked();
    loop {
        let page = repository.referrers(&subject, None, from.as_deref(), 1_000).await.unwrap();
        let rows = world.gate.asked().into_iter().map(|asked| match asked {
            Asked::Get(rows) | Asked::Scan(rows) => rows,
            Asked::Commit(_) => panic!("reading writes nothing"),
        });
        assert!(rows.sum::<usize>() <= 2 * 1_001);
        for item in page.items {
            assert!(seen.insert(item.digest));
        }
        let Some(next) = page.next else { break };
        from = Some(next);
    }
    assert_eq!(seen.len(), REFERRERS + 2);
}
