//! Who calls: identity providers, and what they are made of: passwords, machine tokens, short-lived
//! access tokens.
//!
//! [`provider`] says what each provider answers. The rooms beside it keep nothing: they hash, sign,
//! check and limit; what is stored, and where, is their caller's. Time and chance come through the
//! engine's seams.
//!
//! **Promises.** No secret is shown by a Debug, an error or a log. A check that can't be made fails.
//! Each check that could be guessed at is slow, limited, or over 256 random bits.

#![forbid(unsafe_code)]

pub mod challenge;
pub mod password;
pub mod provider;
pub mod scope;
pub mod secret;
pub mod throttle;
pub mod token;

pub use provider::{IdentityError, IdentityProvider};
