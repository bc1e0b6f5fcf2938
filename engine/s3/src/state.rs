//! What an unfinished object's writer needs to go on: the store's memory in the upload's row.
//!
//! Each writer first *claims*: the row then says which part numbers are its own (a window from
//! `next`, and never one that an earlier writer might still use) and a nonce for the names of its
//! tails. It has to write a checkpoint before it leaves the window. One that closed in order leaves
//! no doubt about its numbers, so small chunks don't use them up; one that did not leaves its whole
//! window to itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use strongroom_engine::content::{ObjectKey, StoreError, WriteState};

use crate::error::permanent;
use crate::sizes::NUMBERS;

/// Between an object's key and what tells its tails apart. Beside the key and not below it: some
/// services keep objects as files.
const TAIL: &str = ".tail-";
/// The same of an upload that is made again.
const AGAIN: &str = ".again-";
/// How many part numbers a writer may use between two checkpoints.
const WINDOW: u16 = 128;
/// The first byte of a state: the version of its encoding.
const VERSION: u8 = 1;
/// The first byte of a state that a listing made.
const LISTED: u8 = 0xff;

/// The state of one unfinished object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// The multipart upload, once the first part was full.
    pub(crate) upload: Option<Upload>,
    /// Its parts, in order.
    pub(crate) parts: Vec<Part>,
    /// What comes after them.
    pub(crate) rest: Rest,
    /// Tails of earlier checkpoints, which nobody needs once this state is kept.
    pub(crate) doomed: Vec<TailName>,
    /// How many writers claimed the object.
    pub(crate) claims: u32,
    /// Names the claim.
    pub(crate) nonce: u64,
    /// How many tails the claim's writer wrote.
    pub(crate) tails: u32,
    /// The first part number that nobody used.
    pub(crate) next: u16,
    /// Past the last one that the claim's writer may use.
    pub(crate) end: u16,
    /// Whether the claim's writer may still be using numbers from `next` on.
    pub(crate) open: bool,
}

/// A multipart upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// S3's id.
    pub(crate) id: String,
    /// Present where it lies beside the object's key, under this name: something was finished in
    /// vain under the key itself.
    pub(crate) again: Option<u64>,
}

/// A part that S3 confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) number: u16,
    pub(crate) size: u64,
    pub(crate) crc: u64,
    pub(crate) etag: String,
}

/// What comes after the parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Rest {
    /// Nothing.
    Nothing,
    /// A small object of its own.
    Tail { name: TailName, size: u64, crc: u64 },
    /// There are no parts: the whole object was put under its key by who sealed it.
    Whole { size: u64, crc: u64 },
}

/// Names a tail: the claim, and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TailName {
    pub(crate) nonce: u64,
    pub(crate) count: u32,
}

impl TailName {
    /// Where it lies.
    pub(crate) fn beside(self, key: &ObjectKey) -> String {
        format!("{key}{TAIL}{:016x}-{}", self.nonce, self.count)
    }
}

impl Upload {
    /// Whether each part came with its checksum: one that was made again has copied ones.
    pub(crate) fn is_checked(&self) -> bool {
        self.again.is_none()
    }

    /// Where it lies.
    pub(crate) fn place(&self, key: &ObjectKey) -> String {
        match self.again {
            None => key.to_string(),
            Some(nonce) => format!("{key}{AGAIN}{nonce:016x}"),
        }
    }
}

/// Whether `name` lies beside `key` because an unfinished object of that key needs it.
pub(crate) fn is_beside(name: &str, key: &ObjectKey) -> bool {
    let rest = name.strip_prefix(key.as_str()).unwrap_or_default();
    rest.starts_with(TAIL) || rest.starts_with(AGAIN)
}

impl Default for Saved {
    fn default() -> Self {
        Self {
            upload: None,
            parts: Vec::new(),
            rest: Rest::Nothing,
            doomed: Vec::new(),
            claims: 0,
            nonce: 0,
            tails: 0,
            next: 1,
            end: NUMBERS + 1,
            open: false,
        }
    }
}

impl Saved {
    /// Reads a state that must be as long as it says.
    pub(crate) fn of(key: &ObjectKey, state: &WriteState) -> Result<Self, StoreError> {
        let saved = Self::decode(&state.state)
            .ok_or_else(|| permanent(key, "the upload's saved state is not one of this store"))?;
        let (expected, found) = (state.offset, saved.size());
        if expected != found {
            return Err(StoreError::WrongSize { key: key.clone(), expected, found });
        }
        Ok(saved)
    }

    /// Reads a state; `None` where it is of another store, or of a later version.
    pub(crate) fn decode(state: &[u8]) -> Option<Self> {
        match state.split_first() {
            None => Some(Self::default()),
            Some((&VERSION, rest)) => postcard::from_bytes(rest).ok(),
            Some(_) => None,
        }
    }

    /// What the engine keeps.
    pub(crate) fn encode(&self) -> WriteState {
        let encoded = postcard::to_extend(self, vec![VERSION]);
        let state = encoded.expect("all fields have an encoding, and memory grows");
        WriteState { offset: self.size(), state }
    }

    /// The bytes of the parts.
    pub(crate) fn in_parts(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.size))
    }

    /// All bytes.
    pub(crate) fn size(&self) -> u64 {
        self.in_parts().saturating_add(match &self.rest {
            Rest::Nothing => 0,
            Rest::Tail { size, .. } | Rest::Whole { size, .. } => *size,
        })
    }

    /// The checksum of all parts together.
    pub(crate) fn crc_of_parts(&self) -> u64 {
        self.parts.iter().fold(0, |crc, part| combine(crc, part.crc, part.size))
    }

    /// What a new writer keeps before it begins.
    pub(crate) fn claimed(&self, nonce: u64) -> Self {
        let next = if self.open { self.end } else { self.next };
        let claims = self.claims.saturating_add(1);
        Self { claims, nonce, tails: 0, next, end: window(next), open: true, ..self.clone() }
    }

    /// The same after a checkpoint that used the numbers before `next`; `open` where the writer
    /// goes on.
    pub(crate) fn moved_on(&mut self, next: u16, open: bool) {
        self.next = next;
        // Who claimed nothing is alone, and has all numbers.
        self.end = if self.claims == 0 { NUMBERS + 1 } else { window(next) };
        self.open = open;
    }
}

fn window(next: u16) -> u16 {
    next.saturating_add(WINDOW).min(NUMBERS + 1)
}

/// The checksum of two runs of bytes, one after the other.
pub(crate) fn combine(first: u64, second: u64, second_size: u64) -> u64 {
    crc_fast::checksum_combine(crc_fast::CrcAlgorithm::Crc64Nvme, first, second, second_size)
}

/// A checksum as S3 writes it.
pub(crate) fn crc_text(crc: u64) -> String {
    STANDARD.encode(crc.to_be_bytes())
}

/// The state that a listing shows of writes under way: their ids.
pub(crate) fn listed(ids: &[String]) -> WriteState {
    let encoded = postcard::to_extend(ids, vec![LISTED]);
    let state = encoded.expect("text has an encoding, and memory grows");
    WriteState { offset: 0, state }
}

/// The ids in a state that a listing made; `None` of any other state.
pub(crate) fn listed_ids(state: &WriteState) -> Option<Vec<String>> {
    match state.state.split_first() {
        Some((&LISTED, rest)) => postcard::from_bytes(rest).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
