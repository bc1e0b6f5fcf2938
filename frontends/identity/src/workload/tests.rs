//! Exchanges end to end (THREATS A10 and the parts of A5, A7, A11, A17 that concern them).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use strongroom_engine::access::Ceiling;
use strongroom_engine::name::RepositoryPath;
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_http::auth::{Credentials, Secret};

use super::*;
use crate::account::{Kind, Reach};
use crate::embedded::NewToken;
use crate::embedded::house::{House, basic, bearer, operator};
use crate::jwks::KeysAt;
use crate::provider::IdentityProvider as _;
use crate::testing::{FakeWeb, Pair, set};
use strongroom_engine::access::Origin;

const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://ci.example";
const OTHER: &str = "https://other.example";

struct Town {
    house: House,
    web: FakeWeb,
    workloads: Workloads,
    pair: Pair,
}

async fn town() -> Town {
    let house = House::new().await;
    let by = operator();
    let ann = crate::embedded::house::id("user:ann").principal();
    for organisation in ["acme", "rival"] {
        let name = organisation.parse().unwrap();
        house.engine.create_organisation(&by, &name, None, Some(&ann)).await.unwrap();
        let (main, settings) = ("main".parse().unwrap(), RegistrySettings::default());
        house.engine.create_registry(&admin(), &name, &main, settings).await.unwrap();
    }
    let web = FakeWeb::default();
    let pair = Pair::rsa("ci");
    web.serve(&keys(), 200, set(&[&pair]));
    let workloads = workloads(&house, &web);
    Town { house, web, workloads, pair }
}

fn workloads(house: &House, web: &FakeWeb) -> Workloads {
    trusting(house, web, &[("ci", ISSUER, None), ("other", OTHER, None)])
}

fn trusting(house: &House, web: &FakeWeb, issuers: &[(&str, &str, Option<&str>)]) -> Workloads {
    let issuers = issuers.iter().map(|(name, issuer, audience)| Issuer {
        name: (*name).to_owned(),
        issuer: (*issuer).to_owned(),
        audience: audience.map(str::to_owned),
        keys: KeysAt::Url(keys()),
    });
    let (engine, embedded) = (house.engine.clone(), house.identity.clone());
    let web = Arc::new(web.clone());
    Workloads::new(engine, embedded, issuers.collect(), Policy::default(), web).unwrap()
}

fn keys() -> String {
    format!("{ISSUER}/keys")
}

fn admin() -> Caller {
    Caller::known(crate::embedded::house::id("user:ann").principal())
}

fn place(text: &str) -> Place {
    let (organisation, registry) = text.split_once('/').unwrap();
    Place { organisation: organisation.parse().unwrap(), registry: registry.parse().unwrap() }
}

fn rule(registry: &str, claims: &[(&str, &str)]) -> NewRule {
    let Place { organisation, registry } = place(registry);
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    NewRule {
        organisation,
        registry,
        issuer: ISSUER.to_owned(),
        audience: Some("strongroom".to_owned()),
        claims: claims.iter().map(own).collect::<BTreeMap<_, _>>(),
        repository: Some("api".parse().unwrap()),
        actions: vec![Action::List, Action::Pull, Action::Push],
        lifetime_seconds: 600,
    }
}

const TAGS: &[(&str, &str)] = &[("repository", "acme/api"), ("ref", "refs/tags/v*")];

fn claims(id: &str) -> Value {
    json!({ "iss": ISSUER, "sub": "repo:acme/api:ref:refs/tags/v1", "aud": "strongroom",
            "exp": NOW + 300, "iat": NOW, "nbf": NOW, "jti": id,
            "repository": "acme/api", "ref": "refs/tags/v1", "environment": "production" })
}

impl Town {
    async fn exchange(&self, token: &str) -> Result<Exchanged, WorkloadError> {
        self.workloads.exchange(&Secret::new(token), None, &Origin::default()).await
    }

    async fn of(&self, id: &str, name: &str, value: Value) -> Result<Exchanged, WorkloadError> {
        let mut claims = claims(id);
        claims[name] = value;
        self.exchange(&self.pair.token(&claims)).await
    }

