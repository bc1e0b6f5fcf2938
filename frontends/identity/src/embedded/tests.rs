//! Sign-ins end to end, over an engine in memory.

use std::time::Duration;

use strongroom_engine::access::{Action, Caller, Ceiling, Grant as Reaches, Origin};
use strongroom_http::auth::Credentials;

use super::house::{House, PASSWORD, basic, bearer, id, operator};
use super::*;
use crate::account::{Kind, Reach, TokenUse};
use crate::challenge::Refusal;
use crate::provider::{IdentityError, IdentityProvider};
use crate::scope;

fn wrong<T: std::fmt::Debug>(result: Result<T, IdentityError>) {
    assert_eq!(result.unwrap_err(), IdentityError::Wrong);
}

fn pull_of(organisation: &str) -> Reach {
    Reach::Only(vec![Reaches {
        organisation: Some(organisation.parse().unwrap()),
        registry: None,
        repository: None,
        below: false,
        actions: vec![Action::List, Action::Pull],
    }])
}

#[tokio::test]
async fn a_password_signs_its_owner_in_and_nothing_else_does() {
    let house = House::new().await;
    let caller = house.sign_in(&basic("ann", PASSWORD)).await.unwrap();
    assert_eq!(caller.principal.as_str(), "user:ann");
    assert!(caller.operator && caller.ceiling == Ceiling::Unlimited);
    for (user, password) in [
        ("ann", "wrong horse"),
        ("ann", ""),
        ("bob", PASSWORD),
        ("ci", PASSWORD),
        ("user:ann", PASSWORD),
    ] {
        wrong(house.sign_in(&basic(user, password)).await);
    }
    let nobody = house.sign_in(&Credentials::None).await.unwrap();
    assert_eq!(nobody.principal.as_str(), "anonymous");
}

#[tokio::test]
async fn who_is_disabled_deleted_or_has_another_password_is_out_at_once() {
    let house = House::new().await;
    let by = operator();
    house.identity.create_user(&by, &id("user:bob"), PASSWORD, false).await.unwrap();
    let (_, token) = house.token("user:bob", Reach::Everything, None).await;
    let access = house.exchange(basic("bob", PASSWORD), &[]).await.issued.token;
    let ways = [basic("bob", PASSWORD), basic("bob", &token), bearer(&token), bearer(&access)];
    for way in &ways {
        house.sign_in(way).await.unwrap();
    }

    house.identity.set_disabled(&by, &id("user:bob"), true).await.unwrap();
    for way in &ways {
        wrong(house.sign_in(way).await);
    }
    house.identity.set_disabled(&by, &id("user:bob"), false).await.unwrap();
    for way in &ways {
        house.sign_in(way).await.unwrap();
    }

    house.identity.set_password(&by, &id("user:bob"), "another horse").await.unwrap();
    wrong(house.sign_in(&basic("bob", PASSWORD)).await);
    house.sign_in(&basic("bob", "another horse")).await.unwrap();

    house.identity.delete_account(&by, &id("user:bob")).await.unwrap();
    for way in ways.iter().chain([&basic("bob", "another horse")]) {
        wrong(house.sign_in(way).await);
    }
    let again = house.identity.create_user(&by, &id("user:bob"), PASSWORD, false).await;
    assert!(matches!(again, Err(AccountsError::Taken { .. })), "{again:?}");
}

#[tokio::test]
async fn threat_a11_a_token_has_the_same_bounds_however_it_is_shown() {
    let house = House::new().await;
    let (_, token) = house.token("user:ann", pull_of("acme"), None).await;
    let Reach::Only(grants) = pull_of("acme") else { unreachable!() };
    for way in [basic("ann", &token), basic("__token__", &token), bearer(&token)] {
        let caller = house.sign_in(&way).await.unwrap();
        assert_eq!(caller.principal.as_str(), "user:ann");
        assert_eq!(caller.ceiling, Ceiling::Grants(grants.clone().into()));
        assert!(!caller.operator, "a token never operates the installation");
    }
    wrong(house.sign_in(&basic("bob", &token)).await);

    let asked = scope::parse([
        "repository:acme/main/x:pull,push",
        "repository:other/main/x:pull",
        "registry:catalog:*",
    ]);
    let given = house.exchange(basic("ann", &token), &asked.unwrap()).await;
    let scopes: Vec<_> = given.scopes.iter().map(ToString::to_string).collect();
    let granted = ["repository:acme/main/x:pull", "repository:other/main/x:", "registry:catalog:*"];
    assert_eq!(scopes, granted);
    // The catalog by it is what the machine token itself would list; and nobody is sent for another
    // token, since none would do more.
    let by_access = house.vouched(&bearer(&given.issued.token)).await.unwrap();
    let acme: Reaches = Reaches { actions: vec![Action::List], ..grants[0].clone() };
    let Ceiling::Grants(under) = &by_access.caller.ceiling else { panic!("{by_access:?}") };
    assert!(under.contains(&acme), "{under:?}");
    assert!(by_access.sought.covers_catalog());
    for (action, path, sought) in [
        (Action::Push, "acme/main/x", true),
        (Action::Pull, "other/main/x", true),
        (Action::Delete, "acme/main/x", false),
        (Action::Pull, "acme/main/y", false),
    ] {
        assert_eq!(by_access.sought.covers(action, &path.parse().unwrap()), sought, "{path}");
    }
    let refreshed = Grant::Refresh(given.refresh.unwrap());
    let push = scope::parse(["repository:acme/main/x:push"]).unwrap();
    let again = house.identity.exchange(&refreshed, &push, None, &Origin::default()).await.unwrap();
    assert!(again.scopes.iter().all(|scope| scope.actions.is_empty()), "{:?}", again.scopes);
}

