//! Issuers of our own, and a web that counts and can be away, for the tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

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

use crate::web::{Web, WebError};

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair with a name.
pub(crate) struct Pair {
    pub(crate) kid: String,
    key: Algorithm,
}

enum Algorithm {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Pair {
    pub(crate) fn rsa(kid: &str) -> Self {
        let key = Algorithm::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
        Self { kid: kid.to_owned(), key }
    }

    pub(crate) fn ec(kid: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.to_owned(), key: Algorithm::Ec(key) }
    }

    pub(crate) fn alg(&self) -> &'static str {
        match self.key {
            Algorithm::Rsa(_) => "RS256",
            Algorithm::Ec(_) => "ES256",
        }
    }

    pub(crate) fn jwk(&self) -> Value {
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

    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.alg(), "kid": self.kid })
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), &claims.to_string())
    }

    /// A token of any header and claims, signed by this key.
    pub(crate) fn token_with(&self, header: &Value, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
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

pub(crate) fn set(pairs: &[&Pair]) -> String {
    json!({ "keys": pairs.iter().map(|pair| pair.jwk()).collect::<Vec<_>>() }).to_string()
}

type Answer = dyn Fn(&Request<Bytes>) -> Result<Response<Bytes>, WebError> + Send + Sync;

/// What is asked is answered from a table; what is not in it is away.
#[derive(Clone, Default)]
pub(crate) struct FakeWeb {
    answers: Arc<Mutex<HashMap<String, Arc<Answer>>>>,
    asked: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl std::fmt::Debug for FakeWeb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeWeb")
    }
}

impl FakeWeb {
    pub(crate) fn serve(&self, url: &str, status: u16, body: impl Into<Bytes>) {
        let body = body.into();
        self.answer(url, move |_| {
            Ok(Response::builder().status(status).body(body.clone()).unwrap())
        });
    }

    pub(crate) fn answer(
        &self,
        url: &str,
        with: impl Fn(&Request<Bytes>) -> Result<Response<Bytes>, WebError> + Send + Sync + 'static,
    ) {
        self.answers.lock().unwrap().insert(url.to_owned(), Arc::new(with));
    }

    pub(crate) fn is_away(&self, url: &str) {
        self.answers.lock().unwrap().remove(url);
    }

    /// How often this address was asked.
    pub(crate) fn asked(&self, url: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|request| *request.uri() == *url).count()
    }

    /// All addresses that were asked.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|request| request.uri().to_string()).collect()
    }

    /// The body of the last request that has one.
    pub(crate) fn last(&self) -> Value {
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
