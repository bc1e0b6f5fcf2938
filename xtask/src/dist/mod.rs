//! `cargo xtask dist`: the program as it is shipped, optimised as a whole and by what it does at work.
//!
//! It is built twice. The first one counts what runs while it does what it does all day ([`work`]); the
//! second is laid out by what was counted. Both are of profile `dist`.

pub mod work;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::workspace::{self, cargo};
use crate::{run, tools};

/// The registry.
const PROGRAM: &str = "strongroom";
/// The server that benches hold it against, built by the same rules.
const BARE: &str = "strongroom-bench-bare";

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
    let built = Builder::new(args.is_static)?.program(PROGRAM, work::registry)?;
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

/// Builds the registry, and the server that benches hold it against, by the same rules; returns the folder of
/// both.
pub fn programs() -> Result<PathBuf> {
    let builder = Builder::new(false)?;
    let folder = builder.folder.join("programs");
    std::fs::create_dir_all(&folder)?;
    let works: [(&str, Work); 2] = [(PROGRAM, work::registry), (BARE, work::bare)];
    for (package, work) in works {
        let place = folder.join(package);
        let _none_yet = std::fs::remove_file(&place);
        // The same file: how a copy is written changes how much of it the kernel keeps mapped.
        std::fs::hard_link(builder.program(package, work)?, place)?;
    }
    Ok(folder)
}

/// Has a program do its work; what it counts is in [`work::COUNTS`] of the folder then.
type Work = fn(&Path, &Path) -> Result<()>;

/// Builds programs as they are shipped.
struct Builder {
    /// Where all of it lies.
    folder: PathBuf,
    host: String,
    /// Flags of all that is compiled.
    flags: Vec<String>,
    profdata: PathBuf,
}

impl Builder {
    fn new(is_static: bool) -> Result<Self> {
        let kind = if is_static { "static" } else { "dynamic" };
        let given = std::env::var("RUSTFLAGS").unwrap_or_default();
        let linked = is_static.then_some("-Ctarget-feature=+crt-static");
        Ok(Self {
            folder: workspace::target()?.join("shipped").join(kind),
            host: workspace::host()?,
            flags: given.split_whitespace().chain(linked).map(str::to_owned).collect(),
            // First of all, so that nobody waits for what would fail.
            profdata: tools::profdata()?,
        })
    }

    /// Builds a package's program, and returns where it is.
    fn program(&self, package: &str, work: Work) -> Result<PathBuf> {
        // Counts are kept by the names of functions, which tell by what profile they were compiled: so it is the
        // same one. That this program is optimised as a whole less thoroughly, and so sooner, changes no count.
        let counting = self.compile(package, "counting", "-Cprofile-generate", &["-Clto=thin"])?;
        let profile = self.counted(&counting, work)?;
        self.compile(package, "optimised", &format!("-Cprofile-use={}", profile.display()), &[])
    }

    /// Compiles with a flag more, and `last` ones for what is not a dependency.
    fn compile(&self, package: &str, stage: &str, flag: &str, last: &[&str]) -> Result<PathBuf> {
        let target = self.folder.join(package).join(stage);
        let mut flags = self.flags.clone();
        flags.push(flag.to_owned());
        let mut command = cargo();
        command.args(["rustc", "--locked", "--profile", "dist", "--package", package]);
        command.args(["--bin", package]);
        // Where the target is named, the flags are not for what runs while building.
        command.args(["--target", &self.host, "--target-dir"]).arg(&target);
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join(FLAG_END));
        run::show(command.arg("--").args(last))?;
        Ok(target.join(&self.host).join("dist").join(package))
    }

    /// What `program` counted at its work: counted anew only where it is another program, since what is
    /// built by it would be built anew, too.
    fn counted(&self, program: &Path, work: Work) -> Result<PathBuf> {
        let digest = const_hex::encode(Sha256::digest(std::fs::read(program)?));
        // Another name, so that cargo sees that it is another profile.
        let profile = self.folder.join(format!("{}.profdata", &digest[..16]));
        if profile.exists() {
            return Ok(profile);
        }
        let raw = tempfile::tempdir_in(&self.folder)?;
        work(program, raw.path())?;
        let written = raw.path().join("all.profdata");
        let mut merge = Command::new(&self.profdata);
        merge.args(["merge", "--output"]).arg(&written).arg(raw.path().join(work::COUNTS));
        run::show(&mut merge)?;
        std::fs::rename(&written, &profile)?;
        Ok(profile)
    }
}