    async fn may(&self, credentials: &Credentials, action: Action, path: &str) -> bool {
        let Ok(vouched) = self.house.identity.authenticate(credentials, Origin::default()).await
        else {
            return false;
        };
        let path: RepositoryPath = path.parse().unwrap();
        self.house.engine.repository(&vouched.caller, &path, action).await.is_ok()
    }
}

#[tokio::test]
async fn a_run_gets_a_short_token_of_what_its_rule_grants() {
    let town = town().await;
    let made = town.workloads.add(&admin(), rule("acme/main", TAGS)).await.unwrap();
    let listed = town.workloads.list(&admin(), &place("acme/main")).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&made));
    let given = town.exchange(&town.pair.token(&claims("1"))).await.unwrap();
    assert_eq!((given.expires_in, &given.rule), (600, &made));
    let token = given.token.expose();
    for way in [bearer(token), basic("__token__", token), basic(&made.id, token)] {
        for (action, path, may) in [
            (Action::Push, "acme/main/api", true),
            (Action::Pull, "acme/main/api/worker", true),
            (Action::Delete, "acme/main/api", false),
            (Action::Push, "acme/main/apis", false),
            (Action::Pull, "acme/main/other", false),
            (Action::Pull, "rival/main/api", false),
        ] {
            assert_eq!(town.may(&way, action, path).await, may, "{action} {path}");
        }
    }
    let lines = town.house.sign_ins().await;
    assert_eq!(lines[0], (format!("workload:{}", made.id), true));
    town.house.clock.advance(Duration::from_mins(10));
    assert!(!town.may(&bearer(token), Action::Pull, "acme/main/api").await);
}

#[tokio::test]
async fn a_rule_that_is_removed_ends_its_tokens_at_once() {
    let town = town().await;
    let made = town.workloads.add(&admin(), rule("acme/main", TAGS)).await.unwrap();
    let given = town.exchange(&town.pair.token(&claims("1"))).await.unwrap();
    let way = bearer(given.token.expose());
    assert!(town.may(&way, Action::Push, "acme/main/api").await);
    let at = place("acme/main");
    town.workloads.remove(&admin(), &at, &made.id).await.unwrap();
    assert!(!town.may(&way, Action::Pull, "acme/main/api").await);
    let late = town.exchange(&town.pair.token(&claims("2"))).await;
    assert!(matches!(late, Err(WorkloadError::NoRule { .. })), "{late:?}");
    let again = town.workloads.remove(&admin(), &at, &made.id).await;
    assert!(matches!(again, Err(WorkloadError::Unknown { .. })), "{again:?}");
    assert_eq!(town.workloads.list(&admin(), &at).await.unwrap(), []);
    let members = town.house.engine.members(&admin(), &at.organisation, None, 10).await.unwrap();
    assert_eq!(members.items.len(), 1, "{members:?}");
}

#[tokio::test]
async fn threat_a10_of_a_hundred_exchanges_of_one_token_one_wins() {
    let town = town().await;
    town.workloads.add(&admin(), rule("acme/main", TAGS)).await.unwrap();
    let mut unnamed = claims("x");
    unnamed.as_object_mut().unwrap().remove("jti");
    for token in [town.pair.token(&claims("1")), town.pair.token(&unnamed)] {
        // Two nodes over one store.
        let other = workloads(&town.house, &town.web);
        let secret = Secret::new(token);
        let origin = Origin::default();
        let all = (0..100).map(|n| {
            let node = if n % 2 == 0 { &town.workloads } else { &other };
            node.exchange(&secret, None, &origin)
        });
        let all = futures::future::join_all(all).await;
        assert_eq!(all.iter().filter(|answer| answer.is_ok()).count(), 1);
        let used = |answer: &Result<_, _>| matches!(answer, Err(WorkloadError::Used));
        assert_eq!(all.iter().filter(|answer| used(answer)).count(), 99);
    }
    // Within the leeway behind its end it still passes, and is still known.
    let late = town.pair.token(&claims("late"));
    town.exchange(&late).await.unwrap();
    town.house.clock.advance(Duration::from_secs(329));
    for n in 0..10 {
        let mut fresh = claims(&format!("fresh {n}"));
        fresh["exp"] = json!(NOW + 600);
        town.exchange(&town.pair.token(&fresh)).await.unwrap();
    }
    let again = town.exchange(&late).await;
    assert!(matches!(again, Err(WorkloadError::Used)), "{again:?}");
    // What is over for sure is removed in time.
    let kept = || async { town.workloads.0.records.scan(records::SPENT, None, 100).await.unwrap() };
    let before = kept().await.items.len();
    town.house.clock.advance(Duration::from_hours(2));
    let at = NOW + 329 + 7_200;
    for n in 0..4 {
        let mut fresh = claims(&format!("fresher {n}"));
        for (name, value) in [("iat", at), ("nbf", at), ("exp", at + 60)] {
            fresh[name] = json!(value);
        }
        town.exchange(&town.pair.token(&fresh)).await.unwrap();
    }
    assert!(kept().await.items.len() < before);
}

