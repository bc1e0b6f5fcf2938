//! An issuer's key set (RFC 7517), as far as it is of use here.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use super::Signing;

/// The most keys of a set that are looked at.
const MAX_KEYS: usize = 64;
/// The shortest and the longest RSA modulus, in bytes (2,048 and 8,192 bits).
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1_024;
/// A coordinate of P-256, in bytes.
const COORDINATE: usize = 32;

/// A key that verifies, for one algorithm only.
pub(super) struct Key {
    pub(super) signing: Signing,
    key: DecodingKey,
}

impl Signing {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
        }
    }
}

impl Key {
    /// Whether this key made `signature` (in base64url) over `signed`.
    pub(super) fn verifies(&self, signed: &str, signature: &str) -> bool {
        let algorithm = self.signing.algorithm();
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, algorithm)
            .unwrap_or(false)
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set, by their names. What is for another use or algorithm is left out; a set with
/// nothing of use is an error, and so is one that calls two keys the same.
pub(super) fn parse(
    json: &[u8],
    signing: &[Signing],
) -> Result<HashMap<String, Arc<Key>>, &'static str> {
    let set: Set = serde_json::from_slice(json).map_err(|_| "what came is no key set")?;
    if set.keys.len() > MAX_KEYS {
        return Err("the key set has too many keys");
    }
    let mut keys = HashMap::new();
    for jwk in set.keys {
        let Some((kid, key)) = usable(jwk).filter(|(_, key)| signing.contains(&key.signing)) else {
            continue;
        };
        if keys.insert(kid, Arc::new(key)).is_some() {
            return Err("the key set has two keys of one name");
        }
    }
    if keys.is_empty() { Err("the key set has no key of use") } else { Ok(keys) }
}

fn usable(jwk: Jwk) -> Option<(String, Key)> {
    let kid = jwk.kid.filter(|kid| !kid.is_empty())?;
    let decode = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
    let (signing, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (decode(&jwk.n)?, decode(&jwk.e)?);
            let fits = MODULUS.contains(&n.len()) && (1..=8).contains(&e.len());
            fits.then(|| (Signing::Rs256, DecodingKey::from_rsa_raw_components(&n, &e)))?
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (decode(&jwk.x)?, decode(&jwk.y)?);
            if x.len() != COORDINATE || y.len() != COORDINATE {
                return None;
            }
            (Signing::Es256, DecodingKey::from_ec_components(&jwk.x?, &jwk.y?).ok()?)
        }
        _ => return None,
    };
    let meant = jwk.alg.is_none_or(|alg| alg == signing.name())
        && jwk.used_for.is_none_or(|used_for| used_for == "sig");
    meant.then_some((kid, Key { signing, key }))
}
