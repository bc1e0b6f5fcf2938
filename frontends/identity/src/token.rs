//! Short-lived access tokens: what the token endpoint gives and each request shows.
//!
//! **Promises.** A token is a JWT (Docker token spec) signed with HMAC-SHA-256 under a key of this
//! installation, named by its `kid`. The algorithm belongs to the key and is never read from the
//! token; a header with any field but `alg`, `typ` and `kid` is refused, and so no token brings its
//! own key. Each claim must be there, of its very type, once. Times are of the engine's clock.
//!
//! **Never.** It says why a token is refused to whoever sent it: that is for the log.

pub(crate) mod ceiling;
mod known;
pub(crate) mod subject;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use strongroom_engine::access::Ceiling;
use strongroom_engine::seam::Seams;

use known::{Good, Known};
use subject::Subject;

use crate::scope::{Access, Scope};

/// The longest token that is looked at, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;

/// The longest that a token may be good for.
pub const MAX_LIFETIME: Duration = Duration::from_hours(1);

/// How far the clocks of two nodes may be apart, in seconds.
const LEEWAY: u64 = 30;

const MAX_ACCESS: usize = 64;
const ALGORITHM: Algorithm = Algorithm::HS256;

/// A key that signs tokens.
#[derive(Clone)]
pub struct TokenKey {
    id: String,
    secret: [u8; 32],
}

impl TokenKey {
    /// A new key.
    pub fn generate(seams: &Seams) -> Self {
        let mut secret = [0; 32];
        seams.entropy.fill(&mut secret);
        Self { id: URL_SAFE_NO_PAD.encode(seams.random_16()), secret }
    }

    /// A key that was kept.
    pub fn from_parts(id: impl Into<String>, secret: [u8; 32]) -> Self {
        Self { id: id.into(), secret }
    }

    /// Its name, which stands in the tokens.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret part, to keep it sealed.
    pub fn expose(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys at work: the newest signs, all of them verify. A key may be dropped
/// [`MAX_LIFETIME`] after it signed last.
#[derive(Debug, Clone)]
pub struct KeySet {
    newest: TokenKey,
    older: Vec<TokenKey>,
}

impl KeySet {
    /// `newest` signs; `older` still verify.
    pub fn new(newest: TokenKey, older: Vec<TokenKey>) -> Self {
        Self { newest, older }
    }

    fn find(&self, id: &str) -> Option<&TokenKey> {
        std::iter::once(&self.newest).chain(&self.older).find(|key| key.id == id)
    }
}

/// Why a token is refused. Answer 401, the same one each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is longer than any that was given.
    #[error("the token is too long")]
    TooLong,
    /// It is no JWT, or has a header or claims that none of ours has.
    #[error("the token is not of our form")]
    Form,
    /// No key of that name.
    #[error("the token names a key that is not, or no more, in use")]
    UnknownKey,
    /// It was not signed by us.
    #[error("the token's signature is wrong")]
    Signature,
    /// Its time is over, has not begun, or makes no sense.
    #[error("the token is not valid at this time")]
    Time,
    /// It is from, or for, somebody else.
    #[error("the token is of another issuer or for another service")]
    Audience,
    /// It could not be signed.
    #[error("the token could not be made")]
    Signing,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Who it was given to.
    pub subject: String,
    /// What it grants: at most this, of what its subject may do.
    pub scopes: Vec<Scope>,
    /// What was asked for with it, and what of that is not granted no other token will grant.
    pub sought: Arc<[Scope]>,
    /// Its own name, for the audit trail.
    pub id: String,
    /// See [`Granted::ceiling`].
    ceiling: OnceLock<Ceiling>,
    /// See [`Granted::whom`].
    whom: OnceLock<Option<Subject>>,
}

/// A token as the endpoint gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The token. It is short-lived; still, treat it as a secret.
    pub token: String,
    /// How many seconds it is good for.
    pub expires_in: u64,
    /// When it was made, in seconds since 1970.
    pub issued_at: u64,
}

/// The header, strictly: with an unknown field (`crit`, `jwk`, `jku`, `x5u`, `x5c`, …) it is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    alg: String,
    typ: String,
    kid: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    access: Vec<Access>,
    /// Ours, beside those of the Docker token spec.
    refused: Vec<Access>,
}

impl Claims {
    fn is_too_much(&self) -> bool {
        self.access.len() > MAX_ACCESS || self.refused.len() > MAX_ACCESS
    }
}

/// Makes and checks access tokens. Clones share their keys.
#[derive(Debug, Clone)]
pub struct Tokens {
    issuer: String,
    service: String,
    lifetime: Duration,
    seams: Seams,
    keys: Arc<ArcSwap<KeySet>>,
    known: Arc<Known>,
}

/// When a token is good, in seconds since 1970; made of claims that make sense.
#[derive(Debug, Clone, Copy)]
struct Times {
    begins: u64,
    ends: u64,
}

