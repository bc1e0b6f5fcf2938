//! Extensions before a header: PAX records (`length key=value`), and GNU's long names.

use std::collections::HashSet;

/// What extensions say of the next entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) name: Option<String>,
    pub(super) link: Option<String>,
    pub(super) size: Option<u64>,
    pax: bool,
}

impl Overrides {
    /// What two extensions in a row say: GNU's long name and long link, and no other pair.
    pub(super) fn join(self, other: Self) -> Result<Self, &'static str> {
        let twice = self.name.is_some() && other.name.is_some()
            || self.link.is_some() && other.link.is_some();
        if self.pax || other.pax || twice {
            return Err("follows another one for the same entry");
        }
        let (name, link) = (self.name.or(other.name), self.link.or(other.link));
        Ok(Self { name, link, size: None, pax: false })
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Overrides, &'static str> {
    let mut overrides = Overrides { pax: true, ..Overrides::default() };
    for (key, value) in records(bytes)? {
        match key {
            "path" => overrides.name = Some(name(value)?),
            "linkpath" => overrides.link = Some(name(value)?),
            "size" => overrides.size = Some(size(value)?),
            "hdrcharset" => return Err("says another character set"),
            key if key.starts_with("GNU.sparse") => return Err("makes a sparse file of it"),
            _ => {}
        }
    }
    Ok(overrides)
}

/// A global header is for all entries behind it. What git writes into one, a comment, changes none.
pub(super) fn parse_global(bytes: &[u8]) -> Result<Overrides, &'static str> {
    if records(bytes)?.iter().any(|(key, _)| *key != "comment") {
        return Err("is global and says more than a comment");
    }
    Ok(Overrides::default())
}

pub(super) fn long_name(bytes: &[u8]) -> Result<Overrides, &'static str> {
    Ok(Overrides { name: Some(gnu(bytes)?), ..Overrides::default() })
}

pub(super) fn long_link(bytes: &[u8]) -> Result<Overrides, &'static str> {
    Ok(Overrides { link: Some(gnu(bytes)?), ..Overrides::default() })
}

fn gnu(bytes: &[u8]) -> Result<String, &'static str> {
    name(bytes.strip_suffix(&[0]).unwrap_or(bytes))
}

fn records(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, &'static str> {
    let broken = "is not records of \"length key=value\"";
    let mut seen = HashSet::new();
    let mut records = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = rest.iter().take(20).position(|byte| *byte == b' ').ok_or(broken)?;
        let digits = rest.get(..space).unwrap_or_default();
        let length = usize::try_from(decimal(digits).ok_or(broken)?).map_err(|_| broken)?;
        let (record, after) = rest.split_at_checked(length).ok_or(broken)?;
        let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(broken)?;
        let (key, value) = record.split_at(equals);
        let key = std::str::from_utf8(key).map_err(|_| broken)?;
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_graphic()) {
            return Err("has a key that is not printable ASCII");
        }
        if !seen.insert(key) {
            return Err("has two records of one key");
        }
        records.push((key, value.get(1..).unwrap_or_default()));
        rest = after;
    }
    Ok(records)
}

fn name(bytes: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "has a name that is not UTF-8")?;
    if text.is_empty() || text.contains('\0') {
        return Err("has a name that is empty or has a zero byte");
    }
    Ok(text.to_owned())
}

fn size(bytes: &[u8]) -> Result<u64, &'static str> {
    decimal(bytes).ok_or("has a size that is no decimal number")
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(bytes).ok()?.parse().ok()).flatten()
}
