//! helm: a chart is packaged, signed, pushed, pulled back, verified and installed from the registry,
//! as far as that goes without a cluster.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::cluster::Cluster;
use super::{Scene, contains, same_bytes};
use crate::registry::{PASSWORD, USER};
use crate::{run, tools};

const PLAIN: &str = "--plain-http";
const KUBECONFIG: &str = "kubeconfig";

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let helm = Helm { program: tools::HELM.find()?, folder: scene.folder.path().to_owned() };
    let address = scene.registry.address();
    helm.run(&["registry", "login", &address, PLAIN, "--username", USER, "--password", PASSWORD])?;
    helm.run(&["create", "demo"])?;
    helm.run(&["package", "demo", "--version", "1.2.3+build.7"])?;
    let charts = format!("oci://{}", scene.name("charts"));
    let chart = format!("{charts}/demo");
    helm.run(&["push", "demo-1.2.3+build.7.tgz", &charts, PLAIN])?;

    // A `+` may not stand in a tag: helm writes `_`, and reads it back.
    std::fs::create_dir(scene.path("pulled"))?;
    let version = ["--version", "1.2.3+build.7", PLAIN];
    helm.run(&[["pull", &chart, "--destination=pulled"].as_slice(), &version].concat())?;
    let archive = "demo-1.2.3+build.7.tgz";
    same_bytes(&scene.path(archive), &scene.path("pulled").join(archive))?;

    contains(&helm.output(&[["show", "chart", &chart].as_slice(), &version].concat())?, "1.2.3")?;
    // Without a version, the newest is chosen from the list of tags.
    helm.run(&["package", "demo", "--version", "1.10.0"])?;
    helm.run(&["push", "demo-1.10.0.tgz", &charts, PLAIN])?;
    contains(&helm.output(&["show", "chart", &chart, PLAIN])?, "version: 1.10.0")?;

    let template = ["template", "release", &chart];
    let rendered = helm.output(&[template.as_slice(), &version].concat())?;
    contains(&rendered, "kind: Deployment")?;
    install(&helm, &chart, &version)?;
    signed(scene, &helm, &charts)?;
    helm.run(&["registry", "logout", &address])
}

/// `install --dry-run` asks a cluster, also where it leaves it alone: one that has nothing answers.
fn install(helm: &Helm, chart: &str, version: &[&str]) -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.write_config(&helm.folder.join(KUBECONFIG))?;
    let install = ["install", "release", chart, "--disable-openapi-validation"];
    for dry_run in ["--dry-run=client", "--dry-run=server"] {
        let told = helm.output(&[install.as_slice(), &[dry_run], version].concat())?;
        contains(&told, "STATUS: pending-install")?;
        contains(&told, "kind: Deployment")?;
    }
    Ok(())
}

/// A chart with its provenance, which is pushed and pulled along as a layer of its own.
fn signed(scene: &Scene, helm: &Helm, charts: &str) -> Result<()> {
    let program = tools::gpg()?;
    let gpg = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["--homedir", "gpg", "--batch", "--yes"]).args(arguments);
        run::show(command.current_dir(&helm.folder))
    };
    std::fs::DirBuilder::new().mode(0o700).create(scene.path("gpg"))?;
    let key = ["--quick-generate-key", "Demo <demo@example.test>", "rsa3072", "sign", "never"];
    gpg(&[["--passphrase", ""].as_slice(), &key].concat())?;
    // Helm reads keys of the older form only.
    gpg(&["--output", "secret.gpg", "--export-secret-keys"])?;
    gpg(&["--output", "public.gpg", "--export"])?;
    // Its agent would outlive the folder.
    run::show(
        Command::new("gpgconf")
            .args(["--homedir", "gpg", "--kill", "gpg-agent"])
            .current_dir(&helm.folder),
    )?;

    let key = ["--sign", "--key", "Demo", "--keyring", "secret.gpg"];
    helm.run(&[["package", "demo", "--version", "2.0.0"].as_slice(), &key].concat())?;
    helm.run(&["push", "demo-2.0.0.tgz", charts, PLAIN])?;
    std::fs::create_dir(scene.path("verified"))?;
    let chart = format!("{charts}/demo");
    let pull = ["pull", &chart, "--version", "2.0.0", PLAIN, "--destination=verified"];
    helm.run(&[pull.as_slice(), &["--verify", "--keyring", "public.gpg"]].concat())?;
    for name in ["demo-2.0.0.tgz", "demo-2.0.0.tgz.prov"] {
        same_bytes(&scene.path(name), &scene.path("verified").join(name))?;
    }
    // What nobody signed has no provenance, and is never taken for verified.
    let unsigned = ["pull", &chart, "--version", "1.10.0", PLAIN, "--destination=verified"];
    let refused =
        helm.output(&[unsigned.as_slice(), &["--verify", "--keyring", "public.gpg"]].concat());
    ensure!(refused.is_err(), "a chart without a provenance was verified");
    Ok(())
}

/// The program with its own credentials and caches, in the folder of the scene.
struct Helm {
    program: PathBuf,
    folder: PathBuf,
}

impl Helm {
    fn run(&self, arguments: &[&str]) -> Result<()> {
        run::show(&mut self.command(arguments))
    }

    fn output(&self, arguments: &[&str]) -> Result<String> {
        run::output(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder);
        for (name, folder) in [
            ("HELM_CACHE_HOME", "helm-cache"),
            ("HELM_CONFIG_HOME", "helm-config"),
            ("HELM_DATA_HOME", "helm-data"),
        ] {
            command.env(name, self.folder.join(folder));
        }
        // None but ours, whatever the machine has configured.
        command.env("KUBECONFIG", self.folder.join(KUBECONFIG));
        command
    }
}
