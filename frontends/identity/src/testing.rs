//! For tests, here and of whoever stands on this crate: issuers of our own, a web that counts and can be
//! away, and a user pool over them. Behind the feature `testing`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets one should fail"
)]
#![allow(clippy::missing_panics_doc, reason = "all of it panics where it is used wrongly")]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use strongroom_engine::seam::{Seams, Timestamp};

use crate::cognito::{Cognito, Settings};
use crate::jwks::Policy;
use crate::web::{Web, WebError};

/// Base64 as tokens have it.
pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair with a name.
#[expect(missing_debug_implementations, reason = "it is a secret")]
pub struct Pair {
    /// The name.
    pub kid: String,
    key: Algorithm,
}

enum Algorithm {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Pair {
    /// For RS256.
    pub fn rsa(kid: &str) -> Self {
        let key = Algorithm::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
        Self { kid: kid.to_owned(), key }
    }

    /// For ES256.
    pub fn ec(kid: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.to_owned(), key: Algorithm::Ec(key) }
    }

    /// The algorithm, as tokens name it.
    pub fn alg(&self) -> &'static str {
        match self.key {
            Algorithm::Rsa(_) => "RS256",
            Algorithm::Ec(_) => "ES256",
        }
    }

    /// The public half, as a key set has it.
    pub fn jwk(&self) -> Value {
        match &self.key {
            Algorithm::Rsa(key) => {
                let public: PublicKeyComponents<Vec<u8>> = key.public_key().into();
                json!({ "kty": "RSA", "kid": self.kid, "use": "sig", "alg": "RS256",
                        "n": b64(public.n), "e": b64(public.e) })
            }
            Algorithm::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({ "kty": "EC", "kid": self.kid, "crv": "P-256",
                        "x": b64(&point[1..33]), "y": b64(&point[33..]) })
            }
        }
    }

    /// The header of a token by this key.
    pub fn header(&self) -> Value {
        json!({ "alg": self.alg(), "kid": self.kid })
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), &claims.to_string())
    }

    /// A token of any header and claims, signed by this key.
    pub fn token_with(&self, header: &Value, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }

    /// A signature alone.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Algorithm::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Algorithm::Ec(key) => {
                key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
            }
        }
    }
}

/// A key set.
pub fn set(pairs: &[&Pair]) -> String {
    json!({ "keys": pairs.iter().map(|pair| pair.jwk()).collect::<Vec<_>>() }).to_string()
}

type Answer = dyn Fn(&Request<Bytes>) -> Result<Response<Bytes>, WebError> + Send + Sync;

/// What is asked is answered from a table; what is not in it is away.
#[derive(Clone, Default)]
pub struct FakeWeb {
    answers: Arc<Mutex<HashMap<String, Arc<Answer>>>>,
    asked: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl std::fmt::Debug for FakeWeb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeWeb")
    }
}

impl FakeWeb {
    /// Answers this at an address from now on.
    pub fn serve(&self, url: &str, status: u16, body: impl Into<Bytes>) {
        let body = body.into();
        self.answer(url, move |_| {
            Ok(Response::builder().status(status).body(body.clone()).unwrap())
        });
    }

    /// The same, made anew for each request.
    pub fn answer(
        &self,
        url: &str,
        with: impl Fn(&Request<Bytes>) -> Result<Response<Bytes>, WebError> + Send + Sync + 'static,
    ) {
        self.answers.lock().unwrap().insert(url.to_owned(), Arc::new(with));
    }

    /// Answers nothing there from now on.
    pub fn is_away(&self, url: &str) {
        self.answers.lock().unwrap().remove(url);
    }

    /// How often this address was asked.
    pub fn asked(&self, url: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|request| *request.uri() == *url).count()
    }

    /// All addresses that were asked.
    pub fn addresses(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|request| request.uri().to_string()).collect()
    }

    /// The body of the last request that has one.
    pub fn last(&self) -> Value {
        let asked = self.asked.lock().unwrap();
        let bodies = asked.iter().map(Request::body).filter(|body| !body.is_empty());
        serde_json::from_slice(bodies.last().unwrap()).unwrap()
    }
}

