//! What is kept of people, and under which keys of the namespace:
//!
//! ```text
//! user/<sub>            → ProfileRecord
//! name/<hash>/<sub>     → (empty): who has this user name
//! email/<hash>/<sub>    → (empty): who has this verified address
//! ```
//!
//! Names and addresses hold any character, so keys have their hash.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use strongroom_engine::access::PrincipalId;
use strongroom_engine::name::OrganisationName;
use strongroom_engine::seam::Timestamp;

use super::{NewUser, Profile};

/// A profile, from before its organisation is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileRecord {
    pub(super) username: String,
    pub(super) email: Option<String>,
    pub(super) email_verified: bool,
    /// What the first organisation is to be called, or was when it was made.
    pub(super) organisation: OrganisationName,
    /// Which of the names it could have this is.
    pub(super) attempt: u32,
    /// Whether the organisation is made.
    pub(super) complete: bool,
    pub(super) created_at: Timestamp,
}

impl ProfileRecord {
    pub(super) fn pending(user: &NewUser, organisation: &OrganisationName, now: Timestamp) -> Self {
        Self {
            username: user.username.clone(),
            email: user.email.clone(),
            email_verified: user.email_verified && user.email.is_some(),
            organisation: organisation.clone(),
            attempt: 0,
            complete: false,
            created_at: now,
        }
    }

    /// With what is told now. A provider that tells no address this time takes none away: access
    /// tokens hold none.
    pub(super) fn renewed(&self, user: &NewUser) -> Self {
        let (email, email_verified) = match &user.email {
            Some(email) => (Some(email.clone()), user.email_verified),
            None => (self.email.clone(), self.email_verified),
        };
        Self { username: user.username.clone(), email, email_verified, ..self.clone() }
    }

    /// Where it is found.
    pub(super) fn listings(&self, sub: &str) -> Vec<String> {
        let mut keys = vec![format!("{}{sub}", by_name(&self.username))];
        if let Some(email) = self.email.as_ref().filter(|_| self.email_verified) {
            keys.push(format!("{}{sub}", by_email(email)));
        }
        keys
    }

    pub(super) fn into_profile(self, principal: PrincipalId) -> Profile {
        Profile {
            principal,
            username: self.username,
            email: self.email,
            email_verified: self.email_verified,
            organisation: self.organisation,
            created_at: self.created_at,
        }
    }
}

pub(super) fn user(sub: &str) -> String {
    format!("user/{sub}")
}

pub(super) fn by_name(name: &str) -> String {
    format!("name/{}/", hash(name))
}

pub(super) fn by_email(email: &str) -> String {
    format!("email/{}/", hash(email))
}

fn hash(text: &str) -> String {
    let hash = Sha256::digest(text.to_lowercase().as_bytes());
    let first = hash.first_chunk().copied().unwrap_or_default();
    format!("{:032x}", u128::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{decode, encode};

    #[test]
    fn the_form_of_records_never_changes_by_accident() {
        let record = ProfileRecord {
            username: "jo".to_owned(),
            email: Some("jo@acme.example".to_owned()),
            email_verified: true,
            organisation: "jo".parse().unwrap(),
            attempt: 1,
            complete: true,
            created_at: Timestamp(7),
        };
        let written = "\x01{\"username\":\"jo\",\"email\":\"jo@acme.example\",\"email_verified\":true,\
                       \"organisation\":\"jo\",\"attempt\":1,\"complete\":true,\"created_at\":7}";
        assert_eq!(encode(&record), written.as_bytes());
        assert_eq!(decode::<ProfileRecord>(written.as_bytes()).unwrap(), record);
    }
}
