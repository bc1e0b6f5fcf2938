//! Tokens of the pool and its refusals (THREATS A8, A15, A16, A17), against a pool of our own.

use std::sync::Arc;

use serde_json::{Value, json};
use strongroom_engine::seam::{ManualClock, Seams, SystemEntropy, Timestamp};
use strongroom_http::auth::Secret;

use super::stand_in::{
    CLIENT, ENDPOINT, FakePool, ISSUER, Member, NOW, SUB, access, id_token, keys, settings,
};
use super::*;

/// What an error must be.
type Check<'a> = &'a dyn Fn(&IdentityError) -> bool;

fn seams() -> Seams {
    let clock = Arc::new(ManualClock::at(Timestamp(NOW * 1_000)));
    Seams { clock, entropy: Arc::new(SystemEntropy) }
}

fn town() -> (FakePool, Cognito) {
    let pool = FakePool::new();
    let cognito = pool.cognito(seams());
    (pool, cognito)
}

async fn sign_in(cognito: &Cognito, user: &str, password: &str) -> Result<Session, IdentityError> {
    cognito.password(user, &Secret::new(password)).await
}

#[tokio::test]
async fn threat_a8_of_all_uses_clients_pools_and_groups_one_cell_passes() {
    let (pool, cognito) = town();
    let set = |claims: &mut Value, name: &str, value: &Option<Value>| match value {
        Some(value) => claims[name] = value.clone(),
        None => drop(claims.as_object_mut().unwrap().remove(name)),
    };
    let parties = [Some(json!(CLIENT)), Some(json!("other")), None];
    let many = [
        Some(json!([CLIENT])),
        Some(json!([CLIENT, "other"])),
        Some(json!([])),
        Some(json!(CLIENT)),
        Some(json!("other")),
        None,
    ];
    let mut passed = Vec::new();
    for token_use in ["access", "id", "refresh", "", "ACCESS"] {
        for client in &parties {
            for audience in &many {
                for issuer in
                    [ISSUER, "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Other"]
                {
                    let mut claims = access();
                    claims["cognito:username"] = json!("jo");
                    claims["token_use"] = json!(token_use);
                    claims["iss"] = json!(issuer);
                    set(&mut claims, "client_id", client);
                    set(&mut claims, "aud", audience);
                    if cognito.verify(&pool.token(&claims)).await.is_ok() {
                        passed.push((token_use, client.clone(), audience.clone(), issuer));
                    }
                }
            }
        }
    }
    let ours = || Some(json!(CLIENT));
    assert_eq!(
        passed,
        [
            ("access", ours(), Some(json!([])), ISSUER),
            ("access", ours(), None, ISSUER),
            ("id", None, Some(json!([CLIENT])), ISSUER),
            ("id", None, ours(), ISSUER),
        ]
    );
    for claim in ["token_use", "username"] {
        let mut without = access();
        set(&mut without, claim, &None);
        assert_eq!(cognito.verify(&pool.token(&without)).await, Err(IdentityError::Wrong));
    }
}

#[tokio::test]
async fn threat_a8_nothing_that_a_person_may_write_makes_an_operator() {
    let (pool, cognito) = town();
    for (claims, operator) in [
        (json!({ "cognito:groups": ["operators"] }), Some(true)),
        (json!({ "cognito:groups": ["a", "operators"] }), Some(true)),
        (json!({ "cognito:groups": ["operator", "operators2", "Operators"] }), Some(false)),
        (json!({}), Some(false)),
        (json!({ "groups": ["operators"], "custom:groups": ["operators"] }), Some(false)),
        (json!({ "custom:role": "operators", "profile": "operators" }), Some(false)),
        (json!({ "cognito:roles": ["operators"], "scope": "operators" }), Some(false)),
        // What is no list of names is no token.
        (json!({ "cognito:groups": "operators" }), None),
        (json!({ "cognito:groups": [["operators"]] }), None),
        (json!({ "cognito:groups": null }), None),
    ] {
        for mut token in [access(), id_token()] {
            token.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
            let person = cognito.verify(&pool.token(&token)).await;
            assert_eq!(person.ok().map(|person| person.operator), operator, "{claims}");
        }
    }
    let mut nobodys = settings();
    nobodys.operator_group = None;
    let web = Arc::new(pool.web.clone());
    let nobodys = Cognito::new(nobodys, Policy::default(), seams(), web).unwrap();
    let mut claims = access();
    claims["cognito:groups"] = json!(["operators", ""]);
    assert!(!nobodys.verify(&pool.token(&claims)).await.unwrap().operator);
}

#[tokio::test]
async fn a_password_is_exchanged_for_who_has_it() {
    let (pool, cognito) = town();
    let session = sign_in(&cognito, "jo", "right horse").await.unwrap();
    assert_eq!(session.person.sub.as_str(), SUB);
    assert_eq!(session.person.email.as_deref(), Some("jo@acme.example"));
    assert!(session.person.email_verified);
    assert_eq!(pool.web.last()["AuthFlow"], "USER_PASSWORD_AUTH");
    let renewed = cognito.renew("jo", &session.refresh.unwrap()).await.unwrap();
    assert_eq!(renewed.person, session.person);
    assert_eq!(pool.web.addresses(), [ENDPOINT, &keys(), ENDPOINT]);
}

