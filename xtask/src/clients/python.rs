//! The tools of Python: a project is published by each of those that publish, and installed by each of
//! those that install, with hashes required, over both forms of the pages; what they put there is an
//! OCI artifact, too, and what is pushed as one can be installed.

mod install;
mod lock;
mod manage;
mod oci;
mod publish;
mod tap;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Scene, contains, simple_page};
use crate::http::Client;
use crate::registry::{HOME, PASSWORD, USER};
use crate::site::Ground;
use crate::{run, tools};

/// The project that is published by each tool.
const PROJECT: &str = "vault-sample";
/// A real project that it depends on, and which is there as an sdist.
const DEPENDENCY: &str = "itsdangerous";

/// What the tools' own settings in the environment begin with: the machine's must not decide here.
const SETTINGS: &[&str] = &["PIP_", "UV_", "TWINE_", "FLIT_", "POETRY_", "HATCH_", "PDM_"];

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let python = Python::new(scene)?;
    python.publish_all()?;
    python.install_all()?;
    python.lock_over("json", false)?;
    // The same wherever a registry keeps what it has.
    if scene.ground == Ground::Folder {
        python.publish_many()?;
        python.lock_over("html", true)?;
    }
    python.refused()?;
    python.manage(scene)?;
    python.as_oci(scene)
}

/// The tools, and a project for them.
struct Python {
    programs: PathBuf,
    /// Where pdm is.
    pdm: PathBuf,
    /// Distribution files that others made.
    packages: PathBuf,
    folder: PathBuf,
    host: String,
}

impl Python {
    fn new(scene: &Scene) -> Result<Self> {
        let folder = scene.path("project");
        std::fs::create_dir_all(&folder)?;
        let (programs, pdm) = (tools::python()?, tools::pdm()?);
        let packages = tools::python_packages()?;
        Ok(Self { programs, pdm, packages, folder, host: scene.registry.address() })
    }

    /// A plain HTTP client, signed in.
    fn client(&self) -> Client {
        Client::new(&self.host, USER, PASSWORD)
    }

    fn base(&self) -> String {
        format!("http://{}/pypi/{HOME}", self.host)
    }

    fn legacy(&self) -> String {
        format!("{}/legacy/", self.base())
    }

    /// The index for installers, at `host`, with credentials in its address.
    fn index_at(host: &str) -> String {
        format!("http://{USER}:{PASSWORD}@{host}/pypi/{HOME}/simple/")
    }

    fn index(&self) -> String {
        Self::index_at(&self.host)
    }

    fn dist(&self, version: &str) -> PathBuf {
        self.folder.join(version).join("dist")
    }

    fn wheel(version: &str) -> String {
        format!("vault_sample-{version}-py3-none-any.whl")
    }

    /// A tool in a folder below the scene's, with no settings but ours.
    fn tool(&self, program: &str, folder: &str) -> Command {
        let programs = if program == "pdm" { &self.pdm } else { &self.programs };
        let mut command = Command::new(programs.join(program));
        for (name, _) in std::env::vars_os() {
            if SETTINGS.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder.join(folder)).env("HOME", &self.folder);
        command.env("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring");
        // Else what they say is broken into short lines.
        command.env("COLUMNS", "500").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        command.env("UV_PYTHON", self.programs.join("python")).env("UV_PYTHON_DOWNLOADS", "never");
        command
    }

    /// A wheel and an sdist of a small project.
    fn build(&self, version: &str) -> Result<()> {
        let folder = self.folder.join(version);
        std::fs::create_dir_all(&folder)?;
        let project = format!(
            "[build-system]\nrequires = [\"flit_core\"]\nbuild-backend = \"flit_core.buildapi\"\n\
             [project]\nname = \"{PROJECT}\"\nversion = \"{version}\"\nrequires-python = \">=3.8\"\n\
             dependencies = [\"{DEPENDENCY} >= 2\"]\n\
             description = \"A sample\"\nauthors = [{{ name = \"Ann\" }}]\n"
        );
        std::fs::write(folder.join("pyproject.toml"), project)?;
        std::fs::write(folder.join("vault_sample.py"), format!("VERSION = {version:?}\n"))?;
        run::output(
            self.tool("flit", version).arg("build").env("SOURCE_DATE_EPOCH", "1700000000"),
        )?;
        Ok(())
    }

    fn files(&self, version: &str) -> Result<Vec<PathBuf>> {
        files_of(&self.dist(version))
    }

    /// A project's page in one form.
    fn page(&self, project: &str, accept: &str) -> Result<String> {
        simple_page(&self.host, project, accept)
    }

    /// The files of a project's page.
    fn page_files(&self, project: &str) -> Result<Vec<Value>> {
        let page = self.page(project, "application/vnd.pypi.simple.v1+json")?;
        let page: Value = serde_json::from_str(&page).context("reading the project's page")?;
        Ok(page["files"].as_array().context("the page has no files")?.clone())
    }
}

/// The files in a folder that are distributions, sorted.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(".whl") || name.ends_with(".tar.gz") {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "no distribution is in {}", folder.display());
    Ok(files)
}

/// The hex digits of a file's sha256.
fn sha256_of(path: &Path) -> Result<String> {
    Ok(const_hex::encode(Sha256::digest(std::fs::read(path)?)))
}

/// Fails unless a command fails with `wanted` in what it says.
fn fails(command: &mut Command, wanted: &str) -> Result<()> {
    match run::output(command) {
        Ok(output) => anyhow::bail!("it did not fail, where `{wanted}` was awaited:\n{output}"),
        Err(error) => contains(&format!("{error:#}"), wanted),
    }
}
