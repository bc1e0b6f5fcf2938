//! The real servers that a registry can stand on: S3, PostgreSQL, and nginx before several nodes. Each
//! on a free port of this machine and in a folder of its own, ended when dropped.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::registry::{Setup, wait};
use crate::{run, tools};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// The bucket that is there from the start.
const BUCKET: &str = "strongroom";
/// The access key of the S3 servers: of servers that live for one test, on loopback.
const KEY: &str = "strongroom-test";
const SECRET: &str = "only-for-this-test";

/// A child process with its log, ended when dropped.
struct Service {
    child: Child,
    log: PathBuf,
    port: u16,
    end: Signal,
}

impl Service {
    /// Starts it and waits until its port takes connections.
    fn start(mut command: Command, folder: &Path, port: u16, end: Signal) -> Result<Self> {
        let log = folder.join("log");
        let sink = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(sink.try_clone()?).stderr(sink);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let mut service = Self { child, log, port, end };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = service.child.try_wait()?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                bail!("{command:?} is not up (ended: {ended:?}):\n{}", service.last_words());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(service)
    }

    fn last_words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, self.end).is_ok());
        if !asked || !matches!(wait(&mut self.child), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A port that nobody listens on just now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// An S3 server with one bucket.
pub struct Bucket {
    service: Service,
    _folder: TempDir,
}

impl Bucket {
    /// MinIO.
    pub fn minio() -> Result<Self> {
        let (folder, port, data) = Self::place()?;
        let mut command = Command::new(tools::MINIO.find()?);
        command.args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")]).arg(data);
        command.env("MINIO_ROOT_USER", KEY).env("MINIO_ROOT_PASSWORD", SECRET);
        command.env("MINIO_BROWSER", "off").env("MINIO_UPDATE", "off");
        let service = Service::start(command, folder.path(), port, Signal::TERM)?;
        Ok(Self { service, _folder: folder })
    }

    /// versitygw, over files.
    pub fn versitygw() -> Result<Self> {
        let (folder, port, data) = Self::place()?;
        let mut command = Command::new(tools::VERSITYGW.find()?);
        command.args(["--port", &format!("127.0.0.1:{port}"), "posix"]).arg(data);
        command.env("ROOT_ACCESS_KEY", KEY).env("ROOT_SECRET_KEY", SECRET);
        let service = Service::start(command, folder.path(), port, Signal::TERM)?;
        Ok(Self { service, _folder: folder })
    }

    /// Both servers make a bucket of each folder below their own.
    fn place() -> Result<(TempDir, u16, PathBuf)> {
        let folder = tempfile::Builder::new().prefix("strongroom-s3-").tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir_all(data.join(BUCKET))?;
        Ok((folder, free_port()?, data))
    }

    /// The same in a file of settings, below a prefix; the keys are the environment's.
    pub fn settings(&self, prefix: &str) -> String {
        let port = self.service.port;
        format!(
            "[s3]\nbucket = \"{BUCKET}\"\nprefix = \"{prefix}\"\nregion = \"us-east-1\"\n\
             endpoint = \"http://localhost:{port}\"\npath_style = true\n"
        )
    }

    /// What the AWS SDK is told by the environment.
    pub fn credentials() -> [(&'static str, &'static str); 3] {
        [
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
    }

    /// The settings of a registry that keeps its bytes here.
    pub fn setup(&self, setup: Setup) -> Setup {
        setup
            .with("STRONGROOM_S3_BUCKET", BUCKET)
            // Another host than the registry's, as in life: clients send their credentials for us along to
            // whatever has our name.
            .with("STRONGROOM_S3_ENDPOINT", format!("http://localhost:{}", self.service.port))
            .with("STRONGROOM_S3_REGION", "us-east-1")
            .with("STRONGROOM_S3_PATH_STYLE", "true")
            .with_all(Self::credentials())
    }
}

/// A PostgreSQL server with an empty database.
pub struct Database {
    service: Option<Service>,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    folder: TempDir,
}

impl Database {
    /// With its own defaults: what it acknowledged is on the disk.
    pub fn start() -> Result<Self> {
        let bin = tools::postgres()?;
        let folder = tempfile::Builder::new().prefix("strongroom-pg-").tempdir()?;
        // It refuses to run as root.
        let user = if rustix::process::getuid().is_root() { Some(postgres_user()?) } else { None };
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid))?;
        }
        let mut database = Self { service: None, bin, user, port: free_port()?, folder };
        let mut initdb = database.command("initdb");
        initdb.args(["--auth=trust", "--username=strongroom", "--no-locale", "--encoding=UTF8"]);
        initdb.args(["--no-sync", "-D"]).arg(database.data());
        run::output(&mut initdb)?;
        database.run()?;
        Ok(database)
    }

    /// Ends it as a crash would, and starts it again on the same port.
    pub fn crash_and_restart(&mut self) -> Result<()> {
        if let Some(mut service) = self.service.take() {
            service.end = Signal::QUIT;
        }
        self.run()
    }

    fn run(&mut self) -> Result<()> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        let service = Service::start(command, self.folder.path(), self.port, Signal::INT)?;
        self.service = Some(service);
        // It takes connections before it takes statements.
        let start = Instant::now();
        loop {
            let mut ready = self.command("pg_isready");
            ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ready.status()?.success() {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("PostgreSQL is not up:\n{}", self.last_words());
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn last_words(&self) -> String {
        self.service.as_ref().map(Service::last_words).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/").env_remove("PGPASSWORD");
        command
    }

    /// The settings of a registry that keeps its facts here.
    pub fn setup(&self, setup: Setup) -> Setup {
        setup.with("STRONGROOM_POSTGRES_URL", self.url())
    }

    /// The same in a file of settings.
    pub fn settings(&self) -> String {
        format!("[postgres]\nurl = \"{}\"\n", self.url())
    }

    fn url(&self) -> String {
        format!("postgresql://strongroom@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }
}

/// The user of Debian's package.
fn postgres_user() -> Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let user = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = user.context("there is no user postgres")?.split(':').skip(2);
    let mut id = || fields.next().context("a user has ids")?.parse::<u32>().context("a number");
    Ok((id()?, id()?))
}

/// nginx, which gives each request to the next of several nodes, whoever sent it.
pub struct RoundRobin {
    service: Service,
    _folder: TempDir,
}

impl RoundRobin {
    /// Before the nodes at these addresses.
    pub fn start(nodes: &[String]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("strongroom-nginx-").tempdir()?;
        // Its workers run as another user where it is started as root.
        std::fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let port = free_port()?;
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, configuration(folder.path(), port, nodes))?;
        let mut command = Command::new(tools::nginx()?);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&config);
        let service = Service::start(command, folder.path(), port, Signal::QUIT)?;
        Ok(Self { service, _folder: folder })
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.service.port)
    }
}

