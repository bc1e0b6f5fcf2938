//! Installing: pip and uv, with hashes required and without, over both forms of the pages, wheels and an
//! sdist that is built; resolving by the metadata files alone; signing in by a file.

use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;

use super::tap::Tap;
use super::{DEPENDENCY, PROJECT, Python, files_of, publish, sha256_of};
use crate::clients::contains;
use crate::registry::{HOME, PASSWORD, USER};
use crate::run;

impl Python {
    pub(super) fn install_all(&self) -> Result<()> {
        self.write_requirements()?;
        for (form, html) in [("json", false), ("html", true)] {
            let tap = Tap::start(&self.host, html)?;
            for (program, before) in [("pip", &[][..]), ("uv", &["pip"][..])] {
                self.install(&tap, form, program, before)
                    .with_context(|| format!("{program} over {form}"))?;
            }
        }
        self.resolve()?;
        self.by_netrc()
    }

    /// All that is there, by its hash: the sample, a large wheel, and an sdist to be built.
    fn write_requirements(&self) -> Result<()> {
        let wheel = sha256_of(&self.dist("1.1").join(Self::wheel("1.1")))?;
        let mut text = format!("{PROJECT}==1.1 --hash=sha256:{wheel}\n");
        for file in files_of(&self.packages)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut parts = name.trim_end_matches(".tar.gz").split('-');
            let (project, version) = (parts.next(), parts.next());
            let (project, version) = project.zip(version).context("a distribution's name")?;
            if project != "flit_core" {
                let hash = sha256_of(&file)?;
                writeln!(text, "{project}=={version} --hash=sha256:{hash}")?;
            }
        }
        std::fs::write(self.folder.join("requirements.txt"), text).map_err(Into::into)
    }

    /// Exactly what the requirements say, and then the latest of the sample.
    fn install(&self, tap: &Tap, form: &str, program: &str, before: &[&str]) -> Result<()> {
        let index = Self::index_at(tap.address());
        let (exact, latest) = (format!("{program}-{form}"), format!("{program}-{form}-latest"));
        let mut install = self.tool(program, ".");
        install.args(before).args(["install", "--target", &exact, "--index-url", &index]);
        install.args(["--no-binary", DEPENDENCY, "--require-hashes", "-r", "requirements.txt"]);
        run::output(&mut install)?;
        let asked = tap.asked();
        ensure!(asked.iter().any(|line| line.contains(".tar.gz")), "no sdist was fetched");
        let text = std::fs::read_to_string(self.folder.join(&exact).join("vault_sample.py"))?;
        contains(&text, "1.1")?;
        let mut works = self.tool("python", &exact);
        works.args(["-c", "import numpy, itsdangerous; print(numpy.arange(4).sum())"]);
        contains(&run::output(&mut works)?, "6")?;
        let mut install = self.tool(program, ".");
        install.args(before).args(["install", "--target", &latest, "--index-url", &index]);
        run::output(install.arg(PROJECT))?;
        let text = std::fs::read_to_string(self.folder.join(&latest).join("vault_sample.py"))?;
        contains(&text, publish::LATEST)?;
        // Another hash than that of the file on the page.
        let wrong = format!("{PROJECT}==1.1 --hash=sha256:{}\n", "0".repeat(64));
        std::fs::write(self.folder.join("wrong.txt"), wrong)?;
        let mut install = self.tool(program, ".");
        install.args(before).args(["install", "--no-deps", "--target", "wrong", "--index-url"]);
        install.args([&index, "--require-hashes", "-r", "wrong.txt"]);
        ensure!(run::output(&mut install).is_err(), "a file of another hash was installed");
        Ok(())
    }

    /// What to install is found by the metadata files, not by looking into the wheels.
    fn resolve(&self) -> Result<()> {
        let tap = Tap::start(&self.host, false)?;
        let index = Self::index_at(tap.address());
        std::fs::write(self.folder.join("sample.in"), format!("{PROJECT}\n"))?;
        let mut pip = self.tool("pip", ".");
        pip.args(["install", "--dry-run", "--ignore-installed", "--no-cache-dir", "--report", "-"]);
        let told = run::output(pip.args(["--quiet", "--index-url", &index, PROJECT]))?;
        contains(&told, DEPENDENCY)?;
        Self::by_metadata(&tap, "pip")?;
        let mut uv = self.tool("uv", ".");
        uv.args(["pip", "compile", "--no-cache", "--generate-hashes", "sample.in"]);
        let told = run::output(uv.args(["--index-url", &index]))?;
        contains(&told, DEPENDENCY)?;
        Self::by_metadata(&tap, "uv")
    }

    /// The metadata file came before the wheel, if that came at all: pip fetches it for good measure.
    fn by_metadata(tap: &Tap, program: &str) -> Result<()> {
        let asked = tap.asked();
        let wheel = Self::wheel(publish::LATEST);
        let metadata = format!("{wheel}.metadata");
        let first = asked.iter().find(|line| line.contains(&wheel));
        let by_metadata = first.is_some_and(|line| line.ends_with(&metadata));
        ensure!(by_metadata, "{program} did not resolve by the metadata file: {asked:?}");
        let whole = asked.iter().any(|line| line.ends_with(&wheel));
        ensure!(program == "pip" || !whole, "{program} fetched the wheel, too: {asked:?}");
        Ok(())
    }

    /// Without credentials in an address, and without a keyring: by the file for all programs, and with
    /// a token for a password.
    fn by_netrc(&self) -> Result<()> {
        let netrc = self.folder.join(".netrc");
        let (host, _) = self.host.split_once(':').context("a host without a port")?;
        std::fs::write(&netrc, format!("machine {host} login {USER} password {PASSWORD}\n"))?;
        std::fs::set_permissions(&netrc, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let index = format!("http://{}/pypi/{HOME}/simple/", self.host);
        for (program, before) in [("pip", &[][..]), ("uv", &["pip"][..])] {
            let mut install = self.tool(program, ".");
            let target = format!("{program}-netrc");
            install.args(before).args(["install", "--no-deps", "--target", &target]);
            run::output(install.args(["--index-url", &index, PROJECT]))?;
        }
        std::fs::remove_file(netrc)?;
        let mut install = self.tool("pip", ".");
        install.args(["install", "--no-deps", "--no-input", "--target", "nobody"]);
        ensure!(
            run::output(install.args(["--index-url", &index, PROJECT])).is_err(),
            "a private registry was read by nobody"
        );
        Ok(())
    }
}
