//! Ids: what never changes about a thing whose name can.
//!
//! Rows, objects, grants and rules use ids only (DESIGN D3). An id is random, so that it tells
//! nothing and that nobody waits at a counter; that it is free is required by the commit that
//! takes it. In text (JSON) an id is hexadecimal digits: not every reader of JSON keeps 64 bits of
//! a number.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    return u64::deserialize(deserializer).map(Self);
                }
                let text = String::deserialize(deserializer)?;
                u64::from_str_radix(&text, 16).map(Self).map_err(D::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    };
}

id!(
    /// An organisation: a tenant, and a content domain.
    OrganisationId
);
id!(
    /// A registry of an organisation.
    RegistryId
);
id!(
    /// A repository of a registry.
    RepositoryId
);
id!(
    /// The number of a link inside its repository: grows with time, never used twice.
    Number
);
id!(
    /// A backup: its archive, and its pin where it has one.
    BackupId
);
id!(
    /// One chain of audit entries: one organisation's, written by one running process.
    ChainId
);

/// An upload session, and the *generation* of the object it writes: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// Reads the text form.
    ///
    /// Returns `None` unless it is 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut bytes = [0; 16];
        (lower && text.len() == 32 && const_hex::decode_to_slice(text, &mut bytes).is_ok())
            .then_some(Self(bytes))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
