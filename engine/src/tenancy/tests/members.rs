//! Members and their roles, over time.

use super::{Town, caller, operator, organisation, principal, registry};
use crate::Error;
use crate::access::{Action, Caller, Ceiling, Role};

#[tokio::test]
async fn threat_a12_a_role_counts_from_the_next_request_on_until_it_is_taken() {
    let town = Town::new().await;
    let (ann, acme, bob) = (caller("ann"), organisation("acme"), principal("bob"));
    town.push("acme/main/app", b"layer").await.unwrap();
    let path = "acme/main/app".parse().unwrap();
    let bobs = caller("bob");
    let open = |action| town.engine.repository(&bobs, &path, action);

    assert!(matches!(open(Action::Pull).await, Err(Error::NameUnknown { .. })));
    town.engine.set_role(&ann, &acme, &bob, None, Role::Viewer).await.unwrap();
    assert!(open(Action::Pull).await.is_ok());
    assert!(matches!(open(Action::Push).await, Err(Error::Denied { .. })));
    town.engine.set_role(&ann, &acme, &bob, Some(&registry("main")), Role::Writer).await.unwrap();
    assert!(open(Action::Push).await.is_ok());
    town.engine.remove_role(&ann, &acme, &bob, Some(&registry("main"))).await.unwrap();
    assert!(matches!(open(Action::Push).await, Err(Error::Denied { .. })));
    town.engine.remove_role(&ann, &acme, &bob, None).await.unwrap();
    assert!(matches!(open(Action::Pull).await, Err(Error::NameUnknown { .. })));
    let none = town.engine.organisations_of(&bobs, &bob, None, 10).await.unwrap();
    assert_eq!(none.items, []);
}

#[tokio::test]
async fn the_admin_of_a_registry_manages_that_one_only() {
    let town = Town::new().await;
    let (ann, bob, acme) = (caller("ann"), caller("bob"), organisation("acme"));
    town.create_registry("acme", "other").await;
    let (main, other) = (registry("main"), registry("other"));
    let engine = &town.engine;
    engine.set_role(&ann, &acme, &principal("bob"), Some(&main), Role::Admin).await.unwrap();

    let eve = principal("eve");
    engine.set_role(&bob, &acme, &eve, Some(&main), Role::Viewer).await.unwrap();
    let everywhere = engine.set_role(&bob, &acme, &eve, None, Role::Viewer).await;
    let elsewhere = engine.set_role(&bob, &acme, &eve, Some(&other), Role::Viewer).await;
    let renamed = engine.rename_organisation(&bob, &acme, &organisation("apex")).await;

    assert!(matches!(everywhere, Err(Error::Denied { .. })), "{everywhere:?}");
    assert!(matches!(elsewhere, Err(Error::NameUnknown { .. })), "{elsewhere:?}");
    assert!(matches!(renamed, Err(Error::Denied { .. })), "{renamed:?}");
    let seen = engine.registries(&bob, &acme, None, 10).await.unwrap();
    let seen: Vec<_> = seen.items.iter().map(|registry| registry.name.as_str()).collect();
    assert_eq!(seen, ["main"]);
}

#[tokio::test]
async fn operating_the_installation_opens_no_content() {
    let town = Town::new().await;
    town.push("acme/main/app", b"layer").await.unwrap();
    let (operator, acme) = (operator(), organisation("acme"));

    town.engine.organisation(&operator, &acme).await.expect("operators see organisations");
    let path = "acme/main/app".parse().unwrap();
    for action in [Action::List, Action::Pull, Action::Push, Action::Delete] {
        let refused = town.engine.repository(&operator, &path, action).await;
        assert!(matches!(refused, Err(Error::NameUnknown { .. })), "{action}: {refused:?}");
    }
    let role =
        town.engine.set_role(&operator, &acme, &principal("operator"), None, Role::Admin).await;
    assert!(matches!(role, Err(Error::NameUnknown { .. })), "{role:?}");
}

