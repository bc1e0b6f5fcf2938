//! A registry of our own, started as a person would: `strongroom serve`, optimised, on a
//! free port of this machine. It can end well, and it can be killed in the middle of its work.
//!
//! Where its bytes and facts lie, and whether it speaks TLS, is its [`Setup`].

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use strongroom_servers::wait;

use crate::http::Client;
use crate::run;
use crate::workspace::{self, cargo};

/// The user the registry has from its first start.
pub const USER: &str = "admin";
/// Its password: of a registry that lives for one test, on loopback.
pub const PASSWORD: &str = "only-for-this-test";
/// The organisation and the registry that are there from the first start.
pub const HOME: &str = "default/main";

/// The file of the certificate that [`Setup::with_tls`] makes.
pub const CERTIFICATE: &str = "tls.crt";

/// How long it may take to start, also after a kill.
const PATIENCE: Duration = Duration::from_mins(1);

/// The profile of what is looked at for whether it is right …
pub const GATE: &str = "gate";
/// … and of what is looked at for its figures, too.
pub const RELEASE: &str = "release";

/// Builds the server with a profile, and returns where it is.
pub fn build(profile: &str) -> Result<PathBuf> {
    run::show(cargo().args(["build", "--profile", profile, "-p", "strongroom"]))?;
    Ok(workspace::target()?.join(profile).join("strongroom"))
}

/// What a server is told beside its data folder: settings, as variables of its environment.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    variables: Vec<(String, String)>,
    tls: bool,
}

impl Setup {
    /// Sets one.
    pub fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.variables.push((variable.to_owned(), value.into()));
        self
    }

    /// Sets several.
    pub fn with_all(
        self,
        variables: impl IntoIterator<Item = (&'static str, &'static str)>,
    ) -> Self {
        variables.into_iter().fold(self, |setup, (variable, value)| setup.with(variable, value))
    }

    /// Says all of it to a command.
    fn tell(&self, command: &mut Command) {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    /// Gives it a certificate that it signed itself, kept in `folder`.
    pub fn with_tls(self, folder: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let (certificate, key) = (folder.join(CERTIFICATE), folder.join("tls.key"));
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        let setup = self
            .with("STRONGROOM_TLS_CERTIFICATE", certificate.to_string_lossy())
            .with("STRONGROOM_TLS_KEY", key.to_string_lossy());
        Ok(Self { tls: true, ..setup })
    }
}

/// A running server, ended when this is dropped.
pub struct Registry {
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    setup: Setup,
    /// `127.0.0.1:PORT`; the same over all restarts, as clients keep it in the names of images.
    address: String,
    child: Child,
}

