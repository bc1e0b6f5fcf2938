//! An installation that moves: copied between the data folder, a bucket, and a bucket with a database, in
//! both directions, and restored from a backup onto either. Each is killed again and again and goes on,
//! ends in stores that are sound, and serves every byte; and none begins while a node serves the source.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use strongroom_servers::{Bucket, Database};

use super::Scene;
use super::nodes::{push, read_back};
use crate::registry::{Registry, Setup};
use crate::{run, servers};

/// What is carried: enough that it takes a while.
const IMAGES: u32 = 20;
const LAYER: usize = 8 << 20;
/// How long a run may go on before it is killed: longer each time, so that one comes to its end.
const FIRST: Duration = Duration::from_millis(300);
const MORE: Duration = Duration::from_millis(300);
/// How long a killed node may count as being there.
const GONE: Duration = Duration::from_secs(45);

/// A tag, the digest of its manifest, and its layer.
type Image = (String, String, Vec<u8>);

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let client = scene.registry.client();
    let mut images = Vec::new();
    for number in 0..IMAGES {
        let tag = format!("v{number}");
        let layer = format!("{number:08} of what is carried; ").repeat(LAYER / 31).into_bytes();
        let digest = push(&client, &tag, &layer)?.context("a registry alone refuses nobody")?;
        images.push((tag, digest, layer));
    }
    let backup = scene.path("backup").to_string_lossy().into_owned();
    scene.registry.verb(&["backup", "create", &backup, "--with-master-key"])?;
    scene.registry.stop()?;

    let bucket = servers::minio()?;
    let databases = [servers::database()?, servers::database()?];
    let [copied, restored] = &databases;
    let places = Places { program: scene.program.clone(), folder: scene.path(""), images };
    let source = places.make("data", None, None)?;
    let bucket_alone = places.make("copy-s3", Some(&bucket), None)?;
    let nodes = places.make("copy-s3-postgres", Some(&bucket), Some(copied))?;
    places.carry(&source, &bucket_alone, &["copy-storage"])?;
    places.carry(&bucket_alone, &nodes, &["copy-storage"])?;

    let back = places.make("back", None, None)?;
    places.refused_while_served(&nodes, &back)?;
    places.carry(&nodes, &back, &["copy-storage"])?;
    let there = places.make("back-s3", Some(&bucket), None)?;
    places.carry(&back, &there, &["copy-storage"])?;
    places.carry(&there, &places.make("home", None, None)?, &["copy-storage"])?;

    for (name, database) in [("restored-s3", None), ("restored-s3-postgres", Some(restored))] {
        let onto = places.make(name, Some(&bucket), database)?;
        places.carry(&onto, &onto, &["restore", &backup])?;
    }
    // What every client's test ends with looks at the first of them.
    scene.registry.restart()
}

/// What all of it has in common.
struct Places {
    program: PathBuf,
    folder: PathBuf,
    images: Vec<Image>,
}

/// A pair of stores.
struct Place {
    name: &'static str,
    data: PathBuf,
    settings: PathBuf,
    /// The same for a server.
    setup: Setup,
}

impl Places {
    fn make(
        &self,
        name: &'static str,
        bucket: Option<&Bucket>,
        database: Option<&Database>,
    ) -> Result<Place> {
        let data = self.folder.join(name);
        let mut text = format!("data = \"{}\"\n", data.display());
        let mut setup = Setup::default().with("STRONGROOM_REDIRECTS_ENABLED", "false");
        if let Some(bucket) = bucket {
            text.push_str(&servers::bucket_settings(bucket, name));
            setup = setup.on_bucket(bucket).with("STRONGROOM_S3_PREFIX", name);
        }
        if let Some(database) = database {
            text.push_str(&servers::database_settings(database));
            setup = setup.on_database(database);
        }
        let settings = self.folder.join(format!("{name}.toml"));
        std::fs::write(&settings, text)?;
        let place = Place { name, data, settings, setup };
        if database.is_some() {
            run::show(&mut self.command(&place, &["migrate"]))?;
        }
        Ok(place)
    }

