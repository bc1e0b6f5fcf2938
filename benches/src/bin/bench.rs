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
    let asked: Vec<_> = std::env::args().skip(1).collect();
    if asked.is_empty() {
        return GROUPS.iter().try_for_each(|(group, _)| run(group));
    }
    asked.iter().try_for_each(|name| run(name))
}

/// Measures the group, or the part of a group, of that name.
fn run(name: &str) -> Result<()> {
    let (group, part) =
        name.split_once('.').map_or((name, None), |(group, part)| (group, Some(part)));
    let Some((_, parts)) = GROUPS.iter().find(|(known, _)| *known == group) else {
        let known: Vec<_> = GROUPS.iter().map(|(group, _)| *group).collect();
        bail!("there is no group {group}; there are: {}", known.join(", "));
    };
    let chosen: Vec<_> =
        parts.iter().filter(|(known, _)| part.is_none_or(|part| part == *known)).collect();
    if chosen.is_empty() {
        let known: Vec<_> = parts.iter().map(|(part, _)| format!("{group}.{part}")).collect();
        bail!("there is no {name}; of the group {group} there are: {}", known.join(", "));
    }
    let mut report = Report::new(name)?;
    chosen.iter().try_for_each(|(_, measure)| measure(&mut report))
}
