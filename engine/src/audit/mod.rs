//! The audit trail: a line for every acknowledged change, in the commit of that change (D10, I7).
//!
//! One hash chain for each organisation *and running process*: the store's committer gives a line
//! its sequence and hash within its group commit, so nobody waits at a head. The line is also the
//! typed [`Event`] that subscribers see. Pulls are written in groups (`PullLog`): a kill loses at
//! most the last [`crate::Settings::pull_group`] of them, never a push. So is what was refused
//! (`RefusalLog`), where repetitions are counted and not told one by one.
//!
//! Periodic seals in each chain name the heads of the others ([`crate::Engine::seal`]), so that a
//! chain whose end was cut off shows when they are verified together
//! ([`crate::Engine::verify_trail`]). Reading merges the chains by time ([`crate::Engine::trail`]);
//! a cursor from the oldest on stands in each chain, and so is the durable way to follow events.
//!
//! Old lines go on purpose alone, by an operator, behind seals, and leave what proves the rest
//! ([`crate::Engine::trim_trail`]).
//!
//! What it never does: drop a line. Where pulls come faster than they can be written, they wait.

mod chains;
mod event;
mod pulls;
mod refusals;
mod seal;
#[cfg(test)]
mod tests;
mod trail;
mod trim;
pub(crate) mod verify;

pub use event::{Event, EventKind, RepositoryRef, SYSTEM, UploadEnd};
pub(crate) use pulls::{Like, PullLog, flush, write_early, write_waiting};
pub(crate) use refusals::RefusalLog;
pub use trail::{TrailLine, TrailQuery};
pub use trim::TrimReport;
pub(crate) use trim::trimmed_before;
pub use verify::{ChainHead, Problem, Verification};

use bytes::Bytes;

use crate::records::RecordError;

/// The version of an entry's encoding.
const VERSION: u8 = 1;

/// An event as its chain keeps it.
pub(crate) fn encode_event(event: &Event) -> Bytes {
    let encoded = postcard::to_extend(event, vec![VERSION]);
    Bytes::from(encoded.expect("an event's fields all have an encoding, and memory grows"))
}

/// Reads an entry of a chain.
pub(crate) fn decode_event(entry: &[u8]) -> Result<Event, RecordError> {
    let error = |reason: String| RecordError { kind: "event", reason };
    match entry.split_first() {
        Some((&VERSION, fields)) => postcard::from_bytes(fields).map_err(|e| error(e.to_string())),
        _ => Err(error("it is of a version that this program does not know".to_owned())),
    }
}
