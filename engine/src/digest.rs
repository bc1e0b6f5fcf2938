//! Digests: what content is called, and how that name is computed while bytes stream.
//!
//! A [`Digest`] is parsed once, at the edge; inside the engine no string is a digest. A [`Hasher`]
//! can be saved at any byte and go on in another process ([`Hasher::save`], [`Hasher::restore`]),
//! so that a resumed upload reads nothing again. What this room never does: read a file, or take
//! an algorithm that the image specification does not register.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize, Serializer};

mod blocks;
mod hasher;

pub use hasher::{Hasher, HasherState};

/// The longest raw digest of any algorithm, in bytes.
const MAX_RAW_BYTES: usize = 64;

/// A hash function that content may be named by (image-spec, descriptor, "Registered algorithms").
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, DeriveDeserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256, which every client knows.
    Sha256,
    /// SHA-512, which the specification lets a registry support.
    Sha512,
}

impl Algorithm {
    /// All of them, in the order of their tags.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name in a digest's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of a raw digest, in bytes; its hex is twice as long.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The byte that stands for it in keys and records. Never changes, is never given again.
    pub const fn tag(self) -> u8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// The algorithm with this [`Self::tag`].
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.tag() == tag)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| DigestError::UnknownAlgorithm { found: text.chars().take(32).collect() })
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// There is no `:` between algorithm and hex.
    #[error("a digest is ALGORITHM:HEX, and this has no colon")]
    NoColon,
    /// The algorithm is none of [`Algorithm::ALL`].
    #[error("the digest algorithm {found:?} is not supported (sha256 and sha512 are)")]
    UnknownAlgorithm {
        /// What stands before the colon, at most 32 characters of it.
        found: String,
    },
    /// The hex is too short or too long.
    #[error("a {algorithm} digest has {wanted} hex digits, and this has {got}")]
    WrongLength {
        /// The algorithm that was named.
        algorithm: Algorithm,
        /// How many hex digits it wants.
        wanted: usize,
        /// How many there are.
        got: usize,
    },
    /// A hex digit is in upper case; the specification wants `[a-f0-9]`.
    #[error("{found:?} at byte {position} of the digest is in upper case; hex digits are a-f, 0-9")]
    UpperCase {
        /// The character.
        found: char,
        /// Its byte, counted from 0 at the start of the whole digest.
        position: usize,
    },
    /// A character is no hex digit.
    #[error("{found:?} at byte {position} of the digest is not a hex digit (a-f, 0-9)")]
    NotHex {
        /// The character.
        found: char,
        /// Its byte, counted from 0 at the start of the whole digest.
        position: usize,
    },
}

