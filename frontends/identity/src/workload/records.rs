//! What is kept of workloads, and under which keys of the namespace:
//!
//! ```text
//! rules/<organisation>/<registry>/<id> → RuleRecord; ids of 16 hexadecimal digits, so that rules stay with
//!                                        a registry that has another name
//! anchor/<hash>/<id>                   → the key of the rule: by issuer, audience and the claim that says who
//! spent/<until><hash>                  → (empty): a token that was exchanged, until it is over for sure
//! ```

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use strongroom_engine::id::{OrganisationId, RegistryId};

use super::Rule;

/// A rule as it is kept. The names in it are those of when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleRecord {
    pub(super) organisation: OrganisationId,
    pub(super) registry: RegistryId,
    pub(super) rule: Rule,
}

pub(super) const SPENT: &str = "spent/";
/// The digits of the time in a key of a spent token.
pub(super) const TIME_DIGITS: usize = 16;

pub(super) fn rules((organisation, registry): (OrganisationId, RegistryId)) -> String {
    format!("rules/{organisation}/{registry}/")
}

pub(super) fn rule(tenant: (OrganisationId, RegistryId), id: &str) -> String {
    format!("{}{id}", rules(tenant))
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

#[cfg(test)]
mod tests {
    use strongroom_engine::access::Action;
    use strongroom_engine::seam::Timestamp;

    use super::*;
    use crate::record::{decode, encode};
    use crate::workload::NewRule;

    #[test]
    fn the_form_of_records_never_changes_by_accident() {
        let grants = NewRule {
            organisation: "acme".parse().unwrap(),
            registry: "main".parse().unwrap(),
            issuer: "https://ci.example".to_owned(),
            audience: Some("us".to_owned()),
            claims: [("sub".to_owned(), "x".to_owned())].into(),
            repository: None,
            actions: vec![Action::Pull],
            lifetime_seconds: 900,
        };
        let record = RuleRecord {
            organisation: OrganisationId(1),
            registry: RegistryId(2),
            rule: Rule { id: "3".to_owned(), created_at: Timestamp(7), grants },
        };
        let written = concat!(
            "\x01{\"organisation\":\"0000000000000001\",\"registry\":\"0000000000000002\",",
            "\"rule\":{\"id\":\"3\",\"created_at\":7,\"grants\":{\"organisation\":\"acme\",",
            "\"registry\":\"main\",\"issuer\":\"https://ci.example\",\"audience\":\"us\",",
            "\"claims\":{\"sub\":\"x\"},\"repository\":null,\"actions\":[\"pull\"],",
            "\"lifetime_seconds\":900}}}",
        );
        assert_eq!(String::from_utf8(encode(&record)).unwrap(), written);
        assert_eq!(decode::<RuleRecord>(written.as_bytes()).unwrap(), record);
    }
}
