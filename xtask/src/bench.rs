//! `cargo xtask bench`: builds the benches optimised and runs those of a group.

use anyhow::Result;
use clap::Args;

use crate::workspace::{self, cargo};
use crate::{run, tools};

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// The group to run; all groups without it
    group: Option<String>,
}

/// Runs the benches; their figures are written to `target/bench/GROUP.jsonl` by the benches.
pub fn bench(args: &BenchArgs) -> Result<()> {
    std::fs::create_dir_all(workspace::target()?.join("bench"))?;
    let runs = |group: &str| args.group.as_deref().is_none_or(|asked| asked == group);
    if runs("http") {
        // The group starts it, from the folder that it is itself started from.
        run::show(cargo().args(["build", "--release", "-p", "strongroom"]))?;
    }
    let mut command = cargo();
    command.args(["run", "--release", "-p", "strongroom-benches", "--bin", "bench", "--"]);
    command.args(&args.group);
    if runs("s3") {
        command.env("STRONGROOM_VERSITYGW", tools::VERSITYGW.find()?);
        command.env("STRONGROOM_MINIO", tools::MINIO.find()?);
    }
    run::show(&mut command)
}