    fn command(&self, place: &Place, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(verb).arg("--config").arg(&place.settings);
        command.env_remove("STRONGROOM_LONG").envs(Bucket::credentials());
        command
    }

    fn verb(&self, from: &Place, to: &Place, verb: &[&str]) -> Command {
        let mut command = self.command(from, verb);
        if verb == ["copy-storage"] {
            command.arg("--to-config").arg(&to.settings);
        }
        command
    }

    /// Runs `verb` until it comes to its end, killing it on the way; then serves what it made.
    fn carry(&self, from: &Place, to: &Place, verb: &[&str]) -> Result<()> {
        let what = format!("{} {} to {}", verb[0], from.name, to.name);
        let (mut patience, mut kills) = (FIRST, 0);
        loop {
            let mut command = self.verb(from, to, verb);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            let start = Instant::now();
            while start.elapsed() < patience && child.try_wait()?.is_none() {
                sleep(Duration::from_millis(10));
            }
            if let Some(status) = child.try_wait()? {
                let said = child.wait_with_output()?.stderr;
                let said = String::from_utf8_lossy(&said);
                // The run before may have been killed in the check that comes after all is there.
                let whole =
                    kills > 0 && said.contains("an installation is made in empty stores only");
                ensure!(status.success() || whole, "{what}: ended with {status}: {said}");
                break;
            }
            child.kill()?;
            child.wait()?;
            kills += 1;
            patience += MORE;
        }
        ensure!(kills > 0, "{what}: it was never interrupted");
        run::show(&mut self.command(to, &["fsck", "--deep"]))?;
        let node = self.serve(to)?;
        let client = node.client();
        for (tag, digest, layer) in &self.images {
            read_back(&client, tag, digest, layer).with_context(|| format!("{what}: {tag}"))?;
        }
        let mut node = node;
        node.stop()?;
        println!("{what}: killed {kills} times, all is there");
        Ok(())
    }

    fn serve(&self, place: &Place) -> Result<Registry> {
        let log = self.folder.join(format!("{}.log", place.name));
        Registry::start_with(&self.program, &place.data, &log, place.setup.clone())
    }

    /// A node keeps what it serves from being copied, wherever the copy runs; a killed one for a while.
    fn refused_while_served(&self, from: &Place, to: &Place) -> Result<()> {
        let elsewhere = self.folder.join("elsewhere");
        let log = self.folder.join("elsewhere.log");
        // Another machine has the same master key.
        let key = from.data.join("keys/master");
        let setup = from.setup.clone();
        let setup = setup.with("STRONGROOM_IDENTITY_MASTER_KEY_FILE", key.to_string_lossy());
        let mut node = Registry::start_with(&self.program, &elsewhere, &log, setup.clone())?;
        let refused = self.verb(from, to, &["copy-storage"]).output()?;
        refuses(&refused)?;
        node.stop()?;
        let mut node = Registry::start_with(&self.program, &elsewhere, &log, setup.clone())?;
        node.kill()?;
        let killed = Instant::now();
        refuses(&self.verb(from, to, &["copy-storage"]).output()?)?;
        // Its row comes to its end by itself.
        loop {
            let mut probe = self.verb(from, to, &["copy-storage"]);
            probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = probe.spawn()?;
            while child.try_wait()?.is_none() {
                if has_objects(&to.data)? {
                    // It began. The rest is for who carries.
                    child.kill()?;
                    child.wait()?;
                    let waited = killed.elapsed().as_secs_f64();
                    println!("a killed node was waited for {waited:.0} s");
                    return Ok(());
                }
                sleep(Duration::from_millis(10));
            }
            refuses(&child.wait_with_output()?)?;
            if killed.elapsed() > GONE {
                bail!("a killed node is waited for for ever");
            }
            sleep(Duration::from_secs(1));
        }
    }
}

/// Whether the folder of an installation has objects of content.
fn has_objects(folder: &Path) -> Result<bool> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name == "sha256") {
                return Ok(true);
            }
            folders.push(path);
        }
    }
    Ok(false)
}

fn refuses(refused: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        refused.status.code() == Some(4) && said.contains("has the source open"),
        "copying what a node serves was not refused: {refused:?}"
    );
    Ok(())
}
