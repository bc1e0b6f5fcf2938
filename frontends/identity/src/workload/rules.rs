//! Which tokens a rule is for, and what it grants.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_engine::access::{Action, Grant};
use strongroom_engine::name::{OrganisationName, RegistryName, RepositoryName};
use strongroom_engine::seam::Timestamp;

use super::exchange::Place;
use super::{MAX_LIFETIME, WorkloadError, records};
use crate::account::{AccountId, AccountName};
use crate::jwks::Claims;

/// The claims that say who runs. A rule has the exact value of one: the others (`ref`, `environment`, …)
/// can be had by anybody who has an account at the issuer.
const IDENTIFYING: [&str; 10] = [
    "sub",
    "repository_id",
    "repository",
    "repository_owner_id",
    "repository_owner",
    "project_id",
    "project_path",
    "namespace_id",
    "namespace_path",
    "job_workflow_ref",
];
/// The most claims that a rule looks at.
const MAX_CLAIMS: usize = 16;
/// The longest text of a rule, in bytes.
const MAX_TEXT: usize = 512;

/// A rule to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRule {
    /// Whose registry.
    pub organisation: OrganisationName,
    /// Where it grants something.
    pub registry: RegistryName,
    /// The issuer of the tokens that it is for, as they have it; a rule that is made may have its name.
    pub issuer: String,
    /// For whom its issuer must have made a token (`aud`). Where a rule that is made has none, it is
    /// the issuer's.
    pub audience: Option<String>,
    /// What a token must claim: each value exactly, or with `*` for any run of characters. At least one
    /// claim that says who runs (`sub`, `repository`, `project_path`, …) has no `*`.
    pub claims: BTreeMap<String, String>,
    /// This repository and those below it; the whole registry where absent.
    pub repository: Option<RepositoryName>,
    /// What may be done there: list, pull, push and delete, never manage.
    pub actions: Vec<Action>,
    /// How long a token lives, in seconds; at most [`MAX_LIFETIME`].
    pub lifetime_seconds: u64,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called, to remove it by.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Which tokens it is for and what it grants.
    pub grants: NewRule,
}

impl NewRule {
    /// The registry.
    pub fn place(&self) -> Place {
        Place { organisation: self.organisation.clone(), registry: self.registry.clone() }
    }

    /// Where it is found, if it can be a rule.
    pub(super) fn check(&self) -> Result<String, WorkloadError> {
        let invalid = |why: String| Err(WorkloadError::Invalid(why));
        let texts = self.claims.iter().flat_map(|(name, value)| [name, value]);
        for text in texts.chain([&self.issuer]).chain(&self.audience) {
            if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
                return invalid(format!(
                    "issuer, audience, claims and their values are 1 to {MAX_TEXT} bytes each"
                ));
            }
        }
        if self.claims.len() > MAX_CLAIMS {
            return invalid(format!("it has more than {MAX_CLAIMS} claims"));
        }
        let longest = MAX_LIFETIME.as_secs();
        if self.lifetime_seconds == 0 || self.lifetime_seconds > longest {
            return invalid(format!("its tokens live 1 to {longest} seconds"));
        }
        if self.actions.is_empty() || self.actions.contains(&Action::Manage) {
            return invalid("it grants some of list, pull, push and delete".to_owned());
        }
        let exact = |claim: &&str| self.claims.get(*claim).filter(|value| !value.contains('*'));
        let anchor = IDENTIFYING.iter().find_map(|claim| Some((claim, exact(claim)?)));
        let Some((claim, value)) = anchor else {
            return invalid(format!(
                "it must say who runs, by the exact value (without *) of one of these claims, else \
                 anybody with an account at the issuer could get in: {}",
                IDENTIFYING.join(", ")
            ));
        };
        let audience = self.audience.as_deref().unwrap_or_default();
        Ok(records::anchor(&self.issuer, audience, claim, value))
    }

    /// Whether it is for this token.
    pub(super) fn is_for(&self, claims: &Claims) -> bool {
        let [audience] = claims.audience.as_slice() else { return false };
        claims.issuer == self.issuer
            && self.audience.as_ref() == Some(audience)
            && self.claims.iter().all(|(name, pattern)| {
                claimed(claims, name).is_some_and(|value| matches(pattern, &value))
            })
    }

    pub(super) fn grant(&self) -> Grant {
        Grant {
            organisation: Some(self.organisation.clone()),
            registry: Some(self.registry.clone()),
            repository: self.repository.clone(),
            below: self.repository.is_some(),
            actions: self.actions.clone(),
        }
    }

    pub(super) fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime_seconds).min(MAX_LIFETIME)
    }
}

impl Rule {
    /// The same, where its registry is called so now.
    pub(super) fn at(self, Place { organisation, registry }: Place) -> Self {
        Self { grants: NewRule { organisation, registry, ..self.grants }, ..self }
    }

    /// Who its tokens are.
    pub(super) fn account(&self) -> Result<AccountId, WorkloadError> {
        let name: AccountName = self.id.parse().map_err(crate::embedded::AccountsError::from)?;
        Ok(AccountId::workload(name))
    }
}

/// Where rules for a token can be found: one for each claim that says who runs.
pub(super) fn anchors(claims: &Claims) -> Vec<String> {
    let [audience] = claims.audience.as_slice() else { return Vec::new() };
    let anchor = |name: &&str| {
        Some(records::anchor(&claims.issuer, audience, name, &claimed(claims, name)?))
    };
    IDENTIFYING.iter().filter_map(anchor).collect()
}

/// The text of a claim; lists and objects have none.
fn claimed(claims: &Claims, name: &str) -> Option<String> {
    if name == "sub" {
        return Some(claims.subject.clone());
    }
    match claims.others.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether `text` is as `pattern` says, in which `*` stands for any run of characters. Never slow: each
/// part between stars is looked for once.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_and_everything_else_itself() {
        for (pattern, text, good) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "a/b", true),
            ("refs/tags/v*", "refs/tags/v1", true),
            ("refs/tags/v*", "refs/heads/v1", false),
            ("refs/tags/v*", "xrefs/tags/v1", false),
            ("*@refs/heads/main", "x@refs/heads/main", true),
            ("*@refs/heads/main", "x@refs/heads/main2", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("a**", "a", true),
            ("a.c", "abc", false),
            ("[a]?", "a", false),
        ] {
            assert_eq!(matches(pattern, text), good, "{pattern} {text}");
        }
    }
}
