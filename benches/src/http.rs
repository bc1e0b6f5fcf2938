//! The group `http`: the program `strongroom serve` as its clients meet it, signed in, with the
//! audit trail and the log on. It, its limits and its peers run in turn, each in a process of its
//! own; bytes travel over sockets of this machine.

pub(crate) mod child;
pub(crate) mod client;
pub(crate) mod load;
mod manifest;
mod memory;
pub(crate) mod peers;
mod pull;
mod push;
mod tags;

use crate::Part;

const MIB: usize = 1 << 20;
/// The blob that is pulled and pushed.
const LARGE: usize = 512 * MIB;

/// What the group measures, in this order.
pub const PARTS: &[Part] = &[
    // First, so that no other figure's leavings are measured.
    ("memory", memory::run),
    ("manifest", manifest::run),
    ("pull", pull::run),
    ("push", push::run),
    ("tags", tags::run),
];
