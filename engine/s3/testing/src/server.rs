//! One server, on a free port, over a folder of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use strongroom_s3::{Addressing, Keys, S3Options};
use tempfile::TempDir;

const ID: &str = "strongroom";
const SECRET: &str = "strongroom-secret";
/// The bucket that is there from the start.
const BUCKET: &str = "room";
/// A server that has not answered by then never will.
const PATIENCE: Duration = Duration::from_mins(1);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// `versitygw`, over files: kept, and what the suites are about.
    Versity,
    /// MinIO: archived, but many run it.
    Minio,
}

impl ServerKind {
    fn variable(self) -> &'static str {
        match self {
            Self::Versity => "STRONGROOM_VERSITYGW",
            Self::Minio => "STRONGROOM_MINIO",
        }
    }

    fn command(self, program: &Path, address: SocketAddr, folder: &TempDir) -> Command {
        let mut command = Command::new(program);
        match self {
            Self::Versity => command
                .env("ROOT_ACCESS_KEY", ID)
                .env("ROOT_SECRET_KEY", SECRET)
                .args(["--port", &address.to_string(), "posix"])
                .arg(folder.path()),
            Self::Minio => command
                .env("MINIO_ROOT_USER", ID)
                .env("MINIO_ROOT_PASSWORD", SECRET)
                .env("MINIO_UPDATE", "off")
                .args(["server", "--quiet", "--address", &address.to_string()])
                .args(["--console-address", "127.0.0.1:0"])
                .arg(folder.path()),
        };
        command
    }
}

/// A running server, ended when dropped.
#[derive(Debug)]
pub struct Server {
    /// Which it is.
    pub kind: ServerKind,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts a server with one bucket.
    ///
    /// # Panics
    /// Where the environment does not say where its program is, or it does not start.
    pub async fn start(kind: ServerKind) -> Self {
        let variable = kind.variable();
        let program = std::env::var_os(variable).map_or_else(|| {
            panic!(
                "{variable} does not say where the server is: run `cargo xtask test --only stores`"
            )
        }, PathBuf::from);
        let folder = TempDir::new().expect("a temporary folder can be made");
        let address = free_address();
        let child = kind
            .command(&program, address, &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let mut server = Self { kind, address, child, _folder: folder };
        server.wait().await;
        server
    }

    /// Waits until it makes the bucket.
    async fn wait(&mut self) {
        let client = self.client();
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server {:?} ended at once: {status}", self.kind);
            }
            if TcpStream::connect(self.address).is_ok() {
                let Err(error) = client.create_bucket().bucket(BUCKET).send().await else { return };
                assert!(Instant::now() < until, "the server makes no bucket: {error:?}");
            }
            assert!(Instant::now() < until, "the server {:?} does not listen", self.kind);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Options of a store in its bucket.
    pub fn options(&self) -> S3Options {
        self.options_at(self.address)
    }

    /// The same through another address: a proxy's.
    pub fn options_at(&self, address: SocketAddr) -> S3Options {
        let mut options = S3Options::new(BUCKET);
        options.region = Some("us-east-1".to_owned());
        options.endpoint = Some(format!("http://{address}"));
        options.addressing = Addressing::Path;
        options.keys = Some(Keys { id: ID.to_owned(), secret: SECRET.to_owned() });
        options
    }

    /// A plain client, to look at what the store did.
    pub fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://{}", self.address))
            .force_path_style(true)
            .credentials_provider(Credentials::new(ID, SECRET, None, None, "tests"))
            .build();
        Client::from_conf(config)
    }

    /// The name of its bucket.
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is over either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that was free just now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("this machine has a free port");
    listener.local_addr().expect("a listener has an address")
}
