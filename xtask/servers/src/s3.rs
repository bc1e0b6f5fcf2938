//! S3 servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::service::{Service, free_port, serves};

/// The key that MinIO encrypts with where it is asked to: as random as a test needs it.
const KMS_NAME: &str = "strongroom-key";
const KMS_KEY: &str = "c3Ryb25ncm9vbSBrZXkgb2YgMzIgYnl0ZXMgLi4uLi4=";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Kind {
    /// `versitygw`, over files: kept, and what the suites are about.
    Versity,
    /// MinIO: archived, but many run it.
    Minio,
}

impl S3Kind {
    /// Its program, as the environment has it: `STRONGROOM_VERSITYGW` or `STRONGROOM_MINIO`.
    pub fn program(self) -> Result<PathBuf> {
        match self {
            Self::Versity => crate::place("STRONGROOM_VERSITYGW", "versitygw"),
            Self::Minio => crate::place("STRONGROOM_MINIO", "MinIO"),
        }
    }

    /// Both make a bucket of each folder below `data`.
    fn command(self, program: &Path, port: u16, data: &Path) -> Command {
        let mut command = Command::new(program);
        let address = format!("127.0.0.1:{port}");
        match self {
            Self::Versity => command
                .env("ROOT_ACCESS_KEY", Bucket::KEY)
                .env("ROOT_SECRET_KEY", Bucket::SECRET)
                .args(["--port", &address, "posix"]),
            Self::Minio => command
                .env("MINIO_ROOT_USER", Bucket::KEY)
                .env("MINIO_ROOT_PASSWORD", Bucket::SECRET)
                .env("MINIO_KMS_SECRET_KEY", format!("{KMS_NAME}:{KMS_KEY}"))
                .env("MINIO_DOMAIN", Bucket::DOMAIN)
                .env("MINIO_BROWSER", "off")
                .env("MINIO_UPDATE", "off")
                .args(["server", "--quiet", "--address", &address]),
        };
        command.arg(data);
        command
    }
}

/// An S3 server with one bucket, ended when dropped.
#[derive(Debug)]
pub struct Bucket {
    kind: S3Kind,
    port: u16,
    _service: Service,
    _folder: TempDir,
}

impl Bucket {
    /// The bucket that is there from the start.
    pub const NAME: &str = "strongroom";
    /// The access key: of servers that live for one test, on loopback.
    pub const KEY: &str = "strongroom-test";
    /// Its secret.
    pub const SECRET: &str = "only-for-this-test";
    /// At MinIO a bucket is also the name of a host below this.
    pub const DOMAIN: &str = "localhost";
    /// The name of the key that MinIO encrypts with.
    pub const ENCRYPTION_KEY: &str = KMS_NAME;

    /// Starts `program`, and waits until it answers.
    pub fn start(kind: S3Kind, program: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("strongroom-s3-").tempdir()?;
        let (port, data) = (free_port()?, folder.path().join("data"));
        std::fs::create_dir_all(data.join(Self::NAME))?;
        let command = kind.command(program, port, &data);
        // What it keeps is thrown away: it need not take its time.
        let service = Service::start(command, folder.path(), Signal::KILL, || serves(port))?;
        Ok(Self { kind, port, _service: service, _folder: folder })
    }

    /// Which server it is.
    pub fn kind(&self) -> S3Kind {
        self.kind
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What tells the AWS SDK the keys by the environment.
    pub fn credentials() -> [(&'static str, &'static str); 3] {
        [
            ("AWS_ACCESS_KEY_ID", Self::KEY),
            ("AWS_SECRET_ACCESS_KEY", Self::SECRET),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
    }
}
