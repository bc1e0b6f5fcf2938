//! The group `engine`: the engine alone, without a protocol.

mod catalog;
mod commit;
mod hash;
mod memory;
mod resolve;
mod stream;

use anyhow::Result;

use crate::Report;

/// Measures all of the group.
pub fn run(report: &mut Report) -> Result<()> {
    hash::run(report)?;
    stream::run(report)?;
    commit::run(report)?;
    resolve::run(report)?;
    catalog::run(report)?;
    memory::run(report)
}
