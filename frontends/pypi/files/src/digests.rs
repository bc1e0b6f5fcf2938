//! The digests of a file, in one pass, and those that an upload claims.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blake2::Blake2b256;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::quote::quote;

/// Why claimed digests are refused. Nothing of the file was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The form has none of the three.
    #[error("the form has none of sha256_digest, blake2_256_digest and md5_digest; one is needed")]
    Missing,
    /// It is not written as such a digest is.
    #[error("{field} is {value}; it has to be {wanted}")]
    Malformed {
        /// The form's field.
        field: &'static str,
        /// What it says, quoted.
        value: String,
        /// How it is written.
        wanted: &'static str,
    },
    /// The bytes have another one.
    #[error("{field} says {claimed}, but the bytes that arrived have {got}")]
    Mismatch {
        /// The form's field.
        field: &'static str,
        /// What it says, in hex.
        claimed: String,
        /// What the bytes have, in hex.
        got: String,
    },
}

/// The digests of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256.
    pub sha256: [u8; 32],
    /// `BLAKE2b` with 256 bits, where it was asked for.
    pub blake2b_256: Option<[u8; 32]>,
    /// MD5, where it was asked for. It proves nothing: old clients send it, and it is compared.
    pub md5: Option<[u8; 16]>,
}

impl Digests {
    /// Which were computed.
    pub fn others(&self) -> Others {
        Others { blake2b_256: self.blake2b_256.is_some(), md5: self.md5.is_some() }
    }
}

/// Which digests beside SHA-256: together they cost several times as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Others {
    /// `BLAKE2b` with 256 bits.
    pub blake2b_256: bool,
    /// MD5.
    pub md5: bool,
}

/// Takes a file's bytes as they come.
#[derive(Clone)]
pub struct DigestHasher {
    sha256: Sha256,
    blake2b_256: Option<Blake2b256>,
    md5: Option<Md5>,
}

impl DigestHasher {
    /// Computes SHA-256 and these.
    pub fn new(others: Others) -> Self {
        Self {
            sha256: Sha256::default(),
            blake2b_256: others.blake2b_256.then(Blake2b256::default),
            md5: others.md5.then(Md5::default),
        }
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(hash) = &mut self.blake2b_256 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut self.md5 {
            hash.update(bytes);
        }
    }

    /// There are no more.
    pub fn finish(self) -> Digests {
        Digests {
            sha256: self.sha256.finalize().into(),
            blake2b_256: self.blake2b_256.map(|hash| hash.finalize().into()),
            md5: self.md5.map(|hash| hash.finalize().into()),
        }
    }
}

impl std::fmt::Debug for DigestHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestHasher").finish_non_exhaustive()
    }
}

/// The digests that a form claims: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedDigests {
    sha256: Option<[u8; 32]>,
    blake2b_256: Option<[u8; 32]>,
    md5: Option<[u8; 16]>,
}

impl ClaimedDigests {
    /// Reads the three fields of the form; an empty one counts as absent.
    pub fn parse(
        sha256: Option<&str>,
        blake2b_256: Option<&str>,
        md5: Option<&str>,
    ) -> Result<Self, DigestError> {
        let given =
            |value: Option<&'_ str>| value.filter(|text| !text.is_empty()).map(str::to_owned);
        let claimed = Self {
            sha256: given(sha256).map(|text| hex("sha256_digest", &text)).transpose()?,
            blake2b_256: given(blake2b_256)
                .map(|text| hex("blake2_256_digest", &text))
                .transpose()?,
            md5: given(md5).map(|text| md5_digest(&text)).transpose()?,
        };
        if claimed.sha256.is_none() && claimed.blake2b_256.is_none() && claimed.md5.is_none() {
            return Err(DigestError::Missing);
        }
        Ok(claimed)
    }

    /// The SHA-256, where the form has it.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        self.sha256
    }

    /// What has to be computed to check them.
    pub fn others(&self) -> Others {
        Others { blake2b_256: self.blake2b_256.is_some(), md5: self.md5.is_some() }
    }

    /// Refuses where the bytes have another digest than any of the claimed ones, or where one of them
    /// was not computed.
    pub fn check(&self, got: &Digests) -> Result<(), DigestError> {
        same("sha256_digest", self.sha256, Some(&got.sha256))?;
        same("blake2_256_digest", self.blake2b_256, got.blake2b_256.as_ref())?;
        same("md5_digest", self.md5, got.md5.as_ref())
    }
}

fn hex(field: &'static str, text: &str) -> Result<[u8; 32], DigestError> {
    let refused =
        || DigestError::Malformed { field, value: quote(text), wanted: "64 digits of hex" };
    decode(text).ok_or_else(refused)
}

/// The decoder by itself would take a leading `0x`.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() == 2 * N { const_hex::decode_to_array(text).ok() } else { None }
}

/// twine sends hex; PyPI's documentation asks for URL-safe base64 without padding.
fn md5_digest(text: &str) -> Result<[u8; 16], DigestError> {
    decode(text).or_else(|| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()).ok_or_else(|| {
        DigestError::Malformed {
            field: "md5_digest",
            value: quote(text),
            wanted: "32 digits of hex, or 22 characters of URL-safe base64 without padding",
        }
    })
}

fn same<const N: usize>(
    field: &'static str,
    claimed: Option<[u8; N]>,
    got: Option<&[u8; N]>,
) -> Result<(), DigestError> {
    match claimed {
        Some(claimed) if Some(&claimed) != got => Err(DigestError::Mismatch {
            field,
            claimed: const_hex::encode(claimed),
            got: got.map_or("one that was not computed".to_owned(), const_hex::encode),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
