//! What goes, and what stays.

use bytes::Bytes;

use super::{ACME, DAY, blob, collect, collect_all, objects, used};
use crate::access::Action;
use crate::gc::CollectOptions;
use crate::keys;
use crate::tests::support::{World, body, sha256};
use crate::{Chunk, Error};

#[tokio::test]
async fn what_nobody_names_goes_after_lease_delay_and_two_collections() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"garbage").await;
    let early = collect(&world).await;
    assert_eq!((early.links.count, early.given_up.count), (0, 0));
    world.clock.advance(DAY);
    let first = collect(&world).await;
    assert_eq!((first.links.count, first.given_up.count, first.deleted.count), (1, 1, 0));
    assert_eq!(objects(&world).await, 1);
    let soon = collect(&world).await;
    assert_eq!(soon.deleted.count, 0);
    world.clock.advance(DAY);
    let second = collect(&world).await;
    assert_eq!((second.deleted.count, second.deleted.bytes), (1, 7));
    assert!(second.complete);
    assert_eq!(objects(&world).await, 0);
    assert_eq!(used(&world).await, 0);
    assert!(blob(&world, &digest).await.is_none());
}

#[tokio::test]
async fn an_image_stays_and_goes_once_its_manifest_is_deleted() {
    let world = World::new().await;
    let manifest = world.push_image("api", b"a layer", "v1").await;
    collect_all(&world).await;
    assert_eq!(world.digest_of("api", "v1").await.unwrap(), manifest);
    let repository = world.open("api", Action::Pull).await.unwrap();
    assert_eq!(repository.stat_blob(&sha256(b"a layer")).await.unwrap().size, 7);
    let repository = world.open("api", Action::Delete).await.unwrap();
    repository.delete_manifest(&manifest).await.unwrap();
    collect_all(&world).await;
    assert_eq!(objects(&world).await, 0);
    assert_eq!(used(&world).await, 0);
}

#[tokio::test]
async fn what_a_head_promised_stays() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"promised").await;
    world.clock.advance(DAY);
    let repository = world.open("api", Action::Pull).await.unwrap();
    repository.stat_blob(&digest).await.unwrap();
    let report = collect(&world).await;
    assert_eq!(report.links.count, 0);
    assert!(repository.stat_blob(&digest).await.is_ok());
}

#[tokio::test]
async fn a_dry_run_tells_and_changes_nothing() {
    let world = World::new().await;
    world.push_blob("api", b"garbage").await;
    world.push_image("api", b"a layer", "v1").await;
    world.clock.advance(DAY);
    let meta = &world.engine.core.meta;
    let before = meta.scan(vec![0]..vec![255], 1000).await.unwrap();
    let options = CollectOptions::default().dry_run();
    let report = world.engine.collect(&options, &|_| {}).await.unwrap();
    assert_eq!((report.links.count, report.given_up.count), (1, 1));
    assert_eq!(meta.scan(vec![0]..vec![255], 1000).await.unwrap(), before);
    assert_eq!(objects(&world).await, 3);
}

#[tokio::test]
async fn a_run_that_was_stopped_is_gone_on_with() {
    let world = World::new().await;
    for n in 0..700_u32 {
        world.push_blob("api", &n.to_be_bytes()).await;
    }
    world.clock.advance(DAY);
    let options = CollectOptions { budget: Some(1), ..CollectOptions::default() };
    let first = world.engine.collect(&options, &|_| {}).await.unwrap();
    assert!(!first.complete && first.looked_at == 1000);
    let second = world.engine.collect(&options, &|_| {}).await.unwrap();
    assert!(second.resumed);
    assert_eq!(first.given_up.count + second.given_up.count, 700);
    let third = collect(&world).await;
    assert!(third.complete && third.given_up.count == 0);
}

#[tokio::test]
async fn a_budget_ends_a_run_among_uploads_and_objects_too_and_all_is_looked_at_in_the_end() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    for _ in 0..1100 {
        repository.start_upload(None, None).await.unwrap();
    }
    let core = &world.engine.core;
    for n in 0..1100_u32 {
        let mut id = [7; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let key = keys::object::settled(ACME, &sha256(b"lost"), crate::id::SessionId(id));
        core.blobs.put(&key, Bytes::from_static(b"lost")).await.unwrap();
    }
    world.clock.advance(DAY);
    let options = CollectOptions { budget: Some(1), ..CollectOptions::default() };
    let (mut uploads, mut orphans) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let report = world.engine.collect(&options, &|_| {}).await.unwrap();
        assert!(!report.complete && report.looked_at <= 1000, "{report:?}");
        uploads.push(report.uploads.count);
        orphans.push(report.orphans.count);
    }
    assert_eq!((uploads, orphans), (vec![1000, 100, 0, 0], vec![0, 0, 1000, 100]));
    let last = collect(&world).await;
    assert!(last.resumed && last.complete);
    assert_eq!(objects(&world).await, 0);
}

