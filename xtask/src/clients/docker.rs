//! docker: a real engine pushes an image of some hundred megabytes in chunks, is interrupted by a
//! `kill -9` of the registry, pushes again, and pulls back the same image; layers are mounted and
//! reused, and a list of images serves several machines.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use strongroom_servers::wait;

use super::{Scene, contains, sysroot};
use crate::registry::{HOME, PASSWORD, USER};
use crate::site::Ground;
use crate::{run, tools};

/// How much the registry has to have stored of a push when it is killed.
const STORED: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_mins(1);

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let engine = Engine::start(&scene.path("docker"))?;
    let address = scene.registry.address();
    engine.run(&["login", &address, "--username", USER, "--password", PASSWORD])?;
    let image = format!("{}:1.0", scene.name("apps/compiler"));
    import(scene, &engine, &image)?;
    let id = engine.id(&image)?;

    // How much was stored is seen in the data folder; `resume` kills the others.
    if scene.ground == Ground::Folder {
        interrupted_push(scene, &engine, &image)?;
    }
    engine.run(&["push", "--quiet", &image])?;

    // The same layers under another name: mounted, not sent again.
    let other = format!("{}:1.0", scene.name("apps/mounted"));
    engine.run(&["tag", &image, &other])?;
    contains(&engine.output(&["push", &other])?, "Mounted from")?;

    // One small layer more: what is there already is left where it is.
    let larger = format!("{}:1.1", scene.name("apps/compiler"));
    extend(scene, &engine, &image, &larger)?;
    let larger_id = engine.id(&larger)?;
    contains(&engine.output(&["push", &larger])?, "Layer already exists")?;

    let list = format!("{}:multi", scene.name("apps/compiler"));
    push_list(&engine, &list, &image, &larger)?;

    engine.run(&["rmi", "--force", &image, &other, &larger])?;
    ensure!(engine.id(&image).is_err(), "the image is still here, a pull would show nothing");
    // An image's id is the digest of its configuration, which has the digests of its unpacked
    // layers, and docker verifies both as it unpacks.
    for (name, id) in [(&list, &id), (&image, &id), (&other, &id), (&larger, &larger_id)] {
        engine.run(&["pull", "--quiet", name])?;
        ensure!(engine.id(name)? == *id, "another image came back as {name}");
    }
    public_pull(scene, &engine, &image, &id)?;
    engine.stop()
}

/// Who has not signed in pulls nothing from a private registry, and everything from a public one.
fn public_pull(scene: &Scene, engine: &Engine, image: &str, id: &str) -> Result<()> {
    engine.run(&["logout", &scene.registry.address()])?;
    engine.run(&["rmi", "--force", id])?;
    let refused = engine.output(&["pull", "--quiet", image]);
    ensure!(refused.is_err(), "a private image was pulled without a login");
    scene.registry.verb(&["registry", "set", HOME, "--public", "true"])?;
    engine.run(&["pull", "--quiet", image])?;
    ensure!(engine.id(image)? == id, "another image came back as {image}");
    ensure!(engine.output(&["push", image]).is_err(), "an image was pushed without a login");
    Ok(())
}

/// Makes an image of the compiler's libraries and a shell.
fn import(scene: &Scene, engine: &Engine, name: &str) -> Result<()> {
    let archive = scene.path("image.tar");
    let busybox = tools::busybox()?;
    let folder = busybox.parent().context("busybox lies in a folder")?;
    run::show(
        Command::new("tar")
            .args(["--create", "--exclude=lib/rustlib", "--file"])
            .arg(&archive)
            .arg("-C")
            .arg(folder)
            .arg("busybox")
            .arg("-C")
            .arg(sysroot()?)
            .arg("lib"),
    )?;
    let size = archive.metadata()?.len();
    ensure!(size > 100 << 20, "an image of {size} bytes shows little");
    engine.run(&["import", "--change", "CMD [\"/busybox\", \"sh\"]", &path(&archive)?, name])?;
    std::fs::remove_file(archive)?;
    Ok(())
}

