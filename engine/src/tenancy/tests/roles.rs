//! Roles against a plain table of what each may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{caller, organisation, registry};
use crate::access::{Action, Authorizer, Caller, Ceiling, Decision, Grant, Role, Target};
use crate::id::{OrganisationId, RegistryId};
use crate::keys;
use crate::meta::{Commit, CommitId, MemoryStore, MetaStore};
use crate::records::{MemberRecord, Record};
use crate::seam::Timestamp;
use crate::tenancy::RoleAuthorizer;

const ACTIONS: [Action; 5] =
    [Action::List, Action::Pull, Action::Push, Action::Delete, Action::Manage];
const ROLES: [Option<Role>; 4] = [None, Some(Role::Viewer), Some(Role::Writer), Some(Role::Admin)];
const ACME: OrganisationId = OrganisationId(1);
const MAIN: RegistryId = RegistryId(2);

/// DESIGN D7, written down once more.
fn table(role: Option<Role>) -> &'static [Action] {
    match role {
        None => &[],
        Some(Role::Viewer) => &[Action::List, Action::Pull],
        Some(Role::Writer) => &[Action::List, Action::Pull, Action::Push, Action::Delete],
        Some(Role::Admin) => &ACTIONS,
    }
}

/// A ceiling, and what it leaves of actions in `acme/main/app`.
fn ceilings() -> Vec<(Ceiling, &'static [Action])> {
    let grant = |organisation: Option<&str>, registry: Option<&str>, actions: &[Action]| {
        Ceiling::Grants(Arc::from([Grant {
            organisation: organisation.map(|name| name.parse().unwrap()),
            registry: registry.map(|name| name.parse().unwrap()),
            repository: None,
            below: false,
            actions: actions.to_vec(),
        }]))
    };
    vec![
        (Ceiling::Unlimited, &ACTIONS),
        (grant(None, None, &ACTIONS), &ACTIONS),
        (grant(Some("acme"), Some("main"), &ACTIONS), &ACTIONS),
        (grant(Some("acme"), None, &[Action::Pull]), &[Action::Pull]),
        (grant(Some("acme"), Some("main"), &[Action::Push]), &[Action::Push]),
        (grant(Some("acme"), Some("other"), &ACTIONS), &[]),
        (grant(Some("other"), None, &ACTIONS), &[]),
        (Ceiling::Grants(Arc::from([])), &[]),
    ]
}

async fn member(everywhere: Option<Role>, here: Option<Role>) -> RoleAuthorizer {
    let store = Arc::new(MemoryStore::default());
    let record = MemberRecord {
        role: everywhere,
        registries: here.map(|role| (MAIN, role)).into_iter().collect::<BTreeMap<_, _>>(),
        added_at: Timestamp(0),
    };
    let mut commit = Commit::new(CommitId([0; 16]));
    commit.put.push((keys::member(ACME, "user:ann"), record.encode()));
    store.commit(commit).await.unwrap();
    RoleAuthorizer::new(store)
}

#[tokio::test]
async fn every_role_does_what_the_table_says_and_no_more() {
    let (acme, main, app) = (organisation("acme"), registry("main"), "app".parse().unwrap());
    for everywhere in ROLES {
        for here in ROLES {
            let authorizer = member(everywhere, here).await;
            for (who, member) in
                [(caller("ann"), true), (caller("bob"), false), (Caller::anonymous(), false)]
            {
                for (ceiling, reach) in ceilings() {
                    for public in [false, true] {
                        for home in [true, false] {
                            let target = Target {
                                organisation: if home { ACME } else { OrganisationId(9) },
                                organisation_name: &acme,
                                registry: Some(MAIN),
                                registry_name: Some(&main),
                                public,
                                repository: Some(&app),
                            };
                            let caller = Caller { ceiling: ceiling.clone(), ..who.clone() };
                            let role = everywhere.max(here).filter(|_| member && home);
                            let may = |action: &Action| {
                                let anybody = table(Some(Role::Viewer)).contains(action) && public;
                                reach.contains(action) && (table(role).contains(action) || anybody)
                            };
                            for action in ACTIONS {
                                let wanted = match (may(&action), ACTIONS.iter().any(may)) {
                                    (true, _) => Decision::Allowed,
                                    (false, true) => Decision::Denied,
                                    (false, false) => Decision::Hidden,
                                };
                                let got = authorizer.decide(&caller, action, &target).await;
                                assert_eq!(
                                    got.unwrap(),
                                    wanted,
                                    "{caller:?} with {everywhere:?}/{here:?}: {action} {target:?}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_role_in_one_registry_shows_its_organisation_and_no_other_registry() {
    let (acme, other) = (organisation("acme"), registry("other"));
    let whole = Target {
        organisation: ACME,
        organisation_name: &acme,
        registry: None,
        registry_name: None,
        public: false,
        repository: None,
    };
    let elsewhere = Target { registry: Some(RegistryId(3)), registry_name: Some(&other), ..whole };
    for here in [Role::Viewer, Role::Writer, Role::Admin] {
        let authorizer = member(None, Some(here)).await;
        for action in ACTIONS {
            let wanted = if action == Action::List { Decision::Allowed } else { Decision::Denied };
            let got = authorizer.decide(&caller("ann"), action, &whole).await.unwrap();
            assert_eq!(got, wanted, "{here:?} {action}");
            let got = authorizer.decide(&caller("ann"), action, &elsewhere).await.unwrap();
            assert_eq!(got, Decision::Hidden, "{here:?} {action}");
        }
    }
}