#[tokio::test]
async fn the_last_admin_is_neither_removed_nor_demoted() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let me = principal("ann");
    town.engine
        .set_role(&ann, &acme, &principal("bob"), Some(&registry("main")), Role::Admin)
        .await
        .unwrap();

    let demoted = town.engine.set_role(&ann, &acme, &me, None, Role::Writer).await;
    let removed = town.engine.remove_role(&ann, &acme, &me, None).await;

    assert!(matches!(demoted, Err(Error::LastAdmin { .. })), "{demoted:?}");
    assert!(matches!(removed, Err(Error::LastAdmin { .. })), "{removed:?}");
    town.engine.set_role(&ann, &acme, &principal("bob"), None, Role::Admin).await.unwrap();
    town.engine.remove_role(&ann, &acme, &me, None).await.expect("there is another one now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admins_who_remove_each_other_at_once_leave_one() {
    for _ in 0..50 {
        let town = Town::new().await;
        let acme = organisation("acme");
        town.engine
            .set_role(&caller("ann"), &acme, &principal("bob"), None, Role::Admin)
            .await
            .unwrap();
        let remove = |who: &'static str, whom: &'static str| {
            let (engine, acme) = (town.engine.clone(), acme.clone());
            tokio::spawn(async move {
                engine.remove_role(&caller(who), &acme, &principal(whom), None).await
            })
        };
        let (first, second) = (remove("ann", "bob"), remove("bob", "ann"));
        let (first, second) = (first.await.unwrap(), second.await.unwrap());

        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        let left = if first.is_ok() { "ann" } else { "bob" };
        let members = town.engine.members(&caller(left), &acme, None, 10).await.unwrap();
        assert_eq!(members.items.len(), 1);
        assert_eq!(members.items[0].role, Some(Role::Admin));
    }
}

#[tokio::test]
async fn members_come_in_pages() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    for name in ["dora", "carl", "bob"] {
        town.engine.set_role(&ann, &acme, &principal(name), None, Role::Viewer).await.unwrap();
    }

    let first = town.engine.members(&ann, &acme, None, 3).await.unwrap();
    let rest = town.engine.members(&ann, &acme, first.next.as_deref(), 3).await.unwrap();

    let names: Vec<_> =
        first.items.iter().chain(&rest.items).map(|member| member.principal.as_str()).collect();
    assert_eq!(names, ["user:ann", "user:bob", "user:carl", "user:dora"]);
    assert_eq!(rest.next, None);
    let viewer = town.engine.members(&caller("bob"), &acme, None, 3).await;
    assert!(matches!(viewer, Err(Error::Denied { .. })), "{viewer:?}");
}

#[tokio::test]
async fn a_member_leaves_by_itself_and_nobody_else_goes_with_it() {
    let town = Town::new().await;
    let (ann, bob, acme) = (caller("ann"), caller("bob"), organisation("acme"));
    for name in ["bob", "carl"] {
        town.engine.set_role(&ann, &acme, &principal(name), None, Role::Viewer).await.unwrap();
    }

    let other = town.engine.remove_role(&bob, &acme, &principal("carl"), None).await;
    let narrow = Caller { ceiling: Ceiling::Grants([].into()), ..bob.clone() };
    let by_token = town.engine.remove_role(&narrow, &acme, &principal("bob"), None).await;
    town.engine.remove_role(&bob, &acme, &principal("bob"), None).await.expect("bob leaves");

    assert!(matches!(other, Err(Error::Denied { .. })), "{other:?}");
    assert!(matches!(by_token, Err(Error::NameUnknown { .. })), "{by_token:?}");
    let gone = town.engine.member(&ann, &acme, &principal("bob")).await.unwrap();
    let kept = town.engine.member(&ann, &acme, &principal("carl")).await.unwrap();
    assert_eq!((gone, kept.and_then(|member| member.role)), (None, Some(Role::Viewer)));
}
