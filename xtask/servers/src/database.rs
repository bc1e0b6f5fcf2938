//! PostgreSQL.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::service::{Service, cannot_start, free_port, last_words};

/// A PostgreSQL server with an empty database. It syncs to disk as one in production does. Ended when
/// dropped.
#[derive(Debug)]
pub struct Database {
    service: Option<Service>,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    settings: Vec<String>,
    port: u16,
    folder: TempDir,
}

impl Database {
    /// The folder of its programs, as the environment has it: `STRONGROOM_POSTGRES_BIN`.
    pub fn programs() -> Result<PathBuf> {
        crate::place("STRONGROOM_POSTGRES_BIN", "the folder of PostgreSQL's programs")
    }

    /// With its own defaults; `bin` is the folder of its programs.
    pub fn start(bin: &Path) -> Result<Self> {
        Self::start_with(bin, &[])
    }

    /// With these settings (`name=value`).
    pub fn start_with(bin: &Path, settings: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("strongroom-pg-").tempdir()?;
        // It refuses to run as root.
        let user = if rustix::process::getuid().is_root() { Some(postgres_user()?) } else { None };
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid))?;
        }
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let (bin, port) = (bin.to_owned(), free_port()?);
        let mut database = Self { service: None, bin, user, settings, port, folder };
        let mut initdb = database.command("initdb");
        initdb.args(["--auth=trust", "--username=postgres", "--no-locale", "--encoding=UTF8"]);
        initdb.args(["--no-sync", "-D"]).arg(database.data());
        let made = initdb.output().with_context(|| cannot_start(&initdb))?;
        if !made.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        }
        database.run()?;
        Ok(database)
    }

    /// Ends it as a power cut would.
    pub fn crash(&mut self) {
        self.service = None;
    }

    /// Starts it again on the same port, after [`Self::crash`], and waits until it takes statements.
    pub fn run(&mut self) -> Result<()> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder());
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
        // At once, without a checkpoint; killed, it would leave its processes.
        let service = Service::start(command, self.folder(), Signal::QUIT, || self.answers())?;
        self.service = Some(service);
        Ok(())
    }

    fn answers(&self) -> bool {
        let mut ask = self.command("pg_isready");
        ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        ask.status().is_ok_and(|status| status.success())
    }

    /// Keeps everybody from changing a table for a while: whoever does waits.
    pub fn hold(&self, table: &str, time: Duration) -> Result<Held> {
        let mut command = self.command("psql");
        let statement = format!(
            "BEGIN; LOCK TABLE {table} IN SHARE MODE; SELECT 'held'; SELECT pg_sleep({});",
            time.as_secs()
        );
        command.args(["--no-psqlrc", "--tuples-only", "--quiet", "-d", &self.url()]);
        command.args(statement.split_inclusive(';').flat_map(|one| ["-c", one]));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| cannot_start(&command))?;
        let mut said = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        let mut line = String::new();
        while !line.contains("held") {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                bail!("the table was not held: {:?}", child.wait_with_output()?);
            }
        }
        Ok(Held { child, said })
    }

    /// Where it is, for whoever is on this machine.
    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What is its own: its log and its socket lie here.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        last_words(self.folder())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/").env_remove("PGPASSWORD");
        command
    }
}

/// A table that is held.
#[derive(Debug)]
pub struct Held {
    child: Child,
    /// Read to its end: who is not listened to any more would stop.
    said: BufReader<ChildStdout>,
}

impl Held {
    /// Waits until it is free again.
    pub fn end(mut self) -> Result<()> {
        std::io::copy(&mut self.said, &mut std::io::sink())?;
        let ended = self.child.wait_with_output()?;
        if !ended.status.success() {
            bail!("the table was not held to the end: {ended:?}");
        }
        Ok(())
    }
}

/// The user of Debian's package.
fn postgres_user() -> Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let user = users.lines().find(|line| line.starts_with("postgres:"));
    let user = user.context("PostgreSQL does not run as root, and there is no user postgres")?;
    let mut fields = user.split(':').skip(2);
    let mut id = || fields.next().context("a user has ids")?.parse::<u32>().context("a number");
    Ok((id()?, id()?))
}
