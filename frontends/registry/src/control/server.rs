//! The side of the server.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{MAX_LINE, Reply};
use crate::app::App;
use crate::failure::Failure;
use crate::ops::{Command, Run, Step};

/// How many verbs run at once; more wait.
const AT_ONCE: usize = 8;
/// How long a client has to send its verb.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait where no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(200);

/// The socket of a server. Gone from the folder when this is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens at `path`. To be called by who owns the data folder: what is there was left by a
    /// server that was killed, and is taken away.
    pub(crate) fn listen(path: PathBuf) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::failed(format!(
                "can't take verbs at {}: {error} (the path of a socket has at most 107 bytes)",
                path.display()
            ))
        };
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        // Before that the folder's mode keeps others out, and the peer's uid does at any time.
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// Runs verbs until `end`; those that run then are ended.
    pub(crate) async fn serve(&self, app: App, end: CancellationToken) {
        let (places, tasks) = (Arc::new(Semaphore::new(AT_ONCE)), TaskTracker::new());
        loop {
            let accepted = tokio::select! {
                biased;
                () = end.cancelled() => break,
                accepted = self.next(&places) => accepted,
            };
            let Some((stream, place)) = accepted else { continue };
            let (app, end) = (app.clone(), end.clone());
            tasks.spawn(async move {
                let _held = place;
                if let Some(Err(error)) = end.run_until_cancelled(answer(&app, stream)).await {
                    tracing::debug!(%error, "a client of the control socket left");
                }
            });
        }
        tasks.close();
        tasks.wait().await;
    }

    /// The next client that is ours, with a place to run its verb.
    async fn next(
        &self,
        places: &Arc<Semaphore>,
    ) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, _)) if is_ours(&stream) => Some((stream, place)),
            Ok(_) => {
                tracing::warn!("somebody else's process was turned away from the control socket");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket can't accept");
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, "the control socket stays; the next start takes it away");
    }
}

/// Whether the kernel says that the other end runs as who we are, or as root.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn answer(app: &App, stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    let mut first = (&mut read).take(MAX_LINE);
    tokio::time::timeout(PATIENCE, first.read_line(&mut line)).await??;
    let command: Command = match serde_json::from_str(&line) {
        Ok(command) => command,
        Err(error) => {
            let why = format!("the server is of another version and does not know this: {error}");
            return say(&mut write, &Reply::Failed(Failure::failed(why))).await;
        }
    };
    tracing::info!(verb = ?command, "the command line asks");
    let mut run = Run::start(app.clone(), command);
    let reply = loop {
        let step = tokio::select! {
            step = run.next() => step,
            () = left(&mut read) => return Ok(()),
        };
        match step {
            Step::Told(told) => say(&mut write, &Reply::Told(told)).await?,
            Step::Done(Ok(outcome)) => break Reply::Done(outcome),
            Step::Done(Err(failure)) => break Reply::Failed(failure),
        }
    };
    say(&mut write, &reply).await
}

/// Resolves when the client is gone: it has nothing more to say.
async fn left(read: &mut BufReader<OwnedReadHalf>) {
    let mut more = [0; 64];
    while matches!(read.read(&mut more).await, Ok(count) if count > 0) {}
}

async fn say(write: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    write.write_all(&line).await
}
