//! Runs the benches of a group and prints its figures: `bench [GROUP…]`.

use anyhow::{Result, bail};
use strongroom_benches::{Report, auth, engine, http, pypi, s3};

/// A group's name and how it is run.
type Group = (&'static str, fn(&mut Report) -> Result<()>);

/// All groups, in the order of a run without arguments.
const GROUPS: &[Group] = &[
    ("engine", engine::run),
    ("auth", auth::run),
    ("http", http::run),
    ("pypi", pypi::run),
    ("s3", s3::run),
];

fn main() -> Result<()> {
    let asked: Vec<_> = std::env::args().skip(1).collect();
    for name in &asked {
        if !GROUPS.iter().any(|(group, _)| group == name) {
            let known: Vec<_> = GROUPS.iter().map(|(group, _)| *group).collect();
            bail!("there is no group {name}; there are: {}", known.join(", "));
        }
    }
    for (group, run) in GROUPS {
        if asked.is_empty() || asked.iter().any(|name| name == group) {
            run(&mut Report::new(group)?)?;
        }
    }
    Ok(())
}
