//! Drives one connection from its first byte to its end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Handler;
use super::activity::{Activity, Overdue, Stream, Watched};
use super::linger::linger;
use crate::limits::Limits;
use crate::pipeline::Pipeline;

/// The smallest table of HTTP/2 header compression that the standard lets a peer assume.
const HEADER_TABLE: u32 = 4096;

/// How many headers hyper takes by itself. The same number told to it costs each request more: it has two
/// tables for them filled then, and else not.
const HEADERS: usize = 100;

/// How much is read at once of a body of HTTP/1.1: measured, more is slower, since it falls out of the
/// processor's caches before it is looked at, and each connection that sends holds as much.
const BUFFER: usize = 64 * 1024;

/// The receive windows of HTTP/2, of a stream and of a connection: a push over a link of 100 ms
/// then still fills 80 Mbit/s a stream, and a connection holds at most 4 MiB unread.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// The settings of both protocols.
#[derive(Clone)]
pub(super) struct Protocols {
    h1: http1::Builder,
    h2: http2::Builder<Streams>,
}

/// Runs the streams of HTTP/2 connections as tasks that a shutdown waits for and cuts, and that end
/// where nobody reads their response.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    cut: CancellationToken,
    stall: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (cut, stall) = (self.cut.clone(), self.stall);
        self.tasks
            .spawn(async move { cut.run_until_cancelled(Stream::drive(stream, stall)).await });
    }
}

impl Protocols {
    /// As the limits say. The streams of HTTP/2 run among `tasks`, until `cut`.
    pub(super) fn new(limits: &Limits, tasks: TaskTracker, cut: CancellationToken) -> Self {
        let streams = Streams { tasks, cut, stall: limits.stall_timeout };
        let (mut h1, mut h2) = (http1::Builder::new(), http2::Builder::new(streams));
        // Of HTTP/1.1 our own deadlines cover all that hyper's do, which set a timer for each request.
        h1.header_read_timeout(None).max_buf_size(BUFFER).max_header_size(limits.max_header_size);
        if limits.max_headers != HEADERS {
            h1.max_headers(limits.max_headers);
        }
        // Without a timer its time-outs do nothing, and say nothing either.
        h2.timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_pending_accept_reset_streams(limits.max_pending_resets)
            .max_header_list_size(u32::try_from(limits.max_header_size).unwrap_or(u32::MAX))
            .header_table_size(HEADER_TABLE)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(limits.idle_timeout)
            .keep_alive_timeout(limits.first_byte_timeout);
        Self { h1, h2 }
    }
}

/// One connection, accepted and, over TLS, past its handshake.
pub(super) struct Connection<H> {
    pub(super) peer: SocketAddr,
    pub(super) tls: bool,
    pub(super) activity: Activity,
    pub(super) pipeline: Arc<Pipeline<H>>,
    /// Asks it to finish.
    pub(super) leave: CancellationToken,
}

impl<H: Handler> Connection<H> {
    /// Serves the connection until the client leaves or is overdue, or it is asked to finish and
    /// what was under way is done. Dropping the future cuts it.
    pub(super) async fn serve<S>(self, socket: S, protocols: &Protocols)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut socket = Watched::new(socket, self.activity.clone());
        let Ok(h2) = self.first_bytes(&mut socket).await else { return };
        let service = {
            let (pipeline, activity) = (Arc::clone(&self.pipeline), self.activity.clone());
            let (peer, tls) = (self.peer, self.tls);
            service_fn(move |request| {
                let (pipeline, activity) = (Arc::clone(&pipeline), activity.clone());
                // A place of its own: hyper moves it twice, and it is some kilobytes.
                Box::pin(async move {
                    Ok::<_, Infallible>(pipeline.run(request, peer, tls, &activity).await)
                })
            })
        };
        if h2 {
            let connection = protocols.h2.serve_connection(TokioIo::new(socket), service);
            // A room of its own: what it takes, connections of HTTP/1.1 need not.
            Box::pin(self.drive(connection, http2::Connection::graceful_shutdown)).await;
        } else {
            socket.send_files();
            let io = TokioIo::new(&mut socket);
            let connection = protocols.h1.serve_connection(io, service);
            let ended = self.drive(connection, http1::Connection::graceful_shutdown).await;
            if ended && self.activity.was_left_unread() {
                linger(&mut socket, self.pipeline.limits().linger_timeout).await;
            }
        }
    }

    async fn first_bytes<S>(&self, socket: &mut Watched<S>) -> io::Result<bool>
    where
        S: AsyncRead + Unpin,
    {
        let limits = self.pipeline.limits();
        let deadline = self.activity.deadline(limits).map_or_else(Instant::now, |(at, _)| at);
        tokio::select! {
            told = timeout_at(deadline, socket.speaks_h2()) => told?,
            () = self.leave.cancelled() => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    /// Drives a connection to its end; `leave` asks it to come to one. True where it came to it by
    /// itself, and was not cut.
    async fn drive<C>(&self, connection: C, leave: fn(Pin<&mut C>)) -> bool
    where
        C: Future<Output = Result<(), hyper::Error>>,
    {
        let (limits, peer) = (self.pipeline.limits(), self.peer);
        let mut connection = pin!(connection);
        let mut leaving = false;
        loop {
            // Each change of what is awaited sets a deadline at least the shortest time-out away,
            // so looking that often misses none.
            let look = Instant::now() + limits.shortest();
            let deadline = self.activity.deadline(limits).map_or(look, |(at, _)| at.min(look));
            tokio::select! {
                // What has come is read before it is called late.
                biased;
                end = connection.as_mut() => {
                    if let Err(error) = end {
                        tracing::debug!(%peer, error = crate::log::chain(&error), "connection ended early");
                    }
                    return true;
                }
                () = self.leave.cancelled(), if !leaving => {
                    leaving = true;
                    leave(connection.as_mut());
                }
                () = sleep_until(deadline) => match self.activity.deadline(limits) {
                    Some((at, why)) if at <= Instant::now() => {
                        if leaving || why != Overdue::Idle {
                            tracing::debug!(%peer, %why, "connection cut");
                            return false;
                        }
                        // Tells an HTTP/2 client that its next request belongs elsewhere.
                        leaving = true;
                        leave(connection.as_mut());
                    }
                    _ => {}
                },
            }
        }
    }
}
