//! The group `engine`: the engine alone, without a protocol.

mod catalog;
mod commit;
mod memory;
mod resolve;
mod stream;

use anyhow::Result;

use crate::Report;

/// Measures all of the group.
pub fn run(report: &mut Report) -> Result<()> {
    stream::run(report)?;
    commit::run(report)?;
    resolve::run(report)?;
    catalog::run(report)?;
    memory::run(report)
}
