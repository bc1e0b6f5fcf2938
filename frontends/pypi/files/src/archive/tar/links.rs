//! Links: they stay inside, and nothing is written through one.

use std::collections::{HashMap, HashSet};

use super::{ArchiveError, Entry, Kind, TarFault};
use crate::archive::names;
use crate::quote::quote;

pub(super) fn check(entries: &[Entry]) -> Result<(), ArchiveError> {
    let links: HashMap<&str, &str> = entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::Symbolic(target) => Some((entry.name.as_str(), target.as_str())),
            _ => None,
        })
        .collect();
    let mut files = HashSet::new();
    for entry in entries {
        let refuse = |target: &str, reason| {
            let (name, target) = (quote(&entry.name), quote(target));
            Err(TarFault::Link { name, target, reason }.into())
        };
        match &entry.kind {
            Kind::Folder => {}
            Kind::Hard(target) if !files.contains(target.as_str()) => {
                return refuse(target, "is no file before it in the archive");
            }
            Kind::File | Kind::Hard(_) => {
                files.insert(entry.name.as_str());
            }
            Kind::Symbolic(target) => match resolve(&entry.name, target) {
                Some(to) if to != entry.name => {}
                _ => return refuse(target, "leads out of the one folder, or to itself"),
            },
        }
        for (at, _) in entry.name.match_indices('/') {
            let parent = entry.name.get(..at).unwrap_or_default();
            if let Some(target) = links.get(parent) {
                let (name, target) = (quote(parent), quote(target));
                let reason = "has entries below it";
                return Err(TarFault::Link { name, target, reason }.into());
            }
        }
    }
    Ok(())
}

/// Where a symbolic link leads, from the top of the archive. `..` may stand at the begin alone: behind
/// another name it would depend on whether that is a link too.
fn resolve(name: &str, target: &str) -> Option<String> {
    let mut folder: Vec<&str> = name.split('/').collect();
    folder.pop();
    let mut rest = target.strip_suffix('/').unwrap_or(target);
    rest = rest.strip_prefix("./").unwrap_or(rest);
    while let Some(after) = rest.strip_prefix("../") {
        folder.pop()?;
        rest = after;
    }
    if rest == ".." {
        folder.pop()?;
        rest = "";
    }
    if !rest.is_empty() && rest != "." {
        names::check(rest).ok()?;
        folder.extend(rest.split('/'));
    }
    // The one folder at the top is the outermost that may be led to.
    let top = name.split('/').next();
    (folder.first().copied() == top).then(|| folder.join("/"))
}
