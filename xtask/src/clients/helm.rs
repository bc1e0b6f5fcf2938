//! helm: a chart is packaged, pushed, pulled back and rendered from the registry.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::{Scene, contains, same_bytes};
use crate::registry::{PASSWORD, USER};
use crate::{run, tools};

const PLAIN: &str = "--plain-http";

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

    // `install --dry-run` less its question to a cluster, and the same pull and rendering.
    let template = ["template", "release", &chart];
    let rendered = helm.output(&[template.as_slice(), &version].concat())?;
    contains(&rendered, "kind: Deployment")?;
    helm.run(&["registry", "logout", &address])
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
        // No cluster, whatever the machine has configured.
        command.env("KUBECONFIG", self.folder.join("no-cluster"));
        command
    }
}
