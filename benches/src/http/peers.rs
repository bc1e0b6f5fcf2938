//! Other registries, where they are installed: without accounts and with files on the same disk, as
//! fast as their defaults are. Their places come from the environment; `cargo xtask bench` sets it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use strongroom_s3::S3Options;
use tempfile::TempDir;

use super::child::{Used, end, free_address, wait_for};
use super::client::Client;
use crate::figure::folder;

/// A registry of somebody else's.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

/// Name, the variable that says where its program is, and how it is started in a folder.
type Kind = (&'static str, &'static str, fn(&Path, &Path, SocketAddr) -> Result<Command>);

const KINDS: [Kind; 2] =
    [("distribution", "STRONGROOM_DISTRIBUTION", distribution), ("zot", "STRONGROOM_ZOT", zot)];

/// Starts those that are installed, each over an empty folder; says which are not.
#[expect(clippy::print_stdout, reason = "figures are this program's output")]
pub(super) fn start_all() -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for (name, variable, command) in KINDS {
        match std::env::var_os(variable) {
            Some(program) => peers.push(Peer::start(name, Path::new(&program), command)?),
            None => println!("{name}: not installed; left out"),
        }
    }
    Ok(peers)
}

impl Peer {
    /// `distribution` over a bucket, which has to be installed.
    pub(crate) fn distribution_on(bucket: &S3Options) -> Result<Self> {
        let program = std::env::var_os("STRONGROOM_DISTRIBUTION").context(
            "STRONGROOM_DISTRIBUTION does not say where it is: run `cargo xtask bench s3`",
        )?;
        let keys = bucket.keys.as_ref().context("it is told the bucket's keys")?;
        let storage = serde_json::json!({ "s3": {
            "bucket": bucket.bucket,
            "region": bucket.region,
            "regionendpoint": bucket.endpoint,
            "accesskey": keys.id,
            "secretkey": keys.secret,
            "forcepathstyle": true,
            "secure": false,
            "rootdirectory": "/distribution",
        } });
        Self::start("distribution", Path::new(&program), |program, folder, address| {
            distribution_with(program, folder, address, &storage)
        })
    }

    fn start(
        name: &'static str,
        program: &Path,
        command: impl FnOnce(&Path, &Path, SocketAddr) -> Result<Command>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir_in(folder()?)?;
        let address = free_address()?;
        let log = folder.path().join("log");
        let out = File::create(&log)?;
        let mut child = command(program, &folder.path().canonicalize()?, address)?
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("{} can't be started", program.display()))?;
        let waited = wait_for(&mut child, address, &log);
        let peer = Self { name, address, child, _folder: folder };
        waited.map(|()| peer)
    }

    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(self.address, None)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Used for Peer {
    fn processes(&self) -> Result<Vec<u32>> {
        Ok(vec![self.child.id()])
    }
}

fn distribution(program: &Path, folder: &Path, address: SocketAddr) -> Result<Command> {
    let storage = serde_json::json!({ "filesystem": { "rootdirectory": folder.join("data") } });
    distribution_with(program, folder, address, &storage)
}

/// What is JSON is YAML, too.
fn distribution_with(
    program: &Path,
    folder: &Path,
    address: SocketAddr,
    storage: &serde_json::Value,
) -> Result<Command> {
    let file = folder.join("config.yml");
    let text = format!(
        "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\n\
         storage: {storage}\nhttp:\n  addr: {address}\n"
    );
    std::fs::write(&file, text)?;
    let mut command = Command::new(program);
    command.arg("serve").arg(file).env("OTEL_TRACES_EXPORTER", "none");
    Ok(command)
}

fn zot(program: &Path, folder: &Path, address: SocketAddr) -> Result<Command> {
    let file = folder.join("config.json");
    let text = serde_json::json!({
        "storage": { "rootDirectory": folder.join("data") },
        "http": { "address": address.ip().to_string(), "port": address.port().to_string() },
        "log": { "level": "error" },
    });
    std::fs::write(&file, text.to_string())?;
    let mut command = Command::new(program);
    command.arg("serve").arg(file);
    Ok(command)
}