#[tokio::test]
async fn a_token_ends_when_it_is_revoked_or_over_with_all_that_came_of_it() {
    let house = House::new().await;
    let (name, revoked) = house.token("robot:ci", Reach::Everything, None).await;
    let given = house.exchange(basic("ci", &revoked), &[]).await;
    let refresh = given.refresh.unwrap();
    house.sign_in(&bearer(&given.issued.token)).await.unwrap();
    house.identity.revoke_token(&operator(), &name).await.unwrap();
    wrong(house.sign_in(&bearer(&revoked)).await);
    wrong(house.sign_in(&bearer(&given.issued.token)).await);
    let again =
        house.identity.exchange(&Grant::Refresh(refresh), &[], None, &Origin::default()).await;
    assert!(matches!(again, Err(ExchangeError::Identity(IdentityError::Wrong))), "{again:?}");

    let (_, brief) = house.token("robot:ci", Reach::Everything, Some(Duration::from_mins(1))).await;
    house.sign_in(&bearer(&brief)).await.unwrap();
    house.clock.advance(Duration::from_mins(1));
    wrong(house.sign_in(&bearer(&brief)).await);
    assert_eq!(
        house.identity.tokens(&operator(), &id("robot:ci"), TokenUse::Access).await.unwrap(),
        []
    );
}

#[tokio::test]
async fn a_refresh_token_is_for_the_endpoint_only_and_ends_with_the_password() {
    let house = House::new().await;
    let refresh = house.exchange(basic("ann", PASSWORD), &[]).await.refresh.unwrap();
    wrong(house.sign_in(&basic("ann", refresh.expose())).await);
    wrong(house.sign_in(&Credentials::Bearer(refresh.clone())).await);
    let grant = Grant::Refresh(refresh);
    house.identity.exchange(&grant, &[], None, &Origin::default()).await.unwrap();
    house.identity.set_password(&operator(), &id("user:ann"), "another horse").await.unwrap();
    let late = house.identity.exchange(&grant, &[], None, &Origin::default()).await;
    assert!(matches!(late, Err(ExchangeError::Identity(IdentityError::Wrong))), "{late:?}");
}

#[tokio::test]
async fn who_signs_in_all_the_time_is_never_kept_out_and_the_oldest_refresh_token_goes() {
    let house = House::new().await;
    let ann = id("user:ann");
    let first = house.exchange(basic("ann", PASSWORD), &[]).await.refresh.unwrap();
    for _ in 0..1_000 {
        house.clock.advance(Duration::from_millis(1));
        house.exchange(basic("ann", PASSWORD), &[]).await.refresh.unwrap();
    }
    let listed = house.identity.tokens(&operator(), &ann, TokenUse::Refresh).await.unwrap();
    assert_eq!(listed.len(), 1_000);
    assert!(listed.is_sorted_by_key(|token| token.created_at));
    let late = Grant::Refresh(first);
    let late = house.identity.exchange(&late, &[], None, &Origin::default()).await;
    assert!(matches!(late, Err(ExchangeError::Identity(IdentityError::Wrong))), "{late:?}");
    // They are no tokens that somebody made, and each can be revoked.
    assert_eq!(house.identity.tokens(&operator(), &ann, TokenUse::Access).await.unwrap(), []);
    house.identity.revoke_token(&operator(), &listed[0].id).await.unwrap();
    assert_eq!(
        house.identity.tokens(&operator(), &ann, TokenUse::Refresh).await.unwrap().len(),
        999
    );
    // Those that are over go by themselves, more than come.
    house.clock.advance(Duration::from_hours(31 * 24));
    for _ in 0..10 {
        house.exchange(basic("ann", PASSWORD), &[]).await.refresh.unwrap();
    }
    assert_eq!(
        house.identity.tokens(&operator(), &ann, TokenUse::Refresh).await.unwrap().len(),
        10
    );
}

