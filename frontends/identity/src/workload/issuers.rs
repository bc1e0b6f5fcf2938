//! The issuers whose tokens are exchanged here, as the operator names them.

use std::fmt;

use crate::jwks::{Claims, KeysAt, Signing, Trusted};
use crate::web::AddressError;

/// The longest name of an issuer, in bytes.
const MAX_NAME: usize = 64;

/// An issuer of tokens for workloads: a service that runs them, and signs who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What rules and people may call it: 1 to 64 of `[a-z0-9-]`.
    pub name: String,
    /// What stands in `iss`, exactly.
    pub issuer: String,
    /// For whom its tokens must be made (`aud`); as each rule says where absent.
    pub audience: Option<String>,
    /// Where its keys are.
    pub keys: KeysAt,
}

/// The issuers can't be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// A name is none.
    #[error("{name:?} can't be the name of an issuer: it has 1 to {MAX_NAME} of a-z, 0-9 and '-'")]
    Name {
        /// What was given.
        name: String,
    },
    /// Two have one name, or one `iss`.
    #[error("two issuers are {text:?}: each has a name and an address of its own")]
    Twice {
        /// What both have.
        text: String,
    },
    /// An audience is empty.
    #[error("the audience of {name} is empty: leave it out, or write what its tokens have in aud")]
    Audience {
        /// Whose.
        name: String,
    },
    /// An address can't be asked.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl Issuer {
    /// Fails where they can't be right; asks nobody.
    pub fn check(all: &[Self]) -> Result<(), IssuerError> {
        for (at, issuer) in all.iter().enumerate() {
            let Self { name, issuer: iss, audience, keys } = issuer;
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(good) {
                return Err(IssuerError::Name { name: name.chars().take(MAX_NAME).collect() });
            }
            if audience.as_deref() == Some("") {
                return Err(IssuerError::Audience { name: name.clone() });
            }
            match keys {
                KeysAt::Url(url) => crate::web::address(url)?,
                KeysAt::Discovery => crate::web::address(iss)?,
            };
            for other in all.iter().take(at) {
                for (one, same) in [(name, &other.name), (iss, &other.issuer)] {
                    if one == same {
                        return Err(IssuerError::Twice { text: one.clone() });
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn trusted(&self) -> Trusted {
        Trusted {
            issuer: self.issuer.clone(),
            keys: self.keys.clone(),
            signing: &[Signing::Rs256, Signing::Es256],
        }
    }

    /// Whether somebody who writes this means it.
    pub(super) fn is_called(&self, text: &str) -> bool {
        self.name == text || self.issuer == text
    }

    /// Whether it made this token, for whom it makes them.
    pub(super) fn is_for(&self, claims: &Claims) -> bool {
        claims.issuer == self.issuer
            && self.audience.as_ref().is_none_or(|audience| claims.audience == [audience.as_str()])
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(name: &str, issuer: &str) -> Issuer {
        let keys = KeysAt::Discovery;
        Issuer { name: name.to_owned(), issuer: issuer.to_owned(), audience: None, keys }
    }

    #[test]
    fn issuers_that_could_be_mistaken_or_not_be_asked_are_refused() {
        let good = issuer("github", "https://token.ci.example");
        Issuer::check(&[good.clone(), issuer("gitlab", "https://gitlab.example")]).unwrap();
        let url = KeysAt::Url("http://elsewhere.example/keys".to_owned());
        let empty = Some(String::new());
        for bad in [
            issuer("", "https://a.example"),
            issuer("Git Hub", "https://a.example"),
            issuer("github", "https://a.example"),
            issuer("other", "https://token.ci.example"),
            issuer("other", "http://a.example"),
            issuer("other", "a.example"),
            Issuer { keys: url, ..issuer("other", "https://a.example") },
            Issuer { audience: empty, ..issuer("other", "https://a.example") },
        ] {
            assert!(Issuer::check(&[good.clone(), bad.clone()]).is_err(), "{bad:?}");
        }
    }
}
