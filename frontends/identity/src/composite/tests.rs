//! People of the pool as callers, end to end, over an engine in memory and a pool of our own; and what
//! passes while something is away (THREATS A11, A12, A15, A17).

use std::time::Duration;

use serde_json::json;
use strongroom_engine::access::{Ceiling, Principal};

use super::*;
use crate::account::Reach;
use crate::cognito::stand_in::{
    CLIENT, ENDPOINT, FakePool, ISSUER, Member, NOW, SUB, access, id_token, keys,
};
use crate::embedded::house::{House, PASSWORD, basic, bearer, id, operator};
use crate::embedded::{NewToken, set_barred};
use crate::provider::Sought;
use crate::scope;
use crate::testing::Pair;

pub(crate) struct Town {
    pub(crate) house: House,
    pub(crate) pool: FakePool,
    pub(crate) identity: Identity,
}

pub(crate) async fn town() -> Town {
    let (house, pool) = (House::new().await, FakePool::new());
    let cognito = pool.cognito(house.identity.seams().clone());
    let identity = Identity::new(
        house.engine.clone(),
        house.identity.clone(),
        Some(cognito),
        First::default(),
    );
    Town { house, pool, identity }
}

impl Town {
    async fn sign_in(&self, credentials: &Credentials) -> Result<Caller, IdentityError> {
        Ok(self.identity.authenticate(credentials, Origin::default()).await?.caller)
    }

    async fn exchange(&self, grant: &Grant) -> Result<Exchanged, IdentityError> {
        let asked = scope::parse(["repository:jo/main/x:pull,push"]).unwrap();
        let given = self.identity.exchange(grant, &asked, Some("docker"), &Origin::default()).await;
        given.map_err(|error| match error {
            ExchangeError::Identity(error) => error,
            ExchangeError::Accounts(error) => IdentityError::Unavailable(error.to_string()),
        })
    }

    async fn refresh(&self) -> Grant {
        let given = self.exchange(&Grant::Credentials(right())).await.unwrap();
        Grant::Refresh(given.refresh.unwrap())
    }

    fn sign_ins_at_pool(&self) -> usize {
        self.pool.web.asked(ENDPOINT)
    }
}

fn right() -> Credentials {
    basic("jo", "right horse")
}

fn jo() -> String {
    format!("cognito:{SUB}")
}

#[tokio::test]
async fn somebody_of_the_pool_signs_in_by_password_and_by_each_token() {
    let town = town().await;
    let given = town.exchange(&Grant::Credentials(right())).await.unwrap();
    let ways = [
        right(),
        bearer(&town.pool.token(&access())),
        bearer(&town.pool.token(&id_token())),
        bearer(&given.issued.token),
    ];
    for way in &ways {
        let caller = town.sign_in(way).await.unwrap();
        assert_eq!(caller.principal.as_str(), jo());
        assert!(!caller.operator);
    }
    let vouched = town.identity.authenticate(&ways[3], Origin::default()).await.unwrap();
    assert!(matches!(vouched.sought, Sought::Only(_)));
    // Users of the installation's own and nobody at all are as they were.
    assert_eq!(town.sign_in(&basic("ann", PASSWORD)).await.unwrap().principal.as_str(), "user:ann");
    let nobody = town.sign_in(&Credentials::None).await.unwrap();
    assert_eq!(nobody.principal, Principal::Anonymous);
    let given = town.exchange(&Grant::Credentials(Credentials::None)).await.unwrap();
    assert!(given.refresh.is_none());
}

