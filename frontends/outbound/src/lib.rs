//! Connections to addresses that tenants choose: where webhooks go, where packages are fetched from.
//!
//! **Promises.** A [`Target`] is an address without credentials in it. Its host is looked up once for each
//! connection, every address that comes out is checked ([`address::may_reach`]), and one of those
//! that were checked is connected to; what is not public is reached only where the operator allowed its
//! network. Whoever is reached by `https` has proven the name.
//!
//! **Never.** It sends or reads a byte of what is said over the connection, follows a redirect, or
//! bounds the time: its callers do.

#![forbid(unsafe_code)]

pub mod address;
mod connect;
mod target;

pub use connect::{ConnectError, Connector, Resolver, Stream, SystemResolver};
pub use target::{Target, TargetError};
