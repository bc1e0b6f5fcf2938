//! Machine tokens: of robot accounts, personal access, refreshing.
//!
//! **Promises.** A token is `srt_`, 43 letters and digits out of 256 random bits, and six that check
//! the others, so that a scanner finds leaked ones with hardly a false alarm, and a mistyped one is
//! refused without a look-up. It is shown once and kept as its SHA-256: so much chance needs no slow
//! hash. Comparing takes the same time wherever two differ.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use strongroom_engine::seam::Entropy;
use subtle::ConstantTimeEq;

/// What every token begins with.
pub const PREFIX: &str = "srt_";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 43 letters of 62 hold just over 256 bits.
const RANDOM: usize = 43;
const CHECK: usize = 6;

/// A token in the clear: made here, or sent by a client. Not shown by Debug.
#[derive(Clone)]
pub struct MachineToken(String);

/// What is kept of a token.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct TokenHash([u8; 32]);

impl MachineToken {
    /// A new token.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut text = String::from(PREFIX);
        let mut bytes = [0; 64];
        while text.len() < PREFIX.len() + RANDOM {
            entropy.fill(&mut bytes);
            // Bytes from 248 on would make some letters likelier than others.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let missing = PREFIX.len() + RANDOM - text.len();
            text.extend(fair.map(|byte| letter(u64::from(*byte))).take(missing));
        }
        let check = check(&text);
        Self(text + &check)
    }

    /// A token that a client sent, if it has the form of one. Cheap: nothing is looked up.
    pub fn parse(text: &str) -> Option<Self> {
        let (start, sum) = text.split_at_checked(PREFIX.len() + RANDOM)?;
        let letters = start.strip_prefix(PREFIX)?.bytes().all(|b| b.is_ascii_alphanumeric());
        (letters && sum == check(start)).then(|| Self(text.to_owned()))
    }

    /// Whether `text` is meant to be such a token, so that it is never tried as a password.
    pub fn looks_like_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The token itself, to show it once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What to keep of it, and to look it up by.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl TokenHash {
    /// The hash of kept bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to keep.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for MachineToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MachineToken([redacted])")
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash([redacted])")
    }
}

fn letter(value: u64) -> char {
    let at = usize::try_from(value % 62).unwrap_or_default();
    ALPHABET.get(at).copied().unwrap_or(b'0').into()
}

/// Six letters out of 32 bits of the hash of what they check.
fn check(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let mut rest = hash.iter().take(4).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mut letters = String::with_capacity(CHECK);
    for _ in 0..CHECK {
        letters.push(letter(rest));
        rest /= 62;
    }
    letters
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_engine::seam::{SeededEntropy, SystemEntropy};

    use super::*;

    #[test]
    fn a_made_token_is_read_again_and_known_by_its_hash() {
        let token = MachineToken::generate(&SystemEntropy);
        assert_eq!(token.expose().len(), PREFIX.len() + RANDOM + CHECK);
        let read = MachineToken::parse(token.expose()).unwrap();
        assert_eq!(read.hash(), token.hash());
        assert_eq!(TokenHash::from_bytes(*token.hash().as_bytes()), token.hash());
        assert_ne!(MachineToken::generate(&SystemEntropy).hash(), token.hash());
    }

    #[test]
    fn the_form_of_tokens_never_changes_by_accident() {
        let token = MachineToken::generate(&SeededEntropy::new(7));
        let (start, sum) = token.expose().split_at(PREFIX.len() + RANDOM);
        assert_eq!(check(start), sum);
        assert_eq!(check("srt_0000000000000000000000000000000000000000000"), "ZpnIx3");
    }

    #[test]
    fn threat_c25_a_token_is_shown_by_no_debug() {
        let token = MachineToken::generate(&SystemEntropy);
        let shown = format!("{token:?} {:?}", token.hash());
        assert_eq!(shown, "MachineToken([redacted]) TokenHash([redacted])");
    }

    #[test]
    fn every_letter_comes_up() {
        let seeded = SeededEntropy::new(1);
        let text: String =
            (0..200).map(|_| MachineToken::generate(&seeded).expose()[4..47].to_owned()).collect();
        assert!(ALPHABET.iter().all(|letter| text.contains(char::from(*letter))));
    }

    proptest! {
        #[test]
        fn a_changed_letter_is_noticed(seed: u64, at in 0_usize..53, by in 1_u8..62) {
            let token = MachineToken::generate(&SeededEntropy::new(seed));
            let mut bytes = token.expose().as_bytes().to_vec();
            let old = ALPHABET.iter().position(|letter| *letter == bytes[at]).unwrap_or(0);
            bytes[at] = ALPHABET[(old + usize::from(by)) % 62];
            prop_assume!(bytes != token.expose().as_bytes());
            prop_assert!(MachineToken::parse(std::str::from_utf8(&bytes).unwrap()).is_none());
        }

        #[test]
        fn no_text_breaks_the_parser(text in "(srt_)?\\PC{0,60}") {
            prop_assert!(MachineToken::parse(&text).is_none());
        }
    }
}
