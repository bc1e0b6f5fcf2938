//! The hash at work, and at rest between two processes.

use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256, Sha512};

use super::{Algorithm, Digest, MAX_RAW_BYTES, blocks};

/// Names the layout of the bytes in [`HasherState::state`]: the crate sha2 keeps it within one
/// `0.x`. An update to another `0.x` gets another tag here, and older sessions hash again.
const STATE_FORMAT: &str = "sha2-0.11";

/// A hash at work. Cloning copies the work done so far.
#[derive(Debug, Clone)]
pub struct Hasher {
    state: State,
    hashed: u64,
}

#[derive(Debug, Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// A [`Hasher`] at rest: kept in the upload session's record.
///
/// It tells what was hashed last (up to a block of content): no more secret than the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HasherState {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Which layout `state` has.
    pub format: String,
    /// The hash's own memory, opaque.
    pub state: Vec<u8>,
    /// How many bytes were hashed so far.
    pub hashed: u64,
}

impl Hasher {
    /// A hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        };
        Self { state, hashed: 0 }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// How many bytes were hashed so far.
    pub fn hashed(&self) -> u64 {
        self.hashed
    }

    /// Hashes the next bytes. This is processor work: a long slice belongs off the async threads.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(hash) => blocks::update(hash, self.hashed, bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
        self.hashed = self.hashed.saturating_add(bytes.len() as u64);
    }

    /// The digest of all the bytes.
    pub fn finish(self) -> Digest {
        let mut raw = [0; MAX_RAW_BYTES];
        let algorithm = self.algorithm();
        match self.state {
            State::Sha256(hash) => {
                for (byte, hashed) in raw.iter_mut().zip(hash.finalize()) {
                    *byte = hashed;
                }
            }
            State::Sha512(hash) => raw = hash.finalize().into(),
        }
        Digest { algorithm, raw }
    }

    /// The work done so far, to go on from elsewhere.
    pub fn save(&self) -> HasherState {
        let state = match &self.state {
            State::Sha256(hash) => hash.serialize().to_vec(),
            State::Sha512(hash) => hash.serialize().to_vec(),
        };
        HasherState {
            algorithm: self.algorithm(),
            format: STATE_FORMAT.to_owned(),
            state,
            hashed: self.hashed,
        }
    }

    /// Goes on from a saved state.
    ///
    /// Returns `None` where the state has another format than this build's, or is damaged: then
    /// hash the bytes again.
    pub fn restore(saved: &HasherState) -> Option<Self> {
        if saved.format != STATE_FORMAT || bytes_in(saved)? != u128::from(saved.hashed) {
            return None;
        }
        // Past this the count in bits, which ends every hash, would not fit.
        if saved.hashed > u64::MAX / 8 {
            return None;
        }
        let state = match saved.algorithm {
            Algorithm::Sha256 => State::Sha256(thaw(&saved.state)?),
            Algorithm::Sha512 => State::Sha512(thaw(&saved.state)?),
        };
        Some(Self { state, hashed: saved.hashed })
    }
}

/// How many bytes the opaque state itself says it has hashed: after the chaining value come the
/// number of whole blocks (little-endian) and the number of bytes waiting for the next one.
fn bytes_in(saved: &HasherState) -> Option<u128> {
    let (chaining, count, block) = match saved.algorithm {
        Algorithm::Sha256 => (32, 8, 64),
        Algorithm::Sha512 => (64, 16, 128),
    };
    let mut blocks = [0; 16];
    blocks.get_mut(..count)?.copy_from_slice(saved.state.get(chaining..chaining + count)?);
    let waiting = *saved.state.get(chaining + count)?;
    u128::from_le_bytes(blocks).checked_mul(block)?.checked_add(waiting.into())
}

fn thaw<H: SerializableState>(bytes: &[u8]) -> Option<H> {
    H::deserialize(bytes.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_saved_hash_of_another_format_or_a_damaged_one_is_not_restored() {
        for algorithm in Algorithm::ALL {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&[7; 1000]);
            let good = hasher.save();
            assert!(Hasher::restore(&good).is_some());
            let format = HasherState { format: "sha2-0.10".into(), ..good.clone() };
            let short = HasherState { state: good.state[1..].to_vec(), ..good.clone() };
            let hashed = HasherState { hashed: 999, ..good.clone() };
            let mut blocks = good.clone();
            blocks.state[algorithm.digest_len() + 7] = 0xff;
            for bad in [format, short, hashed, blocks] {
                assert!(Hasher::restore(&bad).is_none(), "{bad:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_hash_saved_and_restored_anywhere_is_the_hash_in_one_go(
            algorithm in prop::sample::select(Algorithm::ALL.as_slice()),
            content in prop::collection::vec(any::<u8>(), 0..7000),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(content.len() + 1)).collect();
            cuts.push(content.len());
            cuts.sort_unstable();
            let mut hasher = Hasher::new(algorithm);
            let mut done = 0;
            for cut in cuts {
                hasher.update(&content[done..cut]);
                done = cut;
                let record = postcard::to_stdvec(&hasher.save()).unwrap();
                let saved: HasherState = postcard::from_bytes(&record).unwrap();
                hasher = Hasher::restore(&saved).unwrap();
                prop_assert_eq!(hasher.hashed(), done as u64);
            }
            // What is kept and what comes out are the crate's own, whoever hashed the blocks.
            let (state, raw) = match algorithm {
                Algorithm::Sha256 => {
                    let hash = Sha256::new_with_prefix(&content);
                    (hash.serialize().to_vec(), hash.finalize().to_vec())
                }
                Algorithm::Sha512 => {
                    let hash = Sha512::new_with_prefix(&content);
                    (hash.serialize().to_vec(), hash.finalize().to_vec())
                }
            };
            prop_assert_eq!(hasher.save().state, state);
            prop_assert_eq!(hasher.finish(), Digest::from_raw(algorithm, &raw).unwrap());
        }
    }
}
