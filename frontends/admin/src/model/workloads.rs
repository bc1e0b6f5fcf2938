//! Rules for runs of CI, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strongroom_engine::name::RepositoryName;
use strongroom_identity::workload::{self, MAX_LIFETIME};
use utoipa::ToSchema;

use super::{Act, Time};

/// A service whose tokens runs of CI exchange for ours.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkloadIssuer {
    /// What rules may call it.
    pub(crate) name: String,
    /// What stands in its tokens' `iss`.
    pub(crate) issuer: String,
    /// What must stand in their `aud`; as each rule says where null.
    pub(crate) audience: Option<String>,
}

impl From<workload::Issuer> for WorkloadIssuer {
    fn from(of: workload::Issuer) -> Self {
        Self { name: of.name, issuer: of.issuer, audience: of.audience }
    }
}

/// Which runs get a token for a registry, and what it may do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkloadRule {
    /// What it is removed by.
    pub(crate) id: String,
    /// Who its runs are, in roles and in the trail.
    pub(crate) principal: String,
    /// The issuer of the tokens that it is for.
    pub(crate) issuer: String,
    /// For whom they must have been made.
    pub(crate) audience: Option<String>,
    /// What they must claim: each value exactly, or with `*` for any run of characters.
    pub(crate) claims: BTreeMap<String, String>,
    /// This repository and those below it; the whole registry where null.
    pub(crate) repository: Option<String>,
    pub(crate) actions: Vec<Act>,
    /// How long a token lives.
    pub(crate) lifetime_seconds: u64,
    pub(crate) created_at: Time,
}

impl From<workload::Rule> for WorkloadRule {
    fn from(of: workload::Rule) -> Self {
        let grants = of.grants;
        Self {
            principal: format!("workload:{}", of.id),
            id: of.id,
            issuer: grants.issuer,
            audience: grants.audience,
            claims: grants.claims,
            repository: grants.repository.map(|name| name.to_string()),
            actions: grants.actions.into_iter().map(Act::from).collect(),
            lifetime_seconds: grants.lifetime_seconds,
            created_at: Time(of.created_at),
        }
    }
}

/// A rule to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWorkloadRule {
    /// The issuer of the tokens, by its name or address.
    #[schema(min_length = 1, max_length = 512)]
    pub(crate) issuer: String,
    /// For whom they must have been made; what goes with the issuer where absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 512)]
    pub(crate) audience: Option<String>,
    /// What they must claim: each value exactly, or with `*` for any run of characters. At least one claim
    /// that says who runs (`sub`, `repository`, `project_path`, …) has no `*`.
    pub(crate) claims: BTreeMap<String, String>,
    /// This repository and those below it; the whole registry where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$", max_length = 255)]
    pub(crate) repository: Option<RepositoryName>,
    /// What may be done there: list, pull, push and delete.
    #[schema(min_items = 1, max_items = 4)]
    pub(crate) actions: Vec<Act>,
    /// How long a token lives; 15 minutes where absent, which is the most.
    #[serde(default = "longest")]
    #[schema(minimum = 1, maximum = 900)]
    pub(crate) lifetime_seconds: u64,
}

fn longest() -> u64 {
    MAX_LIFETIME.as_secs()
}
