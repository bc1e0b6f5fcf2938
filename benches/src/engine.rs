//! The group `engine`: the engine alone, without a protocol.

mod catalog;
mod commit;
mod hash;
mod memory;
mod resolve;
mod stream;

use crate::Part;

/// What the group measures, in this order.
pub const PARTS: &[Part] = &[
    ("hash", hash::run),
    ("stream", stream::run),
    ("commit", commit::run),
    ("resolve", resolve::run),
    ("catalog", catalog::run),
    ("memory", memory::run),
];