#[tokio::test]
async fn a_revoked_token_takes_its_refresh_tokens_off_the_list() {
    let house = House::new().await;
    let (name, token) = house.token("robot:ci", Reach::Everything, None).await;
    let (_, other) = house.token("robot:ci", Reach::Everything, None).await;
    house.exchange(basic("ci", &token), &[]).await.refresh.unwrap();
    let kept = house.exchange(basic("ci", &other), &[]).await.refresh.unwrap();
    house.identity.revoke_token(&operator(), &name).await.unwrap();
    let left =
        house.identity.tokens(&operator(), &id("robot:ci"), TokenUse::Refresh).await.unwrap();
    assert_eq!(left.len(), 1);
    let grant = Grant::Refresh(kept);
    house.identity.exchange(&grant, &[], None, &Origin::default()).await.unwrap();
}

#[tokio::test]
async fn an_access_token_ends_with_the_password_it_was_given_for() {
    let house = House::new().await;
    let access = house.exchange(basic("ann", PASSWORD), &[]).await.issued.token;
    house.sign_in(&bearer(&access)).await.unwrap();
    house.identity.set_password(&operator(), &id("user:ann"), "another horse").await.unwrap();
    wrong(house.sign_in(&bearer(&access)).await);
}

#[tokio::test]
async fn a_password_is_hashed_once_for_many_requests_and_anew_when_the_cost_changed() {
    let house = House::new().await;
    let before = house.identity.hashes();
    let ann = basic("ann", PASSWORD);
    // Ten connections at once, and then some more.
    for answer in futures::future::join_all((0..10).map(|_| house.sign_in(&ann))).await {
        answer.unwrap();
    }
    for _ in 0..20 {
        house.sign_in(&ann).await.unwrap();
    }
    assert_eq!(house.identity.hashes() - before, 1, "one argon2 for all of them");

    let dearer = Options { cost: Cost { memory: 16, passes: 1 }, ..Options::default() };
    let house = house.restarted(dearer).await;
    let access = house.exchange(basic("ann", PASSWORD), &[]).await.issued.token;
    house.sign_in(&bearer(&access)).await.unwrap();
    let (record, _) = accounts::account(&house.identity.0.records, &id("user:ann")).await.unwrap();
    let stored = record.password.unwrap();
    assert!(stored.as_str().contains("m=16,t=1"), "{}", stored.as_str());
    let before = house.identity.hashes();
    house.sign_in(&basic("ann", PASSWORD)).await.unwrap();
    assert_eq!(house.identity.hashes() - before, 0, "it is remembered with its new hash");
}

#[tokio::test]
async fn an_access_token_carries_what_was_asked_for_and_never_more() {
    let house = House::new().await;
    let asked = scope::parse(["repository:acme/main/x:pull"]).unwrap();
    for credentials in [basic("ann", PASSWORD), Credentials::None] {
        let token = house.exchange(credentials, &asked).await.issued.token;
        let caller = house.sign_in(&bearer(&token)).await.unwrap();
        let Ceiling::Grants(grants) = &caller.ceiling else { panic!("{caller:?} is not bounded") };
        assert_eq!(grants.len(), 1);
        assert_eq!(grants[0].actions, [Action::Pull, Action::List]);
        assert!(!caller.operator);
    }
    house.clock.advance(Duration::from_hours(1));
    let old = house.exchange(Credentials::None, &asked).await.issued.token;
    house.clock.advance(Duration::from_mins(5));
    wrong(house.sign_in(&bearer(&old)).await);
}

#[tokio::test]
async fn the_last_operator_stays_and_no_token_changes_an_account() {
    let house = House::new().await;
    let (ann, by) = (id("user:ann"), operator());
    let last = house.identity.delete_account(&by, &ann).await;
    assert!(matches!(last, Err(AccountsError::LastOperator { .. })), "{last:?}");
    assert!(house.identity.set_disabled(&by, &ann, true).await.is_err());
    assert!(house.identity.set_operator(&by, &ann, false).await.is_err());

    house.identity.create_user(&by, &id("user:bob"), PASSWORD, false).await.unwrap();
    let bob = house.sign_in(&basic("bob", PASSWORD)).await.unwrap();
    let (_, token) = house.token("user:ann", Reach::Everything, None).await;
    let by_token = house.sign_in(&basic("ann", &token)).await.unwrap();
    for caller in [&bob, &by_token, &Caller::anonymous()] {
        let denied = house.identity.accounts(caller, Kind::User, None, 10).await;
        assert!(matches!(denied, Err(AccountsError::Denied { .. })), "{denied:?}");
        let denied = house.identity.set_password(caller, &ann, "another horse").await;
        assert!(matches!(denied, Err(AccountsError::Denied { .. })), "{denied:?}");
        let new = NewToken {
            owner: ann.clone(),
            label: String::new(),
            reach: Reach::Everything,
            lifetime: None,
        };
        let denied = house.identity.create_token(caller, new).await;
        assert!(matches!(denied, Err(AccountsError::Denied { .. })), "{denied:?}");
    }
    house.identity.set_password(&bob, &id("user:bob"), "another horse").await.unwrap();
}

