//! Where connections come from, and what to do when none can be had.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// The first and the longest wait after an accept that failed for want of something.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// A place where connections come in: a TCP socket, or a stand-in of a test.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection. Dropping the future loses none.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Without this a small response waits for the client's delayed acknowledgement. A socket
        // that refuses is gone already, as its first read will tell.
        let _refused = stream.set_nodelay(true);
        Ok((stream, peer))
    }
}

/// The next connection, however many tries it takes. An error that belongs to one connection costs
/// nothing; one that says that the machine is out of something (files, memory) is waited out, since
/// trying again at once would only burn the processor until it is over.
pub(super) async fn next<L: Listener>(listener: &mut L) -> (L::Stream, SocketAddr) {
    let (mut wait, longest) = BACKOFF;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if of_one_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, ?wait, "no connection can be accepted; trying again soon");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(longest);
            }
        }
    }
}

fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::DuplexStream;
    use tokio::time::Instant;

    use super::*;

    struct Starved {
        left: usize,
        tries: Arc<AtomicUsize>,
        error: io::ErrorKind,
    }

    impl Listener for Starved {
        type Stream = DuplexStream;

        async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
            self.tries.fetch_add(1, Ordering::SeqCst);
            if self.left == 0 {
                return Ok((tokio::io::duplex(1).0, ([127, 0, 0, 1], 1).into()));
            }
            self.left -= 1;
            Err(self.error.into())
        }
    }

    async fn waited(left: usize, error: io::ErrorKind) -> (Duration, usize) {
        let tries = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        next(&mut Starved { left, tries: Arc::clone(&tries), error }).await;
        (started.elapsed(), tries.load(Ordering::SeqCst))
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_out_of_files_is_waited_out_without_spinning() {
        // EMFILE has no kind of its own.
        let (time, tries) = waited(12, io::ErrorKind::Other).await;
        assert_eq!(tries, 13);
        assert!(time > Duration::from_secs(4), "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_went_away_costs_the_others_no_wait() {
        let (time, tries) = waited(12, io::ErrorKind::ConnectionAborted).await;
        assert_eq!((time, tries), (Duration::ZERO, 13));
    }
}
