//! A request's query, read once.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// The most parameters that are looked at; several tags in one push are the most anyone needs.
const MAX_PARAMETERS: usize = 128;

/// What may stand as it is in a query's value.
const IN_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The parameters of a request. `ns`, which mirrors' clients add, and all that is unknown are not
/// looked at.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes()).take(MAX_PARAMETERS);
        Self(pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect())
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

/// A value as it stands in a query.
pub(crate) fn escaped(value: &str) -> impl std::fmt::Display {
    percent_encoding::utf8_percent_encode(value, IN_VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_in_any_order_and_number() {
        let query = Query::parse("tag=a&ns=docker.io&tag=b%2Bc&n=5&tag");
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b+c", ""]);
        assert_eq!((query.get("n"), query.get("last")), (Some("5"), None));
    }

    #[test]
    fn threat_c16_what_is_escaped_can_break_out_of_no_header() {
        assert_eq!(escaped("a/b\r\n>;\"é").to_string(), "a%2Fb%0D%0A%3E%3B%22%C3%A9");
    }
}
