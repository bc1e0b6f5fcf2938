//! The hash chain of a log: what makes a removed, altered or reordered entry show.
//!
//! Entry `n` of a log is the row [`entry_key`]`(log, n)`. Its value is the chain's hash at `n`
//! (32 bytes) and then the entry, where
//!
//! ```text
//! hash(n) = SHA-256(hash(n - 1) ++ be64(n) ++ be64(length of the entry) ++ entry)
//! hash(-1) = SHA-256(key of the log)
//! ```
//!
//! The stores write these rows, the audit room verifies them; this is the one place that knows how.
//! A store finds the head of a log at its last row, so whoever removes old entries leaves the last
//! one: without it the log would begin anew.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Key, MetaError};

/// The length of a chain hash, in bytes.
pub const HASH_BYTES: usize = 32;
/// The length of a sequence at the end of an entry's key, in bytes.
pub const SEQUENCE_BYTES: usize = 8;

/// What stands before the first entry of `log`: binds the chain to its key.
pub fn genesis(log: &[u8]) -> [u8; HASH_BYTES] {
    Sha256::digest(log).into()
}

/// The chain's hash at `sequence`, given the hash before it.
pub fn link(previous: &[u8; HASH_BYTES], sequence: u64, entry: &[u8]) -> [u8; HASH_BYTES] {
    Sha256::new()
        .chain_update(previous)
        .chain_update(sequence.to_be_bytes())
        .chain_update((entry.len() as u64).to_be_bytes())
        .chain_update(entry)
        .finalize()
        .into()
}

/// The value of an entry's row.
pub fn encode(hash: &[u8; HASH_BYTES], entry: &[u8]) -> Bytes {
    let mut value = Vec::with_capacity(HASH_BYTES + entry.len());
    value.extend_from_slice(hash);
    value.extend_from_slice(entry);
    value.into()
}

/// The hash and the entry in a row's value; `None` where it is too short to be one.
pub fn decode(value: &Bytes) -> Option<([u8; HASH_BYTES], Bytes)> {
    let hash = *value.first_chunk::<HASH_BYTES>()?;
    Some((hash, value.slice(HASH_BYTES..)))
}

/// The key of the entry `sequence` of `log`.
pub fn entry_key(log: &[u8], sequence: u64) -> Key {
    let mut key = Vec::with_capacity(log.len() + SEQUENCE_BYTES);
    key.extend_from_slice(log);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

/// The sequence of the entry at `key`; `None` where that is no entry's key of `log`.
pub fn entry_sequence(log: &[u8], key: &[u8]) -> Option<u64> {
    let tail: [u8; SEQUENCE_BYTES] = key.strip_prefix(log)?.try_into().ok()?;
    Some(u64::from_be_bytes(tail))
}

/// The error for a last row of `log` that is no entry.
pub(super) fn damaged(log: &[u8]) -> MetaError {
    MetaError::Corrupted(format!("the last entry of the log {}", const_hex::encode(log)))
}

/// Where a log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The sequence of the next entry.
    pub next: u64,
    /// The hash of the last entry, or the [`genesis`].
    pub hash: [u8; HASH_BYTES],
}

impl Head {
    /// The head of a `log` without entries.
    pub fn empty(log: &[u8]) -> Self {
        Self { next: 0, hash: genesis(log) }
    }

    /// The head behind the row (`key`, `value`); `None` where that is no entry of `log`.
    pub fn after(log: &[u8], key: &[u8], value: &[u8]) -> Option<Self> {
        let sequence = entry_sequence(log, key)?;
        let hash = *value.first_chunk::<HASH_BYTES>()?;
        Some(Self { next: sequence.checked_add(1)?, hash })
    }

    /// Takes `entry` into the chain: its sequence and its row's value.
    pub(crate) fn push(&mut self, entry: &[u8]) -> (u64, Bytes) {
        let sequence = self.next;
        self.hash = link(&self.hash, sequence, entry);
        self.next = sequence.saturating_add(1);
        (sequence, encode(&self.hash, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_what_the_documentation_says() {
        let zero = Sha256::digest(b"log");
        let mut message = zero.to_vec();
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5]);
        message.extend_from_slice(b"entry");
        let wanted: [u8; 32] = Sha256::digest(&message).into();

        let mut head = Head::empty(b"log");
        let (sequence, value) = head.push(b"entry");

        assert_eq!(sequence, 0);
        assert_eq!(decode(&value), Some((wanted, Bytes::from_static(b"entry"))));
        assert_eq!(link(&genesis(b"log"), 0, b"entry"), wanted);
        assert_eq!(Head::after(b"log", &entry_key(b"log", 0), &value), Some(head));
    }

    #[test]
    fn order_position_and_log_all_change_the_hash() {
        let start = genesis(b"log");
        assert_ne!(link(&start, 0, b"a"), link(&start, 1, b"a"));
        assert_ne!(link(&start, 0, b"a"), link(&start, 0, b"b"));
        assert_ne!(link(&start, 0, b"a"), link(&genesis(b"other"), 0, b"a"));
    }

    #[test]
    fn what_is_no_entry_is_told_from_one() {
        assert_eq!(decode(&Bytes::from_static(&[0; 31])), None);
        assert_eq!(entry_sequence(b"log", &entry_key(b"log", 7)), Some(7));
        assert_eq!(entry_sequence(b"log", b"log1234567"), None);
        assert_eq!(entry_sequence(b"other", &entry_key(b"log", 7)), None);
        assert_eq!(Head::after(b"log", &entry_key(b"log", u64::MAX), &[0; 32]), None);
    }
}
