//! The HTML form of a page, read as far as the specification says what stands in it (PEP 503): anchors
//! with their attributes and text, `meta` elements, the base. What is no HTML is passed over: whatever
//! comes out is checked by who asked.

/// The most anchors of a page, and metas.
pub(super) const MAX_ELEMENTS: usize = 100_000;
/// The most attributes of an element.
const MAX_ATTRIBUTES: usize = 32;

/// What stands on a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) base: Option<String>,
    /// Names and contents, in lower case the names.
    pub(super) metas: Vec<(String, String)>,
    pub(super) anchors: Vec<Anchor>,
}

/// A link.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Anchor {
    attributes: Vec<(String, String)>,
    pub(super) text: String,
}

impl Anchor {
    /// An attribute, by its name in lower case.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.attributes, name)
    }
}

fn find<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Reads a page.
pub(super) fn parse(text: &str) -> Document {
    let mut document = Document::default();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let tail = rest.get(at + 1..).unwrap_or_default();
        if let Some(comment) = tail.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, behind)| behind);
            continue;
        }
        if !tail.starts_with(|c: char| c.is_ascii_alphabetic()) {
            rest = tail;
            continue;
        }
        // What ends within an element has no further one.
        let Some((name, attributes, behind)) = element(tail) else { break };
        rest = behind;
        match name.as_str() {
            "a" if document.anchors.len() < MAX_ELEMENTS => {
                let text = behind.split('<').next().unwrap_or_default();
                let text = unescape(text.trim());
                document.anchors.push(Anchor { attributes, text });
            }
            "meta" if document.metas.len() < MAX_ELEMENTS => {
                if let (Some(name), Some(content)) =
                    (find(&attributes, "name"), find(&attributes, "content"))
                {
                    document.metas.push((name.to_ascii_lowercase(), content.to_owned()));
                }
            }
            "base" if document.base.is_none() => {
                document.base = find(&attributes, "href").map(str::to_owned);
            }
            // What stands in them are no elements.
            "script" | "style" => rest = behind_raw(rest, &name),
            _ => {}
        }
    }
    document
}

/// What is behind the text of a `script` or `style`.
fn behind_raw<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once("</") {
        if behind.get(..name.len()).is_some_and(|end| end.eq_ignore_ascii_case(name)) {
            return behind;
        }
        rest = behind;
    }
    ""
}

/// Each with its value.
type Attributes = Vec<(String, String)>;

/// The name and the attributes of an element that begins behind its `<`, and what is behind its `>`; none
/// where the text ends before that.
fn element(text: &str) -> Option<(String, Attributes, &str)> {
    let (name, mut rest) =
        text.split_at_checked(text.find(|c: char| !c.is_ascii_alphanumeric())?)?;
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(behind) = rest.strip_prefix('>') {
            return Some((name.to_ascii_lowercase(), attributes, behind));
        }
        let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/');
        let (key, behind) = rest.split_at_checked(rest.find(ends)?)?;
        let behind = behind.trim_ascii_start();
        let (value, behind) = match behind.strip_prefix('=') {
            None => ("", behind),
            Some(behind) => {
                let behind = behind.trim_ascii_start();
                if let Some(quoted) = behind.strip_prefix(['"', '\'']) {
                    quoted.split_once(behind.get(..1)?)?
                } else {
                    let end = |c: char| c.is_ascii_whitespace() || c == '>';
                    behind.split_at_checked(behind.find(end)?)?
                }
            }
        };
        if attributes.len() < MAX_ATTRIBUTES {
            attributes.push((key.to_ascii_lowercase(), unescape(value)));
        }
        rest = behind;
    }
}

/// The characters that a text stands for. What is no reference that pages need stays as it is.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        // The longest that is known is `#1114111`.
        let end = behind.bytes().take(10).position(|byte| byte == b';');
        let known = end.and_then(|end| {
            let (name, behind) = (behind.get(..end)?, behind.get(end + 1..)?);
            let number =
                |text: &str, radix| u32::from_str_radix(text, radix).ok().and_then(char::from_u32);
            let character = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => match name.strip_prefix('#')? {
                    hex if hex.starts_with(['x', 'X']) => number(hex.get(1..)?, 16)?,
                    decimal => number(decimal, 10)?,
                },
            };
            Some((character, behind))
        });
        let (character, behind) = known.unwrap_or(('&', behind));
        out.push(character);
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_indexes_write_is_read() {
        let page = parse(
            "<!DOCTYPE html><html><head><!-- <a href=no>no</a> --><base href='/x/'>\n\
             <META Name=\"pypi:tracks\" content=\"https://a/?b&amp;c\"><script>\"<a href=no>\"</SCRIPT>\
             </head><body><h1>Links</h1>\n\
             <a href=\"f-1.whl#sha256=00\" data-requires-python=\"&gt;=3.8,&#60;4\" data-yanked>f-1.whl</a><br>\
             <a HREF=g.whl data-yanked=''\n>\n g.whl\n</a><a href='h'><b>x</b></a> 1 < 2 <a",
        );
        assert_eq!(page.base.as_deref(), Some("/x/"));
        assert_eq!(page.metas, [("pypi:tracks".to_owned(), "https://a/?b&c".to_owned())]);
        let texts: Vec<_> = page.anchors.iter().map(|anchor| anchor.text.as_str()).collect();
        assert_eq!(texts, ["f-1.whl", "g.whl", ""]);
        let first = page.anchors.first().unwrap();
        assert_eq!(first.attribute("href"), Some("f-1.whl#sha256=00"));
        assert_eq!(first.attribute("data-requires-python"), Some(">=3.8,<4"));
        assert_eq!(first.attribute("data-yanked"), Some(""));
        assert_eq!(first.attribute("data-core-metadata"), None);
    }

    #[test]
    fn what_is_no_page_ends() {
        for text in [
            "<",
            "<a",
            "<a ",
            "<a href",
            "<a href=",
            "<a href=\"",
            "<a =>",
            "<a / / >",
            "<a '\"",
            "&",
            "<a\u{e4}>",
            "<script>",
            "<!--",
            "< a>",
            "<a href==>",
            "<a \">x",
            "<a b=c\u{e4}",
        ] {
            let _document = parse(text);
            let _text = unescape(text);
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_fail_or_run_for_ever(text in "[<>a-c =\"'/&;#x1\u{e4} !-]{0,64}") {
            let _document = parse(&text);
        }
    }
}
