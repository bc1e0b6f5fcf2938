//! The tools of Python: a project is published by each of those that publish, and installed by each of
//! those that install, with hashes required; what they put there is an OCI artifact, too.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::oras::Oras;
use super::{Scene, contains, same_bytes};
use crate::registry::{HOME, PASSWORD, USER};
use crate::{run, tools};

const PROJECT: &str = "vault-sample";

/// Builds a version and publishes it with one of the tools.
type Publish = fn(&Python, &str) -> Result<()>;

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let python = Python::new(scene)?;
    let publishers: [(&str, Publish); 5] = [
        ("1.0", Python::twine),
        ("1.1", Python::uv),
        ("1.2", Python::flit),
        ("1.3", Python::poetry),
        ("1.4", Python::hatch),
    ];
    for (version, publish) in publishers {
        python.build(version)?;
        publish(&python, version)?;
    }
    // The same again: twine passes over what is there, and uv sees that it is the same.
    python.build("1.0")?;
    python.twine("1.0")?;
    let page = python.page("application/vnd.pypi.simple.v1+json")?;
    let page: Value = serde_json::from_str(&page).context("reading the project's page")?;
    let files = page["files"].as_array().context("the page has no files")?;
    ensure!(files.len() == 2 * publishers.len(), "a wheel and an sdist of each version: {page}");
    for (version, _) in publishers {
        contains(&python.page("text/html")?, &format!("vault_sample-{version}.tar.gz"))?;
    }
    python.install(files)?;
    python.refused()?;
    as_oci(scene, &python)
}

/// What was uploaded is pulled as an artifact; what is untagged there is gone here.
fn as_oci(scene: &Scene, python: &Python) -> Result<()> {
    let oras = Oras::new(scene)?;
    oras.login(&scene.registry.address())?;
    let name = scene.name(PROJECT);
    let manifest = oras.output(&["manifest", "fetch", &format!("{name}:1.0")])?;
    let manifest: Value = serde_json::from_str(&manifest)?;
    let digest = manifest["manifests"][0]["digest"].as_str().context("an index without entries")?;
    let pulled = scene.path("pulled-python");
    oras.run(&["pull", &format!("{name}@{digest}"), "-o", &pulled.to_string_lossy()])?;
    let wheel = "vault_sample-1.0-py3-none-any.whl";
    same_bytes(&python.dist("1.0").join(wheel), &pulled.join(wheel))?;
    oras.run(&["manifest", "delete", "--force", &format!("{name}:1.4")])?;
    ensure!(!python.page("text/html")?.contains("1.4"), "what was deleted by OCI is still shown");
    Ok(())
}

/// The tools, and a project for them.
struct Python {
    programs: PathBuf,
    folder: PathBuf,
    host: String,
}

impl Python {
    fn new(scene: &Scene) -> Result<Self> {
        let folder = scene.path("project");
        std::fs::create_dir_all(&folder)?;
        Ok(Self { programs: tools::python()?, folder, host: scene.registry.address() })
    }

    fn base(&self) -> String {
        format!("http://{}/pypi/{HOME}", self.host)
    }

    fn index(&self) -> String {
        format!("http://{USER}:{PASSWORD}@{}/pypi/{HOME}/simple/", self.host)
    }

    fn dist(&self, version: &str) -> PathBuf {
        self.folder.join(version).join("dist")
    }

