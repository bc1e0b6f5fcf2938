//! Where a connection leads: a URL, read once.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, Scheme};
use serde::{Deserialize, Serialize};

/// The longest address.
const MAX_BYTES: usize = 2048;

/// `https://HOST[:PORT][/PATH][?QUERY]`, or `http://` where that is allowed.
///
/// There is no user or password in it: an address is shown, logged and kept where secrets are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    uri: Uri,
    authority: Authority,
}

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It is none at all.
    #[error("{0:?} is no address; one looks like https://example.org/path")]
    Malformed(String),
    /// It is too long.
    #[error("an address has at most {MAX_BYTES} bytes")]
    TooLong,
    /// It is neither `https` nor `http`.
    #[error("the address must begin with https://")]
    Scheme,
    /// It is `http`, which this installation does not allow.
    #[error("the address must begin with https://; the operator may allow http")]
    Plain,
    /// It has a user or a password in it.
    #[error("an address has no user or password in it: it is shown and logged")]
    UserInfo,
}

impl Target {
    /// Whether it is encrypted on its way.
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// The host, an address of IPv6 without brackets.
    pub fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, also where it is the usual one.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Whether both lead to the same door: scheme, host and port. What proves who we are goes no further.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.is_https() == other.is_https()
            && self.host().eq_ignore_ascii_case(other.host())
            && self.port() == other.port()
    }

    /// The value of `Host`.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The request's own target.
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.len() > MAX_BYTES {
            return Err(TargetError::TooLong);
        }
        let malformed = || TargetError::Malformed(text.to_owned());
        // A fragment never reaches a server: whoever wrote one meant something else.
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        let uri: Uri = text.parse().ok().filter(|_| plain).ok_or_else(malformed)?;
        let authority = uri.authority().cloned().ok_or_else(malformed)?;
        if ![Some(&Scheme::HTTPS), Some(&Scheme::HTTP)].contains(&uri.scheme()) {
            return Err(TargetError::Scheme);
        }
        if authority.as_str().contains('@') {
            return Err(TargetError::UserInfo);
        }
        let target = Self { uri, authority };
        if target.host().is_empty() || target.port() == 0 {
            return Err(malformed());
        }
        Ok(target)
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uri, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, u16, String, bool) {
        let target: Target = text.parse().unwrap();
        let (host, path) = (target.host().to_owned(), target.path_and_query().to_owned());
        (host, target.port(), path, target.is_https())
    }

    #[test]
    fn an_address_is_read_as_clients_read_it() {
        let of =
            |host: &str, port, path: &str, https| (host.to_owned(), port, path.to_owned(), https);
        assert_eq!(parts("https://example.org"), of("example.org", 443, "/", true));
        assert_eq!(
            parts("http://example.org:8080/a?b=c"),
            of("example.org", 8080, "/a?b=c", false)
        );
        assert_eq!(parts("https://[2001:db8::1]:8443/x"), of("2001:db8::1", 8443, "/x", true));
    }

    #[test]
    fn threat_a16_an_origin_is_scheme_host_and_port() {
        let of = |text: &str| text.parse::<Target>().unwrap();
        let here = of("https://Example.org/a");
        assert!(here.same_origin(&of("https://example.org:443/b?c")));
        for other in
            ["http://example.org/", "https://example.org:444/", "https://example.org.evil/"]
        {
            assert!(!here.same_origin(&of(other)), "{other}");
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        use TargetError::{Malformed, Scheme, TooLong, UserInfo};
        let refused = |text: &str| text.parse::<Target>().unwrap_err();
        for text in ["", "/path", "https://", "https:///x", "https://h/#f", "https://h/ä"] {
            assert!(matches!(refused(text), Malformed(_)), "{text:?}: {:?}", refused(text));
        }
        for text in ["example", "example.org:443", "ftp://example.org/"] {
            assert_eq!(refused(text), Scheme, "{text}");
        }
        for text in ["https://user@example.org/", "https://u:secret@example.org/"] {
            assert_eq!(refused(text), UserInfo);
            assert!(!refused(text).to_string().contains("secret"));
        }
        assert_eq!(refused(&format!("https://h/{}", "a".repeat(MAX_BYTES))), TooLong);
    }
}
