//! Hashing alone, against the crate whose state the engine keeps.

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use crate::figure::{Goal, Report, hash_rate, median, rate};
use crate::world::random_bytes;

const SIZE: usize = 256 << 20;
const ROUNDS: usize = 5;

pub(super) fn run(report: &mut Report) -> Result<()> {
    let bytes = random_bytes(SIZE);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(hash_rate(&bytes)?);
        theirs.push(rate(SIZE, || {
            std::hint::black_box(Sha256::digest(&bytes));
            Ok(())
        })?);
    }
    // No less where the processor has instructions for it, and both use them.
    report.figure(
        "sha256",
        (median(ours), "MB/s"),
        ("the crate sha2, MB/s", median(theirs)),
        Goal::RatioAtLeast(0.95),
    )
}
