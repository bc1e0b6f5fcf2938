//! The store on a real PostgreSQL server, which each test starts for itself and ends.
//!
//! `STRONGROOM_POSTGRES_BIN` names the folder of the server's programs; `cargo xtask test --only
//! stores` sets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(missing_docs)]

mod failures;
mod migrations;
mod nodes;
mod suite;
mod support;
mod tls;