#[tokio::test(start_paused = true)]
async fn what_the_rule_does_not_say_exactly_is_refused() {
    let town = town().await;
    let exact = &[TAGS[0], TAGS[1], ("environment", "production")];
    town.workloads.add(&admin(), rule("acme/main", exact)).await.unwrap();
    for (at, (name, value)) in [
        ("repository", json!("acme/api2")),
        ("repository", json!("Acme/api")),
        ("repository", json!(["acme/api"])),
        ("repository", Value::Null),
        ("ref", json!("refs/heads/v1")),
        ("ref", json!("x/refs/tags/v1")),
        ("environment", json!("staging")),
        ("aud", json!("other")),
        ("aud", json!(["strongroom", "other"])),
        ("aud", json!([])),
        ("iss", json!(OTHER)),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = town.of(&at.to_string(), name, value.clone()).await;
        assert!(
            matches!(refused, Err(WorkloadError::NoRule { .. })),
            "{name} {value}: {refused:?}"
        );
        tokio::time::advance(Duration::from_mins(10)).await;
    }
    let good = town.of("list", "aud", json!(["strongroom"])).await;
    assert!(good.is_ok(), "{good:?}");
    let long = town.of("long", "exp", json!(NOW + 90_000)).await;
    assert!(matches!(long, Err(WorkloadError::Invalid(_))), "{long:?}");
}

#[tokio::test]
async fn of_several_rules_the_narrowest_decides_and_two_registries_are_told_apart() {
    let town = town().await;
    let wide = rule("acme/main", &TAGS[..1]);
    let narrow = NewRule { actions: vec![Action::Pull], ..rule("acme/main", TAGS) };
    town.workloads.add(&admin(), wide).await.unwrap();
    let narrow = town.workloads.add(&admin(), narrow).await.unwrap();
    assert_eq!(town.exchange(&town.pair.token(&claims("1"))).await.unwrap().rule, narrow);
    let rival = town.workloads.add(&admin(), rule("rival/main", TAGS)).await.unwrap();
    let token = town.pair.token(&claims("2"));
    let both = town.exchange(&token).await.unwrap_err();
    assert!(both.to_string().ends_with("acme/main, rival/main"), "{both}");
    let at = place("rival/main");
    let origin = Origin::default();
    let given = town.workloads.exchange(&Secret::new(token), Some(&at), &origin).await.unwrap();
    assert_eq!(given.rule, rival);
}

