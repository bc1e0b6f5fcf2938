//! The side of the command line.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{MAX_LINE, Reply};
use crate::failure::Failure;
use crate::ops::{Command, Outcome, Told};

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server(UnixStream);

/// The server that listens there; `None` where there is none, also where a killed one left its
/// socket.
pub(crate) async fn connect(path: &Path) -> Result<Option<Server>, Failure> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(Server(stream))),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure::away(format!(
            "can't reach the server at {}: {error}; run this as the user it runs as",
            path.display()
        ))),
    }
}

impl Server {
    /// Lets the server run a verb. Dropping the future ends it there.
    pub(crate) async fn run(
        self,
        command: &Command,
        tell: impl Fn(Told) -> Result<(), Failure>,
    ) -> Result<Outcome, Failure> {
        let gone = |error: io::Error| Failure::away(format!("the server went away: {error}"));
        let (read, mut write) = self.0.into_split();
        let mut line = serde_json::to_vec(command)
            .map_err(|error| Failure::failed(format!("the verb can't be sent: {error}")))?;
        line.push(b'\n');
        write.write_all(&line).await.map_err(gone)?;
        let mut replies = BufReader::new(read);
        loop {
            let mut line = String::new();
            (&mut replies).take(MAX_LINE).read_line(&mut line).await.map_err(gone)?;
            if !line.ends_with('\n') {
                return Err(Failure::away(
                    "the server ended before this was done; what it did stays done, so run it again",
                ));
            }
            let reply = serde_json::from_str(&line).map_err(|error| {
                Failure::failed(format!(
                    "the server is of another version: its answer can't be read ({error})"
                ))
            })?;
            match reply {
                Reply::Told(told) => tell(told)?,
                Reply::Done(outcome) => return Ok(outcome),
                Reply::Failed(failure) => return Err(failure),
            }
        }
    }
}
