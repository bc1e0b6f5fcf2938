//! What verbs take, parsed where it was typed.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use strongroom_engine::access::{self, PrincipalId};
use strongroom_engine::gc::Subset;
use strongroom_engine::id::BackupId;
use strongroom_engine::name::{OrganisationName, RegistryName, RepositoryName};

/// `ORGANISATION/REGISTRY`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct RegistryPath {
    pub(crate) organisation: OrganisationName,
    pub(crate) registry: RegistryName,
}

impl FromStr for RegistryPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (organisation, registry) =
            text.split_once('/').ok_or("write it as ORGANISATION/REGISTRY")?;
        Ok(Self {
            organisation: organisation.parse().map_err(|error| format!("{error}"))?,
            registry: registry.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

impl TryFrom<String> for RegistryPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RegistryPath> for String {
    fn from(path: RegistryPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for RegistryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organisation, self.registry)
    }
}

/// Where a token reaches, or a role counts: `ORGANISATION[/REGISTRY[/REPOSITORY]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Place {
    pub(crate) organisation: OrganisationName,
    pub(crate) registry: Option<RegistryName>,
    pub(crate) repository: Option<RepositoryName>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '/');
        let organisation = parts.next().unwrap_or_default();
        Ok(Self {
            organisation: organisation.parse().map_err(|error| format!("{error}"))?,
            registry: parts.next().map(str::parse).transpose().map_err(|e| format!("{e}"))?,
            repository: parts.next().map(str::parse).transpose().map_err(|e| format!("{e}"))?,
        })
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.organisation)?;
        if let Some(registry) = &self.registry {
            write!(f, "/{registry}")?;
        }
        if let Some(repository) = &self.repository {
            write!(f, "/{repository}")?;
        }
        Ok(())
    }
}

/// Who: `user:NAME` or `robot:NAME`, or as another provider names them.
pub(super) fn principal(text: &str) -> Result<PrincipalId, String> {
    if !text.contains(':') {
        return Err("write user:NAME or robot:NAME".to_owned());
    }
    PrincipalId::new(text).map_err(|error| error.to_string())
}

/// A backup's id, as `strongroom backup list` shows it.
pub(crate) fn backup_id(text: &str) -> Result<BackupId, String> {
    match u64::from_str_radix(text, 16) {
        Ok(id) if text.len() == 16 => Ok(BackupId(id)),
        _ => Err("a backup is named by 16 hexadecimal digits; `strongroom backup list` shows them"
            .to_owned()),
    }
}

/// A number that is not 0.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("a whole number of at least 1 is needed".to_owned()),
    }
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// List and pull
    Viewer,
    /// And push and delete
    Writer,
    /// And manage members and settings
    Admin,
}

impl From<Role> for access::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Writer => Self::Writer,
            Role::Admin => Self::Admin,
        }
    }
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Can {
    /// List and pull
    Pull,
    /// Push
    Push,
    /// Delete
    Delete,
}

impl Can {
    pub(super) fn actions(self) -> &'static [access::Action] {
        use access::Action;
        match self {
            Self::Pull => &[Action::List, Action::Pull],
            Self::Push => &[Action::Push],
            Self::Delete => &[Action::Delete],
        }
    }
}

/// A part of all content: `N/OF`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Share(pub(crate) Subset, u32, u32);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once('/').and_then(|(n, of)| Some((n.parse().ok()?, of.parse().ok()?)));
        let share = numbers.and_then(|(n, of)| Some(Self(Subset::new(n, of)?, n, of)));
        share.ok_or_else(|| "write it as N/OF, such as 1/7 for the first of seven".to_owned())
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        format!("{}/{}", share.1, share.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_they_are_written() {
        for text in ["acme", "acme/main", "acme/main/a/b"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert_eq!("acme/main".parse::<RegistryPath>().unwrap().to_string(), "acme/main");
        for bad in ["", "/", "acme/", "Acme", "acme/main/"] {
            assert!(bad.parse::<Place>().is_err(), "{bad:?}");
        }
        for bad in ["acme", "acme/main/x", ""] {
            assert!(bad.parse::<RegistryPath>().is_err(), "{bad:?}");
        }
        assert_eq!(String::from("2/7".parse::<Share>().unwrap()), "2/7");
        for bad in ["", "1", "0/7", "8/7", "1/0", "a/b"] {
            assert!(bad.parse::<Share>().is_err(), "{bad:?}");
        }
        assert!(principal("ann").is_err() && principal("user:ann").is_ok());
    }
}
