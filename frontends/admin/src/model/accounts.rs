//! Accounts, tokens, lines of the trail and jobs, as JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_engine::access::{Action, Grant};
use strongroom_engine::gc::Extent;
use strongroom_engine::name::{OrganisationName, RegistryName, RepositoryName};
use strongroom_identity::account::{self, Account, Reach};
use utoipa::ToSchema;

use super::Time;

/// A machine's account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Robot {
    /// What it signs in as: `ORGANISATION+NAME`.
    pub(crate) name: String,
    /// What roles are given to.
    pub(crate) principal: String,
    pub(crate) disabled: bool,
    pub(crate) created_at: Time,
}

impl From<Account> for Robot {
    fn from(of: Account) -> Self {
        Self {
            principal: of.id.to_string(),
            name: of.id.name.to_string(),
            disabled: of.disabled,
            created_at: Time(of.created_at),
        }
    }
}

/// A robot to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRobot {
    /// What it is called in the organisation.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]*$", max_length = 64)]
    pub(crate) name: String,
}

/// Whether an account is shut out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disabled {
    pub(crate) disabled: bool,
}

/// What may be done in a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reaches {
    #[schema(value_type = Option<String>, pattern = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$", max_length = 64)]
    #[serde(default)]
    pub(crate) organisation: Option<OrganisationName>,
    #[schema(value_type = Option<String>, pattern = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$", max_length = 64)]
    #[serde(default)]
    pub(crate) registry: Option<RegistryName>,
    #[schema(value_type = Option<String>, pattern = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$", max_length = 255)]
    #[serde(default)]
    pub(crate) repository: Option<RepositoryName>,
    #[schema(min_items = 1, max_items = 5)]
    pub(crate) actions: Vec<Act>,
}

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Act {
    List,
    Pull,
    Push,
    Delete,
    Manage,
}

impl From<Act> for Action {
    fn from(act: Act) -> Self {
        match act {
            Act::List => Self::List,
            Act::Pull => Self::Pull,
            Act::Push => Self::Push,
            Act::Delete => Self::Delete,
            Act::Manage => Self::Manage,
        }
    }
}

impl From<Action> for Act {
    fn from(action: Action) -> Self {
        match action {
            Action::List => Self::List,
            Action::Pull => Self::Pull,
            Action::Push => Self::Push,
            Action::Delete => Self::Delete,
            Action::Manage => Self::Manage,
        }
    }
}

impl From<Reaches> for Grant {
    fn from(of: Reaches) -> Self {
        Self {
            organisation: of.organisation,
            registry: of.registry,
            repository: of.repository,
            below: false,
            actions: of.actions.into_iter().map(Action::from).collect(),
        }
    }
}

impl From<Grant> for Reaches {
    fn from(of: Grant) -> Self {
        Self {
            organisation: of.organisation,
            registry: of.registry,
            repository: of.repository,
            actions: of.actions.into_iter().map(Act::from).collect(),
        }
    }
}

/// A token, as it is listed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Token {
    /// What it is revoked by. It tells nothing of the token itself.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) owner: String,
    pub(crate) label: String,
    /// What it may do at most, of what its owner may; everything where null.
    pub(crate) grants: Option<Vec<Reaches>>,
    pub(crate) created_at: Time,
    /// When it ends by itself; never where null.
    pub(crate) expires_at: Option<Time>,
}

impl From<account::TokenInfo> for Token {
    fn from(of: account::TokenInfo) -> Self {
        let grants = match of.reach {
            Reach::Everything => None,
            Reach::Only(grants) => Some(grants.into_iter().map(Reaches::from).collect()),
        };
        Self {
            id: of.id,
            owner: of.owner.to_string(),
            label: of.label,
            grants,
            created_at: Time(of.created_at),
            expires_at: of.expires_at.map(Time),
        }
    }
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// What it is for, in one's own words.
    #[serde(default)]
    #[schema(max_length = 50)]
    pub(crate) label: String,
    /// How long it lives; for ever where absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3_155_760_000_u64)]
    pub(crate) expires_in_seconds: Option<u64>,
    /// What it may do at most; everything its owner may where absent.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 64)]
    pub(crate) grants: Option<Vec<Reaches>>,
}

/// A token that was made, with itself, this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeToken {
    /// The token: what to sign in with.
    pub(crate) token: String,
    /// As it is listed.
    pub(crate) info: Token,
}

/// Somebody with an account here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) principal: String,
    pub(crate) disabled: bool,
    /// Whether they operate the installation.
    pub(crate) operator: bool,
    pub(crate) created_at: Time,
}

impl From<Account> for User {
    fn from(of: Account) -> Self {
        Self {
            principal: of.id.to_string(),
            name: of.id.name.to_string(),
            disabled: of.disabled,
            operator: of.operator,
            created_at: Time(of.created_at),
        }
    }
}

/// Somebody to be created. It holds a secret, so it has no Debug.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]*$", max_length = 64)]
    pub(crate) name: String,
    #[schema(min_length = 8, max_length = 256, format = Password)]
    pub(crate) password: String,
    #[serde(default)]
    pub(crate) operator: bool,
}

/// Whether somebody operates the installation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operates {
    pub(crate) operator: bool,
}

/// Another password. It has no Debug.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Password {
    #[schema(min_length = 8, max_length = 256, format = Password)]
    pub(crate) password: String,
}

/// A line of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditLine {
    /// The chain it stands in: that of one process.
    pub(crate) chain: String,
    /// Its place there, from 0.
    pub(crate) sequence: u64,
    /// The chain's hash up to this line.
    pub(crate) hash: String,
    pub(crate) at: Time,
    pub(crate) principal: String,
    /// From where: `address`, `request_id` and `user_agent`, as far as they are known.
    #[schema(value_type = Object)]
    pub(crate) origin: Value,
    /// What kind of thing happened.
    pub(crate) kind: String,
    /// What happened, as its kind has it.
    #[schema(value_type = Object)]
    pub(crate) event: Value,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobKind {
    /// Removes what nobody uses.
    Collection,
    /// Reads what is stored, and checks that it is what was pushed.
    Scrub,
}

/// A job to be started.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJob {
    pub(crate) kind: JobKind,
    /// Only in this organisation; everywhere where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$", max_length = 64)]
    pub(crate) organisation: Option<OrganisationName>,
    /// For a collection: only tell what would be done.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// For a scrub: about the most bytes to read in a second; no bound where absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    pub(crate) bytes_per_second: Option<u64>,
}

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobState {
    /// Under way.
    Running,
    /// Ended; the report says what came of it.
    Done,
    /// Ended by an error.
    Failed,
    /// Stopped by somebody.
    Stopped,
}

/// How much of some work is done, in whatever it is measured by.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct JobPart {
    pub(crate) done: u64,
    /// About all of it, never less than what is done.
    pub(crate) total: u64,
}

impl From<Extent> for JobPart {
    fn from(Extent { done, total }: Extent) -> Self {
        Self { done, total }
    }
}

/// A collection or a scrub.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) kind: JobKind,
    pub(crate) state: JobState,
    pub(crate) started_at: Time,
    /// What it does now, or did last.
    pub(crate) phase: Option<String>,
    /// How many things it looked at in this phase.
    pub(crate) done: u64,
    /// How many bytes it read in this phase.
    pub(crate) bytes: u64,
    /// How much of the phase that is; null where nobody knows how much there is.
    pub(crate) part: Option<JobPart>,
    /// What it did and found; null before it ended.
    #[schema(value_type = Option<Object>)]
    pub(crate) report: Option<Value>,
    /// Why it failed.
    pub(crate) error: Option<String>,
}
