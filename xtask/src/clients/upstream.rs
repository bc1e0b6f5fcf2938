//! A registry with another one for its upstream: pip and uv install through it what only the other has, with
//! hashes required, and again when the other is gone; a name of its own stays its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Scene, contains, simple_page};
use crate::registry::{HOME, PASSWORD, Registry, Setup, USER};
use crate::{run, tools};

/// What the upstream has.
const PROJECT: &str = "vault-theirs";
const MODULE: &str = "vault_theirs";
/// What both have: the upstream a version that nobody shall get.
const OWN: &str = "vault-own";
const OWN_MODULE: &str = "vault_own";

/// See the head of this file. The upstream is the scene's registry.
pub fn check(scene: &mut Scene) -> Result<()> {
    let upstream = scene.registry.address();
    let (data, log) = (scene.path("near"), scene.path("near.log"));
    let setup = Setup::default()
        .with("STRONGROOM_PYPI_UPSTREAM_ALLOW_HTTP", "true")
        .with("STRONGROOM_PYPI_UPSTREAM_ALLOWED_NETWORKS", "127.0.0.0/8");
    let mut near = Registry::start_with(&scene.program, &data, &log, setup.clone())?;
    let python = Python { programs: tools::python()?, folder: scene.path("projects") };
    python.publish(PROJECT, MODULE, "1.0", &upstream)?;
    python.publish(PROJECT, MODULE, "1.1", &upstream)?;
    python.publish(OWN, OWN_MODULE, "9.0", &upstream)?;
    python.publish(OWN, OWN_MODULE, "1.0", near.address())?;
    // The upstream is private: its credentials are read from standard input.
    let index = format!("http://{upstream}/pypi/{HOME}/simple/");
    let set = ["python", "upstream", "set", HOME, &index, "--username", USER, "--password-stdin"];
    run::fed(&mut Registry::command(&scene.program, &set, &data, &setup), PASSWORD)?;

    let page = Python::page(near.address())?;
    let hashes: Vec<_> =
        page["files"].as_array().context("the page has no files")?.iter().collect();
    ensure!(hashes.len() == 4, "a wheel and an sdist of each version: {page}");
    python.install(near.address(), "first", &page)?;
    scene.registry.kill()?;
    python.install(near.address(), "again", &page)?;
    let page = Python::page(near.address())?;
    ensure!(page["files"].to_string().contains("core-metadata"), "no metadata of what was kept");
    scene.registry.restart()?;

    near.verb(&["gc"])?;
    near.verb(&["fsck"])?;
    near.stop()?;
    near.verb(&["fsck", "--deep"])
}

/// The tools, and projects for them.
struct Python {
    programs: PathBuf,
    folder: PathBuf,
}

impl Python {
    /// A tool with no settings but ours.
    fn tool(&self, program: &str, folder: &Path) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(folder).env("HOME", &self.folder);
        command.env("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring");
        command
    }

    /// Builds a version of a small project, and uploads it.
    fn publish(&self, project: &str, module: &str, version: &str, to: &str) -> Result<()> {
        let folder = self.folder.join(format!("{project}-{version}"));
        std::fs::create_dir_all(&folder)?;
        let settings = format!(
            "[build-system]\nrequires = [\"flit_core\"]\nbuild-backend = \"flit_core.buildapi\"\n\
             [project]\nname = \"{project}\"\nversion = \"{version}\"\nrequires-python = \">=3.8\"\n\
             description = \"A sample\"\nauthors = [{{ name = \"Ann\" }}]\n"
        );
        std::fs::write(folder.join("pyproject.toml"), settings)?;
        let text = format!("VERSION = {version:?}\n");
        std::fs::write(folder.join(format!("{module}.py")), text)?;
        run::output(self.tool("flit", &folder).arg("build"))?;
        let mut twine = self.tool("twine", &folder);
        twine.args(["upload", "--non-interactive", "--disable-progress-bar", "-u", USER]);
        twine.args([
            "-p",
            PASSWORD,
            "--repository-url",
            &format!("http://{to}/pypi/{HOME}/legacy/"),
        ]);
        for name in
            [format!("{module}-{version}-py3-none-any.whl"), format!("{module}-{version}.tar.gz")]
        {
            twine.arg(folder.join("dist").join(name));
        }
        run::output(&mut twine).map(drop)
    }

    /// The page of the upstream's project, as the registry before it shows it.
    fn page(at: &str) -> Result<Value> {
        let page = simple_page(at, PROJECT, "application/vnd.pypi.simple.v1+json")?;
        serde_json::from_str(&page).context("reading a project's page")
    }

    /// pip and uv install the upstream's project, by its hash and the latest, and the registry's own.
    fn install(&self, at: &str, time: &str, page: &Value) -> Result<()> {
        let wheel = format!("{MODULE}-1.0-py3-none-any.whl");
        let files = page["files"].as_array().context("the page has no files")?;
        let file = files.iter().find(|file| file["filename"] == wheel.as_str());
        let file = file.context("the page has no wheel")?;
        let hash = file["hashes"]["sha256"].as_str().context("a file without its hash")?;
        let requirements = self.folder.join("requirements.txt");
        std::fs::write(&requirements, format!("{PROJECT}==1.0 --hash=sha256:{hash}\n"))?;
        let requirements = requirements.to_string_lossy().into_owned();
        let index = format!("http://{USER}:{PASSWORD}@{at}/pypi/{HOME}/simple/");
        for (program, before) in [("pip", &[][..]), ("uv", &["pip"][..])] {
            for (name, what, module, wanted) in [
                ("exact", &["-r", &requirements, "--require-hashes"][..], MODULE, "1.0"),
                ("latest", &[PROJECT], MODULE, "1.1"),
                ("own", &[OWN], OWN_MODULE, "1.0"),
            ] {
                let target = self.folder.join(format!("{program}-{name}-{time}"));
                let mut install = self.tool(program, &self.folder);
                // What it has from the last time must not be what it installs.
                install.args(before).args(["install", "--no-deps", "--no-cache-dir", "--target"]);
                install.arg(&target).args(["--index-url", &index]).args(what);
                run::output(&mut install)?;
                let text = std::fs::read_to_string(target.join(format!("{module}.py")))?;
                contains(&text, wanted)?;
            }
        }
        Ok(())
    }
}
