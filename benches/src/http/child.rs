//! The servers that are measured: started, asked what they used, ended.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use tempfile::TempDir;

use super::client::Client;
use crate::figure::folder;

/// Where the servers of ours are.
const SHIPPED: &str = "STRONGROOM_BENCH_PROGRAMS";
/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);
/// Of this process's servers only, which end with it.
const PASSWORD: &str = "bench-only-3e1f0c";
/// The kernel counts processor time in these for every reader, whatever its own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// The repository that the figures use, in the organisation and registry of a first start.
pub(crate) const REPOSITORY: &str = "default/main/bench";

/// The registry, as a release: with accounts, audit trail, log and metrics.
pub(crate) struct Strongroom {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

/// A program as it is shipped, in the folder of those that `cargo xtask bench` built.
fn shipped(program: &str) -> Result<PathBuf> {
    let folder = std::env::var_os(SHIPPED).with_context(|| {
        format!(
            "{SHIPPED} names no folder of programs; `cargo xtask bench` builds them and names it"
        )
    })?;
    Ok(Path::new(&folder).join(program))
}

impl Strongroom {
    /// Starts it over an empty folder.
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with settings, as variables of its environment; a database among them is migrated first.
    pub(crate) fn start_with(settings: &[(&str, String)]) -> Result<Self> {
        let folder = tempfile::tempdir_in(folder()?)?;
        let binary = shipped("strongroom")?;
        let address = free_address()?;
        let log = File::create(folder.path().join("log"))?;
        let data = folder.path().join("data");
        let command = |verb: &[&str]| -> Result<Command> {
            let mut command = Command::new(&binary);
            command.args(verb).arg("--data").arg(&data);
            // What is for the benches are no settings to it, and it refuses those it does not know.
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("STRONGROOM_") {
                    command.env_remove(name);
                }
            }
            command.envs(settings.iter().map(|(name, value)| (name, value)));
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
            Ok(command)
        };
        if settings.iter().any(|(name, _)| *name == "STRONGROOM_POSTGRES_URL") {
            ensure!(command(&["migrate"])?.status()?.success(), "the database can't be migrated");
        }
        let mut command = command(&["serve", "--listen", &address.to_string()])?;
        command.env("STRONGROOM_BOOTSTRAP_PASSWORD", PASSWORD);
        let child = command.spawn().with_context(|| {
            format!("{} can't be started; `cargo xtask bench http` builds it", binary.display())
        })?;
        let mut server = Self { child, address, folder };
        wait_for(&mut server.child, address, &server.folder.path().join("log"))?;
        let reply = server.client()?.get("/v2/")?;
        ensure!(reply.status == 200, "signing in was answered {}", reply.status);
        Ok(server)
    }

    /// A connection that signs in with each request, as docker does without tokens.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(self.address, Some(basic()))
    }

    /// A token for pulling from [`REPOSITORY`], as the token endpoint gives out.
    pub(crate) fn token(&self) -> Result<String> {
        let mut client = Client::connect(self.address, None)?;
        let challenge = client.get("/v2/")?;
        let field = |name: &str| {
            let start = challenge.head.find(&format!("{name}=\""))? + name.len() + 2;
            challenge.head.get(start..)?.split('"').next()
        };
        let realm = field("realm").context("no realm in the challenge")?;
        let path = realm.splitn(4, '/').nth(3).context("the realm is no address")?;
        let service = field("service").context("no service in the challenge")?;
        let path = format!("/{path}?service={service}&scope=repository:{REPOSITORY}:pull");
        let reply = self.client()?.get(&path)?;
        ensure!(reply.status == 200, "asking for a token was answered {}", reply.status);
        let token: serde_json::Value = serde_json::from_slice(&reply.body)?;
        Ok(token
            .get("token")
            .and_then(|token| token.as_str())
            .context("no token in the answer")?
            .to_owned())
    }

    /// Its memory now, in MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        status_mib(self.child.id(), "VmRSS:")
    }

    /// The most memory it ever had, in MiB.
    pub(crate) fn peak_mib(&self) -> Result<f64> {
        status_mib(self.child.id(), "VmHWM:")
    }
}