/// Builds an image on top of another.
fn extend(scene: &Scene, engine: &Engine, from: &str, name: &str) -> Result<()> {
    let folder = scene.path("context");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("Dockerfile"), format!("FROM {from}\nCOPY Dockerfile /recipe\n"))?;
    engine.run(&["build", "--quiet", "--tag", name, &path(&folder)?])
}

/// Makes and pushes an image for two machines: `native` for this one, `other` said to be for another.
fn push_list(engine: &Engine, name: &str, native: &str, other: &str) -> Result<()> {
    let foreign = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
    engine.run(&["manifest", "create", "--insecure", name, native, other])?;
    engine.run(&["manifest", "annotate", name, other, "--os", "linux", "--arch", foreign])?;
    engine.run(&["manifest", "push", "--insecure", "--purge", name])
}

/// Kills the registry once it has stored some of the image, and brings it back.
fn interrupted_push(scene: &mut Scene, engine: &Engine, image: &str) -> Result<()> {
    let before = stored(&scene.path("data"));
    let mut push = engine.command(&["push", image]).stdout(Stdio::null()).spawn()?;
    let start = Instant::now();
    while stored(&scene.path("data")) < before + STORED {
        if let Some(status) = push.try_wait()? {
            bail!("the push ended with {status} before {STORED} bytes were stored");
        }
        ensure!(start.elapsed() < PATIENCE, "the push has not stored {STORED} bytes");
        sleep(Duration::from_millis(20));
    }
    scene.registry.kill()?;
    // The engine would try again by itself for a minute: the person at the terminal gives up.
    push.kill()?;
    push.wait()?;
    scene.registry.restart()
}

/// The bytes of all files in a folder.
fn stored(folder: &Path) -> u64 {
    let mut size = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // What vanishes while we look was temporary.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                // Blocks, not length: a database may reserve more than it has written.
                size += std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
            }
        }
    }
    size
}

fn path(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a path that is no text")?.to_owned())
}

/// A docker engine of our own: no network bridge, plain copies for layers, all its files in one
/// folder, ended by its own process id.
pub(super) struct Engine {
    client: PathBuf,
    folder: PathBuf,
    daemon: Child,
}

impl Engine {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let docker = tools::docker()?;
        std::fs::create_dir_all(folder)?;
        let log = std::fs::File::create(folder.join("dockerd.log"))?;
        let daemon = Command::new(docker.daemon)
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--storage-driver=vfs", "--data-root"])
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("d.pid"))
            .arg("-H")
            .arg(socket(folder))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting dockerd")?;
        let engine = Self { client: docker.client, folder: folder.to_owned(), daemon };
        engine.wait_until_up()?;
        Ok(engine)
    }

    fn wait_until_up(&self) -> Result<()> {
        let start = Instant::now();
        while let Err(error) = self.output(&["version"]) {
            if start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.folder.join("dockerd.log"))?;
                bail!("dockerd is not up: {error:#}\n{log}");
            }
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Where all its files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        run::show(&mut self.command(arguments))
    }

    fn output(&self, arguments: &[&str]) -> Result<String> {
        run::output(&mut self.command(arguments))
    }

    /// The digest of an image's configuration.
    fn id(&self, image: &str) -> Result<String> {
        self.output(&["image", "inspect", "--format", "{{.Id}}", image])
    }

    /// The client, to be told more.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command
            .args(arguments)
            .env("DOCKER_HOST", socket(&self.folder))
            .env("DOCKER_CONFIG", &self.folder)
            // The builder that needs no image of its own.
            .env("DOCKER_BUILDKIT", "0")
            // For `docker manifest`, which older clients call experimental.
            .env("DOCKER_CLI_EXPERIMENTAL", "enabled");
        command
    }

    /// Ends it, and fails unless it ends well.
    pub(super) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.daemon.try_wait()?.is_none() {
            let pid = Pid::from_child(&self.daemon);
            kill_process(pid, Signal::TERM)?;
            if wait(&mut self.daemon)?.is_none() {
                self.daemon.kill()?;
                bail!("dockerd did not end when asked to");
            }
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            println!("ending dockerd: {error:#}");
        }
    }
}

fn socket(folder: &Path) -> String {
    format!("unix://{}", folder.join("d.sock").display())
}