#[tokio::test]
async fn the_first_sight_makes_a_profile_and_an_organisation_once() {
    let town = town().await;
    let token = bearer(&town.pool.token(&access()));
    let sights = (0..10).map(|_| town.sign_in(&token));
    for sight in futures::future::join_all(sights).await {
        sight.unwrap();
    }
    town.sign_in(&right()).await.unwrap();
    let made = profiles::profile(&town.house.engine, SUB).await.unwrap().unwrap();
    assert_eq!((made.username.as_str(), made.organisation.as_str()), ("jo", "jo"));
    // The id token that came with the password told it.
    assert_eq!(made.email.as_deref(), Some("jo@acme.example"));
    let all = town.house.engine.organisations(&operator(), None, 100).await.unwrap().items;
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn tokens_can_be_theirs_and_end_when_they_are_shut_out_here() {
    let town = town().await;
    let caller = town.sign_in(&right()).await.unwrap();
    let new = NewToken {
        owner: id(&jo()),
        label: "laptop".to_owned(),
        reach: Reach::Everything,
        lifetime: None,
    };
    let (_, token) = town.house.identity.create_token(&caller, new).await.unwrap();
    let refresh = town.refresh().await;
    let ways = [
        right(),
        bearer(&town.pool.token(&access())),
        bearer(token.expose()),
        basic("jo", token.expose()),
        basic(SUB, token.expose()),
        basic("__token__", token.expose()),
        bearer(&town.exchange(&refresh).await.unwrap().issued.token),
        bearer(&town.exchange(&Grant::Credentials(right())).await.unwrap().issued.token),
    ];
    for way in &ways {
        assert_eq!(town.sign_in(way).await.unwrap().principal.as_str(), jo());
    }
    assert_eq!(town.sign_in(&basic("ann", token.expose())).await, Err(IdentityError::Wrong));
    let (by, theirs) = (operator(), id(&jo()));
    let shut = |shut| town.house.identity.set_disabled(&by, &theirs, shut);
    shut(true).await.unwrap();
    for way in &ways {
        assert_eq!(town.sign_in(way).await, Err(IdentityError::Wrong), "{way:?}");
    }
    assert_eq!(town.exchange(&refresh).await.unwrap_err(), IdentityError::Wrong);
    shut(false).await.unwrap();
    for way in &ways {
        town.sign_in(way).await.unwrap();
    }
    town.house.identity.delete_account(&by, &theirs).await.unwrap();
    for way in &ways {
        assert_eq!(town.sign_in(way).await, Err(IdentityError::Wrong), "{way:?}");
    }
}

#[tokio::test]
async fn who_is_disabled_at_the_pool_is_out_with_the_refresh_token() {
    let town = town().await;
    let refresh = town.refresh().await;
    town.exchange(&refresh).await.unwrap();
    let asked = town.sign_ins_at_pool();
    town.exchange(&refresh).await.unwrap();
    assert_eq!(town.sign_ins_at_pool(), asked, "it was confirmed a moment ago");
    town.pool.set("jo", Member::Error("NotAuthorizedException", "User is disabled."));
    town.house.clock.advance(Duration::from_mins(5));
    assert_eq!(town.exchange(&refresh).await.unwrap_err(), IdentityError::Wrong);
    assert_eq!(town.sign_in(&right()).await, Err(IdentityError::Wrong));
    // And where nobody can ask the pool, the token is nothing.
    let alone = Identity::new(
        town.house.engine.clone(),
        town.house.identity.clone(),
        None,
        First::default(),
    );
    let answer = alone.exchange(&refresh, &[], None, &Origin::default()).await;
    assert!(matches!(answer, Err(ExchangeError::Identity(IdentityError::Wrong))), "{answer:?}");
}

#[tokio::test]
async fn a_name_that_passed_to_somebody_else_is_asked_for_anew() {
    let town = town().await;
    town.sign_in(&right()).await.unwrap();
    let theirs = id(&jo());
    let barred = |barred| set_barred(&town.house.engine, &theirs, barred);
    barred(true).await.unwrap();
    // The pool may know another person by the same name and password: only it can say.
    assert_eq!(town.sign_in(&right()).await, Err(IdentityError::Wrong));
    assert_eq!(town.sign_ins_at_pool(), 2);
    barred(false).await.unwrap();
    town.sign_in(&right()).await.unwrap();
    assert_eq!(town.sign_ins_at_pool(), 2, "it was right a moment ago");
}

#[tokio::test]
async fn a_password_is_asked_once_for_many_requests_and_guessing_is_stopped() {
    let town = town().await;
    let way = right();
    for answer in futures::future::join_all((0..10).map(|_| town.sign_in(&way))).await {
        answer.unwrap();
    }
    assert_eq!(town.sign_ins_at_pool(), 1);
    let mut asked = 0;
    let stopped = loop {
        match town.sign_in(&basic("jo", &format!("guess {asked}"))).await {
            Err(IdentityError::Wrong) => asked += 1,
            Err(IdentityError::TooMany { .. }) => break asked,
            other => panic!("{other:?}"),
        }
    };
    assert!(stopped < 20, "{stopped}");
    assert_eq!(town.sign_ins_at_pool(), 1 + stopped);
    town.sign_in(&way).await.unwrap();
    let lines = town.house.sign_ins().await;
    assert_eq!(lines[0], (jo(), true));
    assert_eq!(lines.len(), 1 + stopped);
}

#[tokio::test]
async fn threat_a12_operators_are_who_the_last_token_says() {
    let town = town().await;
    let mut claims = access();
    claims["cognito:groups"] = json!(["operators"]);
    let of_operator = bearer(&town.pool.token(&claims));
    assert!(town.sign_in(&of_operator).await.unwrap().operator);
    // Nothing of it stays behind for the next token.
    assert!(!town.sign_in(&bearer(&town.pool.token(&access()))).await.unwrap().operator);
    assert!(!town.sign_in(&right()).await.unwrap().operator);
    let by = operator();
    let accounts = town.house.identity.accounts(&by, crate::account::Kind::Cognito, None, 9).await;
    assert!(!accounts.unwrap().items[0].operator);
}

#[tokio::test]
async fn threat_a15_names_of_nobody_here_and_there_answer_alike() {
    let town = town().await;
    let mut answers = Vec::new();
    for user in ["jo", "ann", "nobody", "user:ann", "Jo", &"x".repeat(200)] {
        let answer = town.sign_in(&basic(user, "wrong horse")).await.unwrap_err();
        answers.push(answer.to_string());
    }
    answers.dedup();
    assert_eq!(answers, [IdentityError::Wrong.to_string()]);
    // A name that is the installation's own is never asked for at the pool, also when it is no more.
    let before = town.sign_ins_at_pool();
    town.house.identity.create_user(&operator(), &id("user:bob"), PASSWORD, true).await.unwrap();
    town.house.identity.delete_account(&operator(), &id("user:bob")).await.unwrap();
    town.pool.set("bob", Member::Password("right horse"));
    for user in ["ann", "bob"] {
        assert_eq!(town.sign_in(&basic(user, "right horse")).await, Err(IdentityError::Wrong));
    }
    assert_eq!(town.sign_ins_at_pool(), before);
}

#[tokio::test]
async fn what_has_to_be_done_first_is_told() {
    let town = town().await;
    town.pool.set("new", Member::Challenge("NEW_PASSWORD_REQUIRED"));
    let told = town.sign_in(&basic("new", "x")).await.unwrap_err();
    assert!(matches!(told, IdentityError::ActFirst(_)), "{told:?}");
    let told = town.exchange(&Grant::Credentials(basic("new", "x"))).await.unwrap_err();
    assert!(told.to_string().contains("choose your own"), "{told}");
}

/// What an attacker tries: none of it may ever pass, whatever is away.
fn attacks(town: &Town) -> Vec<(String, Credentials)> {
    let evil = Pair::rsa("pool key");
    let mut attacks = vec![
        ("another's key".to_owned(), bearer(&evil.token(&access()))),
        ("wrong password".to_owned(), basic("jo", "wrong horse")),
        ("nobody".to_owned(), basic("nobody", "right horse")),
        ("operator's name".to_owned(), basic("ann", "right horse")),
        ("no token".to_owned(), bearer("a.b.c")),
        ("a machine token".to_owned(), bearer("srt_x")),
        ("a refresh token of the pool".to_owned(), bearer("refresh.of.jo")),
    ];
    for (name, value) in [
        ("exp", json!(NOW - 60)),
        ("exp", json!("9999999999")),
        ("nbf", json!(NOW + 600)),
        ("iss", json!(format!("{ISSUER}/"))),
        ("iss", json!("https://evil.example/pool")),
        ("client_id", json!("other")),
        ("aud", json!(CLIENT)),
        ("token_use", json!("id")),
        ("token_use", json!(null)),
        ("sub", json!("user:ann")),
        ("sub", json!("")),
        ("username", json!(1)),
    ] {
        let mut claims = access();
        claims[name] = value.clone();
        attacks.push((format!("{name} {value}"), bearer(&town.pool.token(&claims))));
    }
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("kid", json!("unknown")),
        ("crit", json!(["x"])),
        ("jwk", evil.jwk()),
        ("jku", json!("https://evil.example")),
    ] {
        let mut header = town.pool.pair.header();
        header[name] = value.clone();
        let token = town.pool.pair.token_with(&header, &access().to_string());
        attacks.push((format!("header {name} {value}"), bearer(&token)));
    }
    attacks
}

