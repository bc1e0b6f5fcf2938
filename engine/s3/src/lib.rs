//! Objects in an S3 bucket.
//!
//! [`S3Store`] is a [`BlobStore`](strongroom_engine::content::BlobStore) over one bucket. An
//! unfinished object is one multipart upload, which outlives requests and processes: what each
//! writer did is in the [`WriteState`](strongroom_engine::content::WriteState) that the engine
//! keeps in the upload's row. Beyond the trait it promises:
//!
//! - **what S3 confirmed is proved**: each part carries a checksum that S3 verifies, the whole
//!   object's checksum and size are compared after it was completed, and after *any* error of the
//!   completing call the object decides, never the error code, for a retried call may fail
//!   because the first one worked;
//! - **nobody overwrites**: objects are written on the condition that none is there, and each
//!   writer has part numbers and tail names of its own (`state`), so a node that stalled and
//!   wakes up late changes nothing;
//! - **memory is flat**: all writers share one pool (`pool`); what does not fit waits on the local
//!   disk, and once that is full the sender waits;
//! - **the bucket is asked a bounded number of things at once**, each again with back-off and jitter
//!   while it answers that it is busy or does not answer, until a deadline.
//!
//! Any length of chunk works: what is under S3's minimum of 5 MiB is kept as a small object (a
//! *tail*) beside the session's key until the next chunk makes a part of it.
//!
//! What it never does: trust `ListParts` (part numbers are kept by us), lean on a listing for
//! anything but sweeping, or read credentials in its own way (the AWS SDK's chain does).

mod body;
mod bucket;
mod check;
mod error;
mod finish;
mod options;
mod piece;
mod pool;
mod read;
mod settle;
mod sizes;
mod state;
mod store;
mod writer;

pub use check::CheckError;
pub use options::{Addressing, Checksums, Encryption, Keys, Limits, S3Options};
pub use store::S3Store;