#[tokio::test]
async fn threat_a14_passwords_that_are_tried_first_are_refused() {
    let house = House::new().await;
    for weak in ["", "short", "Password", "changeme", "bobbobbob"] {
        let refused =
            house.identity.create_user(&operator(), &id("user:bobbobbob"), weak, false).await;
        assert!(matches!(refused, Err(AccountsError::WeakPassword { .. })), "{weak}: {refused:?}");
    }
}

#[tokio::test]
async fn guessing_is_stopped_and_who_is_signed_in_goes_on() {
    let house = House::new().await;
    house.sign_in(&basic("ann", PASSWORD)).await.unwrap();
    let mut stopped = None;
    for guess in 0..50 {
        match house.sign_in(&basic("ann", &format!("guess number {guess}"))).await {
            Err(IdentityError::Wrong) => {}
            Err(IdentityError::TooMany { .. }) => {
                stopped = Some(guess);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(stopped.is_some_and(|guess| guess < 20), "{stopped:?}");
    house.sign_in(&basic("ann", PASSWORD)).await.unwrap();
}

#[tokio::test]
async fn sign_ins_leave_a_line_once_a_period_and_failures_each_time() {
    let house = House::new().await;
    let (_, token) = house.token("robot:ci", Reach::Everything, None).await;
    for _ in 0..5 {
        house.sign_in(&basic("ann", PASSWORD)).await.unwrap();
        house.sign_in(&bearer(&token)).await.unwrap();
    }
    for _ in 0..2 {
        wrong(house.sign_in(&basic("ann", "wrong horse")).await);
    }
    let own = |name: &str, success| (name.to_owned(), success);
    assert_eq!(
        house.sign_ins().await,
        [
            own("user:ann", true),
            own("robot:ci", true),
            own("user:ann", false),
            own("user:ann", false)
        ]
    );
}

#[tokio::test]
async fn keys_rotate_and_tokens_of_the_old_one_live_on() {
    let house = House::new().await;
    house.clock.advance(Duration::from_mins(24 * 60 - 1));
    let old = house.exchange(Credentials::None, &[]).await.issued.token;
    house.clock.advance(Duration::from_mins(2));
    house.identity.rotate_keys().await.unwrap();
    house.sign_in(&bearer(&old)).await.unwrap();
    let new = house.exchange(Credentials::None, &[]).await.issued.token;
    assert_ne!(old.split('.').next(), new.split('.').next(), "another key signs");
    house.sign_in(&bearer(&new)).await.unwrap();
}

#[tokio::test]
async fn a_token_of_a_key_that_another_process_made_just_now_is_known_everywhere() {
    let house = House::new().await;
    let other = house.neighbour().await;
    house.clock.advance(Duration::from_hours(25));
    house.identity.rotate_keys().await.unwrap();
    let new = house.exchange(Credentials::None, &[]).await.issued.token;
    let authenticate =
        async |token: &str| other.authenticate(&bearer(token), Origin::default()).await.map(drop);
    authenticate(&new).await.unwrap();
    authenticate(&new).await.unwrap();

    // A key that nobody made is nobody's, however often it is shown.
    let stranger = House::new().await;
    let foreign = stranger.exchange(Credentials::None, &[]).await.issued.token;
    for _ in 0..3 {
        wrong(authenticate(&foreign).await);
    }
    authenticate(&new).await.unwrap();
}

#[tokio::test]
async fn the_challenge_sends_clients_to_the_endpoint_where_it_is_known() {
    let house = House::new().await;
    let values = house.identity.challenge(
        Some("https://r.example"),
        Some("repository:a/b/c:pull"),
        Refusal::InsufficientScope,
    );
    assert_eq!(
        values,
        ["Bearer realm=\"https://r.example/v2/token\",service=\"strongroom\",\
          scope=\"repository:a/b/c:pull\",error=\"insufficient_scope\""]
    );
    assert!(
        house.identity.challenge(None, None, Refusal::Absent)[0]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
}
