//! A server's process: started, waited for, and ended.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to answer, and to end when it is asked to.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);

/// A child process with its log, ended when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    end: Signal,
}

impl Service {
    /// Starts it with its log in `folder`, and waits until it answers. `end` is what ends it together
    /// with the processes that it has made.
    pub(crate) fn start(
        mut command: Command,
        folder: &Path,
        end: Signal,
        answers: impl Fn() -> bool,
    ) -> Result<Self> {
        let sink = File::options().create(true).append(true).open(log(folder))?;
        command.stdin(Stdio::null()).stdout(sink.try_clone()?).stderr(sink);
        let child = command.spawn().with_context(|| cannot_start(&command))?;
        let mut service = Self { child, end };
        let start = Instant::now();
        loop {
            let ended = service.child.try_wait()?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                let program = command.get_program().display();
                bail!("{program} is not up (ended: {ended:?}):\n{}", last_words(folder));
            }
            if answers() {
                return Ok(service);
            }
            sleep(PAUSE);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let asked = kill_process(Pid::from_child(&self.child), self.end).is_ok();
        if !asked || !matches!(wait(&mut self.child), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What is said where a program can't even be started.
pub(crate) fn cannot_start(command: &Command) -> String {
    format!("{} can't be started", command.get_program().display())
}

/// Waits for a child's end; `None` where it has not ended in time.
pub fn wait(child: &mut Child) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(PAUSE);
    }
    Ok(None)
}

fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// What a service with its log in `folder` has said.
pub(crate) fn last_words(folder: &Path) -> String {
    std::fs::read_to_string(log(folder)).unwrap_or_default()
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether something takes connections.
pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether something answers over HTTP, and not that it is not ready yet.
pub(crate) fn serves(port: u16) -> bool {
    status(port).is_some_and(|status| status < 500)
}

fn status(port: u16) -> Option<u16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut begin = [0; b"HTTP/1.1 200".len()];
    stream.read_exact(&mut begin).ok()?;
    std::str::from_utf8(&begin).ok()?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::test_kill_process;
    use tempfile::TempDir;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = TempDir::new().unwrap();
        let missing = Command::new("/nowhere/minio");
        let error = Service::start(missing, folder.path(), Signal::KILL, || true).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/minio can't be started"), "{error:#}");
    }

    #[test]
    fn one_that_ends_before_it_answers_is_not_up_and_its_words_are_told() {
        let folder = TempDir::new().unwrap();
        let command = shell("echo no such flag >&2; exit 3");
        let error = Service::start(command, folder.path(), Signal::KILL, || false).unwrap_err();
        assert!(error.to_string().contains("no such flag"), "{error}");
    }

    #[test]
    fn a_dropped_one_has_ended() {
        let folder = TempDir::new().unwrap();
        for (end, script) in [
            (Signal::TERM, "exec sleep 600"),
            (Signal::KILL, "trap '' TERM; while :; do sleep 1; done"),
        ] {
            let service = Service::start(shell(script), folder.path(), end, || true).unwrap();
            let pid = Pid::from_child(&service.child);
            test_kill_process(pid).unwrap();
            drop(service);
            assert!(test_kill_process(pid).is_err(), "{script}");
        }
    }

    #[test]
    fn an_answer_over_http_counts_unless_it_is_that_nobody_is_ready() {
        for (answer, counts) in [
            ("HTTP/1.1 403 Forbidden\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("", false),
        ] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let answering = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(serves(port), counts, "{answer:?}");
            answering.join().unwrap();
            assert!(!serves(port), "nobody listens any more");
        }
    }
}
