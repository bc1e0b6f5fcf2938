//! How records of this crate are written: as all of frontends are ([`strongroom_engine::extension::record`]).

use serde::de::DeserializeOwned;
pub(crate) use strongroom_engine::extension::record::encode;
use strongroom_engine::extension::record::{self, Unreadable};

/// A record can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an identity record can't be read: {reason}")]
pub struct Damaged {
    /// What is wrong with it.
    pub reason: String,
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    record::decode(bytes).map_err(|Unreadable { reason }| Damaged { reason })
}
