//! SHA-256 of many blocks in one go, where the feature `aws-lc` is on.
//!
//! The crate sha2 has code of its own only for processors with instructions for SHA-256; on others it
//! hashes 110 to 140 MB/s where AWS-LC's assembly hashes 200 to 250 (measured on one without). AWS-LC's own
//! hash can't be saved, so it gets the whole blocks alone: the state, its layout at rest and what begins and
//! ends a stream stay sha2's.

use sha2::{Digest as _, Sha256};

/// Hashes the next bytes behind the `hashed` ones.
#[cfg_attr(not(feature = "aws-lc"), expect(unused_variables, reason = "sha2 counts by itself"))]
pub(super) fn update(hash: &mut Sha256, hashed: u64, bytes: &[u8]) {
    #[cfg(feature = "aws-lc")]
    let bytes = fast::update(hash, hashed, bytes);
    hash.update(bytes);
}

#[cfg(feature = "aws-lc")]
mod fast {
    use sha2::digest::common::hazmat::SerializableState;
    use sha2::{Digest as _, Sha256};

    const BLOCK: usize = 64;
    /// The fewest blocks that are worth taking the state apart.
    const LEAST: usize = 16;

    /// Hashes what it can of the next bytes behind the `hashed` ones; returns those that are left.
    pub(super) fn update<'b>(hash: &mut Sha256, hashed: u64, bytes: &'b [u8]) -> &'b [u8] {
        if bytes.len() < (LEAST + 1) * BLOCK {
            return bytes;
        }
        // What the block that is begun lacks.
        let lacks = usize::try_from(hashed.wrapping_neg() % BLOCK as u64).unwrap_or_default();
        let (fill, rest) = bytes.split_at(lacks);
        hash.update(fill);
        let (blocks, tail) = rest.as_chunks();
        match after(hash, blocks) {
            Some(done) => {
                *hash = done;
                tail
            }
            None => rest,
        }
    }

    /// `hash`, in which no bytes wait, after `blocks`. At rest it begins with the chaining value and the
    /// number of whole blocks, little-endian.
    fn after(hash: &Sha256, blocks: &[[u8; BLOCK]]) -> Option<Sha256> {
        let mut state = hash.serialize();
        let (chaining, rest) = state.split_first_chunk_mut::<32>()?;
        let (count, _none_waits) = rest.split_first_chunk_mut::<8>()?;
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(chaining.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        compress(&mut words, blocks);
        for (word, bytes) in words.iter().zip(chaining.as_chunks_mut().0) {
            *bytes = word.to_le_bytes();
        }
        *count = u64::from_le_bytes(*count).checked_add(blocks.len() as u64)?.to_le_bytes();
        Sha256::deserialize(&state).ok()
    }

    #[expect(
        unsafe_code,
        reason = "no crate we use has the compression of blocks but by this call"
    )]
    fn compress(words: &mut [u32; 8], blocks: &[[u8; BLOCK]]) {
        // SAFETY: it reads and writes eight words and reads so many whole blocks, and keeps neither; both are
        // borrowed for as long as it runs. It looks for the processor's instructions by itself.
        unsafe {
            aws_lc_sys::SHA256_TransformBlocks(
                words.as_mut_ptr(),
                blocks.as_ptr().cast(),
                blocks.len(),
            );
        }
    }
}
