//! Attacks on foreign tokens (THREATS A1 to A7, A9), against issuers of our own.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_engine::seam::{ManualClock, Seams, SystemEntropy, Timestamp};

use super::*;
use crate::testing::{FakeWeb, Pair, b64, set};

const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://issuer.example/pool";
const KEYS: &str = "https://issuer.example/pool/keys";
const BOTH: &[Signing] = &[Signing::Rs256, Signing::Es256];

struct Town {
    verifier: Verifier,
    web: FakeWeb,
    clock: Arc<ManualClock>,
    pair: Pair,
}

fn verifier(web: &FakeWeb, trusted: Vec<Trusted>) -> (Verifier, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp(NOW * 1_000)));
    let seams = Seams { clock: Arc::clone(&clock) as _, entropy: Arc::new(SystemEntropy) };
    let verifier = Verifier::new(trusted, Policy::default(), seams, Arc::new(web.clone()));
    (verifier.unwrap(), clock)
}

fn trusted(issuer: &str, keys: &str) -> Trusted {
    Trusted { issuer: issuer.to_owned(), keys: KeysAt::Url(keys.to_owned()), signing: BOTH }
}

fn town() -> Town {
    let web = FakeWeb::default();
    let pair = Pair::rsa("one");
    web.serve(KEYS, 200, set(&[&pair]));
    let (verifier, clock) = verifier(&web, vec![trusted(ISSUER, KEYS)]);
    Town { verifier, web, clock, pair }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "sub": "jo", "exp": NOW + 300, "iat": NOW, "nbf": NOW, "aud": "us" })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

impl Town {
    async fn refuses(&self, token: &str, why: &str) -> JwtError {
        match self.verifier.verify(token).await {
            Err(error) => error,
            Ok(_) => panic!("{why}: it passed"),
        }
    }

