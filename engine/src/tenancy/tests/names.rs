//! Names: taken, hidden, changed and reserved.

use super::{Town, caller, operator, organisation, principal, registry};
use crate::Error;
use crate::tenancy::RegistrySettings;

fn public() -> RegistrySettings {
    RegistrySettings { public: true, ..RegistrySettings::default() }
}

#[tokio::test]
async fn a_name_is_given_once() {
    let town = Town::new().await;
    let acme = organisation("acme");

    let again = town.engine.create_organisation(&operator(), &acme, None, None).await;
    let settings = RegistrySettings::default();
    let main = registry("main");
    let registry = town.engine.create_registry(&caller("ann"), &acme, &main, settings).await;

    assert!(matches!(again, Err(Error::NameTaken { .. })), "{again:?}");
    assert!(matches!(registry, Err(Error::NameTaken { .. })), "{registry:?}");
}

#[tokio::test]
async fn only_operators_create_organisations() {
    let town = Town::new().await;
    let refused =
        town.engine.create_organisation(&caller("ann"), &organisation("mine"), None, None).await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
    let unknown = town.engine.organisation(&operator(), &organisation("mine")).await;
    assert!(matches!(unknown, Err(Error::NameUnknown { .. })), "{unknown:?}");
}

#[tokio::test]
async fn a_stranger_can_not_tell_what_is_private_from_what_is_absent() {
    let town = Town::new().await;
    let bob = caller("bob");
    let engine = &town.engine;

    for (hidden, absent) in [("acme", "nope"), ("nope", "acme")] {
        let (hidden, absent) = (organisation(hidden), organisation(absent));
        let seen = [
            engine.organisation(&bob, &hidden).await.unwrap_err(),
            engine.registries(&bob, &hidden, None, 10).await.unwrap_err(),
            engine.members(&bob, &hidden, None, 10).await.unwrap_err(),
            engine.usage(&bob, &hidden).await.unwrap_err(),
            engine.rename_organisation(&bob, &hidden, &absent).await.unwrap_err(),
            engine.set_quota(&bob, &hidden, None).await.unwrap_err(),
            engine.delete_organisation(&bob, &hidden, true).await.unwrap_err(),
        ];
        for error in seen {
            assert!(
                matches!(&error, Error::NameUnknown { name } if name == hidden.as_str()),
                "{error:?}"
            );
        }
        let main = registry("main");
        let seen = [
            engine.registry(&bob, &hidden, &main).await.unwrap_err(),
            engine.set_registry(&bob, &hidden, &main, &public(), None).await.unwrap_err(),
            engine.delete_registry(&bob, &hidden, &main, true).await.unwrap_err(),
            engine.registry_usage(&bob, &hidden, &main).await.unwrap_err(),
            engine
                .set_role(&bob, &hidden, &principal("bob"), Some(&main), crate::access::Role::Admin)
                .await
                .unwrap_err(),
        ];
        for error in seen {
            let path = format!("{hidden}/main");
            assert!(matches!(&error, Error::NameUnknown { name } if *name == path), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_renamed_organisation_keeps_its_id_and_nobody_else_gets_its_old_name() {
    let town = Town::new().await;
    let (ann, old, new) = (caller("ann"), organisation("acme"), organisation("apex"));
    let before = town.engine.organisation(&ann, &old).await.unwrap();

    let renamed = town.engine.rename_organisation(&ann, &old, &new).await.unwrap();

    assert_eq!(renamed.id, before.id);
    assert_eq!(town.engine.organisation(&ann, &new).await.unwrap().id, before.id);
    let gone = town.engine.organisation(&ann, &old).await;
    assert!(matches!(gone, Err(Error::NameUnknown { .. })), "{gone:?}");
    let taken = town.engine.create_organisation(&operator(), &old, None, None).await;
    assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");
    town.engine.rename_organisation(&ann, &new, &old).await.expect("its own name, taken back");
}

#[tokio::test]
async fn a_renamed_registry_takes_its_repositories_along() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let digest = town.push("acme/main/app", b"layer").await.unwrap();

    town.engine.rename_registry(&ann, &acme, &registry("main"), &registry("prod")).await.unwrap();

    let old = town.push("acme/main/app", b"layer").await;
    assert!(matches!(old, Err(Error::NameUnknown { .. })), "{old:?}");
    let path = "acme/prod/app".parse().unwrap();
    let action = crate::access::Action::Pull;
    let repository = town.engine.repository(&ann, &path, action).await.unwrap();
    repository.blob(&digest).await.expect("the blob is where its repository is");
    let taken = town
        .engine
        .create_registry(&ann, &acme, &registry("main"), RegistrySettings::default())
        .await;
    assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");
}

#[tokio::test]
async fn making_a_registry_public_or_private_counts_at_the_next_request() {
    let town = Town::new().await;
    let (ann, acme, main) = (caller("ann"), organisation("acme"), registry("main"));
    town.push("acme/main/app", b"layer").await.unwrap();
    let path = "acme/main/app".parse().unwrap();
    let stranger = crate::access::Caller::anonymous();
    let open = || town.engine.repository(&stranger, &path, crate::access::Action::Pull);

    assert!(open().await.is_err());
    town.engine.set_registry(&ann, &acme, &main, &public(), None).await.unwrap();
    assert!(open().await.is_ok());
    let push = town.engine.repository(&stranger, &path, crate::access::Action::Push).await;
    assert!(matches!(push, Err(Error::Denied { .. })), "{push:?}");
    town.engine.set_registry(&ann, &acme, &main, &RegistrySettings::default(), None).await.unwrap();
    let hidden = open().await;
    assert!(matches!(hidden, Err(Error::NameUnknown { .. })), "{hidden:?}");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    for name in ["a", "b", "c", "d"] {
        town.create_registry("acme", name).await;
        town.engine
            .create_organisation(&operator(), &organisation(name), None, Some(&principal("ann")))
            .await
            .unwrap();
    }

    let (mut registries, mut after) = (Vec::new(), None);
    loop {
        let page = town.engine.registries(&ann, &acme, after.as_deref(), 2).await.unwrap();
        assert!(page.items.len() <= 2);
        registries.extend(page.items.into_iter().map(|registry| registry.name.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(registries, ["a", "b", "c", "d", "main"]);

    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = town.engine.organisations(&operator(), after.as_deref(), 2).await.unwrap();
        all.extend(page.items.into_iter().map(|organisation| organisation.name.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all, ["a", "acme", "b", "c", "d"]);

    let (mut own, mut after) = (Vec::new(), None);
    loop {
        let page = town
            .engine
            .organisations_of(&ann, &principal("ann"), after.as_deref(), 2)
            .await
            .unwrap();
        own.extend(page.items.into_iter().map(|organisation| organisation.name.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    own.sort();
    assert_eq!(own, ["a", "acme", "b", "c", "d"]);
    let others = town.engine.organisations_of(&caller("bob"), &principal("ann"), None, 2).await;
    assert!(matches!(others, Err(Error::NameUnknown { .. })), "{others:?}");
}

#[tokio::test]
async fn a_quota_is_the_operators_to_set_and_holds_at_once() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    town.push("acme/main/app", b"12345").await.unwrap();

    let own = town.engine.set_quota(&ann, &acme, Some(1 << 40)).await;
    town.engine.set_quota(&operator(), &acme, Some(7)).await.unwrap();
    let full = town.push("acme/main/app", b"678").await;

    assert!(matches!(own, Err(Error::Denied { .. })), "{own:?}");
    assert!(
        matches!(
            full,
            Err(Error::QuotaExceeded { quota_bytes: 7, used_bytes: 5, wanted_bytes: 3 })
        ),
        "{full:?}"
    );
    let usage = town.engine.usage(&ann, &acme).await.unwrap();
    assert_eq!((usage.used_bytes, usage.quota_bytes), (5, Some(7)));
}

#[tokio::test]
async fn a_registry_shows_each_content_once() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    town.create_registry("acme", "other").await;
    for path in ["acme/main/a", "acme/main/b", "acme/other/c"] {
        town.push(path, b"shared").await.unwrap();
    }
    town.push("acme/main/b", b"own").await.unwrap();

    let main = town.engine.registry_usage(&ann, &acme, &registry("main")).await.unwrap();
    let other = town.engine.registry_usage(&ann, &acme, &registry("other")).await.unwrap();

    assert_eq!((main.linked_bytes, main.contents), (9, 2));
    assert_eq!((other.linked_bytes, other.contents), (6, 1));
    assert_eq!(town.engine.usage(&ann, &acme).await.unwrap().used_bytes, 9);
}
