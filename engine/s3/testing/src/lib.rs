//! Real S3 servers for tests, and a proxy that spoils what is said to them.
//!
//! Nothing here is built into Strongroom. Where a server can't be started that is a failure of the
//! test, never a reason to leave it out: `cargo xtask test --only stores` installs them and says by
//! environment where they are.

#![allow(clippy::panic, reason = "a test that can't have its server fails")]

mod proxy;
mod server;

pub use proxy::{Call, Fault, FaultProxy, Operation};
pub use server::Server;
pub use strongroom_servers::{Bucket, S3Kind};
