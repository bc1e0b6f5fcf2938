//! Retention: what a registry's rules let go, looked at and removed.
//!
//! Promises: only what at least one rule selects and none keeps goes ([`RetentionRule`]); an immutable
//! tag never does, nor what an index that stays names. A tag that is the last of its manifest goes
//! with it and with what refers to that and has no tag. What was pushed, moved or pulled since the
//! look stays: every removal requires the rows that it was decided by. Each removal has its line.
//!
//! What it never does: touch bytes. It removes links, as a deletion does; collection removes the rest.

mod judge;
mod look;
mod remove;
mod rules;
mod run;
mod schedule;
#[cfg(test)]
mod tests;

pub(crate) use rules::check;
pub use rules::{MAX_IMMUTABLE, MAX_KEEP_LAST, MAX_RULES, RetentionRule, TagRule, UntaggedRule};
pub use run::{Expiring, RetentionReport};
pub(crate) use schedule::run_all;