impl Drop for Strongroom {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The value of the Authorization header of the registry's first user.
pub(crate) fn basic() -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("admin:{PASSWORD}"));
    format!("Basic {pair}")
}

/// nginx with sendfile, serving one folder.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Starts it over a folder with one file of these bytes, called `blob`.
    pub(crate) fn start(bytes: &[u8]) -> Result<Self> {
        let folder = tempfile::tempdir_in(folder()?)?;
        let address = free_address()?;
        let root = folder.path().canonicalize()?;
        std::fs::write(root.join("blob"), bytes)?;
        let root = root.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};"))
            .concat();
        let configuration = format!(
            "user root; worker_processes auto; pid {root}/pid; error_log {root}/log; events {{}}
            http {{ access_log off; sendfile on; {temporary}
            server {{ listen {address}; root {root}; }} }}\n"
        );
        std::fs::write(folder.path().join("conf"), configuration)?;
        let mut command = nginx(folder.path())?;
        let child = command.args(["-g", "daemon off;"]).stderr(Stdio::null()).spawn();
        let child = child.context(
            "nginx is what pulling is held against, and can't be started: install it \
             (Debian: apt-get install nginx-light)",
        )?;
        let mut server = Self { child, address, folder };
        wait_for(&mut server.child, address, &server.folder.path().join("log"))?;
        Ok(server)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers outlive a master that is killed.
        let asked = nginx(self.folder.path()).and_then(|mut nginx| {
            Ok(nginx.args(["-s", "stop"]).stderr(Stdio::null()).status()?.success())
        });
        if !matches!(asked, Ok(true)) {
            end(&mut self.child);
        }
        let _gone = self.child.wait();
    }
}

fn nginx(folder: &Path) -> Result<Command> {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.canonicalize()?).args(["-c", "conf", "-e", "stderr"]);
    Ok(command)
}

/// A server that does nothing but answer, built as ours is.
pub(crate) struct Bare {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Bare {
    /// Starts it with answers of `size` bytes.
    pub(crate) fn start(size: usize) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(shipped("strongroom-bench-bare")?);
        let mut child = command.args([&address.to_string(), &size.to_string()]).spawn()?;
        let waited = wait_for(&mut child, address, Path::new("/dev/null"));
        let server = Self { child, address };
        waited.map(|()| server)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A server whose processor time can be asked for.
pub(crate) trait Used {
    fn processes(&self) -> Result<Vec<u32>>;

    /// The processor seconds it used so far, by user and kernel.
    fn cpu_seconds(&self) -> Result<f64> {
        let mut sum = 0.0;
        for process in self.processes()? {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
            // The name of the program, which may hold anything, ends at the last parenthesis.
            let fields = stat.rsplit_once(')').context("no name in stat")?.1;
            for ticks in fields.split_whitespace().skip(11).take(2) {
                sum += ticks.parse::<f64>()? / TICKS_PER_SECOND;
            }
        }
        Ok(sum)
    }
}

impl Used for Strongroom {
    fn processes(&self) -> Result<Vec<u32>> {
        Ok(vec![self.child.id()])
    }
}

impl Used for Nginx {
    fn processes(&self) -> Result<Vec<u32>> {
        let master = self.child.id();
        let workers = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        workers.split_whitespace().map(|worker| Ok(worker.parse()?)).collect()
    }
}

fn status_mib(process: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no such field")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Waits until something listens there.
pub(crate) fn wait_for(child: &mut Child, address: SocketAddr, log: &Path) -> Result<()> {
    let begin = Instant::now();
    let said = || std::fs::read_to_string(log).unwrap_or_default();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("the server at {address} ended with {status}:\n{}", said());
        }
        if begin.elapsed() > START {
            end(child);
            bail!("nothing listens at {address} after {START:?}:\n{}", said());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub(crate) fn end(child: &mut Child) {
    // It may be gone already.
    let _gone = child.kill().and_then(|()| child.wait());
}
