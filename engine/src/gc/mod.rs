//! Keeping house: collection, scrub, fsck and adoption. Operators and timers call these; none of
//! them asks who calls, so a frontend must.
//!
//! Promises: collection runs while everybody pushes, pulls and deletes, in several processes at
//! once, and each step can be repeated; a killed run costs nothing, and the next goes on where it
//! stood. Scrub and fsck tell what is wrong and never repair behind anybody's back: scrub makes
//! rotten content answer as absent, so that a push heals it;
//! [`crate::Engine::adopt`] is asked for.
//!
//! Invariants kept here: I2 (nothing that is named, leased or linked goes: `links` and
//! `content` tell why not), I5 (bytes are given back in the commit that removes their row), I6
//! (what nobody uses is gone within the lease, the delay and two collections).
//!
//! What it never does: touch an object whose generation a row names (`orphans` tells how that is
//! known), delete bytes before the metadata says so durably, or remove a repository: an empty one
//! stays, with its name, for whoever pushes there next.

mod adopt;
mod collect;
mod content;
pub(crate) mod course;
pub(crate) mod cursor;
mod fsck;
mod lease;
mod links;
mod orphans;
pub(crate) mod pins;
mod report;
pub(crate) mod scrub;
mod sessions;
#[cfg(test)]
mod tests;
pub(crate) mod walk;

pub use adopt::{AdoptOptions, AdoptReport};
pub use collect::CollectOptions;
pub(crate) use content::settle;
pub use fsck::{Finding, FsckCounts, FsckOptions, FsckReport, Invariant};
pub use report::{CollectReport, Extent, Progress, Tally};
pub use scrub::{Rotten, ScrubOptions, ScrubReport, Subset};

/// Who is told how far it is: called often, so it should return at once.
pub type Watch<'a> = &'a (dyn Fn(&Progress) + Send + Sync);