#[async_trait]
impl Web for FakeWeb {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, WebError> {
        let answer = self.answers.lock().unwrap().get(&request.uri().to_string()).cloned();
        let answer = answer.map_or(Err(WebError::Timeout), |answer| answer(&request));
        self.asked.lock().unwrap().push(request);
        // A real answer takes a while: others come meanwhile.
        tokio::task::yield_now().await;
        answer
    }
}

/// The password of everybody in a [`Pool`].
pub const PASSWORD: &str = "right horse";
const ISSUER: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Everybody";
const KEYS: &str = "/.well-known/jwks.json";
/// Where passwords are checked.
const ENDPOINT: &str = "https://cognito-idp.eu-west-1.amazonaws.com/";
const CLIENT: &str = "our-client";
/// How long its tokens are good, in seconds: tests turn the clock.
const YEAR: u64 = 31_536_000;

/// One for all: making it takes a while.
static KEY: LazyLock<Pair> = LazyLock::new(|| Pair::rsa("pool key"));

/// A user pool that has everybody who asks: by any name with [`PASSWORD`], as `cognito:sub-NAME`.
#[derive(Debug, Clone)]
pub struct Pool {
    web: FakeWeb,
    seams: Seams,
}

impl Pool {
    /// Whose clock is that of `seams`.
    pub fn new(seams: Seams) -> Self {
        let pool = Self { web: FakeWeb::default(), seams };
        pool.web.serve(&format!("{ISSUER}{KEYS}"), 200, set(&[&KEY]));
        let clock = Arc::clone(&pool.seams.clock);
        pool.web.answer(ENDPOINT, move |request| Ok(sign_in(request, clock.now())));
        pool
    }

    /// Answers nothing from now on: neither for its keys nor to who signs in.
    pub fn is_away(&self) {
        self.web.is_away(&format!("{ISSUER}{KEYS}"));
        self.web.is_away(ENDPOINT);
    }

    /// The provider of its people.
    pub fn cognito(&self) -> Cognito {
        let settings = Settings {
            issuer: ISSUER.to_owned(),
            client_ids: vec![CLIENT.to_owned()],
            client_secret: None,
            endpoint: None,
            jwks_url: None,
            operator_group: None,
        };
        let web = Arc::new(self.web.clone());
        Cognito::new(settings, Policy::default(), self.seams.clone(), web).unwrap()
    }

    /// An access token of somebody.
    pub fn access(&self, name: &str) -> String {
        access(name, self.seams.clock.now())
    }

    /// An id token of somebody.
    pub fn id_token(&self, name: &str) -> String {
        id_token(name, self.seams.clock.now())
    }
}

fn claims(name: &str, at: Timestamp) -> Value {
    let now = at.0 / 1_000;
    json!({ "iss": ISSUER, "sub": format!("sub-{name}"), "iat": now, "exp": now + YEAR, "jti": "j" })
}

fn access(name: &str, at: Timestamp) -> String {
    let mut claims = claims(name, at);
    claims["token_use"] = "access".into();
    claims["client_id"] = CLIENT.into();
    claims["username"] = name.into();
    KEY.token(&claims)
}

fn id_token(name: &str, at: Timestamp) -> String {
    let mut claims = claims(name, at);
    claims["token_use"] = "id".into();
    claims["aud"] = CLIENT.into();
    claims["cognito:username"] = name.into();
    claims["email"] = format!("{name}@people.example").into();
    claims["email_verified"] = true.into();
    KEY.token(&claims)
}

fn sign_in(request: &Request<Bytes>, at: Timestamp) -> Response<Bytes> {
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let parameters = &body["AuthParameters"];
    let (status, answer) = match parameters["USERNAME"].as_str() {
        Some(name) if parameters["PASSWORD"] == PASSWORD => {
            let tokens = json!({ "AccessToken": access(name, at), "IdToken": id_token(name, at) });
            (200, json!({ "AuthenticationResult": tokens }))
        }
        _ => (400, json!({ "__type": "NotAuthorizedException", "message": "wrong" })),
    };
    Response::builder().status(status).body(Bytes::from(answer.to_string())).unwrap()
}
