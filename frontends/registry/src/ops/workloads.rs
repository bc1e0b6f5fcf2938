//! Verbs on the rules by which runs of CI get tokens for a registry.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_engine::access::Action;
use strongroom_engine::name::RepositoryName;
use strongroom_identity::workload::{Issuer, MAX_LIFETIME, NewRule, Place, Rule};

use super::Outcome;
use super::args::{Can, RegistryPath};
use super::table::{table, time};
use crate::app::{App, console};
use crate::config::Span;
use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum WorkloadVerb {
    /// List the issuers whose tokens runs of CI exchange for ours, as the settings name them
    Issuers,
    /// Say which runs of CI may do what in a registry
    ///
    /// At least one claim says who runs (`sub`, `repository`, `project_path`, …) by its exact value. A token that
    /// claims all of them gets one of ours, which lives minutes: POST it to /token/workload.
    Add {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        #[command(flatten)]
        rule: AskedRule,
    },
    /// List the rules of a registry
    List {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
    },
    /// Remove a rule, and end its tokens at once
    Remove {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        /// What `workload list` calls it
        id: String,
    },
}

/// A rule as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct AskedRule {
    /// Whose tokens: the issuer's name or address
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: String,
    /// For whom they must be made [default: what the settings say of the issuer]
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) audience: Option<String>,
    /// What they must claim, as NAME=VALUE with `*` for any run of characters; may be given again
    #[arg(long = "claim", value_name = "NAME=VALUE", required = true)]
    pub(crate) claims: Vec<Claim>,
    /// Only this repository and those below it
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) repository: Option<RepositoryName>,
    /// What may be done; may be given again [default: pull]
    #[arg(long, value_enum)]
    pub(crate) can: Vec<Can>,
    /// How long a token lives; 15m is the most
    #[arg(long, value_name = "TIME", default_value = "15m")]
    pub(crate) lifetime: Span,
}

/// `NAME=VALUE`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Claim {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err("write a claim as NAME=VALUE, such as repository=acme/api".to_owned()),
        }
    }
}

impl TryFrom<String> for Claim {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Claim> for String {
    fn from(Claim { name, value }: Claim) -> Self {
        format!("{name}={value}")
    }
}

impl AskedRule {
    /// What may be done by it.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let can: &[Can] = if self.can.is_empty() { &[Can::Pull] } else { &self.can };
        let mut actions: Vec<_> = can.iter().flat_map(|can| can.actions()).copied().collect();
        // Who pushes looks first at what is there.
        if actions.contains(&Action::Push) {
            actions.extend(Can::Pull.actions());
        }
        actions.sort_unstable();
        actions.dedup();
        actions
    }

    /// What a token must claim.
    pub(crate) fn claims(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut claims = BTreeMap::new();
        for Claim { name, value } in &self.claims {
            if claims.insert(name.clone(), value.clone()).is_some() {
                return Err(Failure::usage(format!("the claim {name} is there twice")));
            }
        }
        Ok(claims)
    }

    fn into_rule(self, path: RegistryPath) -> Result<NewRule, Failure> {
        let (actions, claims) = (self.actions(), self.claims()?);
        let RegistryPath { organisation, registry } = path;
        Ok(NewRule {
            organisation,
            registry,
            issuer: self.issuer,
            audience: self.audience,
            claims,
            repository: self.repository,
            actions,
            lifetime_seconds: self.lifetime.duration().as_secs(),
        })
    }
}

const _: () = assert!(MAX_LIFETIME.as_secs() == 15 * 60, "the default says another time");

pub(super) async fn workload(app: &App, verb: WorkloadVerb) -> Result<Outcome, Failure> {
    let (by, workloads) = (console(), &app.workloads);
    match verb {
        WorkloadVerb::Issuers => {
            let row = |issuer: &Issuer| {
                let audience = issuer.audience.clone().unwrap_or_else(|| "-".to_owned());
                vec![issuer.name.clone(), issuer.issuer.clone(), audience]
            };
            let rows: Vec<_> = workloads.issuers().iter().map(row).collect();
            let json = |of: &Issuer| json!({ "name": of.name, "issuer": of.issuer, "audience": of.audience });
            let json: Vec<_> = workloads.issuers().iter().map(json).collect();
            Ok(Outcome::new(table(&["NAME", "ISSUER", "AUDIENCE"], &rows), json.into()))
        }
        WorkloadVerb::Add { path, rule } => {
            let made = workloads.add(&by, rule.into_rule(path)?).await?;
            Ok(Outcome::new(format!("rule {} is made\n", made.id), rule_json(&made)))
        }
        WorkloadVerb::List { path } => {
            let all = workloads.list(&by, &place(path)).await?;
            let rows: Vec<_> = all.iter().map(row).collect();
            let text = table(&["ID", "ISSUER", "AUDIENCE", "CLAIMS", "WHERE", "CAN"], &rows);
            Ok(Outcome::new(text, all.iter().map(rule_json).collect::<Vec<_>>().into()))
        }
        WorkloadVerb::Remove { path, id } => {
            workloads.remove(&by, &place(path), &id).await?;
            Ok(Outcome::new(format!("rule {id} is removed\n"), json!({ "removed": id })))
        }
    }
}

fn place(RegistryPath { organisation, registry }: RegistryPath) -> Place {
    Place { organisation, registry }
}

fn row(rule: &Rule) -> Vec<String> {
    let grants = &rule.grants;
    let claims: Vec<_> =
        grants.claims.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let repository = grants.repository.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
    let can: Vec<_> = grants.actions.iter().map(ToString::to_string).collect();
    let audience = grants.audience.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        rule.id.clone(),
        grants.issuer.clone(),
        audience,
        claims.join(","),
        repository,
        can.join(","),
    ]
}

fn rule_json(rule: &Rule) -> Value {
    let grants = &rule.grants;
    json!({
        "id": rule.id,
        "principal": format!("workload:{}", rule.id),
        "issuer": grants.issuer,
        "audience": grants.audience,
        "claims": grants.claims,
        "repository": grants.repository,
        "actions": grants.actions,
        "lifetime_seconds": grants.lifetime_seconds,
        "created_at": time(rule.created_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_a_name_and_a_value() {
        let claim: Claim = "ref=refs/tags/v=*".parse().unwrap();
        assert_eq!((claim.name.as_str(), claim.value.as_str()), ("ref", "refs/tags/v=*"));
        assert_eq!(String::from(claim), "ref=refs/tags/v=*");
        for bad in ["", "ref", "=x", "ref="] {
            assert!(bad.parse::<Claim>().is_err(), "{bad}");
        }
    }
}