#[tokio::test]
async fn each_refusal_says_what_to_do_and_only_where_the_person_can() {
    let (pool, cognito) = town();
    let says = |text: &'static str| move |error: &IdentityError| matches!(error, IdentityError::ActFirst(said) if said.contains(text));
    let wrong = |error: &IdentityError| *error == IdentityError::Wrong;
    let slow = |error: &IdentityError| matches!(error, IdentityError::TooMany { .. });
    let away = |error: &IdentityError| matches!(error, IdentityError::Unavailable(_));
    let table: &[(Member, Check<'_>)] = &[
        (Member::Error("NotAuthorizedException", "Incorrect username or password."), &wrong),
        (Member::Error("NotAuthorizedException", "User is disabled."), &wrong),
        (Member::Error("UserNotFoundException", "User does not exist."), &wrong),
        (Member::Error("com.amazonaws#UserNotConfirmedException", "x"), &says("code")),
        (Member::Error("PasswordResetRequiredException", "x"), &says("forgot password")),
        (Member::Challenge("NEW_PASSWORD_REQUIRED"), &says("choose your own")),
        (Member::Challenge("SMS_MFA"), &says("personal access token")),
        (Member::Challenge("SOFTWARE_TOKEN_MFA"), &says("personal access token")),
        (Member::Challenge("MFA_SETUP"), &says("personal access token")),
        (Member::Challenge("WHATEVER_COMES"), &says("personal access token")),
        (Member::Error("NotAuthorizedException", "Password attempts exceeded"), &slow),
        (Member::Error("TooManyRequestsException", "Rate exceeded"), &slow),
        (Member::Error("LimitExceededException", "x"), &slow),
        (Member::Error("InvalidParameterException", "Value at 'userName' is too long"), &wrong),
        (Member::Error("InvalidParameterException", "USER_PASSWORD_AUTH flow not enabled"), &away),
        (Member::Error("NotAuthorizedException", "Unable to verify secret hash for x"), &away),
        (Member::Error("ResourceNotFoundException", "no pool"), &away),
        (Member::Error("InternalErrorException", "x"), &away),
        (Member::Error("", ""), &away),
    ];
    for (at, (member, check)) in table.iter().enumerate() {
        pool.set("jo", member.clone());
        let error = sign_in(&cognito, "jo", "right horse").await.unwrap_err();
        assert!(check(&error), "{at}: {error:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn threat_a15_who_is_not_there_reads_as_a_wrong_password() {
    let (pool, cognito) = town();
    let wrong = sign_in(&cognito, "jo", "wrong horse").await.unwrap_err();
    for kind in ["UserNotFoundException", "NotAuthorizedException"] {
        pool.set("nobody", Member::Error(kind, "x"));
        assert_eq!(sign_in(&cognito, "nobody", "wrong horse").await.unwrap_err(), wrong, "{kind}");
    }
}

#[tokio::test]
async fn threat_a16_a_password_goes_to_the_endpoint_and_nowhere_else() {
    let (pool, cognito) = town();
    for status in [301, 302, 303, 307, 308] {
        pool.web.answer(ENDPOINT, move |_| {
            let redirect = http::Response::builder().status(status);
            Ok(redirect.header("location", "https://evil.example/").body("".into()).unwrap())
        });
        let answer = sign_in(&cognito, "jo", "right horse").await;
        assert!(matches!(answer, Err(IdentityError::Unavailable(_))), "{answer:?}");
    }
    assert!(pool.web.addresses().iter().all(|url| url == ENDPOINT));
    for endpoint in ["http://evil.example/", "https://us@evil.example/", "ftp://x/"] {
        let settings = Settings { endpoint: Some(endpoint.to_owned()), ..settings() };
        let web = Arc::new(pool.web.clone());
        assert!(Cognito::new(settings, Policy::default(), seams(), web).is_err(), "{endpoint}");
    }
}

#[tokio::test]
async fn threat_a17_with_the_pool_away_nobody_more_signs_in() {
    let (pool, cognito) = town();
    pool.web.is_away(ENDPOINT);
    for password in ["right horse", "wrong horse"] {
        let answer = sign_in(&cognito, "jo", password).await;
        assert!(matches!(answer, Err(IdentityError::Unavailable(_))), "{answer:?}");
    }
    pool.comes_back();
    pool.web.is_away(&keys());
    // Right at the pool, and yet not to be verified.
    let answer = sign_in(&cognito, "jo", "right horse").await;
    assert!(matches!(answer, Err(IdentityError::Unavailable(_))), "{answer:?}");
    let token = pool.token(&access());
    assert!(matches!(cognito.verify(&token).await, Err(IdentityError::Unavailable(_))));
    // A broken answer is none.
    for body in ["", "{}", "[]", "{\"AuthenticationResult\":{}}", "{\"ChallengeName\":null}"] {
        pool.web.serve(ENDPOINT, 200, body);
        let answer = sign_in(&cognito, "jo", "right horse").await;
        assert!(matches!(answer, Err(IdentityError::Unavailable(_))), "{body}: {answer:?}");
    }
}

#[test]
fn settings_that_name_no_pool_are_refused() {
    let pool = FakePool::new();
    for issuer in [
        "https://cognito-idp.eu-west-1.amazonaws.com",
        "https://cognito-idp.eu-west-1.amazonaws.com/",
        "https://cognito-idp.eu-west-1.amazonaws.com/pool/",
        "http://cognito-idp.eu-west-1.amazonaws.com/pool",
        "eu-west-1_Pool",
    ] {
        let settings = Settings { issuer: issuer.to_owned(), ..settings() };
        let web = Arc::new(pool.web.clone());
        let refused = Cognito::new(settings, Policy::default(), seams(), web);
        assert!(refused.is_err(), "{issuer}");
    }
    let settings = Settings { client_ids: Vec::new(), ..settings() };
    let web = Arc::new(pool.web.clone());
    let refused = Cognito::new(settings, Policy::default(), seams(), web).unwrap_err();
    assert_eq!(refused, SettingsError::Clients);
}
