//! moto, which answers as Cognito and SQS do (and S3, which nobody asks it for). It keeps all in
//! memory, checks no signature, and runs no trigger.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::service::{Service, free_port, serves};

/// See the head of this file. Ended when dropped.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    _service: Service,
    _folder: TempDir,
}

impl Moto {
    /// Empty; `bin` is the folder of its programs.
    pub fn start(bin: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("strongroom-moto-").tempdir()?;
        let port = free_port()?;
        let mut command = Command::new(bin.join("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).current_dir(folder.path());
        let service = Service::start(command, folder.path(), Signal::TERM, || serves(port))?;
        Ok(Self { port, _service: service, _folder: folder })
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
