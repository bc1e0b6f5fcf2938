//! Publishing: each tool a version, real packages, many files at once; what is there already, and other
//! bytes under a name that is taken.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{Python, fails, files_of, sha256_of};
use crate::clients::contains;
use crate::registry::{PASSWORD, USER};
use crate::run;

/// Publishes a version with one of the tools.
type Publish = fn(&Python, &str) -> Result<()>;

/// The tools by the version that each publishes.
const PUBLISHERS: [(&str, Publish); 6] = [
    ("1.0", Python::twine),
    ("1.1", Python::uv),
    ("1.2", Python::flit),
    ("1.3", Python::poetry),
    ("1.4", Python::hatch),
    ("1.5", Python::pdm),
];
/// The latest that is published so.
pub(super) const LATEST: &str = "1.5";

/// A project with a wheel and an sdist of each of its versions: `python3 -c SCRIPT FOLDER VERSIONS`.
const MANY: &str = r#"
import base64, gzip, hashlib, io, pathlib, sys, tarfile, zipfile
folder, versions = pathlib.Path(sys.argv[1]), int(sys.argv[2])
for version in range(versions):
    metadata = f"Metadata-Version: 2.2\nName: many-files\nVersion: {version}.0\nRequires-Python: >=3.8\n"
    info, module = f"many_files-{version}.0.dist-info", f"VERSION = {version}\n"
    files = {
        "many_files.py": module,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(folder / f"many_files-{version}.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            record += f"{name},sha256={digest},{len(text)}\n"
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    top = f"many_files-{version}.0"
    with tarfile.open(folder / f"{top}.tar.gz", "w:gz") as sdist:
        for name, text in {"PKG-INFO": metadata, "many_files.py": module}.items():
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size = len(text)
            sdist.addfile(entry, io.BytesIO(text.encode()))
"#;
/// How many versions that project has, of two files each.
const VERSIONS: usize = 150;

/// As it is, twine takes `--skip-existing` for the public index alone; whether it understands what
/// we answer is judged by its own code all the same.
const TWINE: &str = "import sys, twine.settings, twine.__main__ as main\n\
    twine.settings.Settings.verify_feature_capability = lambda self: None\n\
    sys.exit(main.main())";

impl Python {
    pub(super) fn publish_all(&self) -> Result<()> {
        self.twine_files(&files_of(&self.packages)?)?;
        for (version, publish) in PUBLISHERS {
            self.build(version)?;
            publish(self, version).with_context(|| format!("publishing {version}"))?;
        }
        // The same again is no error.
        self.twine("1.0")?;
        self.pdm("1.5")?;
        let files = self.page_files(super::PROJECT)?;
        ensure!(files.len() == 2 * PUBLISHERS.len(), "a wheel and an sdist of each: {files:?}");
        let html = self.page(super::PROJECT, "text/html")?;
        for (version, _) in PUBLISHERS {
            contains(&html, &format!("vault_sample-{version}.tar.gz"))?;
            let name = Self::wheel(version);
            let file = files.iter().find(|file| file["filename"] == *name).context("no wheel")?;
            let sha256 = sha256_of(&self.dist(version).join(&name))?;
            ensure!(file["hashes"]["sha256"] == sha256, "the page's hash is another: {file}");
            ensure!(file["core-metadata"]["sha256"].is_string(), "no metadata: {file}");
        }
        Ok(())
    }

    /// Three hundred files of one project.
    pub(super) fn publish_many(&self) -> Result<()> {
        let folder = self.folder.join("many");
        std::fs::create_dir_all(&folder)?;
        let mut script = self.tool("python", "many");
        script.args(["-c", MANY]).arg(&folder).arg(VERSIONS.to_string());
        run::output(&mut script)?;
        self.twine_files(&files_of(&folder)?)?;
        let files = self.page_files("many-files")?;
        ensure!(files.len() == 2 * VERSIONS, "{} files are shown", files.len());
        let mut uv = self.tool("uv", "many");
        uv.args(["pip", "install", "--no-deps", "--target", "latest", "many-files", "--index-url"]);
        run::output(uv.arg(self.index()))?;
        let text = std::fs::read_to_string(folder.join("latest/many_files.py"))?;
        contains(&text, &format!("VERSION = {}\n", VERSIONS - 1))
    }

    fn twine(&self, version: &str) -> Result<()> {
        self.twine_files(&self.files(version)?)
    }

    fn twine_files(&self, files: &[PathBuf]) -> Result<()> {
        let mut twine = self.tool("twine", ".");
        twine.args(["upload", "--non-interactive", "--disable-progress-bar", "-u", USER]);
        twine.args(["-p", PASSWORD, "--repository-url", &self.legacy()]);
        run::output(twine.args(files)).map(drop)
    }

    fn uv(&self, version: &str) -> Result<()> {
        for round in 0..2 {
            let mut uv = self.tool("uv", version);
            uv.args(["publish", "--username", USER, "--password", PASSWORD, "--publish-url"]);
            uv.args([&self.legacy(), "--check-url", &self.index()]);
            let told = run::output_and_errors(uv.args(self.files(version)?))?;
            // By the page alone it sees that they are there, and sends nothing.
            if round == 1 {
                contains(&told, "already exists")?;
            }
        }
        Ok(())
    }

    fn flit(&self, version: &str) -> Result<()> {
        let mut flit = self.tool("flit", version);
        flit.env("FLIT_INDEX_URL", self.legacy());
        flit.env("FLIT_USERNAME", USER).env("FLIT_PASSWORD", PASSWORD);
        run::output(flit.arg("publish")).map(drop)
    }

    fn poetry(&self, version: &str) -> Result<()> {
        let mut poetry = self.tool("poetry", version);
        poetry.env("POETRY_REPOSITORIES_HERE_URL", self.legacy());
        poetry.env("POETRY_HTTP_BASIC_HERE_USERNAME", USER);
        poetry.env("POETRY_HTTP_BASIC_HERE_PASSWORD", PASSWORD);
        run::output(poetry.args(["publish", "--no-interaction", "-r", "here"])).map(drop)
    }

    fn hatch(&self, version: &str) -> Result<()> {
        let mut hatch = self.tool("hatch", version);
        hatch.args(["publish", "--no-prompt", "-u", USER, "-a", PASSWORD, "-r"]);
        run::output(hatch.arg(self.legacy())).map(drop)
    }

    fn pdm(&self, version: &str) -> Result<()> {
        let mut pdm = self.tool("pdm", version);
        pdm.env("PDM_USE_VENV", "false").env("PDM_CHECK_UPDATE", "false");
        pdm.args(["publish", "--no-build", "--skip-existing"]);
        pdm.args(["--username", USER, "--password", PASSWORD, "--repository"]);
        run::output(pdm.arg(self.legacy())).map(drop)
    }

    /// Other bytes under a name that is taken: each tool shows why, and passes over them where told to.
    pub(super) fn refused(&self) -> Result<()> {
        let version = "1.0";
        std::fs::write(self.folder.join(version).join("vault_sample.py"), "VERSION = \"other\"\n")?;
        run::output(self.tool("flit", version).arg("build"))?;
        let refused = self.twine(version).err().context("other bytes were taken")?;
        contains(&format!("{refused:#}"), "File already exists")?;
        let mut twine = self.tool("python", ".");
        twine.args(["-c", TWINE, "upload", "--skip-existing", "--non-interactive"]);
        twine.args(["-u", USER, "-p", PASSWORD, "--repository-url", &self.legacy()]);
        let told = run::output_and_errors(twine.args(self.files(version)?))?;
        contains(&told, "Skipping vault_sample-1.0")?;
        self.pdm(version)?;
        let mut uv = self.tool("uv", version);
        uv.args(["publish", "--username", USER, "--password", PASSWORD, "--publish-url"]);
        uv.args([&self.legacy(), "--check-url", &self.index()]);
        fails(uv.args(self.files(version)?), "Local file and index file do not match")?;
        let mut anonymous = self.tool("twine", ".");
        anonymous.args(["upload", "--non-interactive", "-u", USER, "-p", "wrong"]);
        anonymous.args(["--repository-url", &self.legacy()]);
        fails(anonymous.args(self.files(version)?), "401")?;
        // As it was, for who compares it.
        self.build(version)
    }
}
