//! Giving organisations and registries up.

use super::{Town, caller, operator, organisation, principal, registry};
use crate::access::{Action, Role};
use crate::audit::{EventKind, TrailQuery};
use crate::content::BlobStore;
use crate::gc::FsckOptions;
use crate::meta::{Row, prefix_range};
use crate::records::{Life, OrganisationRecord, Record, RegistryRecord};
use crate::tenancy::purge::{Bounds, purge};
use crate::{Error, keys};

impl Town {
    async fn rows(&self, prefix: &[u8]) -> Vec<Row> {
        self.meta.scan(prefix_range(prefix), usize::MAX).await.unwrap()
    }
}

#[tokio::test]
async fn what_is_not_empty_is_only_deleted_by_force() {
    let town = Town::new().await;
    let (ann, acme, main) = (caller("ann"), organisation("acme"), registry("main"));
    town.push("acme/main/app", b"layer").await.unwrap();

    let whole = town.engine.delete_organisation(&ann, &acme, false).await;
    let one = town.engine.delete_registry(&ann, &acme, &main, false).await;

    assert!(matches!(whole, Err(Error::NotEmpty { .. })), "{whole:?}");
    assert!(matches!(one, Err(Error::NotEmpty { .. })), "{one:?}");
    town.push("acme/main/app", b"another").await.expect("it takes pushes as before");
    town.engine.delete_registry(&ann, &acme, &main, true).await.unwrap();
    let gone = town.push("acme/main/app", b"third").await;
    assert!(matches!(gone, Err(Error::NameUnknown { .. })), "{gone:?}");
}

#[tokio::test]
async fn what_is_empty_is_deleted_and_its_name_stays_reserved() {
    let town = Town::new().await;
    let (ann, acme, main) = (caller("ann"), organisation("acme"), registry("main"));

    town.engine.delete_registry(&ann, &acme, &main, false).await.unwrap();
    town.engine.delete_organisation(&ann, &acme, false).await.unwrap();

    let gone = town.engine.organisation(&ann, &acme).await;
    assert!(matches!(gone, Err(Error::NameUnknown { .. })), "{gone:?}");
    purge(&town.engine.core, Bounds::default()).await.unwrap();
    let taken = town.engine.create_organisation(&operator(), &acme, None, None).await;
    assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_organisation_but_its_trail() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    town.engine.set_role(&ann, &acme, &principal("bob"), None, Role::Viewer).await.unwrap();
    town.push("acme/main/app", b"layer").await.unwrap();
    let path = "acme/main/app".parse().unwrap();
    let repository = town.engine.repository(&ann, &path, Action::Push).await.unwrap();
    repository.start_upload(None, None).await.unwrap();
    let id = town.engine.organisation(&ann, &acme).await.unwrap().id;
    let lines = town.rows(&keys::audit_chains(id)).await.len();

    town.engine.delete_organisation(&ann, &acme, true).await.unwrap();
    let purged = purge(&town.engine.core, Bounds::default()).await.unwrap();

    assert_eq!(town.rows(&keys::organisation_rows(id)).await, []);
    assert_eq!(town.rows(b"p").await, []);
    assert_eq!(town.blobs.list("", None, 10).await.unwrap(), []);
    assert_eq!((purged.objects, purged.bytes), (2, 5));
    // That it was deleted, that the upload ended with it, and that its rows went away.
    assert_eq!(town.rows(&keys::audit_chains(id)).await.len(), lines + 3);
    let again = purge(&town.engine.core, Bounds::default()).await.unwrap();
    assert_eq!(again.rows, 0);
}

