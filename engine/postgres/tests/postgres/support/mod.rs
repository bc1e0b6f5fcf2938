//! A PostgreSQL server of a test's own, in a temporary folder, ended with it.
//!
//! `STRONGROOM_POSTGRES_BIN` names the folder of its programs; without it the test fails, since a store
//! that nobody ran tells nothing. The server syncs to disk as one in production does.

#![allow(dead_code, reason = "not every test uses all of it")]
#![allow(clippy::print_stderr, reason = "what a server said is for whoever reads a failure")]

pub(crate) mod proxy;

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use strongroom_postgres::{PostgresOptions, PostgresStore};
use tempfile::TempDir;

pub(crate) struct Server {
    folder: TempDir,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    settings: Vec<String>,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// A server with its defaults.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// A server with these settings (`name=value`).
    pub(crate) fn with(settings: &[&str]) -> Self {
        let bin = std::env::var_os("STRONGROOM_POSTGRES_BIN")
            .map(PathBuf::from)
            .expect("STRONGROOM_POSTGRES_BIN is to name the folder of PostgreSQL's programs");
        let folder = tempfile::Builder::new().prefix("strongroom-pg-").tempdir().unwrap();
        let user = postgres_user(folder.path());
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut server = Self { folder, bin, user, settings, port: 0, child: None };
        let made = server
            .command("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-locale", "--encoding=UTF8"])
            .arg("--no-sync")
            .arg(server.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.port = free_port();
        server.run();
        server
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server on its port, and waits until it answers.
    pub(crate) fn run(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let start = Instant::now();
        while !self.answers() {
            assert!(start.elapsed() < Duration::from_mins(1), "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let ask = self
            .command("pg_isready")
            .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .status();
        ask.unwrap().success()
    }

    /// Ends the server as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.stop("immediate");
    }

    fn stop(&mut self, mode: &str) {
        let Some(mut child) = self.child.take() else { return };
        let _ =
            self.command("pg_ctl").args(["stop", "-s", "-m", mode, "-D"]).arg(self.data()).status();
        let _ = child.wait();
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        // The server refuses to run as root.
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/").env_remove("PGPASSWORD");
        command
    }

    /// The address of a schema that nobody else uses.
    pub(crate) fn url(&self, schema: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/postgres?options=-c%20search_path%3D{schema}",
            self.port
        )
    }

    /// Does something by hand.
    pub(crate) async fn execute(&self, sql: &str) {
        self.client("public").await.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn client(&self, schema: &str) -> tokio_postgres::Client {
        let url = self.url(schema);
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A schema of its own, migrated, and how to open it.
    pub(crate) async fn fresh(&self) -> PostgresOptions {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let schema = format!("s{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE SCHEMA {schema}")).await;
        let options = quick(self.url(&schema));
        PostgresStore::migrate(&options).await.unwrap();
        options
    }

    /// An empty store.
    pub(crate) async fn store(&self) -> Arc<PostgresStore> {
        Arc::new(PostgresStore::open(self.fresh().await).await.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.stop("immediate");
    }
}

/// Options with few connections: a server takes a hundred.
pub(crate) fn quick(url: String) -> PostgresOptions {
    let mut options = PostgresOptions::new(url);
    options.connections = 8;
    options.readers = 2;
    options
}

/// Whom to run as where the test is root: the user of Debian's package.
fn postgres_user(folder: &Path) -> Option<(u32, u32)> {
    if std::fs::metadata(folder).unwrap().uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().find(|line| line.starts_with("postgres:"));
    let user = user.expect("as root, the server is run as the user postgres, which is not there");
    let mut fields = user.split(':').skip(2).map(|id| id.parse().unwrap());
    Some((fields.next().unwrap(), fields.next().unwrap()))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
