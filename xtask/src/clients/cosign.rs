//! cosign: an artifact is signed, attested and given an SBOM with a key pair, in both ways a
//! registry can keep that: under tags made of the digest, and as referrers. The versions 2 and 3
//! differ in what they do by themselves.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::oras::Oras;
use super::{Scene, contains};
use crate::{run, tools};

const OFFLINE: &[&str] = &["--tlog-upload=false", "--yes", "--key", "cosign.key"];
const VERIFY: &[&str] = &["--insecure-ignore-tlog=true", "--key", "cosign.pub"];
const SPDX: &[&str] = &["--type", "spdxjson"];
/// Version 3 would ask a service which services to use.
const NO_SERVICES: &[&str] = &["--use-signing-config=false"];
const SBOM: &[&str] = &["sbom", "--sbom", "sbom.json", "--type", "spdx"];
const REFERRERS: &[&str] = &["--registry-referrers-mode", "oci-1-1"];

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    // Signs in, too: cosign reads what oras keeps.
    let oras = Oras::new(scene)?;
    oras.login(&scene.registry.address())?;
    let folder = scene.folder.path().to_owned();
    let cosign = Cosign { program: tools::COSIGN_2.find()?, folder: folder.clone() };
    std::fs::write(scene.path("sbom.json"), br#"{"spdxVersion":"SPDX-2.3","packages":[]}"#)?;
    cosign.run("generate-key-pair", &[])?;
    by_tags(scene, &oras, &cosign)?;
    by_referrers(scene, &oras, &cosign)?;
    let third = Cosign { program: tools::COSIGN.find()?, folder };
    by_bundles(scene, &oras, &third)
}

fn by_tags(scene: &Scene, oras: &Oras, cosign: &Cosign) -> Result<()> {
    let name = scene.name("signed/by-tags");
    let image = push(oras, &name, "by tags")?;
    ensure!(cosign.verify("verify", &image, &[]).is_err(), "what nobody signed verifies");
    cosign.run("sign", &[OFFLINE, &[&image]].concat())?;
    cosign.verify("verify", &image, &[])?;
    cosign.run("attest", &[OFFLINE, SPDX, &["--predicate", "sbom.json", &image]].concat())?;
    contains(&cosign.verify("verify-attestation", &image, SPDX)?, "payload")?;
    cosign.run("attach", &[SBOM, &[&image]].concat())?;
    let tags = oras.output(&["repo", "tags", &name])?;
    for end in [".sig", ".att", ".sbom"] {
        contains(&tags, end)?;
    }
    contains(&cosign.output("tree", &[&image])?, ".sig")
}

fn by_referrers(scene: &Scene, oras: &Oras, cosign: &Cosign) -> Result<()> {
    let name = scene.name("signed/by-referrers");
    let image = push(oras, &name, "by referrers")?;
    cosign.run("sign", &[OFFLINE, REFERRERS, &[&image]].concat())?;
    cosign.verify("verify", &image, &["--experimental-oci11"])?;
    // Attestations are bundles there.
    let bundle = ["--new-bundle-format", "--predicate", "sbom.json", &image];
    cosign.run("attest", &[OFFLINE, SPDX, &bundle].concat())?;
    // Whom to trust beside the key: nobody.
    let bundle = ["--new-bundle-format", "--trusted-root", "trusted-root.json"];
    cosign.run("trusted-root", &["create", "--out", "trusted-root.json"])?;
    cosign.verify("verify-attestation", &image, &[SPDX, &bundle].concat())?;
    cosign.run("attach", &[SBOM, REFERRERS, &[&image]].concat())?;
    three_referrers(oras, &name, &image)
}

/// What version 3 does when nobody says otherwise.
fn by_bundles(scene: &Scene, oras: &Oras, cosign: &Cosign) -> Result<()> {
    let name = scene.name("signed/by-bundles");
    let image = push(oras, &name, "by bundles")?;
    let trust = ["--trusted-root", "trusted-root.json"];
    ensure!(cosign.verify("verify", &image, &trust).is_err(), "what nobody signed verifies");
    cosign.run("sign", &[OFFLINE, NO_SERVICES, &[&image]].concat())?;
    cosign.verify("verify", &image, &trust)?;
    let predicate = ["--predicate", "sbom.json", &image];
    cosign.run("attest", &[OFFLINE, NO_SERVICES, SPDX, &predicate].concat())?;
    let verified = cosign.verify("verify-attestation", &image, &[SPDX, &trust].concat())?;
    contains(&verified, "payload")?;
    cosign.run("attach", &[SBOM, REFERRERS, &[&image]].concat())?;
    three_referrers(oras, &name, &image)
}

/// Fails unless a signature, an attestation and an SBOM refer to the image, and no tag does.
fn three_referrers(oras: &Oras, name: &str, image: &str) -> Result<()> {
    let found = oras.output(&["discover", "--format", "json", image])?;
    let found: Value = serde_json::from_str(&found).context("reading what oras discovered")?;
    let referrers = found["referrers"].as_array().map_or(0, Vec::len);
    ensure!(referrers == 3, "a signature, an attestation and an SBOM refer to it: {found}");
    contains(&found.to_string(), "application/vnd.dev.cosign.artifact.sbom.v1+json")?;
    let tags = oras.output(&["repo", "tags", name])?;
    ensure!(!tags.contains("sha256-"), "the referrers API was not used: {tags}");
    Ok(())
}

/// Pushes something small and returns its name by digest.
fn push(oras: &Oras, name: &str, title: &str) -> Result<String> {
    let tag = format!("{name}:1.0");
    let title = format!("org.opencontainers.image.title={title}");
    oras.run(&["push", &tag, "--annotation", &title, "sbom.json:application/json"])?;
    Ok(format!("{name}@{}", oras.output(&["resolve", &tag])?.trim()))
}

/// The program with its keys and credentials in the folder of the scene.
struct Cosign {
    program: PathBuf,
    folder: PathBuf,
}

impl Cosign {
    fn verify(&self, verb: &str, image: &str, arguments: &[&str]) -> Result<String> {
        self.output(verb, &[VERIFY, arguments, &[image]].concat())
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> Result<()> {
        run::show(&mut self.command(verb, arguments))
    }

    fn output(&self, verb: &str, arguments: &[&str]) -> Result<String> {
        run::output(&mut self.command(verb, arguments))
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(verb)
            .args(arguments)
            .current_dir(&self.folder)
            .env("DOCKER_CONFIG", &self.folder)
            .env("COSIGN_PASSWORD", "")
            .env("COSIGN_EXPERIMENTAL", "1")
            // Keys alone are trusted: with a root named, none is looked for on the network.
            .env("SIGSTORE_ROOT_FILE", self.folder.join("no-root"))
            .env("TUF_ROOT", self.folder.join("tuf"));
        command
    }
}
