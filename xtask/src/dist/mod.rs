//! `cargo xtask dist`: the program as it is shipped, optimised as a whole and by what it does at work.
//!
//! It is built twice. The first one counts what runs while it does what it does all day ([`work`]); the
//! second is laid out by what was counted. Both are of profile `dist`.

mod work;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::workspace::{self, cargo};
use crate::{run, tools};

/// The registry.
const PROGRAM: &str = "strongroom";
/// What is built: the registry, and the server that benches hold it against, by the same rules.
const PACKAGES: [&str; 2] = [PROGRAM, "strongroom-bench-bare"];

/// Between the flags in cargo's variable for them.
const FLAG_END: &str = "\u{1f}";

/// Arguments of `cargo xtask dist`.
#[derive(Args)]
pub struct DistArgs {
    /// Copy the program into this folder, which is made where there is none
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Link the C library into it, for images without one
    #[arg(long = "static")]
    is_static: bool,
}

/// Builds the program and says where it is.
pub fn dist(args: &DistArgs) -> Result<()> {
    let built = build(args.is_static)?.join(PROGRAM);
    let mut place = built.clone();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)?;
        place = folder.join(PROGRAM);
        std::fs::copy(&built, &place)
            .with_context(|| format!("copying {} to {}", built.display(), place.display()))?;
    }
    println!("{}", place.display());
    Ok(())
}

/// Builds all of [`PACKAGES`]; returns the folder of their programs.
pub fn build(is_static: bool) -> Result<PathBuf> {
    // First, so that nobody waits for what would fail.
    let profdata = tools::profdata()?;
    let shipped = workspace::target()?.join("shipped");
    let kind = if is_static { "static" } else { "dynamic" };
    let linked: &[&str] = if is_static { &["-Ctarget-feature=+crt-static"] } else { &[] };

    // Not optimised as a whole: that changes no count, and takes the longest.
    let counting = compile(
        &shipped.join(kind).join("counting"),
        &[linked, &["-Cprofile-generate"]].concat(),
        &["--config", "profile.dist.lto=\"off\""],
    )?;
    let profile = counted(&shipped.join(kind), &counting.join(PROGRAM), &profdata)?;
    let used = format!("-Cprofile-use={}", profile.display());
    compile(&shipped.join(kind).join("optimised"), &[linked, &[used.as_str()]].concat(), &[])
}

/// Compiles with these flags beside those of the environment; returns the folder of the programs.
fn compile(target: &Path, flags: &[&str], options: &[&str]) -> Result<PathBuf> {
    let host = host()?;
    let given = std::env::var("RUSTFLAGS").unwrap_or_default();
    let flags: Vec<_> = given.split_whitespace().chain(flags.iter().copied()).collect();
    let mut command = cargo();
    // With a target that is named, the flags are not for what runs while building.
    command.args(["build", "--locked", "--profile", "dist", "--target", &host]).args(options);
    command.arg("--target-dir").arg(target);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join(FLAG_END));
    run::show(&mut command)?;
    Ok(target.join(host).join("dist"))
}

/// What `counting` counted at its work: counted anew only where it is another program, since what is
/// built by it would be built anew, too.
fn counted(folder: &Path, counting: &Path, profdata: &Path) -> Result<PathBuf> {
    let program = const_hex::encode(Sha256::digest(std::fs::read(counting)?));
    // Another name, so that cargo sees that it is another profile.
    let profile = folder.join(format!("{}.profdata", &program[..16]));
    if profile.exists() {
        return Ok(profile);
    }
    let raw = tempfile::tempdir_in(folder)?;
    work::all(counting, raw.path())?;
    let written = folder.join("new.profdata");
    let mut merge = std::process::Command::new(profdata);
    merge.args(["merge", "--output"]).arg(&written).arg(raw.path().join(work::COUNTS));
    run::show(&mut merge)?;
    std::fs::rename(&written, &profile)?;
    Ok(profile)
}

/// This machine, as rustc calls it.
fn host() -> Result<String> {
    let about = run::output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say which machine this is")?.to_owned())
}
