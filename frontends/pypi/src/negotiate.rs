//! Which form of a page a client gets (Simple repository API, "Content-Types"; RFC 9110, section
//! 12.5).
//!
//! `?format=` wins over `Accept`. Of forms wanted equally JSON comes first and `text/html`, which is the
//! HTML form under an old name, last. Where nothing fits the answer is 406, never 300.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING};

/// A form of a page. In the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Html,
    /// The HTML form, to clients that know it by no other name.
    PlainHtml,
}

const FORMS: [Form; 3] = [Form::Json, Form::Html, Form::PlainHtml];

impl Form {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/vnd.pypi.simple.v1+json",
            Self::Html => "application/vnd.pypi.simple.v1+html",
            Self::PlainHtml => "text/html; charset=utf-8",
        }
    }

    /// Whether a type of a client's names it, without wildcards.
    fn is_named(self, media_type: &str) -> bool {
        match self {
            Self::Json => {
                ["application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.latest+json"]
                    .contains(&media_type)
            }
            Self::Html => {
                ["application/vnd.pypi.simple.v1+html", "application/vnd.pypi.simple.latest+html"]
                    .contains(&media_type)
            }
            Self::PlainHtml => media_type == "text/html",
        }
    }

    /// How exactly a range of a client's fits: 3 by name, 2 by the upper type, 1 as anything.
    fn fit(self, range: &str) -> u8 {
        match range {
            "*/*" => 1,
            "text/*" if self == Self::PlainHtml => 2,
            "application/*" if self != Self::PlainHtml => 2,
            named if self.is_named(named) => 3,
            _ => 0,
        }
    }
}

/// The form for a request; none where no form that the client takes is there.
pub(crate) fn form(headers: &HeaderMap, format: Option<&str>) -> Option<Form> {
    if let Some(format) = format {
        return FORMS.into_iter().find(|form| form.is_named(format));
    }
    let mut ranges: Vec<(String, u16)> = Vec::new();
    for value in headers.get_all(ACCEPT) {
        ranges.extend(weighted(value.to_str().ok()?));
    }
    let said =
        headers.get_all(ACCEPT).iter().any(|value| !value.as_bytes().trim_ascii().is_empty());
    if !said {
        return Some(Form::PlainHtml);
    }
    let weight = |form: Form| {
        let fitting = ranges.iter().map(|(range, weight)| (form.fit(range), *weight));
        // The most exact range counts; the first of those that are equally so.
        fitting.filter(|(fit, _)| *fit > 0).reduce(|a, b| if b.0 > a.0 { b } else { a })
    };
    let best = FORMS.into_iter().filter_map(|form| Some((form, weight(form)?.1)));
    let best = best.reduce(|a, b| if b.1 > a.1 { b } else { a });
    best.filter(|(_, weight)| *weight > 0).map(|(form, _)| form)
}

/// Whether a client takes gzip.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let all = headers.get_all(ACCEPT_ENCODING);
    let mut any = None;
    for (coding, weight) in all.iter().filter_map(|value| value.to_str().ok()).flat_map(weighted) {
        match coding.as_str() {
            "gzip" | "x-gzip" => return weight > 0,
            "*" => any = Some(weight > 0),
            _ => {}
        }
    }
    any.unwrap_or(false)
}

/// The elements of a list header with their weights, in thousandths.
fn weighted(header: &str) -> impl Iterator<Item = (String, u16)> {
    header.split(',').filter_map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
        let mut weight = 1000;
        for parameter in parts {
            let Some((key, value)) = parameter.split_once('=') else { continue };
            if key.trim().eq_ignore_ascii_case("q") {
                weight = thousandths(value.trim())?;
            }
        }
        Some((name, weight))
    })
}

/// A weight (RFC 9110, section 12.4.2); none where it is malformed, and then its element counts not.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Form::{Html, Json, PlainHtml};
    use super::*;

    const V1_JSON: &str = "application/vnd.pypi.simple.v1+json";
    const V1_HTML: &str = "application/vnd.pypi.simple.v1+html";

    fn accepting(accept: &str) -> Option<Form> {
        form(&HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]), None)
    }

    #[test]
    fn what_clients_send_is_answered_with_the_best_of_it() {
        for (accept, expected) in [
            // pip, uv, browsers, curl.
            (&*format!("{V1_JSON}, {V1_HTML}; q=0.1, text/html; q=0.01"), Some(Json)),
            (&format!("{V1_JSON}, {V1_HTML};q=0.2, text/html;q=0.01"), Some(Json)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(PlainHtml)),
            ("*/*", Some(Json)),
            ("text/html", Some(PlainHtml)),
            ("TEXT/HTML", Some(PlainHtml)),
            ("text/*", Some(PlainHtml)),
            ("application/*", Some(Json)),
            (V1_HTML, Some(Html)),
            ("application/vnd.pypi.simple.latest+json", Some(Json)),
            ("application/vnd.pypi.simple.latest+html", Some(Html)),
            (&format!("{V1_HTML}, {V1_JSON}"), Some(Json)),
            (&format!("text/html, {V1_HTML}"), Some(Html)),
            (&format!("{V1_JSON};q=0.5, {V1_HTML};q=0.500, text/html;q=0.5"), Some(Json)),
            (&format!("{V1_JSON};q=0, */*;q=0.1"), Some(Html)),
            (&format!("{V1_JSON};q=0.3, {V1_HTML};q=0.31"), Some(Html)),
            ("application/json", None),
            ("application/vnd.pypi.simple.v2+json", None),
            (&format!("{V1_JSON};q=0"), None),
            (&format!("{V1_JSON};q=2, text/html;q=0.1"), Some(PlainHtml)),
            (&format!("{V1_JSON};q=x"), None),
        ] {
            assert_eq!(accepting(accept), expected, "{accept}");
        }
        assert_eq!(form(&HeaderMap::new(), None), Some(PlainHtml));
    }

    #[test]
    fn the_format_parameter_wins() {
        let headers = HeaderMap::from_iter([(ACCEPT, "text/html".parse().unwrap())]);
        assert_eq!(form(&headers, Some(V1_JSON)), Some(Json));
        assert_eq!(form(&headers, Some("application/vnd.pypi.simple.latest+html")), Some(Html));
        assert_eq!(form(&headers, Some("json")), None);
        assert_eq!(form(&headers, Some("*/*")), None);
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for (accept, takes) in [
            ("gzip, deflate", true),
            ("gzip;q=0", false),
            ("*", true),
            ("*, gzip;q=0", false),
            ("br", false),
            ("identity;q=1, *;q=0", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, accept.parse().unwrap())]);
            assert_eq!(takes_gzip(&headers), takes, "{accept}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