impl Registry {
    /// Starts `program` on an empty or a used `data` folder, and waits until it answers. What it
    /// prints goes to `log`.
    pub fn start_with(program: &Path, data: &Path, log: &Path, setup: Setup) -> Result<Self> {
        let (child, address) = serve(program, data, log, &setup, "127.0.0.1:0")?;
        let registry = Self {
            program: program.to_owned(),
            data: data.to_owned(),
            log: log.to_owned(),
            setup,
            address,
            child,
        };
        registry.wait_until_up()?;
        Ok(registry)
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The process, to be killed from another thread or measured.
    pub fn pid(&self) -> Result<Pid> {
        Pid::from_raw(i32::try_from(self.child.id())?).context("a child has a process id")
    }

    /// A plain HTTP client, signed in as [`USER`].
    pub fn client(&self) -> Client {
        Client::new(&self.address, USER, PASSWORD)
    }

    /// `kill -9`: nothing is flushed, nothing is said.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts again on the same data and the same port, after [`Self::kill`].
    pub fn restart(&mut self) -> Result<()> {
        let (child, _) = serve(&self.program, &self.data, &self.log, &self.setup, &self.address)?;
        self.child = child;
        self.wait_until_up()
    }

    /// `strongroom VERB --data DIR`, beside the serving process or after it. Fails when it fails.
    pub fn verb(&self, verb: &[&str]) -> Result<()> {
        Self::once(&self.program, verb, &self.data, &self.setup)
    }

    /// What a verb prints, beside the serving process or after it.
    pub fn output(&self, verb: &[&str]) -> Result<String> {
        run::output(&mut Self::command(&self.program, verb, &self.data, &self.setup))
    }

    /// The same for a program that serves nothing yet.
    pub fn once(program: &Path, verb: &[&str], data: &Path, setup: &Setup) -> Result<()> {
        run::show(&mut Self::command(program, verb, data, setup))
    }

    /// A verb, about to be run.
    pub fn command(program: &Path, verb: &[&str], data: &Path, setup: &Setup) -> Command {
        let mut command = Command::new(program);
        command.args(verb).arg("--data").arg(data);
        // For the tests; the server knows no such setting.
        command.env_remove("STRONGROOM_LONG");
        setup.tell(&mut command);
        command
    }

    /// How it ended, where it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to end, and fails unless it ends well.
    pub fn stop(&mut self) -> Result<()> {
        kill_process(self.pid()?, Signal::TERM)?;
        let status = wait(&mut self.child)?.context("the registry did not end when asked to")?;
        if !status.success() {
            bail!("the registry ended with {status} when asked to end");
        }
        Ok(())
    }

    /// The end of what it printed, for whoever has to find out why a test failed.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(20)..];
        last.iter().map(|line| line.chars().take(300).collect::<String>() + "\n").collect()
    }

    /// Up is when it asks who we are: routes, users and storage are there.
    fn wait_until_up(&self) -> Result<()> {
        if self.setup.tls {
            // Our own client speaks no TLS; it listens from the line on that told its address.
            TcpStream::connect(&self.address)?;
            return Ok(());
        }
        let start = Instant::now();
        let anonymous = Client::anonymous(&self.address);
        loop {
            let answer = anonymous.get("/v2/");
            if answer.as_ref().is_ok_and(|answer| answer.status() == 401) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("the registry is not up: {answer:?}\n{}", self.last_words());
            }
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Already over, or nobody is left to tell.
        let _ = self.kill();
    }
}

/// Starts it and waits for the line that tells its address.
fn serve(
    program: &Path,
    data: &Path,
    log: &Path,
    setup: &Setup,
    listen: &str,
) -> Result<(Child, String)> {
    let mut sink = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command.args(["serve", "--listen", listen, "--data"]).arg(data);
    command.env_remove("STRONGROOM_LONG").env("STRONGROOM_BOOTSTRAP_PASSWORD", PASSWORD);
    setup.tell(&mut command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(sink.try_clone()?)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let printed = BufReader::new(child.stdout.take().context("its output is a pipe")?);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in printed.lines().map_while(Result::ok) {
            if let Some(address) = address_in(&line) {
                // Only the first is waited for.
                let _ = tell.send(address);
            }
            let _ = writeln!(sink, "{line}");
        }
    });
    if let Ok(address) = told.recv_timeout(PATIENCE) {
        return Ok((child, address));
    }
    // Ended or silent: either way it goes no further.
    let _ = child.kill();
    let status = child.wait()?;
    let words = std::fs::read_to_string(log).unwrap_or_default();
    bail!("`serve` told no address and ended with {status}\n{words}");
}

/// The `HOST:PORT` of the first plain address in a line.
fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http://").or_else(|| line.split_once("https://"))?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
    let address = &rest[..end.unwrap_or(rest.len())];
    address.parse::<std::net::SocketAddr>().ok().map(|address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_a_sentence() {
        let line = "listening on http://127.0.0.1:34567, press Ctrl-C to end";
        assert_eq!(address_in(line).as_deref(), Some("127.0.0.1:34567"));
        let line = "listening on https://127.0.0.1:34568";
        assert_eq!(address_in(line).as_deref(), Some("127.0.0.1:34568"));
        assert_eq!(address_in("docker login 127.0.0.1:34567"), None);
        assert_eq!(address_in("see http://example.org/"), None);
    }
}
