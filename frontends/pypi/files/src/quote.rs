//! How text from outside appears in a message: on one line, printable, and not endlessly.

use std::fmt;

/// The most characters that a message quotes.
const MAX: usize = 120;

/// Displays text in quotes, with what is not printable ASCII escaped, cut after [`MAX`] characters.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for character in self.0.chars().take(MAX) {
            write!(f, "{}", character.escape_default())?;
        }
        f.write_str(if self.0.chars().nth(MAX).is_some() { "…\"" } else { "\"" })
    }
}

/// Text from outside as it goes into an error.
pub(crate) fn quote(text: &str) -> String {
    Quoted(text).to_string()
}

/// The same for bytes that may not be text.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    quote(&String::from_utf8_lossy(bytes))
}

/// What another parser says of text from outside: its first line alone, escaped and cut.
pub(crate) fn reason(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(MAX).flat_map(char::escape_default).filter(|c| *c != '\\').collect()
}
