//! The real servers that a registry can stand on, for tests and benches: S3, PostgreSQL, nginx before
//! several nodes, and moto in the place of Cognito and SQS.
//!
//! Each listens on a free port of this machine alone, keeps what it has in a folder of its own,
//! answers when it is there, and ends by its process id when it is dropped. Nothing is installed
//! here: whoever starts one says where its program is, or has the environment say so, which `cargo
//! xtask test --only stores` and `cargo xtask bench` set. What can't be started is an error that
//! names it, never a reason to leave a test out.

mod database;
mod moto;
mod nginx;
mod s3;
mod service;

use std::path::PathBuf;

use anyhow::{Context, Result};

pub use database::{Database, Held};
pub use moto::Moto;
pub use nginx::RoundRobin;
pub use s3::{Bucket, S3Kind};
pub use service::wait;

/// The region that all of them are said to be in.
pub const REGION: &str = "us-east-1";

/// What the environment says of where something is.
fn place(variable: &str, what: &str) -> Result<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).with_context(|| {
        format!(
            "{variable} does not say where {what} is: run `cargo xtask test --only stores`, which \
             installs it"
        )
    })
}
