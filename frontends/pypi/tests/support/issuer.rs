//! An issuer of tokens for runs of continuous integration, and the web that has its keys.

use std::sync::Arc;

use serde_json::{Value, json};
use strongroom_engine::Engine;
use strongroom_identity::Embedded;
use strongroom_identity::jwks::{KeysAt, Policy};
use strongroom_identity::testing::{self, FakeWeb, Pair};
use strongroom_identity::workload::{self, Workloads};

pub(crate) const ISSUER: &str = "https://ci.example";
pub(crate) const AUDIENCE: &str = "strongroom";

const KEYS: &str = "https://ci.example/keys";

/// Signs tokens with one key.
pub(crate) struct Issuer(Pair, FakeWeb);

impl Issuer {
    pub(crate) fn new() -> Self {
        let (pair, web) = (Pair::ec("one"), FakeWeb::default());
        web.serve(KEYS, 200, testing::set(&[&pair]));
        Self(pair, web)
    }

    /// Answers nobody who asks for its keys from now on.
    pub(crate) fn is_away(&self) {
        self.1.is_away(KEYS);
    }

    /// Those who trust it, and read its keys where it has them.
    pub(crate) fn workloads(&self, engine: Engine, identity: Embedded) -> Workloads {
        let issuer = workload::Issuer {
            name: "ci".to_owned(),
            issuer: ISSUER.to_owned(),
            audience: None,
            keys: KeysAt::Url(KEYS.to_owned()),
        };
        let policy = Policy::default();
        Workloads::new(engine, identity, vec![issuer], policy, Arc::new(self.1.clone())).unwrap()
    }

    /// The token of a run of `repository`, named `id`.
    pub(crate) fn token(&self, id: &str, repository: &str, now_ms: u64) -> String {
        let now = now_ms / 1_000;
        self.0.token(&json!({ "iss": ISSUER, "sub": format!("repo:{repository}"), "aud": AUDIENCE,
                              "exp": now + 300, "iat": now, "nbf": now, "jti": id,
                              "repository": repository }))
    }
}

/// The errors of a refused exchange, by their codes.
pub(crate) fn codes(answer: &Value) -> Vec<&str> {
    let errors = answer["errors"].as_array().unwrap();
    errors.iter().map(|error| error["code"].as_str().unwrap()).collect()
}
