//! The outer form of core metadata: header fields as mail has them, an empty line, a body.
//!
//! Readers differ in what they make of lines that are no fields, of a carriage return alone, and of bytes that
//! are not UTF-8; so none of these are taken.

use super::MetadataError;
use crate::quote::{quote, quote_bytes};

/// The most fields of one metadata file.
pub(crate) const MAX_FIELDS: usize = 20_000;

/// A field: its name in lower case, its value without the spaces around it, its lines joined by `\n`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Splits a metadata file into its fields and its body.
pub(crate) fn split(bytes: &[u8]) -> Result<(Vec<Field>, Option<&str>), MetadataError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let near = bytes.get(at..(at + 8).min(bytes.len())).unwrap_or_default();
        MetadataError::NotUtf8 { at, near: quote_bytes(near) }
    })?;
    let mut fields: Vec<Field> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let line = line.strip_suffix('\r').unwrap_or(line);
        rest = after;
        if line.is_empty() {
            break;
        }
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(MetadataError::Control { line: quote(line) });
        }
        if line.starts_with([' ', '\t']) {
            let last =
                fields.last_mut().ok_or_else(|| MetadataError::NoField { line: quote(line) })?;
            last.value.push('\n');
            last.value.push_str(line.trim_end());
            continue;
        }
        if fields.len() == MAX_FIELDS {
            return Err(MetadataError::TooManyFields);
        }
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let (name, value) = line
            .split_once(':')
            .filter(|(name, _)| !name.is_empty() && name.chars().all(in_name))
            .ok_or_else(|| MetadataError::NoField { line: quote(line) })?;
        fields.push(Field { name: name.to_ascii_lowercase(), value: value.trim().to_owned() });
    }
    Ok((fields, Some(rest).filter(|body| !body.trim().is_empty())))
}