impl Times {
    fn check(self, now: u64) -> Result<(), TokenError> {
        let begun = self.begins <= now.saturating_add(LEEWAY);
        if begun && now < self.ends { Ok(()) } else { Err(TokenError::Time) }
    }
}

impl Tokens {
    /// Tokens from `issuer` for `service`, good for `lifetime` (at most [`MAX_LIFETIME`]).
    pub fn new(
        issuer: impl Into<String>,
        service: impl Into<String>,
        lifetime: Duration,
        keys: KeySet,
        seams: Seams,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            service: service.into(),
            lifetime: lifetime.min(MAX_LIFETIME),
            seams,
            keys: Arc::new(ArcSwap::from_pointee(keys)),
            known: Arc::default(),
        }
    }

    /// Goes on with other keys. Tokens of keys that are not among them are refused from here on.
    pub fn rotate(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
    }

    /// A token for `subject`, granting `scopes`, that was asked to grant `refused`, too. What grants or
    /// refuses nothing is left out.
    pub fn issue(
        &self,
        subject: &str,
        scopes: &[Scope],
        refused: &[Scope],
    ) -> Result<Issued, TokenError> {
        let said = |scopes: &[Scope]| {
            scopes.iter().filter(|s| !s.actions.is_empty()).map(Access::from).collect::<Vec<_>>()
        };
        let keys = self.keys.load();
        let now = self.now();
        let expires_in = self.lifetime.as_secs();
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: subject.to_owned(),
            aud: self.service.clone(),
            exp: now.saturating_add(expires_in),
            nbf: now,
            iat: now,
            jti: URL_SAFE_NO_PAD.encode(self.seams.random_16()),
            access: said(scopes),
            refused: said(refused),
        };
        let header = Header { kid: Some(keys.newest.id.clone()), ..Header::new(ALGORITHM) };
        let key = EncodingKey::from_secret(&keys.newest.secret);
        let token = jsonwebtoken::encode(&header, &claims, &key);
        let token = token.map_err(|_| TokenError::Signing)?;
        if token.len() > MAX_LENGTH || claims.is_too_much() {
            return Err(TokenError::TooLong);
        }
        Ok(Issued { token, expires_in, issued_at: now })
    }

    /// What `token` says, if it is good.
    pub fn verify(&self, token: &str) -> Result<Arc<Granted>, TokenError> {
        // Nothing is split, decoded or copied before this.
        if token.len() > MAX_LENGTH {
            return Err(TokenError::TooLong);
        }
        let (name, keys) = (known::name(token), self.keys.load_full());
        if let Some(good) = self.known.find(&name, &keys) {
            good.times.check(self.now())?;
            return Ok(Arc::clone(&good.granted));
        }
        let mut parts = token.split('.');
        let header = parts.next().unwrap_or_default();
        if parts.count() != 2 {
            return Err(TokenError::Form);
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Form)?;
        let header: StrictHeader = serde_json::from_slice(&header).map_err(|_| TokenError::Form)?;
        if header.alg != "HS256" || header.typ != "JWT" {
            return Err(TokenError::Form);
        }
        let key = keys.find(&header.kid).ok_or(TokenError::UnknownKey)?;
        let (times, granted) = self.check(signed_claims(token, key)?)?;
        let granted = Arc::new(granted);
        self.known.add(name, Good { keys, times, granted: Arc::clone(&granted) });
        Ok(granted)
    }

    fn check(&self, claims: Claims) -> Result<(Times, Granted), TokenError> {
        if claims.iss != self.issuer || claims.aud != self.service {
            return Err(TokenError::Audience);
        }
        let lifetime = claims.exp.checked_sub(claims.nbf);
        if lifetime.is_none_or(|seconds| seconds > MAX_LIFETIME.as_secs()) {
            return Err(TokenError::Time);
        }
        let times = Times { begins: claims.nbf.max(claims.iat), ends: claims.exp };
        times.check(self.now())?;
        if claims.is_too_much() {
            return Err(TokenError::Form);
        }
        let scopes = claims.access.iter().filter_map(Access::scope);
        let sought = claims.access.iter().chain(&claims.refused).filter_map(Access::scope);
        let granted = Granted {
            scopes: scopes.collect(),
            sought: sought.collect(),
            subject: claims.sub,
            id: claims.jti,
            ceiling: OnceLock::new(),
            whom: OnceLock::new(),
        };
        Ok((times, granted))
    }

    fn now(&self) -> u64 {
        self.seams.clock.now().0 / 1_000
    }
}

/// The claims of a token that `key` signed. Times and names are checked by us, strictly.
fn signed_claims(token: &str, key: &TokenKey) -> Result<Claims, TokenError> {
    let mut validation = Validation::new(ALGORITHM);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(&key.secret);
    let decoded = jsonwebtoken::decode::<Claims>(token, &key, &validation);
    decoded.map(|data| data.claims).map_err(|error| match error.kind() {
        jsonwebtoken::errors::ErrorKind::InvalidSignature => TokenError::Signature,
        _ => TokenError::Form,
    })
}

#[cfg(test)]
mod tests;
