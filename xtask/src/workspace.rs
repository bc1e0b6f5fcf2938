//! Where this repository and its build results are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;

/// The top of the repository: of the checkout `cargo xtask` was called in, not of the one it was
/// compiled in, which may differ where checkouts share a build folder.
pub fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// The build folder, wherever `CARGO_TARGET_DIR` or a configuration put it.
pub fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target")?;
    Ok(PathBuf::from(folder))
}

/// This machine, as rustc calls it.
pub fn host() -> Result<String> {
    let about = run::output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// The names of the workspace's integration tests.
pub fn integration_tests() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let mut tests = Vec::new();
    for package in packages {
        let targets = package["targets"].as_array().into_iter().flatten();
        for target in targets.filter(|target| target["kind"][0] == "test") {
            tests.push(target["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(tests)
}

/// The files git tracks, relative to the top.
pub fn tracked_files() -> Result<Vec<PathBuf>> {
    let listing = run::output(Command::new("git").args(["ls-files", "-z"]).current_dir(root()))?;
    Ok(listing.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

/// A cargo command at the top of the repository, with the cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn metadata() -> Result<Value> {
    let text = run::output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_str(&text).context("reading cargo metadata")
}