#[tokio::test(start_paused = true)]
async fn threat_a17_the_attack_table_passes_nowhere_whatever_is_away() {
    let town = town().await;
    let good = bearer(&town.pool.token(&access()));
    let refused = |town: &Town, what: &'static str| {
        let attacks = attacks(town);
        let identity = town.identity.clone();
        async move {
            for (name, attack) in attacks {
                let answer = identity.authenticate(&attack, Origin::default()).await;
                assert!(answer.is_err(), "with {what}: {name} passed as {answer:?}");
                let grant = Grant::Credentials(attack);
                let given = identity.exchange(&grant, &[], None, &Origin::default()).await;
                assert!(given.is_err(), "with {what}: {name} got a token");
                // So that no attack is refused for the number of those before it.
                tokio::time::advance(Duration::from_mins(10)).await;
            }
        }
    };
    refused(&town, "everything up").await;
    let refresh = town.refresh().await;
    town.sign_in(&good).await.unwrap();

    town.pool.web.is_away(ENDPOINT);
    refused(&town, "the pool away").await;
    // Who was known goes on; who was not is told to come again, and not that they are wrong.
    town.sign_in(&good).await.unwrap();
    town.house.clock.advance(Duration::from_mins(5));
    for grant in [Grant::Credentials(right()), refresh] {
        let answer = town.exchange(&grant).await.unwrap_err();
        assert!(matches!(answer, IdentityError::Unavailable(_)), "{answer:?}");
    }

    town.pool.web.is_away(&keys());
    refused(&town, "pool and keys away").await;
    // Beyond the keys' greatest age nobody passes by them.
    tokio::time::advance(Duration::from_hours(25)).await;
    let answer = town.sign_in(&good).await;
    assert!(matches!(answer, Err(IdentityError::Unavailable(_))), "{answer:?}");
    refused(&town, "keys too old").await;

    town.pool.comes_back();
    refused(&town, "the keys alone away").await;
    let answer = town.sign_in(&right()).await;
    assert!(matches!(answer, Err(IdentityError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn threat_a11_a_token_of_the_pool_is_bounded_the_same_however_it_comes() {
    let town = town().await;
    let caller = town.sign_in(&right()).await.unwrap();
    assert_eq!(caller.ceiling, Ceiling::Unlimited);
    // The pool's tokens are bearers: in the place of a password they are none.
    let token = town.pool.token(&access());
    for user in ["jo", "__token__", SUB] {
        assert_eq!(town.sign_in(&basic(user, &token)).await, Err(IdentityError::Wrong), "{user}");
    }
    let given = town.exchange(&Grant::Credentials(right())).await.unwrap();
    for token in [given.issued.token.as_str(), given.refresh.as_ref().unwrap().expose()] {
        assert_eq!(town.sign_in(&basic("jo", token)).await, Err(IdentityError::Wrong));
    }
    let refresh = Credentials::Bearer(given.refresh.unwrap());
    assert_eq!(town.sign_in(&refresh).await, Err(IdentityError::Wrong));
    town.pool.remove("jo");
    assert!(
        town.sign_in(&bearer(&given.issued.token)).await.unwrap().ceiling != Ceiling::Unlimited
    );
}

#[tokio::test]
async fn people_of_the_pool_are_invited_by_name_and_by_verified_address() {
    let town = town().await;
    let find = async |text: &str| {
        let found = town.identity.find(text).await.unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // Nobody has seen them.
    for text in ["jo", "jo@acme.example", jo().as_str()] {
        assert_eq!(find(text).await, [""; 0], "{text}");
    }
    // Who signed up and never came has a profile, and no account yet.
    let lee = profiles::NewUser {
        sub: "lee-1".to_owned(),
        username: "lee".to_owned(),
        email: Some("lee@acme.example".to_owned()),
        email_verified: false,
    };
    profiles::ensure(&town.house.engine, &lee, First::default()).await.unwrap();
    assert_eq!(find("lee").await, ["cognito:lee-1"]);
    assert_eq!(find("cognito:lee-1").await, ["cognito:lee-1"]);
    assert_eq!(find("lee@acme.example").await, [""; 0], "nobody verified it");

    town.sign_in(&right()).await.unwrap();
    for text in ["jo", "Jo", "jo@acme.example", "JO@acme.example", jo().as_str()] {
        assert_eq!(find(text).await, [jo()], "{text}");
    }
    assert_eq!(find("ann").await, ["user:ann"]);
    // Somebody of the pool who calls themselves as somebody of the house is not taken for them.
    let ann = profiles::NewUser { sub: "evil".to_owned(), username: "ann".to_owned(), ..lee };
    profiles::ensure(&town.house.engine, &ann, First::default()).await.unwrap();
    assert_eq!(find("ann").await, ["user:ann", "cognito:evil"]);
    // Whoever was deleted here is nobody.
    town.house.identity.delete_account(&operator(), &id(&jo())).await.unwrap();
    assert_eq!(find("jo").await, [""; 0]);
    assert_eq!(find("jo@acme.example").await, [""; 0]);
}
