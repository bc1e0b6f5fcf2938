//! `cargo xtask bench`: builds the benches optimised and what they start as it is shipped, and runs those
//! of a group.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::workspace::{self, cargo};
use crate::{dist, run, servers, tools};

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// The group to run, or a part of one (GROUP.PART, as in http.push); all groups without it
    group: Option<String>,
    /// Measure the programs in this folder, however they were built, instead of building them as they are shipped
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Runs the benches; their figures are written to `target/bench/GROUP.jsonl` (or `GROUP.PART.jsonl`) by the benches.
pub fn bench(args: &BenchArgs) -> Result<()> {
    std::fs::create_dir_all(workspace::target()?.join("bench"))?;
    let asked =
        args.group.as_deref().map(|asked| asked.split_once('.').map_or(asked, |(group, _)| group));
    let runs = |group: &str| asked.is_none_or(|asked| asked == group);
    let mut command = cargo();
    // First of all: what is built takes longer than anybody waits to be told what is missing.
    if runs("http") || runs("pypi") {
        tools::wrk()?;
    }
    if runs("http") {
        tools::nginx()?;
    }
    if runs("http") || runs("pypi") || runs("s3") {
        let programs = match &args.programs {
            Some(folder) => folder
                .canonicalize()
                .with_context(|| format!("there is no folder {}", folder.display()))?,
            None => dist::programs()?,
        };
        command.env("STRONGROOM_BENCH_PROGRAMS", programs);
    }
    command.args(["run", "--release", "-p", "strongroom-benches", "--bin", "bench", "--"]);
    command.args(&args.group);
    // Those that are there; the group says which are not.
    let peers = [
        ("STRONGROOM_DISTRIBUTION", tools::DISTRIBUTION.found()?),
        ("STRONGROOM_ZOT", tools::zot()),
    ];
    for (variable, program) in peers {
        command.envs(program.map(|program| (variable, program)));
    }
    if runs("s3") {
        command.env("STRONGROOM_VERSITYGW", tools::VERSITYGW.find()?);
        command.env("STRONGROOM_MINIO", tools::MINIO.find()?);
        command.env("STRONGROOM_DISTRIBUTION", tools::DISTRIBUTION.find()?);
    }
    let database = if runs("s3") { Some(servers::database()?) } else { None };
    command.envs(database.as_ref().map(|database| ("STRONGROOM_BENCH_POSTGRES", database.url())));
    if runs("pypi") {
        command.env("STRONGROOM_PYTHON_PEERS", tools::python_peers()?);
    }
    run::show(&mut command)
}
