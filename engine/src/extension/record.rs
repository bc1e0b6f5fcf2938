//! How frontends write their records: one byte of version, and JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION: u8 = 1;

/// Why a record can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unreadable {
    /// What is wrong with it.
    pub reason: String,
}

/// A record as it is kept.
///
/// # Panics
/// Where a map of it has keys that are no text: a mistake in the record's type.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, record).expect("records are JSON, and memory grows");
    bytes
}

/// The record that was kept so.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let unreadable = |reason| Unreadable { reason };
    match bytes.split_first() {
        Some((&VERSION, json)) => {
            serde_json::from_slice(json).map_err(|error| unreadable(error.to_string()))
        }
        _ => Err(unreadable("it is of a version that this program does not know".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else_is() {
        let bytes = encode(&json!({ "a": 1 }));
        assert_eq!(bytes, b"\x01{\"a\":1}");
        assert_eq!(decode::<Value>(&bytes).unwrap(), json!({ "a": 1 }));
        for bad in [&b""[..], b"{\"a\":1}", b"\x02{\"a\":1}", b"\x01{\"a\":"] {
            decode::<Value>(bad).unwrap_err();
        }
    }
}
