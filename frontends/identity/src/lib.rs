//! Who calls: identity providers, for every frontend.

#![forbid(unsafe_code)]

pub mod provider;

pub use provider::{IdentityError, IdentityProvider};
