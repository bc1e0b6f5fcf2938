//! Passwords for people who did not choose one.

use strongroom_engine::seam::Entropy;
use strongroom_http::auth::Secret;

/// Without what looks alike.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 24 of 32 letters are 120 bits.
const LENGTH: usize = 24;
/// Groups are easier to copy by eye.
const GROUP: usize = 6;

/// A new password.
pub(crate) fn generate(entropy: &dyn Entropy) -> Secret {
    let mut bytes = [0; LENGTH];
    entropy.fill(&mut bytes);
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % GROUP == 0 {
            text.push('-');
        }
        let letter = LETTERS.get(usize::from(byte % 32)).copied();
        text.push(letter.expect("the rest of a division by 32 is below it").into());
    }
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use strongroom_engine::seam::SystemEntropy;

    use super::*;

    #[test]
    fn each_password_is_another_and_of_letters_that_can_be_typed() {
        let (one, other) = (generate(&SystemEntropy), generate(&SystemEntropy));
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), LENGTH + LENGTH / GROUP - 1);
        assert!(one.expose().bytes().all(|b| b == b'-' || LETTERS.contains(&b)));
    }
}
