//! Requirements (PEP 508), as far as a registry needs them: well formed or not, and whether two say
//! the same.
//!
//! Written here since the parser at hand keeps every marker that it ever saw in a table of the
//! process, where what strangers upload would pile up, and descends by recursion as deep as they like.

use std::collections::BTreeSet;

use pep440_rs::VersionSpecifiers;

use crate::name::ProjectName;

mod marker;

/// The most bytes of one requirement.
const MAX_REQUIREMENT: usize = 4096;

/// A requirement in one form for all spellings that mean the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Requirement {
    name: String,
    extras: BTreeSet<String>,
    specifiers: BTreeSet<String>,
    marker: Option<Vec<marker::Token>>,
}

impl Requirement {
    /// Reads one, or says why it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_REQUIREMENT {
            return Err(format!(
                "it has {} bytes; at most {MAX_REQUIREMENT} are allowed",
                text.len()
            ));
        }
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let text = text.trim();
        let end = text.find(|c| !in_name(c)).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let name = ProjectName::parse(name).map_err(|error| error.to_string())?;
        let (extras, rest) = extras(rest.trim_start())?;
        if rest.starts_with('@') {
            return Err(
                "it names an address (name @ …); a package of a registry depends on names and \
                        versions alone"
                    .to_owned(),
            );
        }
        let (versions, marker) = match rest.split_once(';') {
            Some((versions, marker)) => (versions, Some(marker::parse(marker)?)),
            None => (rest, None),
        };
        Ok(Self {
            name: name.normalised().to_owned(),
            extras,
            specifiers: specifiers(without_brackets(versions.trim())?)?,
            marker,
        })
    }
}

/// Version specifiers as a set of their normal forms.
pub(crate) fn specifiers(text: &str) -> Result<BTreeSet<String>, String> {
    if text.len() > MAX_REQUIREMENT {
        return Err(format!("it has {} bytes; at most {MAX_REQUIREMENT} are allowed", text.len()));
    }
    let all: VersionSpecifiers = text.parse().map_err(|error| crate::quote::reason(&error))?;
    Ok(all.iter().map(ToString::to_string).collect())
}

fn without_brackets(versions: &str) -> Result<&str, String> {
    match versions.strip_prefix('(') {
        None => Ok(versions),
        Some(inner) => {
            inner.strip_suffix(')').ok_or_else(|| "a bracket \"(\" is not closed".to_owned())
        }
    }
}

fn extras(rest: &str) -> Result<(BTreeSet<String>, &str), String> {
    let Some(inner) = rest.strip_prefix('[') else { return Ok((BTreeSet::new(), rest)) };
    let (list, rest) = inner.split_once(']').ok_or("a bracket \"[\" is not closed")?;
    if list.trim().is_empty() {
        return Ok((BTreeSet::new(), rest.trim_start()));
    }
    let read = |extra: &str| match ProjectName::parse(extra.trim()) {
        Ok(extra) => Ok(extra.normalised().to_owned()),
        Err(error) => Err(format!("of its extras: {error}")),
    };
    Ok((list.split(',').map(read).collect::<Result<_, _>>()?, rest.trim_start()))
}

#[cfg(test)]
mod tests;
