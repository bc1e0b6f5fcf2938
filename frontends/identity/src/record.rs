//! How records of this crate are written: one byte of version, and JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION: u8 = 1;

/// A record can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an identity record can't be read: {reason}")]
pub struct Damaged {
    /// What is wrong with it.
    pub reason: String,
}

pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, record).expect("our records are JSON, and memory grows");
    bytes
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    match bytes.split_first() {
        Some((&VERSION, json)) => {
            serde_json::from_slice(json).map_err(|error| Damaged { reason: error.to_string() })
        }
        _ => {
            Err(Damaged { reason: "it is of a version that this program does not know".to_owned() })
        }
    }
}
