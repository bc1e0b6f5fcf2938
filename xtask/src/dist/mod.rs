//! `cargo xtask dist`: the program as it is shipped, optimised as a whole and by what it does at work.
//!
//! It is built twice. The first one counts what runs while it does what it does all day ([`work`]); the
//! second is laid out by what was counted. Both are of profile `dist`.

pub mod work;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::workspace::{self, cargo};
use crate::{run, tools};

/// The registry.
const PROGRAM: &str = "strongroom";
/// The server that benches hold it against, built by the same rules.
const BARE: &str = "strongroom-bench-bare";

/// How often what is done often is done: all of it is a minute's work for a program that counts.
const TIMES: usize = 5_000;

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

/// Builds [`PROGRAM`] and [`BARE`]; returns the folder of them.
pub fn build(is_static: bool) -> Result<PathBuf> {
    // First, so that nobody waits for what would fail.
    let profdata = tools::profdata()?;
    let kind = if is_static { "static" } else { "dynamic" };
    let folder = workspace::target()?.join("shipped").join(kind);
    let linked: &[&str] = if is_static { &["-Ctarget-feature=+crt-static"] } else { &[] };

    let counting = Compiler::new(folder.join("counting"), &[linked, &["-Cprofile-generate"]])?;
    // Counts are kept by the names of functions, which tell by what profile they were compiled: so it is the same
    // one. That this program is optimised as a whole less thoroughly, and so sooner, changes no count.
    counting.compile(PROGRAM, &["-Clto=thin"])?;
    let profile = counted(&folder, &counting.programs().join(PROGRAM), &profdata)?;
    let used = format!("-Cprofile-use={}", profile.display());
    let optimised = Compiler::new(folder.join("optimised"), &[linked, &[&used]])?;
    optimised.compile(PROGRAM, &[])?;
    optimised.compile(BARE, &[])?;
    Ok(optimised.programs())
}

/// Compiles with flags beside those of the environment.
struct Compiler {
    target: PathBuf,
    host: String,
    flags: String,
}

impl Compiler {
    fn new(target: PathBuf, flags: &[&[&str]]) -> Result<Self> {
        let given = std::env::var("RUSTFLAGS").unwrap_or_default();
        let flags = given.split_whitespace().chain(flags.iter().copied().flatten().copied());
        let flags = flags.collect::<Vec<_>>().join(FLAG_END);
        Ok(Self { target, host: host()?, flags })
    }

    /// A package's program, compiled with `last` flags beyond what its dependencies are.
    fn compile(&self, package: &str, last: &[&str]) -> Result<()> {
        let mut command = cargo();
        command.args(["rustc", "--locked", "--profile", "dist", "--package", package]);
        command.args(["--bin", package]);
        // Where the target is named, the flags are not for what runs while building.
        command.args(["--target", &self.host, "--target-dir"]).arg(&self.target);
        command.env("CARGO_ENCODED_RUSTFLAGS", &self.flags);
        run::show(command.arg("--").args(last))
    }

    /// The folder of the programs.
    fn programs(&self) -> PathBuf {
        self.target.join(&self.host).join("dist")
    }
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
    work::all(counting, raw.path(), TIMES)?;
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
