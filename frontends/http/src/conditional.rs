//! Preconditions against a strong entity tag (RFC 9110, section 13).
//!
//! Content here is named by its digest, so its tag is strong and there are no dates to compare:
//! If-Modified-Since and If-Unmodified-Since are not looked at, and an If-Range that is no tag
//! matches nothing.

use std::fmt::{Display, Write as _};

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};

/// How long most tags are: a sha256 and its quotes.
const TYPICAL: usize = 73;

/// A strong entity tag: `"sha256:…"`, with its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// The tag of content whose digest, in its text form, is `digest`. `None` where that text holds
    /// what no tag can: anything but visible ASCII, or a quote.
    pub fn new(digest: impl Display) -> Option<Self> {
        let mut text = String::with_capacity(TYPICAL);
        write!(text, "\"{digest}\"").ok()?;
        let inside = text.get(1..text.len() - 1)?;
        let fit = inside.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
        (fit && !inside.is_empty()).then_some(Self(text))
    }

    /// As it stands in the `ETag` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is the tag of, without its quotes: the digest.
    pub fn unquoted(&self) -> &str {
        self.0.trim_matches('"')
    }
}

/// What the preconditions of a request say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Go on.
    Holds,
    /// The client has it already: 304 (for GET and HEAD; 412 for the others).
    NotModified,
    /// 412.
    Failed,
}

/// Checks If-Match and If-None-Match; `current` is the tag of what is there, `None` where nothing is.
pub fn check(headers: &HeaderMap, current: Option<&ETag>) -> Precondition {
    if headers.contains_key(IF_MATCH) {
        // The strong comparison: a weak tag matches nothing.
        let matches =
            |tag: Listed<'_>| tag.any || (!tag.weak && Some(tag.text) == current.map(ETag::as_str));
        if current.is_none() || !listed(headers, &IF_MATCH).any(matches) {
            return Precondition::Failed;
        }
    }
    let known = |tag: Listed<'_>| tag.any || Some(tag.text) == current.map(ETag::as_str);
    if current.is_some() && listed(headers, &IF_NONE_MATCH).any(known) {
        return Precondition::NotModified;
    }
    Precondition::Holds
}

/// Whether a request has any precondition that [`check`] looks at.
pub fn is_conditional(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH)
}

/// Whether a Range header counts: there is no If-Range, or it is this very tag.
pub fn range_applies(headers: &HeaderMap, current: &ETag) -> bool {
    let mut values = headers.get_all(IF_RANGE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(one), None) => one.as_bytes().trim_ascii() == current.as_str().as_bytes(),
        (Some(_), Some(_)) => false,
    }
}

struct Listed<'a> {
    text: &'a str,
    weak: bool,
    any: bool,
}

/// The tags of a list header. A comma may stand inside a tag, so this goes from quote to quote.
fn listed<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = Listed<'a>> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|line| {
        let mut rest = line;
        std::iter::from_fn(move || {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.trim_end() == "*" {
                rest = "";
                return Some(Listed { text: "*", weak: false, any: true });
            }
            let weak = rest.starts_with("W/");
            let tag = rest.strip_prefix("W/").unwrap_or(rest);
            let end = tag.strip_prefix('"')?.find('"')? + 2;
            let (text, after) = tag.split_at(end);
            rest = after;
            Some(Listed { text, weak, any: false })
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Precondition::{Failed, Holds, NotModified};
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    fn tag() -> ETag {
        ETag::new("sha256:ab").unwrap()
    }

    #[test]
    fn who_has_it_already_is_told_so() {
        for known in [
            "\"sha256:ab\"",
            "W/\"sha256:ab\"",
            "*",
            "\"x\", \"sha256:ab\"",
            "\"a,b\" ,,\"sha256:ab\"",
        ] {
            assert_eq!(check(&with("if-none-match", known), Some(&tag())), NotModified, "{known}");
            assert_eq!(check(&with("if-none-match", known), None), Holds, "{known}");
        }
        for other in
            ["\"sha256:cd\"", "sha256:ab", "\"sha256:a\"", "\"x, sha256:ab\"", "", "\"sha256:ab"]
        {
            assert_eq!(check(&with("if-none-match", other), Some(&tag())), Holds, "{other}");
        }
    }

    #[test]
    fn a_change_that_leans_on_another_content_fails() {
        for (value, there) in
            [("\"sha256:ab\"", Holds), ("*", Holds), ("W/\"sha256:ab\"", Failed), ("\"x\"", Failed)]
        {
            assert_eq!(check(&with("if-match", value), Some(&tag())), there, "{value}");
            assert_eq!(check(&with("if-match", value), None), Failed, "{value}");
        }
        assert_eq!(check(&HeaderMap::new(), None), Holds);
    }

    #[test]
    fn a_range_counts_only_for_this_very_content() {
        assert!(range_applies(&HeaderMap::new(), &tag()));
        assert!(range_applies(&with("if-range", "\"sha256:ab\""), &tag()));
        for other in ["W/\"sha256:ab\"", "\"x\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert!(!range_applies(&with("if-range", other), &tag()), "{other}");
        }
    }

    #[test]
    fn threat_c16_a_tag_can_hold_no_quote_and_no_control() {
        for bad in ["", "a\"b", "a\r\nb", "a b", "ü"] {
            assert_eq!(ETag::new(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_tag_in_a_list_is_found_wherever_it_stands(before in "(\"[a-z,]{0,5}\", ?){0,4}", after in "(, ?\"[a-z,]{0,5}\"){0,4}") {
            let list = format!("{before}\"sha256:ab\"{after}");
            prop_assert_eq!(check(&with("if-none-match", &list), Some(&tag())), NotModified);
        }

        #[test]
        fn no_header_breaks_it(value in "[ -~]{0,60}") {
            let _any = check(&with("if-none-match", &value), Some(&tag()));
            let _any = check(&with("if-match", &value), Some(&tag()));
        }
    }
}
