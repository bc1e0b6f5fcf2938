//! Who calls: identity providers, and what they are made of: passwords, machine tokens, short-lived
//! access tokens.
//!
//! [`provider`] says what each provider answers; [`embedded`] is the one that needs nothing but the
//! engine, [`cognito`] vouches for people of a user pool, and [`composite`] is both as one, with
//! [`endpoint`] as its face for clients that want tokens. [`workload`] gives short tokens to CI runs for
//! those of their issuers; [`profiles`] keeps who the people of the pool are, and [`founders`] bounds what
//! organisations people make themselves. The rooms beside them keep nothing: they hash, sign, check, seal
//! and limit. Time and chance come through the engine's seams.
//!
//! **Promises.** No secret is shown by a Debug, an error or a log. A check that can't be made fails.
//! Each check that could be guessed at is slow, limited, or over 256 random bits.

#![forbid(unsafe_code)]

pub mod access;
pub mod account;
pub mod challenge;
pub mod cognito;
pub mod composite;
pub mod embedded;
pub mod endpoint;
pub mod founders;
pub mod gate;
pub mod jwks;
pub mod password;
pub mod profiles;
pub mod provider;
pub mod record;
pub mod scope;
pub mod seal;
pub mod secret;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod throttle;
pub mod token;
pub mod web;
pub mod workload;

pub use access::Access;
pub use cognito::Cognito;
pub use composite::Identity;
pub use embedded::Embedded;
pub use provider::{IdentityError, IdentityProvider, Sought, Vouched};
