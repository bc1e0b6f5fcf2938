//! Content for tests: made, not kept, and the same for a seed in each run.

use std::io::Read;

/// Bytes of which no two blocks are the same, from any place on.
pub struct Content {
    block: Vec<u8>,
    seed: u64,
    at: u64,
    end: u64,
}

impl Content {
    const BLOCK: u64 = 64 << 10;

    /// Those from `at` to `end` of the endless ones of `seed`.
    pub fn new(seed: u64, at: u64, end: u64) -> Self {
        // What no disk folds away.
        let mut state = seed;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33).to_le_bytes()
        };
        let block = std::iter::repeat_with(next).take(8 << 10).flatten().collect();
        Self { block, seed, at, end }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let within = self.at % Self::BLOCK;
        let left = (Self::BLOCK - within).min(self.end - self.at);
        let left = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let from = usize::try_from(within).unwrap_or_default();
        // Each block begins with which it is.
        let number = ((self.seed << 40) | (self.at / Self::BLOCK)).to_be_bytes();
        self.block[..8].copy_from_slice(&number);
        buffer[..left].copy_from_slice(&self.block[from..from + left]);
        self.at += left as u64;
        Ok(left)
    }
}
