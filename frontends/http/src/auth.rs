//! The Authorization header, parsed once.
//!
//! **Promises.** A header is bounded before anything of it is looked at or copied, and its parts live in
//! [`Secret`]s, which no Debug or Display shows. What is there but can't be read is an error, never
//! "no credentials": a client that tried to say who it is must not pass as nobody.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The longest Authorization header that is looked at, in bytes. Tokens with many scopes take some
/// kilobytes.
pub const MAX_LENGTH: usize = 16 * 1024;

/// The longest user name, in bytes.
pub const MAX_USER: usize = 256;

/// Something that must not be shown. Its Debug says so; to use it, call [`expose`](Self::expose).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What a request says of who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A name and a password, or a machine's token in the place of one (RFC 7617).
    Basic {
        /// The name, as sent.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token (RFC 6750).
    Bearer(Secret),
}

/// Why an Authorization header could not be read. Answer 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// It is longer than any that is right.
    #[error("the Authorization header is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// There are several; which one counts would be a guess.
    #[error("there is more than one Authorization header")]
    Several,
    /// A scheme that is not known here.
    #[error("the Authorization header is neither Basic nor Bearer")]
    UnknownScheme,
    /// Not the form of its scheme.
    #[error("the Authorization header is malformed")]
    Malformed,
}

impl Credentials {
    /// A name and a password that came in another way than by the header: the same names are good.
    pub fn basic(user: &str, password: &str) -> Result<Self, CredentialsError> {
        // RFC 7617, section 2: no control characters. They would travel into logs and audit lines.
        let control = user.chars().chain(password.chars()).any(char::is_control);
        if user.len() > MAX_USER || control {
            return Err(CredentialsError::Malformed);
        }
        Ok(Self::Basic { user: user.to_owned(), password: Secret::new(password) })
    }

    /// Reads the Authorization header of a request.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, CredentialsError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(Self::None) };
        if values.next().is_some() {
            return Err(CredentialsError::Several);
        }
        if value.len() > MAX_LENGTH {
            return Err(CredentialsError::TooLong);
        }
        let text = value.to_str().map_err(|_| CredentialsError::Malformed)?;
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("basic") {
            basic(rest).ok_or(CredentialsError::Malformed)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            bearer(rest).ok_or(CredentialsError::Malformed)
        } else {
            Err(CredentialsError::UnknownScheme)
        }
    }
}

fn basic(encoded: &str) -> Option<Credentials> {
    let decoded = STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Credentials::basic(user, password).ok()
}

/// RFC 6750, section 2.1: `b64token`.
fn bearer(token: &str) -> Option<Credentials> {
    let body = token.trim_end_matches('=');
    // From the dash on: `-`, `.`, `/`.
    let sign = |b: u8| matches!(b, b'-'..=b'/' | b'_' | b'~' | b'+');
    let fit = |b: u8| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9') | sign(b);
    // All of them, without a branch at each: there are some hundred, with each request.
    let fits = body.bytes().fold(true, |fits, b| fits & fit(b));
    (!body.is_empty() && fits).then(|| Credentials::Bearer(Secret::new(token)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(value: &[u8]) -> Result<Credentials, CredentialsError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        Credentials::from_headers(&headers)
    }

    fn basic_of(text: &[u8]) -> Result<Credentials, CredentialsError> {
        read(format!("Basic {}", STANDARD.encode(text)).as_bytes())
    }

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!(Credentials::from_headers(&HeaderMap::new()), Ok(Credentials::None));
        assert_eq!(read(b"bearer a.b-c_d=="), Ok(Credentials::Bearer(Secret::new("a.b-c_d=="))));
        let basic = Credentials::Basic { user: "jo".into(), password: Secret::new("a:b ü") };
        assert_eq!(basic_of("jo:a:b ü".as_bytes()), Ok(basic.clone()));
        let unpadded = STANDARD_NO_PAD.encode("jo:a:b ü");
        assert_eq!(read(format!("BASIC {unpadded}").as_bytes()), Ok(basic));
    }

    #[test]
    fn what_cannot_be_read_is_never_nobody() {
        use CredentialsError::{Malformed, UnknownScheme};
        for (bad, why) in [
            (&b""[..], UnknownScheme),
            (b"Digest x", UnknownScheme),
            (b"Basic", Malformed),
            (b"Basic !!!", Malformed),
            (b"Bearer", Malformed),
            (b"Bearer ==", Malformed),
            (b"Bearer a b", Malformed),
            (b"Bearer a,Bearer b", Malformed),
            (b"Bearer \xff", Malformed),
        ] {
            assert_eq!(read(bad), Err(why), "{bad:?}");
        }
        for bad in [&b"no colon"[..], b"a\r\nb:c", b"a:b\0", b"\xff:a"] {
            assert_eq!(basic_of(bad), Err(Malformed), "{bad:?}");
        }
        assert_eq!(basic_of(&[&[b'u'; MAX_USER + 1][..], b":p"].concat()), Err(Malformed));
    }

    #[test]
    fn two_headers_are_refused_even_when_equal() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert_eq!(Credentials::from_headers(&headers), Err(CredentialsError::Several));
    }

    #[test]
    fn threat_a9_a_header_of_a_megabyte_is_refused_unread() {
        let dots = ".".repeat(1024 * 1024);
        assert_eq!(read(format!("Bearer {dots}").as_bytes()), Err(CredentialsError::TooLong));
        let most = ".".repeat(MAX_LENGTH - "Bearer ".len());
        assert!(read(format!("Bearer {most}").as_bytes()).is_ok());
    }

    #[test]
    fn threat_c25_no_form_of_showing_shows_a_secret() {
        for shown in [read(b"Bearer canary"), basic_of(b"jo:canary")] {
            let shown = format!("{shown:?} {shown:#?}");
            assert!(shown.contains("[redacted]") && !shown.contains("canary"), "{shown}");
        }
        assert_eq!(Secret::new("canary").to_string(), "[redacted]");
    }

    proptest! {
        #[test]
        fn every_name_and_password_comes_back(user in "[^:\\p{Cc}]{0,60}", password in "\\P{Cc}{0,60}") {
            let read = basic_of(format!("{user}:{password}").as_bytes());
            prop_assert_eq!(read, Ok(Credentials::Basic { user, password: Secret::new(password) }));
        }
    }
}
