//! A user pool of our own, for the tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use strongroom_engine::seam::Seams;
use strongroom_http::auth::Secret;

use super::{Cognito, Settings};
use crate::jwks::Policy;
use crate::testing::{FakeWeb, Pair, set};

pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const ISSUER: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Pool";
pub(crate) const ENDPOINT: &str = "https://cognito-idp.eu-west-1.amazonaws.com/";
pub(crate) const CLIENT: &str = "our-client";
pub(crate) const SUB: &str = "11111111-2222-3333-4444-555555555555";

/// How the pool answers a name: its password, or the error or challenge instead of tokens.
#[derive(Clone)]
pub(crate) enum Member {
    Password(&'static str),
    Error(&'static str, &'static str),
    Challenge(&'static str),
}

pub(crate) struct FakePool {
    pub(crate) web: FakeWeb,
    pub(crate) pair: Arc<Pair>,
    pub(crate) members: Arc<Mutex<BTreeMap<String, Member>>>,
}

pub(crate) fn keys() -> String {
    format!("{ISSUER}/.well-known/jwks.json")
}

pub(crate) fn settings() -> Settings {
    Settings {
        issuer: ISSUER.to_owned(),
        client_ids: vec![CLIENT.to_owned()],
        client_secret: Some(Secret::new("client secret")),
        endpoint: None,
        jwks_url: None,
        operator_group: Some("operators".to_owned()),
    }
}

/// The claims of an access token of `jo`.
pub(crate) fn access() -> Value {
    json!({ "iss": ISSUER, "sub": SUB, "exp": NOW + 3600, "iat": NOW, "token_use": "access",
            "client_id": CLIENT, "username": "jo", "jti": "j", "scope": "x" })
}

/// The claims of an id token of `jo`.
pub(crate) fn id_token() -> Value {
    json!({ "iss": ISSUER, "sub": SUB, "exp": NOW + 3600, "iat": NOW, "token_use": "id",
            "aud": CLIENT, "cognito:username": "jo", "email": "jo@acme.example",
            "email_verified": true })
}

fn answer(status: u16, body: &Value) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::from(body.to_string())).unwrap()
}

fn error(kind: &str, message: &str) -> Response<Bytes> {
    answer(400, &json!({ "__type": kind, "message": message }))
}

impl FakePool {
    pub(crate) fn new() -> Self {
        let web = FakeWeb::default();
        let pair = Arc::new(Pair::rsa("pool key"));
        web.serve(&keys(), 200, set(&[&pair]));
        let members: Arc<Mutex<BTreeMap<String, Member>>> = Arc::default();
        members.lock().unwrap().insert("jo".to_owned(), Member::Password("right horse"));
        let pool = Self { web, pair, members };
        pool.comes_back();
        pool
    }

    /// It answers sign-ins (again).
    pub(crate) fn comes_back(&self) {
        let (pair, members) = (Arc::clone(&self.pair), Arc::clone(&self.members));
        self.web.answer(ENDPOINT, move |request| Ok(sign_in(&pair, &members, request)));
    }

    pub(crate) fn cognito(&self, seams: Seams) -> Cognito {
        let web = Arc::new(self.web.clone());
        Cognito::new(settings(), Policy::default(), seams, web).unwrap()
    }

    pub(crate) fn set(&self, name: &str, member: Member) {
        self.members.lock().unwrap().insert(name.to_owned(), member);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.members.lock().unwrap().remove(name);
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.pair.token(claims)
    }
}

fn sign_in(
    pair: &Pair,
    members: &Mutex<BTreeMap<String, Member>>,
    request: &Request<Bytes>,
) -> Response<Bytes> {
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let parameters = &body["AuthParameters"];
    let target = request.headers()["x-amz-target"].to_str().unwrap();
    assert_eq!(target, "AWSCognitoIdentityProviderService.InitiateAuth");
    assert_eq!((&body["ClientId"], request.method().as_str()), (&json!(CLIENT), "POST"));
    let refreshing = body["AuthFlow"] == "REFRESH_TOKEN_AUTH";
    let name = if refreshing {
        parameters["REFRESH_TOKEN"].as_str().unwrap().strip_prefix("refresh of ").unwrap()
    } else {
        parameters["USERNAME"].as_str().unwrap()
    };
    // Base64(HMAC-SHA-256("client secret", "jo" + "our-client")), computed elsewhere.
    if name == "jo" && parameters["SECRET_HASH"] != SECRET_HASH_OF_JO {
        return error("NotAuthorizedException", "Unable to verify secret hash for client");
    }
    let wrong = || error("NotAuthorizedException", "Incorrect username or password.");
    let tokens = || {
        let mut result = json!({
            "AccessToken": pair.token(&access()), "IdToken": pair.token(&id_token()),
            "ExpiresIn": 3600, "TokenType": "Bearer",
        });
        if !refreshing {
            result["RefreshToken"] = format!("refresh of {name}").into();
        }
        answer(200, &json!({ "AuthenticationResult": result, "ChallengeParameters": {} }))
    };
    match members.lock().unwrap().get(name) {
        Some(Member::Password(_)) if refreshing => tokens(),
        Some(Member::Password(right)) if parameters["PASSWORD"] == *right => tokens(),
        Some(Member::Error(kind, message)) => error(kind, message),
        Some(Member::Challenge(name)) => {
            answer(200, &json!({ "ChallengeName": name, "Session": "s" }))
        }
        _ => wrong(),
    }
}

const SECRET_HASH_OF_JO: &str = "SPkAqn/f5LqR2ral3dH1q66UsKdMkFe5eLAN81gqcrM=";
