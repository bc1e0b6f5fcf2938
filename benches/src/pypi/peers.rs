//! Other package indexes, each in a process of its own with the same files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::dist::{Wheel, upload};
use crate::figure::folder;
use crate::http::child::{end, free_address, wait_for};
use crate::http::client::Client;

/// A program of theirs.
fn program(name: &str) -> Result<Command> {
    let folder = std::env::var_os("STRONGROOM_PYTHON_PEERS")
        .map(PathBuf::from)
        .context("`cargo xtask bench pypi` installs the indexes this one is held against")?;
    let mut command = Command::new(folder.join(name));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// A peer that runs.
struct Peer {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Peer {
    fn start(
        folder: TempDir,
        command: impl FnOnce(&Path, SocketAddr) -> Result<Command>,
    ) -> Result<Self> {
        let address = free_address()?;
        let child = command(folder.path(), address)?.spawn().context("starting a peer")?;
        let mut peer = Self { child, address, _folder: folder };
        wait_for(&mut peer.child, address, Path::new("/dev/null"))?;
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// pypiserver: a folder of files.
pub(super) struct Pypiserver(Peer);

impl Pypiserver {
    pub(super) const PAGE: &str = "/simple/bench-project/";

    pub(super) fn start(wheels: &[Wheel]) -> Result<Self> {
        let files = tempfile::tempdir_in(folder()?)?;
        for wheel in wheels {
            std::fs::write(files.path().join(&wheel.name), &wheel.bytes)?;
        }
        let peer = Peer::start(files, |folder, address| {
            let mut command = program("pypi-server")?;
            command.args(["run", "-i", "127.0.0.1", "-p", &address.port().to_string()]);
            command.arg(folder);
            Ok(command)
        })?;
        Ok(Self(peer))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }
}

/// devpi: a server with an index of its own.
pub(super) struct Devpi(Peer);

impl Devpi {
    /// Whose index it is: its first user.
    const OWNER: &str = "root";

    /// The address of the project's page.
    pub(super) fn page() -> String {
        format!("/{}/bench/+simple/bench-project/", Self::OWNER)
    }

    pub(super) fn start(wheels: &[Wheel]) -> Result<Self> {
        let data = tempfile::tempdir_in(folder()?)?;
        let made = program("devpi-init")?
            .arg("--serverdir")
            .arg(data.path())
            .args(["--root-passwd", "bench", "--no-root-pypi"])
            .status()?;
        ensure!(made.success(), "devpi-init failed");
        let peer = Peer::start(data, |folder, address| {
            let mut command = program("devpi-server")?;
            command.arg("--serverdir").arg(folder);
            command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
            command.arg("--offline-mode");
            Ok(command)
        })?;
        let mut client = Client::connect(peer.address, Some("Basic cm9vdDpiZW5jaA==".to_owned()))?;
        let json = "Content-Type: application/json\r\nAccept: application/json\r\n";
        let index = br#"{"bases": [], "volatile": true, "type": "stage"}"#;
        let signed =
            client.send("POST", "/+login", json, br#"{"user": "root", "password": "bench"}"#)?;
        let signed = signed.expect(200)?;
        let signed: serde_json::Value = serde_json::from_slice(&signed.body)?;
        let token = signed.pointer("/result/password").and_then(|token| token.as_str());
        let token = token.context("devpi gives no token")?;
        let pair = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            format!("root:{token}"),
        );
        let mut client = Client::connect(peer.address, Some(format!("Basic {pair}")))?;
        let field = format!("{json}X-Devpi-Auth: {pair}\r\n");
        client.send("PUT", &format!("/{}/bench", Self::OWNER), &field, index)?.expect(200)?;
        for wheel in wheels {
            let reply = upload(&mut client, &format!("/{}/bench/", Self::OWNER), &wheel.form())?;
            ensure!(reply.status == 200, "devpi answered {}", reply.status);
        }
        Ok(Self(peer))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }
}
