//! The id of a request: in its response, its log line and the errors it saw.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries the id, in both directions.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a proxy.
const MAX_LENGTH: usize = 64;

/// The id of one request: 1 to 64 letters, digits, `-`, `_`, `.`; so it is safe wherever it is
/// written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// A new id, which sorts by time.
    pub fn generate() -> Self {
        let mut text = uuid::Uuid::encode_buffer();
        Self(uuid::Uuid::now_v7().simple().encode_lower(&mut text).to_owned())
    }

    /// The id that a trusted proxy gave in its header, if it gave one that is fit to be repeated.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(HEADER).iter();
        let text = values.next()?.to_str().ok()?;
        let fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let sane = (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(fit);
        (sane && values.next().is_none()).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as the value of [`HEADER`].
    pub(crate) fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("letters, digits and -_. are a header's value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(values: &[&[u8]]) -> Option<RequestId> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        RequestId::from_headers(&headers)
    }

    #[test]
    fn a_sane_id_is_taken_as_it_is() {
        assert_eq!(from(&[b"Root=1-67.a_b"]), None);
        assert_eq!(from(&[b"1-67.a_b"]).unwrap().as_str(), "1-67.a_b");
    }

    #[test]
    fn threat_c16_an_id_that_could_forge_a_line_is_not_taken() {
        let long = [b'a'; MAX_LENGTH + 1];
        for bad in [&b""[..], b"a b", b"a\tb", b"\xc3\xa9", b"a%0d%0ab", b"a\"b", &long] {
            assert_eq!(from(&[bad]), None, "{bad:?}");
        }
        assert_eq!(from(&[b"a", b"b"]), None);
    }

    #[test]
    fn generated_ids_differ_and_are_sane() {
        let (one, two) = (RequestId::generate(), RequestId::generate());
        assert_ne!(one, two);
        assert_eq!(from(&[one.as_str().as_bytes()]), Some(one));
    }
}
