//! oras: a large file pushed whole and pulled back, tags, referrers, copies, a listing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Scene, contains, same_bytes};
use crate::registry::{PASSWORD, USER};
use crate::{run, tools};

const SIZE: u64 = 120 << 20;
const SBOM_TYPE: &str = "application/vnd.example.sbom.v1";

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let oras = Oras::new(scene)?;
    oras.login(&scene.registry.address())?;
    let file = scene.real_file("large.bin", SIZE)?;
    let name = scene.name("tools/large");
    let first = format!("{name}:1.0");

    oras.run(&["push", &first, "large.bin:application/octet-stream"])?;
    oras.run(&["tag", &first, "latest", "stable"])?;
    let tags = oras.output(&["repo", "tags", &name])?;
    for tag in ["1.0", "latest", "stable"] {
        contains(&tags, tag)?;
    }

    let pulled = scene.path("pulled");
    oras.run(&["pull", &format!("{name}:stable"), "-o", &pulled.to_string_lossy()])?;
    same_bytes(&file, &pulled.join("large.bin"))?;

    referrers(scene, &oras, &first)?;
    copies(scene, &oras, &first)?;
    no_longer_there(&oras, &name)
}

/// An SBOM attached to the file is found from it, with its own bytes.
fn referrers(scene: &Scene, oras: &Oras, subject: &str) -> Result<()> {
    std::fs::write(scene.path("sbom.json"), br#"{"packages":[]}"#)?;
    oras.run(&["attach", "--artifact-type", SBOM_TYPE, subject, "sbom.json:application/json"])?;
    let found = oras.output(&["discover", "--format", "json", subject])?;
    let found: Value = serde_json::from_str(&found).context("reading what oras discovered")?;
    let referrers = found["referrers"].as_array().context("oras discovered no referrers")?;
    anyhow::ensure!(referrers.len() == 1, "one referrer was attached, found: {found}");
    anyhow::ensure!(referrers[0]["artifactType"] == SBOM_TYPE, "its type is lost: {found}");
    let other = oras.output(&[
        "discover",
        "--format",
        "json",
        "--artifact-type",
        "application/vnd.example.other",
        subject,
    ])?;
    anyhow::ensure!(!other.contains(SBOM_TYPE), "the filter lets others through: {other}");
    let reference = referrers[0]["reference"].as_str().context("a referrer without reference")?;
    let pulled = scene.path("pulled-sbom");
    oras.run(&["pull", reference, "-o", &pulled.to_string_lossy()])?;
    same_bytes(&scene.path("sbom.json"), &pulled.join("sbom.json"))
}

/// Another repository gets file and referrers; their bytes are mounted, not sent.
fn copies(scene: &Scene, oras: &Oras, from: &str) -> Result<()> {
    let to = format!("{}:copy", scene.name("elsewhere/large"));
    oras.run(&["cp", "--recursive", "--from-plain-http", "--to-plain-http", from, &to])?;
    let digest = |name: &str| oras.output(&["resolve", name]);
    anyhow::ensure!(digest(from)? == digest(&to)?, "the copy is another manifest");
    contains(&oras.output(&["discover", "--format", "json", &to])?, SBOM_TYPE)
}

/// What was deleted is gone by its tag and by its digest; its neighbours stay.
fn no_longer_there(oras: &Oras, name: &str) -> Result<()> {
    let doomed = format!("{name}:doomed");
    oras.run(&["push", &doomed, "sbom.json:application/json"])?;
    oras.run(&["manifest", "delete", "--force", &doomed])?;
    anyhow::ensure!(oras.output(&["resolve", &doomed]).is_err(), "a deleted manifest resolves");
    oras.run(&["resolve", &format!("{name}:1.0")])
}

/// The program with its own credentials, in the folder of the scene.
pub struct Oras {
    program: PathBuf,
    folder: PathBuf,
}

impl Oras {
    /// Installs it where it is not yet.
    pub fn new(scene: &Scene) -> Result<Self> {
        Ok(Self { program: tools::ORAS.find()?, folder: scene.folder.path().to_owned() })
    }

    /// Signs in; what it keeps is also what docker and cosign read.
    pub fn login(&self, address: &str) -> Result<()> {
        self.run(&["login", address, "--username", USER, "--password", PASSWORD])
    }

    /// Runs it; its output is shown.
    pub fn run(&self, arguments: &[&str]) -> Result<()> {
        run::show(&mut self.command(arguments))
    }

    /// Runs it and returns its output.
    pub fn output(&self, arguments: &[&str]) -> Result<String> {
        run::output(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).env("DOCKER_CONFIG", &self.folder);
        if arguments.first() != Some(&"cp") {
            command.arg("--plain-http");
        }
        command
    }
}
