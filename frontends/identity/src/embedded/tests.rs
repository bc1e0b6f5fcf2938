//! Sign-ins end to end, over an engine in memory.

use std::sync::Arc;
use std::time::Duration;

use strongroom_engine::Engine;
use strongroom_engine::access::{Action, Caller, Ceiling, Grant as Reaches, Origin, PrincipalId};
use strongroom_engine::audit::TrailQuery;
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::meta::MemoryStore;
use strongroom_engine::seam::{ManualClock, Seams, SystemEntropy, Timestamp};
use strongroom_http::auth::{Credentials, Secret};

use super::*;
use crate::account::{AccountId, Kind, Reach};
use crate::provider::{IdentityError, IdentityProvider};
use crate::scope::{self, Scope};

const PASSWORD: &str = "correct horse";

struct House {
    engine: Engine,
    identity: Embedded,
    clock: Arc<ManualClock>,
}

fn operator() -> Caller {
    let id = PrincipalId::new("console:test").unwrap();
    Caller { operator: true, ..Caller::known(id) }
}

fn id(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn basic(user: &str, password: &str) -> Credentials {
    Credentials::Basic { user: user.to_owned(), password: Secret::new(password) }
}

fn bearer(token: &str) -> Credentials {
    Credentials::Bearer(Secret::new(token))
}

impl House {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
        let seams = Seams { clock: Arc::clone(&clock) as _, entropy: Arc::new(SystemEntropy) };
        let meta = Arc::new(MemoryStore::new(&seams));
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        let engine = Engine::builder(meta, blobs).seams(seams.clone()).build().await.unwrap();
        let options = Options { cost: Cost { memory: 8, passes: 1 }, ..Options::default() };
        let records = engine.extension(NAMESPACE);
        let master = MasterKey::from_bytes([7; 32]);
        let identity = Embedded::open(records, seams, master, options).await.unwrap();
        identity.create_user(&operator(), &id("user:ann"), PASSWORD, true).await.unwrap();
        identity.create_robot(&operator(), &id("robot:ci")).await.unwrap();
        Self { engine, identity, clock }
    }

    async fn sign_in(&self, credentials: &Credentials) -> Result<Caller, IdentityError> {
        self.identity.authenticate(credentials, Origin::default()).await
    }

    async fn token(
        &self,
        owner: &str,
        reach: Reach,
        lifetime: Option<Duration>,
    ) -> (String, String) {
        let new = NewToken { owner: id(owner), label: "test".to_owned(), reach, lifetime };
        let (info, token) = self.identity.create_token(&operator(), new).await.unwrap();
        (info.id, token.expose().to_owned())
    }

    async fn exchange(&self, credentials: Credentials, scopes: &[Scope]) -> Exchanged {
        let grant = Grant::Credentials(credentials);
        let offline = Some("test client");
        self.identity.exchange(&grant, scopes, offline, &Origin::default()).await.unwrap()
    }

    async fn sign_ins(&self) -> Vec<(String, bool)> {
        let query = TrailQuery {
            kinds: vec!["signed_in".to_owned()],
            oldest_first: true,
            ..TrailQuery::default()
        };
        let page = self.engine.trail(&operator(), None, &query, None, 1000).await.unwrap();
        let line = |event: strongroom_engine::audit::Event| match event.kind {
            EventKind::SignedIn { success, .. } => (event.principal, success),
            other => panic!("{other:?} was not asked for"),
        };
        page.items.into_iter().map(|item| line(item.event)).collect()
    }
}

fn wrong<T: std::fmt::Debug>(result: Result<T, IdentityError>) {
    assert_eq!(result.unwrap_err(), IdentityError::Wrong);
}

fn pull_of(organisation: &str) -> Reach {
    Reach::Only(vec![Reaches {
        organisation: Some(organisation.parse().unwrap()),
        registry: None,
        repository: None,
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
    assert_eq!(scopes, ["repository:acme/main/x:pull", "repository:other/main/x:"]);
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
    assert_eq!(house.identity.tokens(&operator(), &id("robot:ci")).await.unwrap(), []);
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
async fn the_challenge_sends_clients_to_the_endpoint_where_it_is_known() {
    let house = House::new().await;
    let values = house.identity.challenge(Some("https://r.example"), Some("repository:a/b/c:pull"));
    assert_eq!(
        values,
        ["Bearer realm=\"https://r.example/v2/token\",service=\"strongroom\",\
          scope=\"repository:a/b/c:pull\""]
    );
    assert!(house.identity.challenge(None, None)[0].to_str().unwrap().starts_with("Basic "));
}
