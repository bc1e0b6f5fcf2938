//! What is kept of workloads, and under which keys of the namespace:
//!
//! ```text
//! rule/<organisation>/<registry>/<id>  → Rule
//! anchor/<hash>/<id>                   → the key of the rule: by issuer, audience and the claim that says who
//! spent/<until><hash>                  → (empty): a token that was exchanged, until it is over for sure
//! ```
//!
//! Names are never given to anybody else, so a rule that stands under one is never another tenant's.

use sha2::{Digest as _, Sha256};

use super::exchange::Place;

pub(super) const SPENT: &str = "spent/";
/// The digits of the time in a key of a spent token.
pub(super) const TIME_DIGITS: usize = 16;

pub(super) fn rules(place: &Place) -> String {
    format!("rule/{place}/")
}

pub(super) fn rule(place: &Place, id: &str) -> String {
    format!("{}{id}", rules(place))
}

/// Where the rules are found that are for tokens of this issuer and audience with this claim.
pub(super) fn anchor(issuer: &str, audience: &str, claim: &str, value: &str) -> String {
    format!("anchor/{}/", hash(&[issuer, audience, claim, value]))
}

/// Where it stands that a token was exchanged, until `until`, in seconds since 1970.
pub(super) fn spent(until: u64, issuer: &str, id: &str) -> String {
    format!("{SPENT}{until:016x}{}", hash(&[issuer, id]))
}

fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths first: other parts never add up to the same bytes (THREATS B12).
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    let first = hash.first_chunk().copied().unwrap_or_default();
    format!("{:032x}", u128::from_be_bytes(first))
}