#[tokio::test]
async fn a_deleted_registry_takes_only_its_own_along() {
    let town = Town::new().await;
    let (ann, acme, main) = (caller("ann"), organisation("acme"), registry("main"));
    town.create_registry("acme", "other").await;
    let engine = &town.engine;
    for name in ["bob", "eve"] {
        let who = principal(name);
        engine.set_role(&ann, &acme, &who, Some(&main), Role::Viewer).await.unwrap();
    }
    engine
        .set_role(&ann, &acme, &principal("eve"), Some(&registry("other")), Role::Viewer)
        .await
        .unwrap();
    let shared = town.push("acme/main/app", b"shared").await.unwrap();
    town.push("acme/other/app", b"shared").await.unwrap();
    let id = engine.organisation(&ann, &acme).await.unwrap().id;
    let gone = engine.registry(&ann, &acme, &main).await.unwrap().id;

    engine.delete_registry(&ann, &acme, &main, true).await.unwrap();
    purge(&engine.core, Bounds::default()).await.unwrap();

    assert_eq!(town.rows(&keys::repository_names(id, gone)).await, []);
    assert_eq!(town.rows(&keys::registry(id, gone)).await, []);
    assert_eq!(town.rows(&keys::blob(id, &shared)).await.len(), 2, "the blob and one link");
    let path = "acme/other/app".parse().unwrap();
    let repository = engine.repository(&caller("eve"), &path, Action::Pull).await.unwrap();
    repository.blob(&shared).await.expect("the other registry has it still");
    let members = engine.members(&ann, &acme, None, 10).await.unwrap();
    let names: Vec<_> = members.items.iter().map(|member| member.principal.as_str()).collect();
    assert_eq!(names, ["user:ann", "user:eve"], "bob had no other role");
    let query = TrailQuery { principal: Some("system".to_owned()), ..TrailQuery::default() };
    let lines = engine.trail(&ann, Some(&acme), &query, None, 10).await.unwrap().items;
    let stripped = |who: &str| {
        let kind = EventKind::MemberSet {
            principal: format!("user:{who}"),
            registry: Some(gone),
            role: None,
        };
        lines.iter().any(|line| line.event.kind == kind)
    };
    assert!(stripped("bob") && stripped("eve"), "{lines:?}");
    let report = engine.fsck(&FsckOptions::default(), &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[tokio::test]
async fn what_a_crash_left_half_way_into_a_deletion_lives_again() {
    let town = Town::new().await;
    let (ann, acme, main) = (caller("ann"), organisation("acme"), registry("main"));
    let id = town.engine.organisation(&ann, &acme).await.unwrap().id;
    let registry = town.engine.registry(&ann, &acme, &main).await.unwrap().id;
    let core = &town.engine.core;
    let mut change = crate::change::Change::new(core);
    let row = core.read::<OrganisationRecord>(keys::organisation(id)).await.unwrap();
    let record = row.value.clone().unwrap();
    change.replace(&row, &OrganisationRecord { life: Life::Closing { nonce: 5 }, ..record });
    let row = core.read::<RegistryRecord>(keys::registry(id, registry)).await.unwrap();
    let record = row.value.clone().unwrap();
    change.replace(&row, &RegistryRecord { life: Life::Closing { nonce: 5 }, ..record });
    change.commit().await.unwrap();

    let closed = town.engine.organisation(&ann, &acme).await;
    assert!(matches!(closed, Err(Error::NameUnknown { .. })), "{closed:?}");
    purge(core, Bounds::default()).await.unwrap();
    purge(core, Bounds::default()).await.unwrap();

    town.push("acme/main/app", b"layer").await.expect("it takes pushes again");
    let row = town.meta.get(&keys::organisation(id)).await.unwrap().unwrap();
    assert_eq!(OrganisationRecord::decode(&row).unwrap().life, Life::Live);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_beside_a_deletion_is_refused_or_keeps_the_registry() {
    for _ in 0..50 {
        let town = Town::new().await;
        let (acme, main) = (organisation("acme"), registry("main"));
        let engine = town.engine.clone();
        let deletion = tokio::spawn(async move {
            engine.delete_registry(&caller("ann"), &acme, &main, false).await
        });
        let pushed = town.push("acme/main/app", b"layer").await;
        let deleted = deletion.await.unwrap();

        // They may both give way: a push that began makes it not empty, and then finds it closed.
        assert!(pushed.is_err() || deleted.is_err(), "{pushed:?} {deleted:?}");
        if deleted.is_err() {
            town.push("acme/main/app", b"layer").await.expect("it was kept, and takes pushes");
        }
    }
}