    /// A tool in the folder of a version, with no settings but ours.
    fn tool(&self, program: &str, version: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.join(version)).env("HOME", &self.folder);
        command.env("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring");
        command
    }

    /// A wheel and an sdist of a small project.
    fn build(&self, version: &str) -> Result<()> {
        let folder = self.folder.join(version);
        std::fs::create_dir_all(&folder)?;
        let project = format!(
            "[build-system]\nrequires = [\"flit_core\"]\nbuild-backend = \"flit_core.buildapi\"\n\
             [project]\nname = \"{PROJECT}\"\nversion = \"{version}\"\nrequires-python = \">=3.8\"\n\
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
        let entries = std::fs::read_dir(self.dist(version))?;
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in entries {
            files.push(entry?.path());
        }
        files.sort();
        Ok(files)
    }

    fn twine(&self, version: &str) -> Result<()> {
        let mut twine = self.tool("twine", version);
        twine.args(["upload", "--non-interactive", "--disable-progress-bar", "-u", USER]);
        twine.args(["-p", PASSWORD, "--repository-url", &format!("{}/legacy/", self.base())]);
        run::output(twine.args(self.files(version)?)).map(drop)
    }

    fn uv(&self, version: &str) -> Result<()> {
        for _again in 0..2 {
            let mut uv = self.tool("uv", version);
            uv.args(["publish", "--username", USER, "--password", PASSWORD, "--publish-url"]);
            uv.args([&format!("{}/legacy/", self.base()), "--check-url", &self.index()]);
            run::output(uv.args(self.files(version)?))?;
        }
        Ok(())
    }

    fn flit(&self, version: &str) -> Result<()> {
        let mut flit = self.tool("flit", version);
        flit.env("FLIT_INDEX_URL", format!("{}/legacy/", self.base()));
        flit.env("FLIT_USERNAME", USER).env("FLIT_PASSWORD", PASSWORD);
        run::output(flit.arg("publish")).map(drop)
    }

    fn poetry(&self, version: &str) -> Result<()> {
        let mut poetry = self.tool("poetry", version);
        poetry.env("POETRY_REPOSITORIES_HERE_URL", format!("{}/legacy/", self.base()));
        poetry.env("POETRY_HTTP_BASIC_HERE_USERNAME", USER);
        poetry.env("POETRY_HTTP_BASIC_HERE_PASSWORD", PASSWORD);
        run::output(poetry.args(["publish", "--no-interaction", "-r", "here"])).map(drop)
    }

    fn hatch(&self, version: &str) -> Result<()> {
        let mut hatch = self.tool("hatch", version);
        hatch.args(["publish", "--no-prompt", "-u", USER, "-a", PASSWORD, "-r"]);
        run::output(hatch.arg(format!("{}/legacy/", self.base()))).map(drop)
    }

    /// The project's page in one form.
    fn page(&self, accept: &str) -> Result<String> {
        let url = format!("{}/simple/{PROJECT}/", self.base());
        let (user, accept) = (format!("{USER}:{PASSWORD}"), format!("Accept: {accept}"));
        run::output(Command::new("curl").args(["-sf", "-u", &user, "-H", &accept, &url]))
    }

    /// pip and uv install a version with its hash required, and find the latest by themselves.
    fn install(&self, files: &[Value]) -> Result<()> {
        let wheel = "vault_sample-1.1-py3-none-any.whl";
        let wheel = files.iter().find(|file| file["filename"] == wheel).context("no wheel")?;
        let hash = wheel["hashes"]["sha256"].as_str().context("a file without its hash")?;
        let bytes = std::fs::read(self.dist("1.1").join("vault_sample-1.1-py3-none-any.whl"))?;
        ensure!(hash == const_hex::encode(Sha256::digest(bytes)), "the page's hash is another");
        let requirements = self.folder.join("requirements.txt");
        std::fs::write(&requirements, format!("{PROJECT}==1.1 --hash=sha256:{hash}\n"))?;
        for (program, before) in [("pip", &[][..]), ("uv", &["pip"][..])] {
            for (name, what) in [("exact", "-r"), ("latest", "")] {
                let target = self.folder.join(format!("{program}-{name}"));
                let mut install = self.tool(program, "1.0");
                install.args(before).args(["install", "--no-deps", "--target"]).arg(&target);
                install.args(["--index-url", &self.index()]);
                match what {
                    "" => install.arg(PROJECT),
                    what => {
                        install.args([what, &requirements.to_string_lossy(), "--require-hashes"])
                    }
                };
                run::output(&mut install)?;
                let wanted = if name == "exact" { "1.1" } else { "1.4" };
                let text = std::fs::read_to_string(target.join("vault_sample.py"))?;
                contains(&text, wanted)?;
            }
        }
        Ok(())
    }

    /// Other bytes under a name that is taken: twine shows why, and passes over them where told to.
    fn refused(&self) -> Result<()> {
        let version = "1.0";
        std::fs::write(self.folder.join(version).join("vault_sample.py"), "VERSION = \"other\"\n")?;
        run::output(self.tool("flit", version).arg("build"))?;
        let refused = self.twine(version).err().context("other bytes were taken")?;
        contains(&format!("{refused:#}"), "File already exists")?;
        let mut twine = self.tool("twine", version);
        twine.args(["upload", "--skip-existing", "--non-interactive", "-u", USER, "-p", PASSWORD]);
        twine.args(["--repository-url", &format!("{}/legacy/", self.base())]);
        run::output(twine.args(self.files(version)?))?;
        // As it was, for who compares it.
        self.build(version)
    }
}
