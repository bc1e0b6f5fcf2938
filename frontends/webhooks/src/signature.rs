//! What proves to a receiver that an event is ours, whole and not an old one sent again.
//!
//! The scheme is that of Standard Webhooks, so that its libraries verify it unchanged:
//!
//! ```text
//! webhook-id:        ID, the same each time the event is offered
//! webhook-timestamp: TIME, seconds since 1970
//! webhook-signature: v1,BASE64(HMAC-SHA256(key, ID "." TIME "." BODY)), another one behind a space
//!                    while a secret is being replaced
//! ```
//!
//! The text that is signed can be read in one way only: an ID has no dot in it ([`MessageId`] is proof),
//! a time is digits, and the body is the rest. The key is 32 random bytes, shown as `whsec_` and base64.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_engine::id::ChainId;
use strongroom_engine::seam::{Entropy, Timestamp};
use strongroom_http::auth::Secret;

/// What secrets begin with, for people and scanners.
const PREFIX: &str = "whsec_";
/// The length of a key.
const KEY_BYTES: usize = 32;

/// The key of one hook. Never shown but as [`SigningKey::secret`].
pub struct SigningKey([u8; KEY_BYTES]);

impl SigningKey {
    pub(crate) fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = [0; KEY_BYTES];
        entropy.fill(&mut key);
        Self(key)
    }

    /// The key of kept bytes; none where they have another length.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// What the receiver is given.
    pub fn secret(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}", STANDARD.encode(self.0)))
    }

    fn sign(&self, text: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, text)))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

/// The id of a message: letters, digits and `-`, so that it can't run into what is signed behind it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// That of a line of the trail: which chain, and its place there.
    pub(crate) fn of_line(chain: ChainId, sequence: u64) -> Self {
        Self(format!("{chain}-{sequence}"))
    }

    /// That of a trial, by random bytes.
    pub(crate) fn of_trial(random: u64) -> Self {
        Self(format!("test-{random:016x}"))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The value of `webhook-signature`, by each of the keys.
pub(crate) fn signatures(
    keys: &[SigningKey],
    id: &MessageId,
    at: Timestamp,
    body: &[u8],
) -> String {
    let text = signed_text(id, seconds(at), body);
    keys.iter().map(|key| key.sign(&text)).collect::<Vec<_>>().join(" ")
}

/// The value of `webhook-timestamp`.
pub(crate) fn seconds(at: Timestamp) -> u64 {
    at.0 / 1000
}

fn signed_text(id: &MessageId, seconds: u64, body: &[u8]) -> Vec<u8> {
    let mut text = format!("{}.{seconds}.", id.0).into_bytes();
    text.extend_from_slice(body);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(chain: u64, sequence: u64) -> MessageId {
        MessageId::of_line(ChainId(chain), sequence)
    }

    /// As any receiver reads the headers: the text is rebuilt from what they say.
    fn verifies(key: &SigningKey, id: &str, seconds: &str, body: &[u8], signature: &str) -> bool {
        let text = [id.as_bytes(), b".", seconds.as_bytes(), b".", body].concat();
        signature.split(' ').any(|one| one == key.sign(&text))
    }

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        // Made by another implementation: HMAC-SHA256 of Python's library over the same text.
        let key = SigningKey(*b"0123456789abcdef0123456789abcdef");
        assert_eq!(key.secret().expose(), "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let signed = signatures(&[key], &id(1, 2), Timestamp(1_700_000_000_999), b"{\"a\":1}");
        assert_eq!(signed, "v1,wL6hFcuKlKw2F64m4hGGdvuOXsS6XHYTv6ELXCuCqvM=");
    }

    #[test]
    fn each_of_two_keys_verifies_and_no_third() {
        let keys = [SigningKey([1; 32]), SigningKey([2; 32])];
        let signed = signatures(&keys, &id(1, 2), Timestamp(5_000), b"body");
        for key in &keys {
            assert!(verifies(key, id(1, 2).as_str(), "5", b"body", &signed));
        }
        assert!(!verifies(&SigningKey([3; 32]), id(1, 2).as_str(), "5", b"body", &signed));
        assert!(!verifies(&keys[0], id(1, 2).as_str(), "6", b"body", &signed), "another time");
        assert_eq!(format!("{:?}", keys[0]), "SigningKey([redacted])");
    }

    proptest! {
        /// Two messages that differ anywhere are two texts: nothing moves from one field into the next.
        #[test]
        fn threat_b12_distinct_messages_are_distinct_texts(
            (chain, sequence, time, body) in message(), (chain2, sequence2, time2, body2) in message(),
        ) {
            let (one, two) = (id(chain, sequence), id(chain2, sequence2));
            let same = (&one, time, &body) == (&two, time2, &body2);
            let texts = (signed_text(&one, time, &body), signed_text(&two, time2, &body2));
            prop_assert_eq!(texts.0 == texts.1, same);
            // And the text is read back in one way.
            let digits = time.to_string();
            let mut parts = texts.0.splitn(3, |b| *b == b'.');
            prop_assert_eq!(parts.next(), Some(one.as_str().as_bytes()));
            prop_assert_eq!(parts.next(), Some(digits.as_bytes()));
            prop_assert_eq!(parts.next(), Some(body.as_slice()));
        }
    }

    fn message() -> impl Strategy<Value = (u64, u64, u64, Vec<u8>)> {
        // Small, and full of dots and digits, so that fields look like each other.
        let body = prop::collection::vec(prop::sample::select(b".-0123".to_vec()), 0..8);
        (0..4_u64, 0..20_u64, 0..20_u64, body)
    }

    #[test]
    fn threat_b12_a_field_that_was_shifted_is_forged() {
        let key = SigningKey([1; 32]);
        let signed =
            signatures(std::slice::from_ref(&key), &id(1, 2), Timestamp(345_000), b"6.body");
        let (own, body) = (id(1, 2).as_str().to_owned(), b"6.body".as_slice());
        assert!(verifies(&key, &own, "345", body, &signed));
        for (id, seconds, body) in [
            // Digits and bytes moved over the borders.
            (format!("{own}3"), "45", body),
            (own.clone(), "34", b"56.body".as_slice()),
            (own.clone(), "3456", b"body".as_slice()),
            (format!("{own}.345"), "6", b"body".as_slice()),
        ] {
            let strict = !id.contains('.') && seconds.bytes().all(|b| b.is_ascii_digit());
            assert!(!(strict && verifies(&key, &id, seconds, body, &signed)), "{id} {seconds}");
        }
    }
}
