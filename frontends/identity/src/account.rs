//! Accounts and tokens as everybody sees them: names, states, bounds; no secret is in any of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strongroom_engine::access::{Grant, PrincipalId};
use strongroom_engine::name::OrganisationName;
use strongroom_engine::seam::Timestamp;

/// The longest name of an account, in bytes.
const MAX_NAME: usize = 64;
/// Between the organisation and the name of a robot of its own.
const WITHIN: char = '+';

/// What an account is called, below its kind: 1 to 64 of `[a-z0-9._-]`, a letter or digit first. A
/// robot of an organisation has the organisation's name before it, as it was then, and a `+`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

/// The name is none that an account can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} can't be the name of an account: it has 1 to {MAX_NAME} of a-z, 0-9, '.', '_' and '-', \
     a letter or digit first; a robot of an organisation is ORGANISATION+NAME"
)]
pub struct AccountNameError {
    /// What was given.
    pub name: String,
}

impl AccountName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a robot of `organisation` that is called `name` there. Fails where that is the
    /// name of another organisation's robot already.
    pub fn within(organisation: &OrganisationName, name: &str) -> Result<Self, AccountNameError> {
        let own: Self = name.parse()?;
        if own.is_within() {
            return Err(AccountNameError { name: own.0 });
        }
        Ok(Self(format!("{organisation}{WITHIN}{own}")))
    }

    /// Whether it is the name of a robot of an organisation.
    pub fn is_within(&self) -> bool {
        self.0.contains(WITHIN)
    }
}

impl FromStr for AccountName {
    type Err = AccountNameError;

    fn from_str(text: &str) -> Result<Self, AccountNameError> {
        let bad = || AccountNameError { name: text.chars().take(MAX_NAME).collect() };
        let name = match text.split_once(WITHIN) {
            Some((organisation, name)) if organisation.parse::<OrganisationName>().is_ok() => name,
            Some(_) => return Err(bad()),
            None => text,
        };
        let first =
            name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let all = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        if first && all && name.len() <= MAX_NAME { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}

impl TryFrom<String> for AccountName {
    type Error = AccountNameError;

    fn try_from(name: String) -> Result<Self, AccountNameError> {
        name.parse()
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of account it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A person, who has a password and may have tokens.
    User,
    /// A machine, which has tokens only.
    Robot,
    /// A person of the Cognito user pool, by the `sub` that never changes; may have tokens.
    Cognito,
    /// Runs of CI that a rule of a registry is for, by the rule's id; gets its tokens by exchange alone.
    Workload,
}

impl Kind {
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Robot => "robot",
            Self::Cognito => "cognito",
            Self::Workload => "workload",
        }
    }
}

/// Which account: its kind and its name, as in `user:ann` or `robot:ci`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: AccountName,
}

/// The text names no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountIdError {
    /// It does not say of which kind.
    #[error("{text:?} names no account: write user:NAME, robot:NAME or cognito:SUB")]
    Kind {
        /// What was given.
        text: String,
    },
    /// What follows the kind is no name.
    #[error(transparent)]
    Name(#[from] AccountNameError),
}

impl AccountId {
    /// A person.
    pub fn user(name: AccountName) -> Self {
        Self { kind: Kind::User, name }
    }

    /// A machine.
    pub fn robot(name: AccountName) -> Self {
        Self { kind: Kind::Robot, name }
    }

    /// A person of the Cognito user pool.
    pub fn cognito(sub: AccountName) -> Self {
        Self { kind: Kind::Cognito, name: sub }
    }

    /// The runs that a rule is for.
    pub fn workload(rule: AccountName) -> Self {
        Self { kind: Kind::Workload, name: rule }
    }

    /// As the engine knows it.
    #[expect(clippy::missing_panics_doc, reason = "it never does")]
    pub fn principal(&self) -> PrincipalId {
        PrincipalId::new(self.to_string()).expect("a kind and a name are printable and short")
    }
}

impl FromStr for AccountId {
    type Err = AccountIdError;

    fn from_str(text: &str) -> Result<Self, AccountIdError> {
        let kind =
            |text: &str| AccountIdError::Kind { text: text.chars().take(MAX_NAME).collect() };
        match text.split_once(':') {
            Some(("user", name)) => {
                let name: AccountName = name.parse()?;
                // People are of no organisation: they are members of some.
                if name.is_within() {
                    return Err(AccountNameError { name: name.0 }.into());
                }
                Ok(Self::user(name))
            }
            Some(("robot", name)) => Ok(Self::robot(name.parse()?)),
            Some(("cognito", sub)) => Ok(Self::cognito(sub.parse()?)),
            Some(("workload", rule)) => Ok(Self::workload(rule.parse()?)),
            _ => Err(kind(text)),
        }
    }
}

impl TryFrom<String> for AccountId {
    type Error = AccountIdError;

    fn try_from(text: String) -> Result<Self, AccountIdError> {
        text.parse()
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.prefix(), self.name)
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Which.
    pub id: AccountId,
    /// Whether it is shut out for now, by an operator here or by its provider.
    pub disabled: bool,
    /// Whether it operates the installation (users, collection, scrub, the system's audit).
    pub operator: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What a machine token may do at most, of what its owner may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// All that its owner may do with content and tenants. Never to operate the installation.
    Everything,
    /// Only what one of these covers.
    Only(Vec<Grant>),
}

/// What a machine token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenUse {
    /// Instead of a password.
    Access,
    /// To get access tokens at the token endpoint, and nothing else: who is signed in where.
    Refresh,
}

/// A machine token, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// What it is called, to revoke it by. It tells nothing of the token itself.
    pub id: String,
    /// Whose it is.
    pub owner: AccountId,
    /// What it is good for.
    #[serde(rename = "use")]
    pub used_for: TokenUse,
    /// What its owner wrote on it.
    pub label: String,
    /// What it may do at most.
    pub reach: Reach,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself; never where absent.
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_reads_as_it_is_written() {
        for text in ["user:ann", "robot:ci-2.x_y", "robot:acme+ci", "cognito:0f-1"] {
            let id: AccountId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(id.principal().as_str(), text);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<AccountId>(&json).unwrap(), id);
        }
    }

    #[test]
    fn what_could_be_mistaken_for_another_is_no_name() {
        let long = "a".repeat(MAX_NAME + 1);
        for bad in ["", "Ann", "-a", ".a", "a b", "a:b", "a/b", "ä", "a\n", long.as_str()] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad:?}");
            assert!(format!("user:{bad}").parse::<AccountId>().is_err(), "{bad:?}");
        }
        assert!("ann".parse::<AccountId>().is_err());
        assert!("group:ann".parse::<AccountId>().is_err());
        for bad in ["user:acme+ann", "robot:acme+", "robot:+ci", "robot:Acme+ci", "robot:a+b+c"] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad:?}");
        }
        let acme = "acme".parse().unwrap();
        assert_eq!(AccountName::within(&acme, "ci").unwrap().as_str(), "acme+ci");
        assert!(AccountName::within(&acme, "peer+ci").is_err());
    }
}
