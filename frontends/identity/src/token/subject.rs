//! Whom an access token is for, as it stands there: an account, and what it signed in by.
//!
//! ```text
//! user:ann~<mark>     by the password that has this mark
//! robot:ci#<id>       by the machine token of this id
//! cognito:<sub>@      by another provider, which has vouched for it
//! ```
//!
//! A token ends with what it was given for: a revoked machine token, or a password that is no more
//! the account's. The mark is a part of a hash of the stored hash, which has its own random salt: it
//! tells nothing of the password.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};
use strongroom_engine::access::PrincipalId;

use super::Granted;
use crate::account::{AccountId, Kind};
use crate::password::StoredPassword;

/// Between the account and a machine token's id; neither stands in a name.
const BY_TOKEN: char = '#';
/// Between the account and its password's mark.
const BY_PASSWORD: char = '~';
/// Behind an account that another provider vouched for.
const BY_PROVIDER: char = '@';

/// Whom a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) account: AccountId,
    /// The same, as the engine calls it.
    pub(crate) principal: PrincipalId,
    by: By,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Token(String),
    Password {
        mark: String,
        /// One that has this mark: the account's is the same with each request.
        known: OnceLock<StoredPassword>,
    },
    Provider,
}

impl Granted {
    /// Whom the token is for; none for the anonymous, and for a text that is none of ours.
    pub(crate) fn whom(&self) -> Option<&Subject> {
        self.whom.get_or_init(|| Subject::parse(&self.subject)).as_ref()
    }
}

impl Subject {
    /// The text for who signed in by a machine token.
    pub(crate) fn by_token(account: &AccountId, id: &str) -> String {
        format!("{account}{BY_TOKEN}{id}")
    }

    /// The text for who signed in by the account's password.
    pub(crate) fn by_password(account: &AccountId, password: &StoredPassword) -> String {
        format!("{account}{BY_PASSWORD}{}", mark(password))
    }

    /// The text for whom another provider vouched for.
    pub(crate) fn by_provider(account: &AccountId) -> String {
        format!("{account}{BY_PROVIDER}")
    }

    /// Whom the text of a token names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let at = text.find([BY_TOKEN, BY_PASSWORD, BY_PROVIDER])?;
        let (account, rest) = text.split_at_checked(at)?;
        let account: AccountId = account.parse().ok()?;
        let by = if let Some(id) = rest.strip_prefix(BY_TOKEN) {
            By::Token(id.to_owned())
        } else if let Some(mark) = rest.strip_prefix(BY_PASSWORD) {
            By::Password { mark: mark.to_owned(), known: OnceLock::new() }
        } else {
            let elsewhere = rest.len() == BY_PROVIDER.len_utf8() && account.kind == Kind::Cognito;
            elsewhere.then_some(By::Provider)?
        };
        Some(Self { principal: account.principal(), account, by })
    }

    /// The machine token it was.
    pub(crate) fn token(&self) -> Option<&str> {
        match &self.by {
            By::Token(id) => Some(id),
            By::Password { .. } | By::Provider => None,
        }
    }

    /// Whether the account still has the password it signed in by, if it did by one.
    pub(crate) fn is_of(&self, password: Option<&StoredPassword>) -> bool {
        match &self.by {
            By::Token(_) | By::Provider => true,
            By::Password { mark, known } => password.is_some_and(|now| {
                if known.get() == Some(now) {
                    return true;
                }
                let fits = self::mark(now) == *mark;
                if fits {
                    // Another one with the same mark is as good.
                    let _ = known.set(now.clone());
                }
                fits
            }),
        }
    }
}

fn mark(password: &StoredPassword) -> String {
    let hash = Sha256::digest(password.as_str().as_bytes());
    let first = hash.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_reads_as_it_is_written_and_ends_with_its_password() {
        let account: AccountId = "user:ann".parse().unwrap();
        let (old, new) = (StoredPassword::from_stored("a"), StoredPassword::from_stored("b"));
        let by_token = Subject::parse(&Subject::by_token(&account, "00ff")).unwrap();
        assert_eq!((&by_token.account, by_token.token()), (&account, Some("00ff")));
        assert!(by_token.is_of(Some(&new)) && by_token.is_of(None));
        let by_password = Subject::parse(&Subject::by_password(&account, &old)).unwrap();
        assert_eq!((&by_password.account, by_password.token()), (&account, None));
        assert!(by_password.is_of(Some(&old)));
        assert!(by_password.is_of(Some(&StoredPassword::from_stored("a"))));
        assert!(!by_password.is_of(Some(&new)) && !by_password.is_of(None));
        let person: AccountId = "cognito:0f".parse().unwrap();
        let elsewhere = Subject::parse(&Subject::by_provider(&person)).unwrap();
        assert_eq!((&elsewhere.account, elsewhere.token()), (&person, None));
        let bad =
            ["", "user:ann", "ann#1", "#", "user:Ann~1", "user:ann@", "robot:ci@", "cognito:0f@x"];
        for bad in bad {
            assert_eq!(Subject::parse(bad), None, "{bad}");
        }
    }
}
