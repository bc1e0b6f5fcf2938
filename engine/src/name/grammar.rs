//! The recognisers of the grammar, each one walk over the text.

use super::{MAX_COMPONENT, MAX_PATH, MAX_TAG, NameError, NameKind};

const IN_NAMES: &str = "a-z, 0-9, and between them `.`, `_`, `__` or dashes";
const IN_PATHS: &str = "a-z, 0-9, between them `.`, `_`, `__` or dashes, and `/`";
const IN_TAGS: &str = "a-z, A-Z, 0-9, `_`, and after the first character `.` and `-`";

/// Exactly one component, of at most [`MAX_COMPONENT`] characters.
pub(super) fn component(kind: NameKind, text: &str) -> Result<(), NameError> {
    check_length(kind, text, MAX_COMPONENT)?;
    one(kind, text, text, 0, IN_NAMES)
}

/// One component or more, with `/` between them, [`MAX_PATH`] characters in all.
pub(super) fn components(kind: NameKind, text: &str) -> Result<(), NameError> {
    check_length(kind, text, MAX_PATH)?;
    let mut start = 0;
    for part in text.split('/') {
        if part.is_empty() {
            return Err(NameError::EmptyComponent { kind, position: start });
        }
        one(kind, text, part, start, IN_PATHS)?;
        start += part.len() + 1;
    }
    Ok(())
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(super) fn tag(text: &str) -> Result<(), NameError> {
    let kind = NameKind::Tag;
    check_length(kind, text, MAX_TAG)?;
    for (position, found) in text.char_indices() {
        match found {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => {}
            '.' | '-' if position > 0 => {}
            '.' | '-' => return Err(NameError::Edge { kind, position, found }),
            _ => return Err(NameError::Character { kind, position, found, allowed: IN_TAGS }),
        }
    }
    Ok(())
}

fn check_length(kind: NameKind, text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty { kind }),
        got if got > max => Err(NameError::TooLong { kind, max, got }),
        _ => Ok(()),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, over `part` of `text`, which begins at byte `start`.
fn one(
    kind: NameKind,
    text: &str,
    part: &str,
    start: usize,
    allowed: &'static str,
) -> Result<(), NameError> {
    // Where the present run of separators begins, within `part`.
    let mut run: Option<usize> = None;
    for (at, found) in part.char_indices() {
        let position = start + at;
        match found {
            'a'..='z' | '0'..='9' => {
                if let Some(begin) = run.take() {
                    check_separator(kind, part.get(begin..at).unwrap_or_default(), start + begin)?;
                }
            }
            '.' | '_' | '-' if at == 0 => return Err(NameError::Edge { kind, position, found }),
            '.' | '_' | '-' => {
                run.get_or_insert(at);
            }
            'A'..='Z' => {
                let suggestion = text.to_ascii_lowercase();
                return Err(NameError::UpperCase { kind, position, found, suggestion });
            }
            _ => return Err(NameError::Character { kind, position, found, allowed }),
        }
    }
    match (run, part.chars().next_back()) {
        (Some(_), Some(found)) => {
            Err(NameError::Edge { kind, position: start + part.len() - 1, found })
        }
        _ => Ok(()),
    }
}

fn check_separator(kind: NameKind, run: &str, position: usize) -> Result<(), NameError> {
    match run {
        "." | "_" | "__" => Ok(()),
        dashes if dashes.bytes().all(|byte| byte == b'-') => Ok(()),
        _ => Err(NameError::Separator { kind, position, found: run.to_owned() }),
    }
}