    async fn passes(&self) {
        self.verifier.verify(&self.pair.token(&claims())).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_says_what_it_claims() {
    let town = town();
    let said = town.verifier.verify(&town.pair.token(&with("email", json!("jo@a")))).await.unwrap();
    assert_eq!((said.subject.as_str(), said.audience.as_slice()), ("jo", &["us".to_owned()][..]));
    assert_eq!(said.text("email"), Some("jo@a"));
    let ec = Pair::ec("two");
    town.web.serve(KEYS, 200, set(&[&town.pair, &ec]));
    let (verifier, _) = verifier(&town.web, vec![trusted(ISSUER, KEYS)]);
    verifier.verify(&ec.token(&claims())).await.unwrap();
}

#[tokio::test]
async fn threat_a1_a_token_never_brings_its_own_key() {
    let town = town();
    let evil = Pair::rsa("one");
    // The attacker's key under the trusted name.
    assert_eq!(town.refuses(&evil.token(&claims()), "kid").await, JwtError::Signature);
    for (name, value) in [
        ("jwk", evil.jwk()),
        ("jwk", Value::Null),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/x")),
        ("x5c", json!(["MII"])),
    ] {
        for pair in [&evil, &town.pair] {
            let mut header = pair.header();
            header[name] = value.clone();
            let token = pair.token_with(&header, &claims().to_string());
            let refused = town.refuses(&token, name).await;
            assert!(matches!(refused, JwtError::Form(_)), "{name}: {refused:?}");
        }
    }
    assert!(town.web.addresses().iter().all(|url| url == KEYS), "{:?}", town.web.addresses());
    town.passes().await;
}

#[tokio::test]
async fn threat_a2_keys_of_two_issuers_that_share_a_name_are_not_mixed() {
    let web = FakeWeb::default();
    let (a, b) = (Pair::rsa("same"), Pair::rsa("same"));
    let (at_a, at_b) = ("https://a.example/keys", "https://b.example/keys");
    web.serve(at_a, 200, set(&[&a]));
    web.serve(at_b, 200, set(&[&b]));
    let both = vec![trusted("https://a.example", at_a), trusted("https://b.example", at_b)];
    let (verifier, _) = verifier(&web, both);
    let of = |issuer: &str| with("iss", json!(issuer));
    // At once, so that a look for the one can't serve the other.
    let tokens = [
        (a.token(&of("https://a.example")), true),
        (b.token(&of("https://b.example")), true),
        (a.token(&of("https://b.example")), false),
        (b.token(&of("https://a.example")), false),
    ];
    let looks = tokens.iter().map(|(token, _)| verifier.verify(token));
    for (answer, (_, good)) in futures::future::join_all(looks).await.iter().zip(&tokens) {
        assert_eq!(answer.is_ok(), *good);
    }
}

#[tokio::test(start_paused = true)]
async fn threat_a3_made_up_keys_cost_one_look_each_interval() {
    let town = town();
    town.passes().await;
    tokio::time::advance(Policy::default().look_each).await;
    let made_up: Vec<_> = (0..10_000)
        .map(|n| {
            let header = json!({ "alg": "RS256", "kid": format!("made up {n}") });
            format!("{}.{}.{}", b64(header.to_string()), b64(claims().to_string()), b64("x"))
        })
        .collect();
    let before = town.web.asked(KEYS);
    for chunk in made_up.chunks(500) {
        let all = futures::future::join_all(chunk.iter().map(|token| town.verifier.verify(token)));
        let (all, ()) = tokio::join!(all, town.passes());
        assert!(all.into_iter().all(|answer| answer == Err(JwtError::UnknownKey)));
    }
    assert_eq!(town.web.asked(KEYS) - before, 1);
    // A new key is found at the next look.
    let new = Pair::ec("new");
    town.web.serve(KEYS, 200, set(&[&town.pair, &new]));
    let token = new.token(&claims());
    assert_eq!(town.refuses(&token, "too early").await, JwtError::UnknownKey);
    tokio::time::advance(Policy::default().look_each).await;
    town.verifier.verify(&token).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn threat_a3_a_look_that_fails_keeps_the_keys_until_they_are_too_old() {
    let town = town();
    town.passes().await;
    let policy = Policy::default();
    let unknown = Pair::rsa("unknown").token(&claims());
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(crate::web::MAX_ANSWER));
    for (status, body) in [
        (500, String::new()),
        (200, "{\"keys\":[]}".to_owned()),
        (200, "no JSON".to_owned()),
        (200, huge),
        (302, set(&[&Pair::rsa("one")])),
        (200, format!("{{\"keys\":[{0},{0}]}}", Pair::rsa("one").jwk())),
    ] {
        town.web.serve(KEYS, status, body);
        tokio::time::advance(policy.look_each).await;
        let before = town.web.asked(KEYS);
        let refused = town.refuses(&unknown, "unknown").await;
        assert!(matches!(refused, JwtError::Away { .. }), "{refused:?}");
        assert_eq!(town.web.asked(KEYS) - before, 1);
        town.passes().await;
    }
    town.web.is_away(KEYS);
    tokio::time::advance(policy.refresh_after).await;
    town.passes().await;
    tokio::time::advance(policy.max_age).await;
    // Also a token that was good a moment ago.
    let refused = town.refuses(&town.pair.token(&claims()), "too old").await;
    assert!(matches!(refused, JwtError::Away { .. }), "{refused:?}");
    town.web.serve(KEYS, 200, set(&[&town.pair]));
    tokio::time::advance(policy.look_each).await;
    town.passes().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_taken_back_takes_its_tokens_along() {
    let town = town();
    let token = town.pair.token(&claims());
    town.verifier.verify(&token).await.unwrap();
    town.web.serve(KEYS, 200, set(&[&Pair::rsa("two")]));
    tokio::time::advance(Policy::default().refresh_after).await;
    assert_eq!(town.refuses(&token, "taken back").await, JwtError::UnknownKey);
}

#[tokio::test]
async fn threat_a4_each_claim_is_of_its_very_type() {
    let town = town();
    let times = [
        json!("1700000100"),
        json!(1_700_000_100.5),
        json!(1.7e9),
        json!(-1),
        json!(1_u64 << 63),
        json!([1_700_000_100]),
        json!({}),
        json!(true),
        Value::Null,
    ];
    for claim in ["exp", "nbf", "iat"] {
        for value in &times {
            let token = town.pair.token(&with(claim, value.clone()));
            let refused = town.refuses(&token, &format!("{claim} {value}")).await;
            assert!(matches!(refused, JwtError::Form(_)), "{claim} {value}: {refused:?}");
        }
    }
    for claim in ["iss", "sub", "jti"] {
        for value in [json!(1), json!(["jo"]), json!({}), Value::Null] {
            town.refuses(&town.pair.token(&with(claim, value.clone())), claim).await;
        }
    }
    for value in [json!(1), json!([1]), json!({}), Value::Null] {
        town.refuses(&town.pair.token(&with("aud", value)), "aud").await;
    }
    for claim in ["iss", "sub", "exp", "iat"] {
        let mut without = claims();
        without.as_object_mut().unwrap().remove(claim);
        town.refuses(&town.pair.token(&without), claim).await;
    }
    // Twice is not once.
    for claim in ["\"exp\":9999999999", "\"iss\":\"x\"", "\"sub\":\"admin\""] {
        let twice = claims().to_string().replacen('{', &format!("{{{claim},"), 1);
        town.refuses(&town.pair.token_with(&town.pair.header(), &twice), claim).await;
    }
    // Times themselves.
    for (claim, value, good) in [
        ("exp", NOW - 29, true),
        ("exp", NOW - 30, false),
        ("nbf", NOW + 30, true),
        ("nbf", NOW + 31, false),
        ("iat", NOW + 31, false),
    ] {
        let mut changed = with(claim, json!(value));
        if claim == "exp" {
            changed["iat"] = json!(NOW - 600);
        }
        let answer = town.verifier.verify(&town.pair.token(&changed)).await;
        assert_eq!(answer.is_ok(), good, "{claim} {value}: {answer:?}");
    }
    town.clock.advance(Duration::from_secs(330));
    assert_eq!(town.refuses(&town.pair.token(&claims()), "over").await, JwtError::Time);
}

#[tokio::test]
async fn threat_a5_the_algorithm_is_the_keys_and_not_the_tokens() {
    let web = FakeWeb::default();
    let (rsa, ec) = (Pair::rsa("rsa"), Pair::ec("ec"));
    web.serve(KEYS, 200, set(&[&rsa, &ec]));
    let (verifier, _) = verifier(&web, vec![trusted(ISSUER, KEYS)]);
    let names = [
        "none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "RS384", "RS512", "PS256",
        "PS384", "PS512", "ES384", "ES512", "EdDSA", "rs256", "RS256 ", "ES256K", "RS256", "ES256",
    ];
    let mut looked_at = 0;
    for pair in [&rsa, &ec] {
        for alg in names {
            let header = json!({ "alg": alg, "kid": pair.kid });
            let token = pair.token_with(&header, &claims().to_string());
            let good = alg == pair.alg();
            assert_eq!(verifier.verify(&token).await.is_ok(), good, "{alg} of {}", pair.kid);
            looked_at += 1;
            let (signed, signature) = token.rsplit_once('.').unwrap();
            // HMAC under what is public, no signature, a part of it, more than it, other letters.
            let modulus = pair.jwk()["n"].as_str().unwrap_or("x").to_owned();
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, modulus.as_bytes());
            let mac = b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes()));
            for forged in [
                "",
                mac.as_str(),
                &signature[..signature.len() - 4],
                &format!("{signature}AAAA"),
                &format!("{signature}="),
                &b64([0; 64]),
                &b64([0; 256]),
            ] {
                assert!(verifier.verify(&format!("{signed}.{forged}")).await.is_err(), "{alg}");
            }
        }
    }
    assert_eq!(looked_at, 42);
    // The key of one kind under the name of the other.
    let mixed = ec.token_with(&json!({ "alg": "ES256", "kid": "rsa" }), &claims().to_string());
    assert_eq!(verifier.verify(&mixed).await, Err(JwtError::Algorithm));
    // RS256 only, where that is what is trusted.
    let only = Trusted { signing: &[Signing::Rs256], ..trusted(ISSUER, KEYS) };
    let (strict, _) = self::verifier(&web, vec![only]);
    assert_eq!(strict.verify(&ec.token(&claims())).await, Err(JwtError::UnknownKey));
    // A symmetric key in the set is none.
    web.serve(KEYS, 200, json!({ "keys": [{ "kty": "oct", "kid": "o", "k": "AA" }] }).to_string());
    let (none, _) = self::verifier(&web, vec![trusted(ISSUER, KEYS)]);
    assert!(matches!(none.verify(&rsa.token(&claims())).await, Err(JwtError::Away { .. })));
}

