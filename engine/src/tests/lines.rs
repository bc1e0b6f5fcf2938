//! A line for each change, in the commit of the change (I7).

use bytes::Bytes;

use super::support::{World, body, sha256};
use crate::access::Action;
use crate::audit::decode_event;
use crate::gc::{CollectOptions, ScrubOptions};
use crate::id::{OrganisationId, SessionId};
use crate::keys;
use crate::meta::{Commit, Key};
use crate::records::{BlobRecord, BlobState, Record, SessionRecord};

const ACME: OrganisationId = OrganisationId(1);
const DAY: std::time::Duration = std::time::Duration::from_hours(25);

/// What kind of row of an organisation this is the key of: the byte behind the id.
fn kind(key: &Key) -> Option<u8> {
    key.get(9).copied().filter(|_| key.first() == Some(&b'o'))
}

fn is_link(key: &Key) -> bool {
    kind(key) == Some(b'd') && keys::parse_content(key).is_some_and(|(_, link)| link.is_some())
}

fn is_blob(key: &Key) -> bool {
    kind(key) == Some(b'd') && keys::parse_content(key).is_some_and(|(_, link)| link.is_none())
}

/// The lines of which a commit must have one for each such change in it.
fn wanted(commit: &Commit) -> Vec<&'static [&'static str]> {
    let mut wanted: Vec<&'static [&'static str]> = Vec::new();
    for (key, value) in &commit.put {
        if kind(key) == Some(b'u') && SessionRecord::decode(value).unwrap().epoch == 0 {
            wanted.push(&["upload_started"]);
        }
        if kind(key) == Some(b'r') && key.len() == 19 && key.last() == Some(&b'a') {
            wanted.push(&["repository_created"]);
        }
        if is_blob(key) {
            match BlobRecord::decode(value).unwrap().state {
                BlobState::Deleting { .. } => wanted.push(&["content_given_up"]),
                BlobState::Quarantined { .. } => wanted.push(&["content_quarantined"]),
                BlobState::Live | BlobState::Condemned { .. } => {}
            }
        }
    }
    for key in &commit.delete {
        if kind(key) == Some(b'u') {
            wanted.push(&["upload_ended", "blob_pushed", "manifest_pushed"]);
        } else if is_link(key) {
            wanted.push(&["link_collected", "blob_deleted", "manifest_deleted"]);
        } else if is_blob(key) {
            wanted.push(&["content_deleted"]);
        }
    }
    wanted
}

fn lines(commit: &Commit) -> Vec<&'static str> {
    commit.append.iter().map(|line| decode_event(&line.entry).unwrap().kind.name()).collect()
}

/// Requires a line of its own for each change of each commit; says which lines there were.
fn told(commits: &[Commit]) -> Vec<&'static str> {
    for commit in commits {
        let mut lines = lines(commit);
        for names in wanted(commit) {
            let found = lines.iter().position(|line| names.contains(line));
            let found = found.unwrap_or_else(|| panic!("no line of {names:?} in {commit:?}"));
            lines.swap_remove(found);
        }
    }
    commits.iter().flat_map(lines).collect()
}

#[tokio::test]
async fn a_push_an_upload_and_what_ends_it_have_their_lines() {
    let world = World::new().await;
    world.gate.committed();
    world.push_blob("api", b"a blob").await;
    let expected = ["repository_created", "upload_started", "blob_pushed"];
    assert_eq!(told(&world.gate.committed()), expected);
    let repository = world.open("api", Action::Push).await.unwrap();
    let wrong = repository.push_blob(&sha256(b"another"), None, body(b"a blob")).await;
    wrong.unwrap_err();
    assert_eq!(told(&world.gate.committed()), ["upload_started", "upload_ended"]);
    let upload = repository.start_upload(None, None).await.unwrap();
    repository.cancel_upload(upload.id).await.unwrap();
    assert_eq!(told(&world.gate.committed()), ["upload_started", "upload_ended"]);
    repository.start_upload(None, None).await.unwrap();
    world.clock.advance(DAY);
    world.engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
    let lines = told(&world.gate.committed());
    assert!(lines.contains(&"upload_ended"), "{lines:?}");
}

#[tokio::test]
async fn each_thing_that_a_collection_takes_has_its_line() {
    let world = World::new().await;
    for n in 0..3_u8 {
        world.push_blob("api", &[n]).await;
    }
    let core = &world.engine.core;
    let orphan = keys::object::in_flight(ACME, SessionId([7; 16]));
    core.blobs.put(&orphan, Bytes::from_static(b"lost")).await.unwrap();
    world.gate.committed();
    for _ in 0..2 {
        world.clock.advance(DAY);
        world.engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
    }
    let lines = told(&world.gate.committed());
    let count = |name| lines.iter().filter(|line| **line == name).count();
    for (name, expected) in [
        ("link_collected", 3),
        ("content_given_up", 3),
        ("content_deleted", 3),
        ("orphan_deleted", 1),
    ] {
        assert_eq!(count(name), expected, "{name} in {lines:?}");
    }
    assert_eq!(lines.len(), 10, "{lines:?}");
}

#[tokio::test]
async fn a_removed_link_is_told_with_the_name_of_its_repository() {
    let world = World::new().await;
    let digest = world.push_blob("team/api", b"a blob").await;
    world.clock.advance(DAY);
    let mut events = world.engine.subscribe();
    world.engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
    let event = events.recv().await.unwrap();
    assert_eq!(event.principal, "system");
    assert_eq!(event.kind.repository().unwrap().path, "acme/main/team/api");
    let crate::audit::EventKind::LinkCollected { digest: told, size, .. } = &event.kind else {
        panic!("{event:?}")
    };
    assert_eq!((*told, *size), (digest, 6));
}

#[tokio::test]
async fn rotten_content_is_told_with_its_digest() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"a layer").await;
    let core = &world.engine.core;
    let row = core.meta.get(&keys::blob(ACME, &digest)).await.unwrap().unwrap();
    let object = BlobRecord::decode(&row).unwrap().object(ACME, &digest);
    core.blobs.put(&object, Bytes::from_static(b"a laxer")).await.unwrap();
    world.gate.committed();
    world.engine.scrub(&ScrubOptions::default(), &|_| {}).await.unwrap();
    assert_eq!(told(&world.gate.committed()), ["content_quarantined"]);
}
