//! What the embedded provider keeps, and under which keys of its namespace:
//!
//! ```text
//! account/<kind>:<name>            → AccountRecord, also of who was deleted: a name is used once
//! robot-of/<organisation>/<name>    → (empty): the robots of an organisation, by its id
//! token/<id>                       → TokenRecord
//! token-of/<kind>:<name>/<id>      → (empty): the tokens of an account
//! refresh-of/<kind>:<name>/<at><id> → (empty): its refresh tokens, by their age (16 hex digits each)
//! signing                          → SigningRecord: the keys that sign access tokens, sealed
//! ```
//!
//! [`crate::record`] says how a record is written.

use serde::{Deserialize, Serialize};
use strongroom_engine::audit::SYSTEM;
use strongroom_engine::id::OrganisationId;
use strongroom_engine::seam::Timestamp;

use crate::account::{AccountId, Reach, TokenUse};
use crate::password::StoredPassword;
pub(super) use crate::record::{decode, encode};
use crate::secret::TokenHash;

/// What an account is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Active,
    Disabled,
    /// Its name stays taken, so that no role passes to its next owner (DESIGN D3).
    Deleted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountRecord {
    pub(super) state: State,
    pub(super) operator: bool,
    pub(super) password: Option<StoredPassword>,
    /// What another provider calls it, to go with its tokens in Basic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) alias: Option<String>,
    pub(super) created_at: Timestamp,
    /// Whose robot it is; the installation's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) organisation: Option<OrganisationId>,
    /// Its provider lets it in no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) barred: bool,
}

impl AccountRecord {
    /// Whether it may sign in.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Active && !self.barred
    }

    /// In whose trail its lines are.
    pub(super) fn chain(&self) -> OrganisationId {
        self.organisation.unwrap_or(SYSTEM)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRecord {
    pub(super) hash: TokenHash,
    #[serde(rename = "use")]
    pub(super) used_for: TokenUse,
    pub(super) owner: AccountId,
    pub(super) label: String,
    pub(super) reach: Reach,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    /// The token that a refresh token was given for: it dies with it.
    pub(super) parent: Option<String>,
    /// The refresh token of another provider that must be good, too; sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upstream: Option<Vec<u8>>,
}

impl TokenRecord {
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// The keys that sign access tokens; the newest is the first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SigningRecord {
    pub(super) keys: Vec<SigningKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) sealed: Vec<u8>,
    pub(super) created_at: Timestamp,
}

pub(super) const ACCOUNTS: &str = "account/";
pub(super) const SIGNING: &str = "signing";

pub(super) fn account(id: &AccountId) -> String {
    format!("{ACCOUNTS}{id}")
}

pub(super) fn robots_of(organisation: OrganisationId) -> String {
    format!("robot-of/{organisation}/")
}

/// Where a robot stands among those of its organisation.
pub(super) fn robot_of(organisation: OrganisationId, id: &AccountId) -> String {
    format!("{}{}", robots_of(organisation), id.name)
}

pub(super) fn token(id: &str) -> String {
    format!("token/{id}")
}

/// Where the tokens of an account are listed.
pub(super) fn tokens_of(owner: &AccountId, used_for: TokenUse) -> String {
    match used_for {
        TokenUse::Access => format!("token-of/{owner}/"),
        TokenUse::Refresh => format!("refresh-of/{owner}/"),
    }
}

/// Where a token stands among those of its owner.
pub(super) fn listing(id: &str, record: &TokenRecord) -> String {
    let list = tokens_of(&record.owner, record.used_for);
    match record.used_for {
        TokenUse::Access => format!("{list}{id}"),
        TokenUse::Refresh => format!("{list}{:016x}{id}", record.created_at.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_records_never_changes_by_accident() {
        let account = AccountRecord {
            state: State::Active,
            operator: true,
            password: Some(StoredPassword::from_stored("$argon2id$x")),
            alias: None,
            created_at: Timestamp(7),
            organisation: None,
            barred: false,
        };
        let written = b"\x01{\"state\":\"active\",\"operator\":true,\"password\":\"$argon2id$x\",\"created_at\":7}";
        assert_eq!(encode(&account), written);
        assert_eq!(decode::<AccountRecord>(written).unwrap(), account);
        let robot = AccountRecord { organisation: Some(OrganisationId(10)), ..account };
        let written = String::from_utf8(encode(&robot)).unwrap();
        assert!(written.ends_with(",\"created_at\":7,\"organisation\":\"000000000000000a\"}"));
        assert_eq!(decode::<AccountRecord>(written.as_bytes()).unwrap(), robot);

        let barred = AccountRecord { barred: true, ..robot };
        let written = String::from_utf8(encode(&barred)).unwrap();
        assert!(written.ends_with(",\"organisation\":\"000000000000000a\",\"barred\":true}"));
        assert_eq!(decode::<AccountRecord>(written.as_bytes()).unwrap(), barred);

        let token = TokenRecord {
            hash: TokenHash::from_bytes([0; 32]),
            used_for: TokenUse::Refresh,
            owner: "robot:ci".parse().unwrap(),
            label: "l".to_owned(),
            reach: Reach::Everything,
            created_at: Timestamp(1),
            expires_at: Some(Timestamp(2)),
            parent: Some("ab".to_owned()),
            upstream: None,
        };
        let zeros = vec!["0"; 32].join(",");
        let written = format!(
            "\x01{{\"hash\":[{zeros}],\"use\":\"refresh\",\"owner\":\"robot:ci\",\"label\":\"l\",\
             \"reach\":\"everything\",\"created_at\":1,\"expires_at\":2,\"parent\":\"ab\"}}"
        );
        assert_eq!(String::from_utf8(encode(&token)).unwrap(), written);
        assert_eq!(decode::<TokenRecord>(written.as_bytes()).unwrap(), token);
    }

    #[test]
    fn a_record_of_a_later_version_is_refused() {
        for bytes in [&b""[..], b"\x02{}", b"\x01{\"keys\":[],\"more\":1}"] {
            assert!(decode::<SigningRecord>(bytes).is_err(), "{bytes:?}");
        }
    }
}
