//! Patterns that users write, for names of tags and repositories: `v*`, `release-?`, `[0-9]*`.
//!
//! A pattern costs at most its length times the text's, whatever both are: there is no nesting and
//! nothing to choose but how much the last `*` takes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 128;

/// One pattern, for a whole name: `*` is anything, also nothing and `/`; `?` one character;
/// `[a-z0-9]` one of those and `[!0-9]` one that is none of those; all else is itself.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    items: Vec<Item>,
}

#[derive(Clone)]
enum Item {
    /// Anything.
    Run,
    /// One character.
    One,
    /// This character.
    Is(u8),
    /// One of these, or none of these.
    Class { not: bool, ranges: Vec<(u8, u8)> },
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no pattern: {why}")]
pub struct PatternError {
    text: String,
    why: &'static str,
}

impl Pattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether all of `name` is as the pattern says.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        let (mut item, mut at) = (0, 0);
        // Where the last `*` stands, and what it has taken so far ends.
        let mut run: Option<(usize, usize)> = None;
        while at < name.len() {
            match (self.items.get(item), name.get(at)) {
                (Some(Item::Run), _) => {
                    run = Some((item, at));
                    item += 1;
                }
                (Some(one), Some(byte)) if one.takes(*byte) => {
                    item += 1;
                    at += 1;
                }
                _ => {
                    // The last `*` takes one more; an earlier one never has to.
                    let Some((star, taken)) = run else { return false };
                    run = Some((star, taken + 1));
                    item = star + 1;
                    at = taken + 1;
                }
            }
        }
        self.items.iter().skip(item).all(|left| matches!(left, Item::Run))
    }
}

impl Item {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Run | Self::One => true,
            Self::Is(is) => *is == byte,
            Self::Class { not, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&byte)) != *not
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let error = |why| {
            let text = text.chars().take(MAX_PATTERN).collect();
            PatternError { text, why }
        };
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(error("it has 1 to 128 characters"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(error("it has printable ASCII characters without spaces only"));
        }
        let mut items = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            match first {
                b'*' if matches!(items.last(), Some(Item::Run)) => {}
                b'*' => items.push(Item::Run),
                b'?' => items.push(Item::One),
                b'[' => {
                    let end = rest.iter().position(|byte| *byte == b']');
                    let end = end.ok_or_else(|| error("its [ has no ]"))?;
                    let (class, behind) = rest.split_at(end);
                    items.push(class_of(class).map_err(error)?);
                    rest = behind.get(1..).unwrap_or_default();
                }
                b']' => return Err(error("its ] has no [")),
                other => items.push(Item::Is(*other)),
            }
        }
        Ok(Self { text: text.to_owned(), items })
    }
}

/// What stands between `[` and `]`.
fn class_of(class: &[u8]) -> Result<Item, &'static str> {
    let (not, mut rest) = match class.split_first() {
        Some((b'!', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut ranges = Vec::new();
    while let Some((from, behind)) = rest.split_first() {
        if let [b'-', to, behind @ ..] = behind {
            if to < from {
                return Err("a range in [ ] ends before it begins");
            }
            ranges.push((*from, *to));
            rest = behind;
        } else {
            ranges.push((*from, *from));
            rest = behind;
        }
    }
    if ranges.is_empty() {
        Err("there is nothing between [ and ]")
    } else {
        Ok(Item::Class { not, ranges })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(name)
    }

    /// The same by the definition, for short texts.
    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                (0..=name.len()).any(|taken| by_definition(rest, &name[taken..]))
            }
            (Some((b'?', rest)), Some((_, names))) => by_definition(rest, names),
            (Some((a, rest)), Some((b, names))) if a == b => by_definition(rest, names),
            _ => false,
        }
    }

    #[test]
    fn a_pattern_takes_what_its_definition_says() {
        let texts = |letters: &[u8], longest: u32| {
            let base = letters.len();
            let letters = letters.to_vec();
            (0..=longest).flat_map(move |length| {
                let letters = letters.clone();
                (0..base.pow(length)).map(move |number| {
                    (0..length).map(|at| letters[number / base.pow(at) % base]).collect::<Vec<u8>>()
                })
            })
        };
        for pattern in texts(b"ab*?", 4).filter(|pattern| !pattern.is_empty()) {
            let text = String::from_utf8(pattern.clone()).unwrap();
            let parsed: Pattern = text.parse().unwrap();
            for name in texts(b"ab", 5) {
                let wanted = by_definition(&pattern, &name);
                let name = String::from_utf8(name).unwrap();
                assert_eq!(parsed.matches(&name), wanted, "{text} on {name:?}");
            }
        }
    }

    #[test]
    fn classes_take_one_character_of_theirs() {
        assert!(matches("v[0-9]*", "v1.2.3"));
        assert!(!matches("v[0-9]*", "version"));
        assert!(matches("[!0-9]?", "ab") && !matches("[!0-9]?", "1b"));
        assert!(matches("[a-]x", "-x") && !matches("[a-]x", "bx"));
        assert!(matches("team/*", "team/a/b"));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let long = "a".repeat(MAX_PATTERN + 1);
        for text in ["", &long, "a b", "ä", "[a", "a]", "[]", "[!]", "[z-a]", "a\n"] {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains("is no pattern") && error.len() < 300, "{error}");
        }
    }

    /// No pattern within the bounds takes longer than its length times the name's.
    #[test]
    fn threat_c21_no_pattern_takes_long() {
        let name = "a".repeat(255);
        let stars = "*a".repeat(MAX_PATTERN / 2 - 1) + "*b";
        let classes = "*[!b]".repeat(MAX_PATTERN / 5 - 1) + "b";
        for text in [stars, classes, "*".repeat(MAX_PATTERN)] {
            let pattern: Pattern = text.parse().unwrap();
            let begun = std::time::Instant::now();
            let runs = 20;
            for _ in 0..runs {
                std::hint::black_box(pattern.matches(std::hint::black_box(&name)));
            }
            let each = begun.elapsed() / runs;
            assert!(each < std::time::Duration::from_millis(10), "{text}: {each:?}");
        }
    }
}