/// Nothing is held back: bodies stream both ways. A request whose node is gone goes to the next only
/// where nothing of it was sent.
fn configuration(folder: &Path, port: u16, nodes: &[String]) -> String {
    let folder = folder.display();
    let servers: Vec<_> = nodes
        .iter()
        // A node that was away is asked again at once.
        .map(|node| format!("        server {node} max_fails=0;\n"))
        .collect();
    let servers = servers.concat();
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/errors;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n    access_log off;\n    client_max_body_size 0;\n\
         \x20   client_body_temp_path {folder}/body;\n    proxy_temp_path {folder}/proxy;\n\
         \x20   fastcgi_temp_path {folder}/f;\n    uwsgi_temp_path {folder}/u;\n    scgi_temp_path {folder}/s;\n\
         \x20   upstream nodes {{\n{servers}    }}\n\
         \x20   server {{\n        listen 127.0.0.1:{port};\n        location / {{\n\
         \x20           proxy_pass http://nodes;\n            proxy_http_version 1.1;\n\
         \x20           proxy_set_header Host $http_host;\n            proxy_set_header Connection \"\";\n\
         \x20           proxy_request_buffering off;\n            proxy_buffering off;\n\
         \x20           proxy_read_timeout 600s;\n            proxy_send_timeout 600s;\n\
         \x20       }}\n    }}\n}}\n"
    )
}
