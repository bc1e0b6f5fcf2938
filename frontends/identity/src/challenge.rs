//! The 401 that tells a client where to get a token (RFC 6750, Docker token spec).
//!
//! **Promises.** Whatever is put into a challenge, the header stays one header: what no quoted string
//! can hold is left out.

use std::fmt::Write as _;

use http::HeaderValue;

/// Why a token did not do (RFC 6750, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There was no token.
    Absent,
    /// It is not, or no more, good.
    InvalidToken,
    /// It is good, but not for this.
    InsufficientScope,
}

/// The value of `WWW-Authenticate` that sends a client to `realm`, the URL of the token endpoint,
/// for a token for `service` with `scope`.
pub fn bearer(realm: &str, service: &str, scope: Option<&str>, refusal: Refusal) -> HeaderValue {
    let mut value = format!("Bearer realm={},service={}", quoted(realm), quoted(service));
    if let Some(scope) = scope {
        let _infallible = write!(value, ",scope={}", quoted(scope));
    }
    match refusal {
        Refusal::Absent => {}
        Refusal::InvalidToken => value.push_str(",error=\"invalid_token\""),
        Refusal::InsufficientScope => value.push_str(",error=\"insufficient_scope\""),
    }
    header(&value, "Bearer")
}

/// The value of `WWW-Authenticate` that asks for a name and a password.
pub fn basic(realm: &str) -> HeaderValue {
    header(&format!("Basic realm={},charset=\"UTF-8\"", quoted(realm)), "Basic")
}

/// What is quoted holds only what a header may; if ever not, the bare scheme is a challenge too.
fn header(value: &str, scheme: &'static str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(scheme))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ') {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_as_docker_expects_it() {
        let scope = Some("repository:acme/backend/api:pull,push");
        assert_eq!(
            bearer("https://reg.example/token", "reg.example", scope, Refusal::Absent),
            "Bearer realm=\"https://reg.example/token\",service=\"reg.example\",\
             scope=\"repository:acme/backend/api:pull,push\""
        );
        assert_eq!(
            bearer("r", "s", None, Refusal::InvalidToken),
            "Bearer realm=\"r\",service=\"s\",error=\"invalid_token\""
        );
        assert_eq!(basic("strongroom"), "Basic realm=\"strongroom\",charset=\"UTF-8\"");
    }

    #[test]
    fn threat_c16_nothing_breaks_out_of_the_header() {
        let value = bearer("a\"b\\c\r\nX: y\u{1b}ü", "s", None, Refusal::InsufficientScope);
        assert_eq!(
            value,
            "Bearer realm=\"a\\\"b\\\\cX: y\",service=\"s\",error=\"insufficient_scope\""
        );
    }
}
