//! How records of this crate are written: as all of frontends are ([`strongroom_engine::extension::record`]).

use serde::de::DeserializeOwned;
use strongroom_engine::Error;
use strongroom_engine::extension::record;
pub(crate) use strongroom_engine::extension::record::encode;

/// Reads a record of `what`, which the error names.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Error> {
    record::decode(bytes).map_err(|_| Error::Corrupted(format!("a record of {what} can't be read")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else_is() {
        let bytes = encode(&json!({ "a": 1 }));
        assert_eq!(bytes, b"\x01{\"a\":1}");
        assert_eq!(decode::<Value>("a test", &bytes).unwrap(), json!({ "a": 1 }));
        for bad in [&b""[..], b"{\"a\":1}", b"\x02{\"a\":1}", b"\x01{\"a\":"] {
            let error = decode::<Value>("a test", bad).unwrap_err().to_string();
            assert!(error.contains("a record of a test can't be read"), "{error}");
        }
    }
}
