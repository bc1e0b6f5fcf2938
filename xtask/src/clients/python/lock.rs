//! Locking: uv, poetry and pdm write files of what they found, with hashes, and install by them, over both
//! forms of the pages.

use anyhow::{Context, Result, ensure};

use super::tap::Tap;
use super::{DEPENDENCY, PROJECT, Python, publish, sha256_of};
use crate::clients::contains;
use crate::registry::{HOME, PASSWORD, USER};
use crate::run;

impl Python {
    /// By one form of the pages, without JSON where `html`.
    pub(super) fn lock_over(&self, form: &str, html: bool) -> Result<()> {
        let tap = Tap::start(&self.host, html)?;
        let url = format!("http://{}/pypi/{HOME}/simple/", tap.address());
        let folder = |tool: &str| format!("{tool}-lock-{form}");
        self.uv_lock(&folder("uv"), &url).with_context(|| format!("uv over {form}"))?;
        self.poetry_lock(&folder("poetry"), &url).with_context(|| format!("poetry over {form}"))?;
        self.pdm_lock(&folder("pdm"), &url).with_context(|| format!("pdm over {form}"))?;
        let page = format!("GET /pypi/{HOME}/simple/{PROJECT}/");
        let asked = tap.asked().iter().filter(|line| **line == page).count();
        ensure!(asked >= 3, "the page over {form} was asked for {asked} times by three tools");
        Ok(())
    }

    /// The folder of a project that needs the sample, with `settings` of its tool.
    fn project(&self, name: &str, settings: &str) -> Result<()> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let project = format!(
            "[project]\nname = \"needs-it\"\nversion = \"1\"\nrequires-python = \">=3.11\"\n\
             dependencies = [\"{PROJECT}>=1.2\"]\n{settings}"
        );
        std::fs::write(folder.join("pyproject.toml"), project).map_err(Into::into)
    }

    /// The lock names the wheel by its hash, and what it brings is there.
    fn locked(&self, name: &str, lock: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.folder.join(name).join(lock))?;
        let wheel = self.dist(publish::LATEST).join(Self::wheel(publish::LATEST));
        contains(&text, &sha256_of(&wheel)?)?;
        contains(&text, DEPENDENCY)
    }

    fn installed(&self, name: &str) -> Result<()> {
        let python = self.folder.join(name).join(".venv/bin/python");
        let mut command = std::process::Command::new(python);
        command.args(["-c", "import vault_sample, itsdangerous; print(vault_sample.VERSION)"]);
        contains(&run::output(&mut command)?, publish::LATEST)
    }

    fn uv_lock(&self, folder: &str, url: &str) -> Result<()> {
        self.project(
            folder,
            &format!(
                "[tool.uv]\npackage = false\n\
                 [[tool.uv.index]]\nname = \"here\"\nurl = \"{url}\"\ndefault = true\n"
            ),
        )?;
        for arguments in [&["lock"][..], &["lock", "--check"], &["sync", "--locked"]] {
            let mut uv = self.tool("uv", folder);
            uv.env("UV_INDEX_HERE_USERNAME", USER).env("UV_INDEX_HERE_PASSWORD", PASSWORD);
            run::output(uv.args(arguments))?;
        }
        self.locked(folder, "uv.lock")?;
        self.installed(folder)
    }

    fn poetry_lock(&self, folder: &str, url: &str) -> Result<()> {
        self.project(
            folder,
            &format!(
                "[tool.poetry]\npackage-mode = false\n\
                 [[tool.poetry.source]]\nname = \"here\"\nurl = \"{url}\"\npriority = \"primary\"\n"
            ),
        )?;
        for arguments in [&["lock"][..], &["check", "--lock"], &["sync"]] {
            let mut poetry = self.tool("poetry", folder);
            poetry.env("POETRY_HTTP_BASIC_HERE_USERNAME", USER);
            poetry.env("POETRY_HTTP_BASIC_HERE_PASSWORD", PASSWORD);
            poetry.env("POETRY_VIRTUALENVS_IN_PROJECT", "true").env_remove("VIRTUAL_ENV");
            run::output(poetry.args(arguments).arg("--no-interaction"))?;
        }
        self.locked(folder, "poetry.lock")?;
        self.installed(folder)
    }

    fn pdm_lock(&self, folder: &str, url: &str) -> Result<()> {
        // It takes credentials from variables, where the address names them.
        let url = url.replace("http://", "http://${WHO}:${SECRET}@");
        self.project(
            folder,
            &format!(
                "[tool.pdm]\ndistribution = false\n\
                 [[tool.pdm.source]]\nname = \"pypi\"\nurl = \"{url}\"\nverify_ssl = false\n"
            ),
        )?;
        // It takes what is there, and makes none that is as the others' are.
        let mut venv = self.tool("python", folder);
        run::output(venv.args(["-m", "venv", "--without-pip", ".venv"]))?;
        for arguments in [&["lock"][..], &["lock", "--check"], &["sync", "--no-self"]] {
            let mut pdm = self.tool("pdm", folder);
            pdm.env("WHO", USER).env("SECRET", PASSWORD).env_remove("VIRTUAL_ENV");
            pdm.env("PDM_CHECK_UPDATE", "false");
            run::output(pdm.args(arguments))?;
        }
        self.locked(folder, "pdm.lock")?;
        self.installed(folder)
    }
}
