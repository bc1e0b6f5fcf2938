//! Uploads: bytes on their way to becoming a blob.
//!
//! The life of one: *started* (its row is committed before its first byte: the row is also the
//! intent of its object, so no sweep can take it for an orphan), *appended to* any number of
//! times, and then *finished* (one commit removes the row and makes blob and link), *cancelled*,
//! or *expired*. The row holds the offset that is durable, the hash of the bytes up to there, and
//! what the store needs to go on, so an upload survives a kill and goes on at another process
//! without reading again what came.
//!
//! Bytes are hashed and written side by side as they come ([`pipeline`]), never held whole. A blob
//! is visible only when its digest was verified, its bytes are durable, and the finishing commit
//! is (I1). The reported offset never passes what is durable.
//!
//! What it never does: let two requests write to one upload (one wins, the other is told), or
//! accept bytes that the organisation's quota has no room for (they are reserved first, I5).

mod append;
mod finish;
mod hashing;
mod moves;
mod pipeline;
mod place;
mod session;
mod started;
#[cfg(test)]
mod tests;
mod writers;

pub use append::Chunk;
pub(crate) use finish::hash_object;
pub(crate) use moves::Moves;
pub(crate) use place::Placed;
pub use session::Upload;
pub(crate) use session::give_up;
pub(crate) use started::Started;
pub(crate) use writers::Writers;
