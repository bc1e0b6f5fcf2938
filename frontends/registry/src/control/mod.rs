//! The way of a verb to the process that has the data open (DESIGN D13): a Unix socket in the data
//! folder, one verb a connection, lines of JSON.
//!
//! The client sends one [`Command`](crate::ops::Command); the server answers with any number of
//! `told`, and one `done` or `failed`. A client that leaves ends its verb.
//!
//! **Promises.** Only the user that the server runs as (and root) is listened to, by the kernel's word
//! for who it is. What comes is bounded in number and length. A socket that a killed server left is
//! no server.

mod client;
mod server;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(crate) use client::connect;
pub(crate) use server::Control;

use crate::failure::Failure;
use crate::ops::{Outcome, Told};

/// The longest line of either side; what a verb finds stands on one.
const MAX_LINE: u64 = 64 << 20;

/// What the server says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Told(Told),
    Done(Outcome),
    Failed(Failure),
}