#[tokio::test]
async fn threat_a6_what_is_critical_and_not_known_is_refused() {
    let town = town();
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", Value::Null),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("typ", json!("JWE")),
    ] {
        let mut header = town.pair.header();
        header[name] = value;
        let token = town.pair.token_with(&header, &claims().to_string());
        let refused = town.refuses(&token, name).await;
        assert!(matches!(refused, JwtError::Form(_)), "{name}: {refused:?}");
    }
}

#[tokio::test]
async fn threat_a7_an_issuer_is_its_very_name() {
    let town = town();
    for issuer in [
        "https://issuer.example/pool/",
        "https://issuer.example/pool/x",
        "https://issuer.example/poo",
        "https://issuer.example/pool2",
        "https://issuer.example/Pool",
        "https://ISSUER.example/pool",
        "HTTPS://issuer.example/pool",
        "http://issuer.example/pool",
        "https://issuer.example/pool?x",
        "https://issuer.example/pool#",
        "https://issuer.example//pool",
        "https://issuer.example/./pool",
        "https://issuer.example/%70ool",
        "https://issuer.example:443/pool",
        "https://issuer.example@evil.example/pool",
        "https://evil.example/https://issuer.example/pool",
        "https://issuer.example.evil.example/pool",
        "https://issuerXexample/pool",
        " https://issuer.example/pool",
        "https://issuer.example/pool\n",
        "https://issuer.example/pool\u{0}",
        "",
    ] {
        let token = town.pair.token(&with("iss", json!(issuer)));
        assert_eq!(town.refuses(&token, issuer).await, JwtError::Issuer, "{issuer}");
    }
    town.passes().await;
    assert!(town.web.addresses().iter().all(|url| url == KEYS));
}

