//! Runs the benches and prints their figures: `bench [GROUP|GROUP.PART…]`.

use anyhow::{Result, bail};
use strongroom_benches::{Part, Report, auth, engine, http, pypi, s3};

/// All groups, in the order of a run without arguments.
const GROUPS: &[(&str, &[Part])] = &[
    ("engine", engine::PARTS),
    ("auth", auth::PARTS),
    ("http", http::PARTS),
    ("pypi", pypi::PARTS),
    ("s3", s3::PARTS),
];

fn main() -> Result<()> {
    let mut asked: Vec<_> = std::env::args().skip(1).collect();
    if asked.is_empty() {
        asked.extend(GROUPS.iter().map(|(group, _)| (*group).to_owned()));
    }
    let chosen: Vec<_> = asked.iter().map(|name| parts_of(name)).collect::<Result<_>>()?;
    for (name, parts) in asked.iter().zip(chosen) {
        let mut report = Report::new(name)?;
        parts.iter().try_for_each(|(_, measure)| measure(&mut report))?;
    }
    Ok(())
}

/// What is measured by the name of a group, or of a part of one.
fn parts_of(name: &str) -> Result<Vec<Part>> {
    let (group, part) =
        name.split_once('.').map_or((name, None), |(group, part)| (group, Some(part)));
    let Some((_, parts)) = GROUPS.iter().find(|(known, _)| *known == group) else {
        let known: Vec<_> = GROUPS.iter().map(|(group, _)| *group).collect();
        bail!("there is no group {group}; there are: {}", known.join(", "));
    };
    let wanted = |(known, _): &&Part| part.is_none_or(|part| part == *known);
    let chosen: Vec<_> = parts.iter().filter(wanted).copied().collect();
    if chosen.is_empty() {
        let known: Vec<_> = parts.iter().map(|(part, _)| format!("{group}.{part}")).collect();
        bail!("there is no {name}; of the group {group} there are: {}", known.join(", "));
    }
    Ok(chosen)
}
