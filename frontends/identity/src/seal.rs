//! Secrets that can't be hashed, kept sealed by the installation's master key (DESIGN D8).
//!
//! **Promises.** What is sealed is unreadable without the key and can't be changed unnoticed; it is
//! bound to a context, so that nothing sealed for one purpose opens for another.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use strongroom_engine::seam::Entropy;

/// What is sealed begins with this: the version of the form.
const VERSION: u8 = 1;

/// A master key: 256 random bits, kept outside the stores.
pub struct MasterKey([u8; 32]);

/// Why something could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It was sealed by another key or for another purpose, or was changed. Is the key file the one
    /// that belongs to this data?
    #[error("it was not sealed by this installation's master key; is keys/master the right one?")]
    Wrong,
    /// It could not be sealed.
    #[error("it can't be sealed")]
    Sealing,
}

impl MasterKey {
    /// A new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self(key)
    }

    /// The key of kept bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to keep, where nobody else reads them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals `secret` for `context`.
    pub fn seal(
        &self,
        entropy: &dyn Entropy,
        context: &str,
        secret: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut body = secret.to_vec();
        self.key()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut body,
            )
            .map_err(|_| SealError::Sealing)?;
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] sealed for the same `context`.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::Wrong)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Wrong)?;
        if *version != VERSION {
            return Err(SealError::Wrong);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Wrong)?;
        let mut body = body.to_vec();
        let opened = self
            .key()?
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut body)
            .map_err(|_| SealError::Wrong)?;
        Ok(opened.to_vec())
    }

    fn key(&self) -> Result<LessSafeKey, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, &self.0).map_err(|_| SealError::Sealing)?;
        Ok(LessSafeKey::new(key))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use strongroom_engine::seam::SystemEntropy;

    use super::*;

    #[test]
    fn what_is_sealed_opens_by_its_key_and_context_only() {
        let (key, other) =
            (MasterKey::generate(&SystemEntropy), MasterKey::generate(&SystemEntropy));
        let sealed = key.seal(&SystemEntropy, "signing", b"secret").unwrap();
        assert_eq!(key.open("signing", &sealed).unwrap(), b"secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(other.open("signing", &sealed), Err(SealError::Wrong));
        assert_eq!(key.open("webhook", &sealed), Err(SealError::Wrong));
        let again = key.seal(&SystemEntropy, "signing", b"secret").unwrap();
        assert_ne!(again, sealed, "each has its nonce");
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let key = MasterKey::from_bytes([7; 32]);
        let sealed = key.seal(&SystemEntropy, "signing", b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open("signing", &changed), Err(SealError::Wrong), "byte {at}");
            assert_eq!(key.open("signing", &sealed[..at]), Err(SealError::Wrong), "cut at {at}");
        }
    }
}
