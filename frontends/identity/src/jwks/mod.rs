//! Tokens of other issuers: their keys, and a verifier that trusts nothing that the token says of itself.
//!
//! **Promises.** Key material comes from the configured address of a configured issuer alone, and each
//! key is found by issuer and name together: a key of one issuer never verifies a token of another (THREATS
//! A1, A2). A key that is not known is looked for at a bounded rate, by one at a time; a look that
//! fails, finds nothing or finds too much keeps the keys that were there (A3). Keys that could not be
//! confirmed for [`Policy::max_age`] count as gone: then nobody is vouched for. The algorithm belongs to the key
//! (A5); claims are of their very type (A4); any critical extension is refused (A6).
//!
//! **Never.** It follows a redirect, or tells whoever sent a token why it is refused.

mod claims;
mod keys;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use strongroom_engine::seam::Seams;

pub use claims::Claims;
pub use source::KeysAt;

use self::claims::Unverified;
use self::source::{KeyError, Source};
use crate::token::MAX_LENGTH;
use crate::web::{self, Web};

/// How many good tokens are remembered, so that their signature is not computed with each request.
const REMEMBERED: u64 = 10_000;

/// An algorithm that a foreign token may be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signing {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

/// Whose tokens are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// What stands in `iss`, exactly.
    pub issuer: String,
    /// Where its keys are.
    pub keys: KeysAt,
    /// What its keys may be for.
    pub signing: &'static [Signing],
}

/// How keys are looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// After how long known keys are looked for anew.
    pub refresh_after: Duration,
    /// How long after a look there is no other, whatever comes.
    pub look_each: Duration,
    /// How long keys count that could not be confirmed since.
    pub max_age: Duration,
    /// How far the issuer's clock may be from ours.
    pub clock_skew: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            refresh_after: Duration::from_hours(1),
            look_each: Duration::from_secs(30),
            max_age: Duration::from_hours(24),
            clock_skew: Duration::from_secs(30),
        }
    }
}

/// Why a token is refused. But for [`JwtError::Away`]: answer 401, the same one each time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// It is longer than any that is right.
    #[error("the token is too long")]
    TooLong,
    /// It is no JWT, or a claim is missing or of another type.
    #[error("the token is malformed: {0}")]
    Form(&'static str),
    /// Its issuer is none of those that are trusted.
    #[error("the token's issuer is not trusted here")]
    Issuer,
    /// Its issuer has no such key.
    #[error("the token names a key that its issuer does not have")]
    UnknownKey,
    /// It names another algorithm than its key is for.
    #[error("the token's algorithm is not its key's")]
    Algorithm,
    /// The issuer's key did not sign it.
    #[error("the token's signature is wrong")]
    Signature,
    /// Its time is over, has not begun, or makes no sense.
    #[error("the token is not valid at this time")]
    Time,
    /// The keys of its issuer can't be had. Answer 503.
    #[error("the keys of {issuer} can't be had: {reason}")]
    Away {
        /// Whose.
        issuer: String,
        /// Why, for the log.
        reason: String,
    },
}

/// Verifies tokens of some issuers. Clones share it.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    sources: HashMap<String, Source>,
    policy: Policy,
    seams: Seams,
    web: Arc<dyn Web>,
    good: Cache<[u8; 32], Arc<Good>>,
}

/// A token that was good when it was looked at: time and key are asked each time.
struct Good {
    key: String,
    claims: Arc<Claims>,
}

impl Verifier {
    /// Trusts these issuers and nobody else. Fails where an address is none that may be asked.
    pub fn new(
        trusted: Vec<Trusted>,
        policy: Policy,
        seams: Seams,
        web: Arc<dyn Web>,
    ) -> Result<Self, web::AddressError> {
        let mut sources = HashMap::new();
        for trusted in trusted {
            sources.insert(trusted.issuer.clone(), Source::new(trusted)?);
        }
        let good = Cache::new(REMEMBERED);
        Ok(Self(Arc::new(Inner { sources, policy, seams, web, good })))
    }

    /// The issuers, in the order of their names.
    pub fn issuers(&self) -> Vec<&str> {
        let mut all: Vec<_> = self.0.sources.keys().map(String::as_str).collect();
        all.sort_unstable();
        all
    }

    /// How far the clocks may be apart, in seconds.
    pub fn clock_skew(&self) -> u64 {
        self.0.policy.clock_skew.as_secs()
    }

    /// What `token` says, if one of the issuers signed it and it is good now. Whom it is for is the
    /// caller's to check.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, JwtError> {
        // Nothing is split, decoded or copied before this (THREATS A9).
        if token.len() > MAX_LENGTH {
            return Err(JwtError::TooLong);
        }
        let tag: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(good) = self.0.good.get(&tag) {
            self.check_time(&good.claims)?;
            // A key that its issuer has taken back takes its tokens along.
            self.key(&good.claims.issuer, &good.key).await?;
            return Ok(Arc::clone(&good.claims));
        }
        let token = Unverified::parse(token)?;
        self.check_time(&token.claims)?;
        let key = self.key(&token.claims.issuer, &token.key).await?;
        if key.signing.name() != token.algorithm {
            return Err(JwtError::Algorithm);
        }
        if !key.verifies(token.signed, token.signature) {
            return Err(JwtError::Signature);
        }
        let claims = Arc::new(token.claims);
        let good = Good { key: token.key, claims: Arc::clone(&claims) };
        self.0.good.insert(tag, Arc::new(good));
        Ok(claims)
    }

    async fn key(&self, issuer: &str, key: &str) -> Result<Arc<keys::Key>, JwtError> {
        let Inner { sources, policy, web, .. } = &*self.0;
        let source = sources.get(issuer).ok_or(JwtError::Issuer)?;
        source.key(key, policy, &**web).await.map_err(|error| match error {
            KeyError::Unknown => JwtError::UnknownKey,
            KeyError::Away(reason) => JwtError::Away { issuer: issuer.to_owned(), reason },
        })
    }

    fn check_time(&self, claims: &Claims) -> Result<(), JwtError> {
        let now = self.0.seams.clock.now().0 / 1_000;
        let skew = self.clock_skew();
        let latest = now.saturating_add(skew);
        let begun = claims.issued_at.max(claims.not_before.unwrap_or_default()) <= latest;
        let ended = claims.expires_at.saturating_add(skew) <= now;
        if !begun || ended || claims.expires_at <= claims.issued_at {
            return Err(JwtError::Time);
        }
        Ok(())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("issuers", &self.issuers()).finish_non_exhaustive()
    }
}
