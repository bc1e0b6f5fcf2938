//! What is said about somebody who signed up, between the Lambda that hears it from the user pool and the
//! worker that makes their profile.
//!
//! **Promises.** A message is read whole or refused with the reason; one of a later version is refused, so that it
//! waits for the worker that knows it. What is added to a version later is let be.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// The version of the form.
pub const VERSION: u32 = 1;
/// The longest message that is read, in bytes.
pub const MAX_BYTES: usize = 16 << 10;
/// The longest text in one, in bytes.
const MAX_TEXT: usize = 512;

/// Somebody confirmed their sign-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignUp {
    /// [`VERSION`].
    pub version: u32,
    /// Which event it was: the same where it is sent again.
    pub event_id: String,
    /// The pool's id of the person, which never changes: what makes handling it twice one.
    pub sub: String,
    /// What they call themselves at sign-in.
    pub username: String,
    /// Their address, where they gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the pool has verified the address.
    #[serde(default)]
    pub email_verified: bool,
    /// When, in milliseconds since 1970.
    pub confirmed_at: u64,
}

/// Why a text is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is too long.
    #[error("a message has at most {MAX_BYTES} bytes, not {0}")]
    TooLong(usize),
    /// It is no JSON of this form.
    #[error("it is no sign-up: {0}")]
    Malformed(String),
    /// It is of another version.
    #[error("it is of version {0}; this program knows {VERSION}")]
    Version(u32),
    /// A field can't be.
    #[error("{0} must be one line of 1 to {MAX_TEXT} bytes")]
    Field(&'static str),
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl SignUp {
    /// Reads a message.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        if text.len() > MAX_BYTES {
            return Err(MessageError::TooLong(text.len()));
        }
        let malformed = |error: serde_json::Error| MessageError::Malformed(error.to_string());
        let Versioned { version } = serde_json::from_str(text).map_err(malformed)?;
        if version != VERSION {
            return Err(MessageError::Version(version));
        }
        let message: Self = serde_json::from_str(text).map_err(malformed)?;
        message.check()?;
        Ok(message)
    }

    /// The text of a message.
    #[expect(clippy::missing_panics_doc, reason = "it can't: what is written has an encoding")]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("it is texts and numbers, and memory grows")
    }

    fn check(&self) -> Result<(), MessageError> {
        let fields = [
            ("event_id", Some(&self.event_id)),
            ("sub", Some(&self.sub)),
            ("username", Some(&self.username)),
            ("email", self.email.as_ref()),
        ];
        let good = |text: &String| {
            (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        match fields.into_iter().find(|(_, text)| text.is_some_and(|text| !good(text))) {
            Some((name, _)) => Err(MessageError::Field(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> SignUp {
        SignUp {
            version: VERSION,
            event_id: "e-1".to_owned(),
            sub: "0f".to_owned(),
            username: "jo".to_owned(),
            email: Some("jo@example.org".to_owned()),
            email_verified: true,
            confirmed_at: 1_700_000_000_000,
        }
    }

    #[test]
    fn the_form_never_changes_by_accident() {
        let text = concat!(
            r#"{"version":1,"event_id":"e-1","sub":"0f","username":"jo","email":"jo@example.org","#,
            r#""email_verified":true,"confirmed_at":1700000000000}"#
        );
        assert_eq!(message().to_text(), text);
        assert_eq!(SignUp::parse(text), Ok(message()));
        // What is added is let be, and what may be absent is.
        let text =
            r#"{"version":1,"event_id":"e","sub":"s","username":"u","confirmed_at":1,"new":2}"#;
        assert_eq!(SignUp::parse(text).unwrap().email, None);
    }

    #[test]
    fn what_is_no_message_is_told() {
        use MessageError::{Field, Malformed, TooLong, Version};
        let refused = |text: &str| SignUp::parse(text).unwrap_err();
        for text in ["", "{}", "[]", "null", "{\"version\":1}", "{\"version\":\"1\"}", "\u{0}"] {
            assert!(matches!(refused(text), Malformed(_)), "{text:?}");
        }
        assert_eq!(refused("{\"version\":2,\"all\":\"else\"}"), Version(2));
        assert_eq!(refused(&" ".repeat(MAX_BYTES + 1)), TooLong(MAX_BYTES + 1));
        for (sub, username) in [("", "u"), ("s\n", "u"), (&*"s".repeat(513), "u")] {
            let bad = SignUp { sub: sub.to_owned(), username: username.to_owned(), ..message() };
            assert_eq!(refused(&bad.to_text()), Field("sub"));
        }
        let bad = SignUp { email: Some(String::new()), ..message() };
        assert_eq!(refused(&bad.to_text()), Field("email"));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in ".{0,200}") {
            let _read = SignUp::parse(&text);
        }
    }
}