/// The name of content: an algorithm and the hash that it gives.
///
/// ```
/// use strongroom_engine::digest::{Algorithm, Digest};
///
/// let digest = Digest::of(Algorithm::Sha256, b"{}");
/// assert_eq!(digest.to_string().parse(), Ok(digest));
/// assert!("sha256:44136FA".parse::<Digest>().is_err());
/// ```
///
/// Ordered by algorithm, then by the raw bytes, as [`Self::to_bytes`] is. As serde sees it: a text
/// in formats for people (JSON), the compact bytes elsewhere (postcard).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// The raw bytes, zero past the algorithm's length.
    raw: [u8; MAX_RAW_BYTES],
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// A digest from its raw bytes; `None` where their number is not the algorithm's.
    pub fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        let mut digest = Self { algorithm, raw: [0; MAX_RAW_BYTES] };
        if raw.len() != algorithm.digest_len() {
            return None;
        }
        digest.raw.get_mut(..raw.len())?.copy_from_slice(raw);
        Some(digest)
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw bytes, [`Algorithm::digest_len`] of them.
    pub fn raw(&self) -> &[u8] {
        self.raw.get(..self.algorithm.digest_len()).unwrap_or(&self.raw)
    }

    /// The hash in lower-case hex, without the algorithm.
    pub fn hex(&self) -> String {
        const_hex::encode(self.raw())
    }

    /// The compact form, for keys and records: [`Algorithm::tag`], then the raw bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.raw().len());
        bytes.push(self.algorithm.tag());
        bytes.extend_from_slice(self.raw());
        bytes
    }

    /// Reads [`Self::to_bytes`] back; `None` where these are not exactly such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (tag, raw) = bytes.split_first()?;
        Self::from_raw(Algorithm::from_tag(*tag)?, raw)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In each answer, twice: so without memory of its own.
        let mut hex = [0; 2 * MAX_RAW_BYTES];
        let hex = hex.get_mut(..2 * self.raw().len()).ok_or(fmt::Error)?;
        const_hex::encode_to_slice(self.raw(), hex).map_err(|_| fmt::Error)?;
        f.write_str(self.algorithm.as_str())?;
        f.write_str(":")?;
        f.write_str(std::str::from_utf8(hex).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::NoColon)?;
        let start = algorithm.len() + 1;
        let algorithm: Algorithm = algorithm.parse()?;
        for (at, found) in hex.char_indices() {
            let position = start + at;
            match found {
                '0'..='9' | 'a'..='f' => {}
                'A'..='F' => return Err(DigestError::UpperCase { found, position }),
                _ => return Err(DigestError::NotHex { found, position }),
            }
        }
        let wanted = algorithm.digest_len() * 2;
        let wrong = || DigestError::WrongLength { algorithm, wanted, got: hex.len() };
        if hex.len() != wanted {
            return Err(wrong());
        }
        let raw = const_hex::decode(hex).map_err(|_| wrong())?;
        Self::from_raw(algorithm, &raw).ok_or_else(wrong)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a digest")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Digest, E> {
                Digest::from_bytes(bytes)
                    .ok_or_else(|| E::custom("not a digest's tag byte and raw bytes"))
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Either)
        } else {
            deserializer.deserialize_bytes(Either)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn algorithms() -> impl Strategy<Value = Algorithm> {
        prop::sample::select(Algorithm::ALL.as_slice())
    }

    #[test]
    fn known_content_has_its_known_digest() {
        let empty = Digest::of(Algorithm::Sha256, b"{}");
        assert_eq!(
            empty.to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        let abc = Digest::of(Algorithm::Sha512, b"abc");
        assert!(abc.to_string().starts_with("sha512:ddaf35a193617abacc417349ae204131"));
    }

    #[test]
    fn an_error_says_which_rule_failed_and_where() {
        let parse = |text: &str| text.parse::<Digest>().unwrap_err();
        let hex = "a".repeat(64);
        assert_eq!(parse(&hex), DigestError::NoColon);
        assert_eq!(parse("md5:00"), DigestError::UnknownAlgorithm { found: "md5".into() });
        assert!(parse("md5:00").to_string().contains("sha256 and sha512"));
        assert_eq!(
            parse("sha256:abc"),
            DigestError::WrongLength { algorithm: Algorithm::Sha256, wanted: 64, got: 3 }
        );
        assert_eq!(
            parse(&format!("sha512:{hex}")),
            DigestError::WrongLength { algorithm: Algorithm::Sha512, wanted: 128, got: 64 }
        );
        assert_eq!(
            parse(&format!("sha256:aB{hex}")),
            DigestError::UpperCase { found: 'B', position: 8 }
        );
        assert_eq!(
            parse(&format!("sha256:é{hex}")),
            DigestError::NotHex { found: 'é', position: 7 }
        );
        assert_eq!(
            parse(&format!("sha256:{hex}\n")),
            DigestError::NotHex { found: '\n', position: 71 }
        );
    }

    proptest! {
        #[test]
        fn every_form_of_a_digest_reads_back(algorithm in algorithms(), seed in any::<[u8; 8]>()) {
            let digest = Digest::of(algorithm, &seed);
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
            prop_assert_eq!(Digest::from_bytes(&digest.to_bytes()), Some(digest));
            let json = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(&json, &format!("\"{digest}\""));
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
            let compact = postcard::to_stdvec(&digest).unwrap();
            prop_assert_eq!(compact.len(), 2 + algorithm.digest_len());
            prop_assert_eq!(postcard::from_bytes::<Digest>(&compact).unwrap(), digest);
        }

        #[test]
        fn digests_are_ordered_as_their_bytes(
            a in (algorithms(), any::<u8>()), b in (algorithms(), any::<u8>()),
        ) {
            let (a, b) = (Digest::of(a.0, &[a.1]), Digest::of(b.0, &[b.1]));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }

        #[test]
        fn any_text_parses_to_a_digest_that_prints_it_or_not_at_all(
            text in "(sha256:|sha512:|md5:)?([0-9a-f]{63,65}|[0-9a-f]{128}|\\PC{0,70})",
        ) {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
