//! A token taken apart, strictly, before anything of it is believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::JwtError;

/// The latest time that makes sense: the end of the year 9999.
const MAX_TIME: u64 = 253_402_300_799;
/// The longest name of a key, in bytes.
const MAX_KEY: usize = 256;
/// The most parties a token may be for.
const MAX_AUDIENCES: usize = 16;

/// What a token claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// `iss`
    pub issuer: String,
    /// `sub`
    pub subject: String,
    /// `aud`; none where it is absent.
    pub audience: Vec<String>,
    /// `exp`, in seconds since 1970.
    pub expires_at: u64,
    /// `nbf`
    pub not_before: Option<u64>,
    /// `iat`
    pub issued_at: u64,
    /// `jti`
    pub id: Option<String>,
    /// All the others.
    pub others: Map<String, Value>,
}

impl Claims {
    /// Another claim's text, where it is one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.others.get(name)?.as_str()
    }
}

/// The header. What could bring in a key, or asks for what we don't do, is refused by being there.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// No token that is right has one of these, whatever its value.
const REFUSED: [&str; 8] = ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"];

#[derive(Deserialize)]
struct Raw {
    iss: String,
    sub: String,
    exp: u64,
    iat: u64,
    #[serde(default, deserialize_with = "some")]
    nbf: Option<u64>,
    #[serde(default, deserialize_with = "audience")]
    aud: Vec<String>,
    #[serde(default, deserialize_with = "some")]
    jti: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// What is there must be of its type: null is not "absent" (THREATS A4).
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// RFC 7519, section 4.1.3: one text, or a list of them.
fn audience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// A token that nobody has vouched for.
pub(super) struct Unverified<'a> {
    pub(super) algorithm: String,
    pub(super) key: String,
    pub(super) claims: Claims,
    /// What the signature is over.
    pub(super) signed: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, JwtError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Form("no parts"))?;
        let (header, claims) = signed.split_once('.').ok_or(JwtError::Form("too few parts"))?;
        if claims.contains('.') || signature.is_empty() {
            return Err(JwtError::Form("not three parts"));
        }
        let header: Header = read(header, "header")?;
        if REFUSED.iter().any(|name| header.others.contains_key(*name)) {
            return Err(JwtError::Form("a header that is not allowed"));
        }
        let typed = header.typ.is_none_or(|typ| {
            typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt")
        });
        if !typed || header.kid.is_empty() || header.kid.len() > MAX_KEY {
            return Err(JwtError::Form("type or key"));
        }
        let raw: Raw = read(claims, "claims")?;
        let times = [raw.exp, raw.iat, raw.nbf.unwrap_or_default()];
        if times.iter().any(|time| *time > MAX_TIME) {
            return Err(JwtError::Form("a time that is none"));
        }
        if raw.aud.len() > MAX_AUDIENCES || raw.sub.is_empty() {
            return Err(JwtError::Form("subject or audience"));
        }
        let claims = Claims {
            issuer: raw.iss,
            subject: raw.sub,
            audience: raw.aud,
            expires_at: raw.exp,
            not_before: raw.nbf,
            issued_at: raw.iat,
            id: raw.jti,
            others: raw.others,
        };
        Ok(Self { algorithm: header.alg, key: header.kid, claims, signed, signature })
    }
}

fn read<T: serde::de::DeserializeOwned>(part: &str, what: &'static str) -> Result<T, JwtError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Form(what))?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Form(what))
}
