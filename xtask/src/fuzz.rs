//! The fuzz targets: built without the help of a nightly compiler, run over their corpus and then
//! for some seconds on what libFuzzer makes of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;
use crate::workspace::{self, cargo, root};

/// What a usual run spends on each target beyond its corpus.
const SECONDS: u32 = 5;
const SECONDS_LONG: u32 = 300;
/// A target has one thread, and the least of machines that this runs on two cores.
const AT_ONCE: usize = 2;

/// Coverage instrumentation as `cargo fuzz` asks for it, less the address sanitizer: our own
/// code has no unsafe blocks for it to look at, and it alone would need a nightly compiler.
const INSTRUMENT: &str = "--cfg fuzzing -Cpasses=sancov-module -Cdebug-assertions \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds and runs every target of `fuzz/`.
pub fn check(long: bool) -> Result<()> {
    let folder = root().join("fuzz");
    let built = build(&folder)?;
    let (targets, failed) = (Mutex::new(targets(&folder)?), Mutex::new(Vec::new()));
    let one = |list: &Mutex<Vec<String>>| list.lock().unwrap_or_else(PoisonError::into_inner).pop();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(target) = one(&targets) {
                    if let Err(error) = fuzz(&folder, &built, &target, long) {
                        println!("--- {error:#}");
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(target);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        bail!("failed: {}; the inputs are in fuzz/artifacts", failed.join(", "));
    }
    Ok(())
}

/// Returns the folder of the built targets.
fn build(folder: &Path) -> Result<PathBuf> {
    // With an explicit target, the flags reach the code under test only, not build scripts.
    let host = workspace::host()?;
    let into = workspace::target()?.join("fuzz");
    run::show(
        cargo()
            .args(["build", "--release", "--bins", "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .args(["--target", &host, "--target-dir"])
            .arg(&into)
            .env("RUSTFLAGS", INSTRUMENT),
    )?;
    Ok(into.join(host).join("release"))
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let text = run::output(
        cargo()
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(folder.join("Cargo.toml")),
    )?;
    let metadata: Value = serde_json::from_str(&text).context("reading cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let all = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let bins = all.filter(|target| target["kind"][0] == "bin");
    Ok(bins.filter_map(|target| target["name"].as_str()).map(str::to_owned).collect())
}

fn fuzz(folder: &Path, built: &Path, target: &str, long: bool) -> Result<()> {
    // What is found in this run goes to a folder of its own: the seed corpus is tracked by git.
    let found = workspace::target()?.join("fuzz/found").join(target);
    let artifacts = folder.join("artifacts").join(target);
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(built.join(target));
    command.current_dir(folder).arg(&found);
    let corpus = folder.join("corpus").join(target);
    if corpus.is_dir() {
        command.arg(corpus);
    }
    command
        .arg(format!("-max_total_time={}", if long { SECONDS_LONG } else { SECONDS }))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"]);
    // It tells its whole progress: of interest only where it found something.
    let told = run::output_and_errors(&mut command)?;
    let runs = told.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!("{target}: {} runs", runs.context("the fuzzer does not say what it ran")?.trim());
    Ok(())
}