#[tokio::test]
async fn rules_are_for_who_manages_the_registry_and_say_who_runs() {
    let town = town().await;
    let by = operator();
    let stranger = Caller::known(crate::embedded::house::id("robot:ci").principal());
    let at = place("acme/main");
    let made = town.workloads.add(&admin(), rule("acme/main", TAGS)).await.unwrap();
    let reads = strongroom_engine::access::Grant {
        organisation: None,
        registry: None,
        repository: None,
        below: false,
        actions: vec![Action::List, Action::Pull, Action::Push, Action::Delete],
    };
    let bounded = Caller { ceiling: Ceiling::Grants([reads].into()), ..admin() };
    for caller in [&by, &stranger, &bounded, &Caller::anonymous()] {
        let refused = |error: &WorkloadError| {
            matches!(error, WorkloadError::Engine(Error::NameUnknown { .. } | Error::Denied { .. }))
        };
        let added = town.workloads.add(caller, rule("acme/main", TAGS)).await.unwrap_err();
        let listed = town.workloads.list(caller, &at).await.unwrap_err();
        let removed = town.workloads.remove(caller, &at, &made.id).await.unwrap_err();
        for error in [added, listed, removed] {
            assert!(refused(&error), "{error:?}");
        }
    }
    let good = || rule("acme/main", TAGS);
    let many: Vec<_> = (0..17).map(|n| format!("claim{n}")).collect();
    let many = many.iter().map(|name| (name.as_str(), "x")).collect::<Vec<_>>();
    for (why, bad) in [
        ("nobody", rule("acme/main", &[])),
        ("anybody's tag", rule("acme/main", &[("ref", "refs/tags/v1")])),
        ("a star", rule("acme/main", &[("repository", "acme/*")])),
        ("too many", rule("acme/main", &many)),
        ("long", NewRule { lifetime_seconds: 901, ..good() }),
        ("no time", NewRule { lifetime_seconds: 0, ..good() }),
        ("nothing", NewRule { actions: Vec::new(), ..good() }),
        ("manage", NewRule { actions: vec![Action::Manage], ..good() }),
        ("issuer", NewRule { issuer: "https://evil.example".to_owned(), ..good() }),
        ("issuer", NewRule { issuer: format!("{ISSUER}/"), ..good() }),
        ("audience", NewRule { audience: Some(String::new()), ..good() }),
        ("control", rule("acme/main", &[("sub", "a\nb")])),
    ] {
        let refused = town.workloads.add(&admin(), bad).await;
        assert!(matches!(refused, Err(WorkloadError::Invalid(_))), "{why}: {refused:?}");
    }
    // Nobody makes it a token that lasts.
    let owner = made.account().unwrap();
    assert_eq!(owner.kind, Kind::Workload);
    let new = NewToken { owner, label: String::new(), reach: Reach::Everything, lifetime: None };
    let refused = town.house.identity.create_token(&by, new).await;
    assert!(matches!(refused, Err(AccountsError::Invalid(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn threat_a17_forged_and_unverifiable_tokens_get_nothing_whatever_is_away() {
    let town = town().await;
    town.workloads.add(&admin(), rule("acme/main", TAGS)).await.unwrap();
    let evil = Pair::rsa("ci");
    let forged = || {
        let mut forged = vec![evil.token(&claims("e")), "a.b.c".to_owned(), String::new()];
        for alg in ["none", "HS256", "ES256", "RS512"] {
            let header = json!({ "alg": alg, "kid": "ci" });
            forged.push(town.pair.token_with(&header, &claims("f").to_string()));
        }
        for (name, value) in [("exp", json!(NOW - 60)), ("iss", json!("https://ci.example/"))] {
            let mut claims = claims("g");
            claims[name] = value;
            forged.push(town.pair.token(&claims));
        }
        forged
    };
    let good = town.pair.token(&claims("good"));
    for up in [true, false] {
        if !up {
            town.web.is_away(&keys());
            tokio::time::advance(Duration::from_hours(25)).await;
            let away = town.exchange(&good).await.unwrap_err();
            let unavailable = WorkloadError::Identity(IdentityError::Unavailable(String::new()));
            assert_eq!(std::mem::discriminant(&away), std::mem::discriminant(&unavailable));
            assert!(away.to_string().contains("can't be had"), "{away}");
        }
        for token in forged() {
            let refused = town.exchange(&token).await;
            assert!(matches!(refused, Err(WorkloadError::Identity(_))), "{refused:?}");
            tokio::time::advance(Duration::from_mins(10)).await;
        }
    }
    town.web.serve(&keys(), 200, set(&[&town.pair]));
    tokio::time::advance(Duration::from_mins(1)).await;
    town.exchange(&good).await.unwrap();
}

#[tokio::test]
async fn who_tries_tokens_without_end_is_stopped() {
    let town = town().await;
    let mut tries = 0;
    while !matches!(
        town.exchange("a.b.c").await,
        Err(WorkloadError::Identity(IdentityError::TooMany { .. }))
    ) {
        tries += 1;
        assert!(tries < 100);
    }
    assert_eq!(town.house.sign_ins().await.len(), tries);
}

#[tokio::test]
async fn an_issuer_goes_by_its_name_and_its_tokens_are_for_its_audience_alone() {
    let town = town().await;
    let before = town.workloads.add(&admin(), rule("acme/main", TAGS)).await.unwrap();
    let (house, web) = (&town.house, &town.web);
    let strict = trusting(house, web, &[("ci", ISSUER, Some("ours")), ("other", OTHER, None)]);
    let by_name = NewRule { issuer: "ci".to_owned(), audience: None, ..rule("acme/main", TAGS) };
    let made = strict.add(&admin(), by_name.clone()).await.unwrap();
    assert_eq!(made.grants.issuer, ISSUER);
    assert_eq!(made.grants.audience.as_deref(), Some("ours"));
    for (bad, says) in [
        (NewRule { audience: Some("theirs".to_owned()), ..by_name.clone() }, "\"ours\" alone"),
        (NewRule { issuer: "other".to_owned(), ..by_name.clone() }, "which audience"),
        (
            NewRule { issuer: "nobody".to_owned(), ..by_name },
            "which trusts ci (https://ci.example)",
        ),
    ] {
        let refused = strict.add(&admin(), bad).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    // Nothing that was made before goes on once the operator says another audience.
    let token = town.pair.token(&claims("1"));
    let refused = strict.exchange(&Secret::new(&token), None, &Origin::default()).await;
    assert!(matches!(refused, Err(WorkloadError::NoRule { .. })), "{refused:?}");
    assert_eq!(town.exchange(&token).await.unwrap().rule, before);
    let mut ours = claims("2");
    ours["aud"] = json!("ours");
    let token = Secret::new(town.pair.token(&ours));
    let given = strict.exchange(&token, None, &Origin::default()).await.unwrap();
    assert_eq!(given.rule, made);
}

/// Names lead to one registry for ever, so nobody else's registry can come to have the rules of another.
#[tokio::test]
async fn rules_stay_with_their_registry_whatever_it_is_called() {
    let town = town().await;
    let (engine, by) = (&town.house.engine, admin());
    let made = town.workloads.add(&by, rule("acme/main", TAGS)).await.unwrap();
    let (acme, main) = ("acme".parse().unwrap(), "main".parse().unwrap());
    engine.rename_registry(&by, &acme, &main, &"prod".parse().unwrap()).await.unwrap();
    engine.rename_organisation(&by, &acme, &"apex".parse().unwrap()).await.unwrap();

    // Under the new names it is listed, and its tokens are good there.
    let now = place("apex/prod");
    let renamed = made.clone().at(now.clone());
    assert_eq!(town.workloads.list(&by, &now).await.unwrap(), std::slice::from_ref(&renamed));
    let given = town.exchange(&town.pair.token(&claims("1"))).await.unwrap();
    assert_eq!(given.rule, renamed);
    let token = bearer(given.token.expose());
    assert!(town.may(&token, Action::Push, "apex/prod/api").await);

    // Under the old ones there is nothing, and nobody gets them.
    let old = place("acme/main");
    let listed = town.workloads.list(&by, &old).await;
    assert!(matches!(listed, Err(WorkloadError::Engine(Error::NameUnknown { .. }))), "{listed:?}");
    let token = Secret::new(town.pair.token(&claims("2")));
    let given = town.workloads.exchange(&token, Some(&old), &Origin::default()).await;
    assert!(matches!(given, Err(WorkloadError::NoRule { .. })), "{given:?}");
    let taken = engine.create_organisation(&operator(), &acme, None, None).await;
    assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");
    let (apex, settings) = ("apex".parse().unwrap(), RegistrySettings::default());
    let taken = engine.create_registry(&by, &apex, &main, settings).await;
    assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");

    town.workloads.remove(&by, &now, &made.id).await.unwrap();
    assert_eq!(town.workloads.list(&by, &now).await.unwrap(), []);
    let given = town.exchange(&town.pair.token(&claims("3"))).await;
    assert!(matches!(given, Err(WorkloadError::NoRule { .. })), "{given:?}");
}

#[tokio::test]
async fn the_rules_of_a_registry_that_is_deleted_are_for_nobody() {
    let town = town().await;
    town.workloads.add(&admin(), rule("acme/main", TAGS)).await.unwrap();
    let (acme, main) = ("acme".parse().unwrap(), "main".parse().unwrap());
    town.house.engine.delete_registry(&admin(), &acme, &main, true).await.unwrap();
    let given = town.exchange(&town.pair.token(&claims("1"))).await;
    assert!(matches!(given, Err(WorkloadError::NoRule { .. })), "{given:?}");
}