#[tokio::test]
async fn threat_a7_discovery_is_of_the_issuer_itself() {
    let web = FakeWeb::default();
    let pair = Pair::rsa("one");
    let at = format!("{ISSUER}/.well-known/openid-configuration");
    web.serve(KEYS, 200, set(&[&pair]));
    let discovering = || Trusted { keys: KeysAt::Discovery, ..trusted(ISSUER, "") };
    for (issuer, jwks_uri, good) in [
        (ISSUER, KEYS, true),
        ("https://issuer.example/pool/", KEYS, false),
        ("https://evil.example", KEYS, false),
        (ISSUER, "http://issuer.example/pool/keys", false),
        (ISSUER, "https://issuer.example@evil.example/", false),
        (ISSUER, "file:///etc/passwd", false),
        (ISSUER, "http://169.254.169.254/", false),
    ] {
        web.serve(&at, 200, json!({ "issuer": issuer, "jwks_uri": jwks_uri }).to_string());
        let (verifier, _) = verifier(&web, vec![discovering()]);
        let answer = verifier.verify(&pair.token(&claims())).await;
        assert_eq!(answer.is_ok(), good, "{issuer} {jwks_uri}: {answer:?}");
    }
    web.answer(&at, |_| {
        Ok(http::Response::builder().status(302).header("location", KEYS).body("".into()).unwrap())
    });
    let (redirected, _) = verifier(&web, vec![discovering()]);
    assert!(redirected.verify(&pair.token(&claims())).await.is_err());
    assert!(web.addresses().iter().all(|url| *url == at || url == KEYS), "{:?}", web.addresses());
}

#[tokio::test]
async fn threat_a9_a_large_token_is_refused_before_it_is_looked_at() {
    let town = town();
    let begun = std::time::Instant::now();
    for large in [".".repeat(1 << 20), "a.".repeat(1 << 19), "a".repeat(1 << 20)] {
        assert_eq!(town.refuses(&large, "large").await, JwtError::TooLong);
    }
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    for dots in [".", "..", "...", "a.b", "a.b.c.d", &".".repeat(MAX_LENGTH)] {
        let refused = town.refuses(dots, dots).await;
        assert!(matches!(refused, JwtError::Form(_)), "{refused:?}");
    }
    assert_eq!(town.web.addresses(), [""; 0]);
}