#[tokio::test]
async fn an_upload_that_expired_goes_with_its_object_and_a_slow_one_stays() {
    let world = World::new().await;
    let repository = world.open("api", Action::Push).await.unwrap();
    let dead = repository.start_upload(None, None).await.unwrap();
    let chunk = || Chunk { at: None, length: Some(5) };
    repository.append(dead.id, chunk(), body(b"12345")).await.unwrap();
    let slow = repository.start_upload(None, None).await.unwrap();
    for _ in 0..3 {
        world.clock.advance(DAY / 2);
        repository.append(slow.id, chunk(), body(b"12345")).await.unwrap();
        collect(&world).await;
    }
    assert!(matches!(repository.upload(dead.id).await, Err(Error::UploadUnknown { .. })));
    let digest = sha256(b"123451234512345");
    assert_eq!(repository.finish_upload(slow.id, &digest).await.unwrap().size, 15);
    assert_eq!(objects(&world).await, 1);
    assert_eq!(used(&world).await, 15);
}

#[tokio::test]
async fn orphans_go_and_what_is_not_ours_stays() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"kept").await;
    let core = &world.engine.core;
    let id = crate::id::SessionId([7; 16]);
    for key in [
        keys::object::settled(ACME, &sha256(b"lost"), id),
        keys::object::in_flight(ACME, id),
        crate::content::ObjectKey::new("somebody/elses").unwrap(),
    ] {
        core.blobs.put(&key, Bytes::from_static(b"lost")).await.unwrap();
    }
    let report = collect(&world).await;
    assert_eq!((report.orphans.count, report.foreign.count), (2, 1));
    assert_eq!(objects(&world).await, 2);
    let repository = world.open("api", Action::Pull).await.unwrap();
    repository.blob(&digest).await.unwrap().read(0..4).await.unwrap();
}

#[tokio::test]
async fn a_link_of_a_repository_that_is_gone_is_removed() {
    let world = World::new().await;
    let digest = world.push_blob("api", b"left behind").await;
    let core = &world.engine.core;
    let row = core.meta.get(&keys::repository_name(ACME, crate::id::RegistryId(2), "api")).await;
    let name =
        <crate::records::NameRecord as crate::records::Record>::decode(&row.unwrap().unwrap());
    let crate::records::NameRecord::Live(id) = name.unwrap() else { panic!("not live") };
    let mut change = crate::change::Change::new(core);
    change.delete(keys::repository(ACME, crate::id::RepositoryId(id)));
    change.commit().await.unwrap();
    let report = collect(&world).await;
    assert_eq!((report.links.count, report.given_up.count), (1, 1));
    assert!(blob(&world, &digest).await.is_some());
}

#[tokio::test]
async fn rows_that_can_not_be_read_stop_nobody() {
    use std::sync::Arc;

    use crate::change::Change;
    use crate::id::{OrganisationId, RegistryId, RepositoryId, SessionId};
    use crate::meta::prefix_range;
    use crate::records::{Life, OrganisationRecord, RegistryRecord};
    use crate::seam::Timestamp;

    let world = World::new().await;
    let core = &world.engine.core;
    let damaged = || Bytes::from_static(b"\xffdamaged");
    let (broken, leaving) = (OrganisationId(7), OrganisationId(8));
    let digest = sha256(b"elsewhere");
    let (name, life) = ("leaving".to_owned(), Life::Deleting);
    let created_at = Timestamp(0);
    let record = OrganisationRecord { name, life, created_at, quota_bytes: None, admins: 0 };
    let name = "gone".to_owned();
    let registry = RegistryRecord {
        name,
        life,
        created_at,
        public: false,
        sparse_indexes: false,
        immutable_tags: Vec::new(),
        retention: Vec::new(),
    };
    let mut change = Change::new(core);
    change.put_raw(keys::organisation(broken), damaged());
    // An organisation that goes, and a registry, each with things in it that can't be read.
    change.put(keys::organisation(leaving), &record);
    change.put_raw(keys::blob(leaving, &digest), damaged());
    change.put_raw(keys::session(leaving, SessionId([1; 16])), damaged());
    change.put(keys::registry(ACME, RegistryId(9)), &registry);
    change.put_raw(keys::registry(ACME, RegistryId(10)), damaged());
    change.put_raw(keys::session(ACME, SessionId([2; 16])), damaged());
    change.put_raw(keys::member(ACME, "user:x"), damaged());
    change.put_raw(keys::repository_name(ACME, RegistryId(9), "lost"), damaged());
    change.put_raw(keys::manifest(leaving, RepositoryId(1), crate::id::Number(1)), damaged());
    change.commit().await.unwrap();
    world.push_blob("api", b"unused").await;

    let again = crate::Engine::builder(Arc::clone(&core.meta), Arc::clone(&core.blobs));
    again.build().await.unwrap();
    world.clock.advance(DAY);
    let report = collect(&world).await;
    assert!(report.unreadable >= 5, "{report:?}");
    assert_eq!((report.links.count, report.complete), (1, true));
    for gone in [keys::organisation(leaving), keys::registry(ACME, RegistryId(9))] {
        assert_eq!(core.meta.get(&gone).await.unwrap(), None);
    }
    let left = prefix_range(&keys::organisation_rows(leaving));
    assert_eq!(core.meta.scan(left, 10).await.unwrap(), []);
    world.engine.seal().await.unwrap();
}
