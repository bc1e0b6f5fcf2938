//! What was yanked, quarantined or deleted, as installers meet it; and tokens in place of passwords.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{PROJECT, Python, fails, publish};
use crate::clients::{Scene, contains};
use crate::http::expect;
use crate::registry::{HOME, USER};
use crate::run;

impl Python {
    pub(super) fn manage(&self, scene: &Scene) -> Result<()> {
        self.yanked(scene)?;
        self.quarantined(scene)?;
        self.by_token(scene)
    }

    /// Runs a verb on the sample in somebody's name.
    fn verb(scene: &Scene, verb: &str, more: &[&str]) -> Result<()> {
        let by = format!("user:{USER}");
        let mut line = vec!["python", verb, HOME, PROJECT, "--as", &by];
        line.extend(more);
        scene.registry.verb(&line)
    }

    /// Which version pip and uv install of `what`; what they said of it, too.
    fn version_of(&self, what: &str) -> Result<Vec<(String, String)>> {
        let mut versions = Vec::new();
        for (program, before) in [("pip", &[][..]), ("uv", &["pip"][..])] {
            let target = self.folder.join("version-of");
            if target.exists() {
                std::fs::remove_dir_all(&target)?;
            }
            let mut install = self.tool(program, ".");
            install.args(before).args(["install", "--no-deps", "--target", "version-of"]);
            install.args(["--index-url", &self.index(), what]);
            let told = run::output_and_errors(&mut install)?;
            versions.push((std::fs::read_to_string(target.join("vault_sample.py"))?, told));
        }
        Ok(versions)
    }

    /// What is yanked is taken by who asks for that very version alone, and they are told.
    fn yanked(&self, scene: &Scene) -> Result<()> {
        let latest = publish::LATEST;
        let reason = "breaks on Tuesdays";
        Self::verb(scene, "yank", &["--version", latest, "--reason", reason])?;
        for (version, _) in self.version_of(PROJECT)? {
            contains(&version, "1.4")?;
        }
        for (version, told) in self.version_of(&format!("{PROJECT}=={latest}"))? {
            contains(&version, latest)?;
            contains(&told, reason)?;
        }
        Self::verb(scene, "unyank", &["--version", latest])?;
        for (version, _) in self.version_of(PROJECT)? {
            contains(&version, latest)?;
        }
        Ok(())
    }

    /// Nothing of a quarantined project can be installed, not even by the address of a file.
    fn quarantined(&self, scene: &Scene) -> Result<()> {
        let files = self.page_files(PROJECT)?;
        let url =
            files.first().and_then(|file| file["url"].as_str()).context("a file's address")?;
        // As it stands on the page of the project.
        let path = format!("/pypi/{HOME}/{}", url.trim_start_matches("../"));
        let get = |status| expect(self.client().get(&path)?, status).map(drop);
        get(200)?;
        Self::verb(scene, "status", &["quarantined", "--reason", "looks stolen"])?;
        get(404).context("a file of a quarantined project")?;
        for (program, before) in [("pip", &[][..]), ("uv", &["pip"][..])] {
            let mut install = self.tool(program, ".");
            install.args(before).args(["install", "--no-deps", "--target", "never"]);
            install.args(["--index-url", &self.index(), PROJECT]);
            ensure!(run::output(&mut install).is_err(), "{program} installed what is quarantined");
        }
        Self::verb(scene, "status", &["archived"])?;
        self.build("1.9")?;
        let mut twine = self.tool("twine", ".");
        twine.args(["upload", "--non-interactive", "--repository-url", &self.legacy()]);
        twine.args(["-u", USER, "-p", crate::registry::PASSWORD]);
        fails(twine.args(self.files("1.9")?), "archived: it takes no files")?;
        self.version_of(PROJECT)?;
        Self::verb(scene, "status", &["active"])?;
        get(200)
    }

    /// `__token__` and a token, as continuous integration signs in.
    fn by_token(&self, scene: &Scene) -> Result<()> {
        scene.registry.verb(&["robot", "create", "python"])?;
        let organisation = HOME.split('/').next().unwrap_or_default();
        scene.registry.verb(&["org", "grant", organisation, "robot:python", "writer"])?;
        let line = ["token", "create", "robot:python", "--for", HOME, "--can", "push", "--can"];
        let told = scene.registry.told(&[&line[..], &["pull", "--json"]].concat())?;
        let told: Value = serde_json::from_str(&told).context("reading what was made")?;
        let token = told["token"].as_str().context("no token")?;
        let mut twine = self.tool("twine", ".");
        twine.args(["upload", "--non-interactive", "--disable-progress-bar", "-u", "__token__"]);
        twine.args(["-p", token, "--repository-url", &self.legacy()]);
        run::output(twine.args(self.files("1.9")?))?;
        let mut uv = self.tool("uv", ".");
        uv.args(["pip", "install", "--no-deps", "--target", "by-token", "--index-url"]);
        uv.arg(self.index().replace(
            &format!("{USER}:{}@", crate::registry::PASSWORD),
            &format!("__token__:{token}@"),
        ));
        run::output(uv.arg(format!("{PROJECT}==1.9")))?;
        Self::verb(scene, "delete", &["--version", "1.9"])
    }
}
