//! What moves on one connection, and by when something must.
//!
//! The socket, the service and the bodies report to one [`Activity`]; the task that drives the
//! connection asks it for the [`deadline`](Activity::deadline). One rule each: a silent newcomer, a
//! header that dribbles, a pause between requests, a response that nobody reads. While a handler runs,
//! there is none: it watches its request's body, and its own work, itself.

use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::sendfile::{self, First, Outgoing, Promises};
use crate::body::Stretch;
use crate::context::RequestContext;
use crate::framing::{Framing, Verdict};
use crate::limits::Limits;

/// Why a connection was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    FirstByte,
    Header,
    Idle,
    Stalled,
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstByte => "it sent nothing",
            Self::Header => "the header of its request took too long",
            Self::Idle => "it was idle",
            Self::Stalled => "it did not read its response",
        })
    }
}

/// What moves on one connection. Clones are of the same connection.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Requests in their handlers.
    handling: usize,
    /// Responses on their way out.
    sending: usize,
    heard: bool,
    /// When the first byte of a header that is not whole yet came.
    header_since: Option<Instant>,
    /// When something last moved that resets the wait for idleness or a stalled reader.
    moved: Instant,
    /// Whether the socket took no more at the last try.
    blocked: bool,
    /// Whether a request was answered before all of its body was read.
    unread: bool,
    framing: Framing,
    /// Of files, where the connection can send them by itself.
    promises: Option<Promises>,
}

impl Activity {
    /// Of a connection accepted now.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            handling: 0,
            sending: 0,
            heard: false,
            header_since: None,
            moved: Instant::now(),
            blocked: false,
            unread: false,
            framing: Framing::new(),
            promises: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By when something must move, and what is wrong if nothing does.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<(Instant, Overdue)> {
        let state = self.state();
        if state.handling > 0 {
            None
        } else if state.sending > 0 {
            Some((state.moved + limits.stall_timeout, Overdue::Stalled))
        } else if !state.heard {
            Some((state.moved + limits.first_byte_timeout, Overdue::FirstByte))
        } else if let Some(since) = state.header_since {
            Some((since + limits.header_timeout, Overdue::Header))
        } else {
            Some((state.moved + limits.idle_timeout, Overdue::Idle))
        }
    }

    /// A request's header is whole.
    pub(crate) fn request(&self) -> (Handling, Verdict) {
        let mut state = self.state();
        state.handling += 1;
        state.header_since = None;
        let verdict = state.framing.next();
        let stream = STREAM.try_with(Clone::clone).ok();
        (Handling { activity: self.clone(), sending: false, stream }, verdict)
    }

    /// Whether a client may still be sending what nobody reads.
    pub(crate) fn was_left_unread(&self) -> bool {
        self.state().unread
    }

    /// The connection can send files by itself.
    pub(super) fn send_files(&self) {
        self.state().promises = Some(Promises::default());
    }

    pub(super) fn promises<T>(&self, work: impl FnOnce(&mut Promises) -> T) -> T {
        work(self.state().promises.get_or_insert_default())
    }

    /// Some of a response's body was taken by the socket's side.
    pub(crate) fn moved(&self) {
        self.state().moved = Instant::now();
    }

    fn read(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.heard = true;
        if state.handling == 0 && state.sending == 0 {
            state.header_since.get_or_insert_with(Instant::now);
        }
        state.framing.observe(bytes);
    }

    fn wrote(&self, pending: bool) {
        let mut state = self.state();
        if std::mem::replace(&mut state.blocked, pending) && !pending {
            state.moved = Instant::now();
        }
    }
}

/// One request under way, from its header until its response is handed over or given up.
#[derive(Debug)]
pub(crate) struct Handling {
    activity: Activity,
    sending: bool,
    /// The stream of its own, over HTTP/2.
    stream: Option<Stream>,
}

impl Handling {
    /// The handler is done, the response's body follows.
    pub(crate) fn sending(&mut self) {
        if !std::mem::replace(&mut self.sending, true) {
            let mut state = self.activity.state();
            state.handling -= 1;
            state.sending += 1;
            state.moved = Instant::now();
        }
        self.stream_moved();
    }

    pub(crate) fn moved(&self) {
        self.activity.moved();
        self.stream_moved();
    }

    fn stream_moved(&self) {
        if let Some(stream) = &self.stream {
            stream.moved();
        }
    }

    /// Whether files can be promised.
    pub(crate) fn sends_files(&self) -> bool {
        self.activity.state().promises.is_some()
    }

    /// What stands for a stretch of a file until it is sent.
    pub(crate) fn promise(&self, stretch: Stretch, context: &Arc<RequestContext>) -> Outgoing {
        self.activity.promises(|promises| promises.add(stretch, context))
    }

    /// The request was answered before all of its body was read.
    pub(crate) fn left_unread(&self) {
        self.activity.state().unread = true;
    }
}

tokio::task_local! {
    /// The stream that the task at work drives, over HTTP/2.
    static STREAM: Stream;
}

/// What moves on one stream of HTTP/2: a reader that lets one response stand still while it takes
/// others holds memory for it all the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream(Arc<Mutex<Option<Instant>>>);

impl Stream {
    /// Runs a stream's task, and ends it where its response stands still for `stall`.
    pub(crate) async fn drive(task: impl Future, stall: Duration) {
        let stream = Self::default();
        let mut task = pin!(STREAM.scope(stream.clone(), task));
        loop {
            let due = stream.moved_at().unwrap_or_else(Instant::now) + stall;
            tokio::select! {
                biased;
                _ = &mut task => return,
                () = sleep_until(due) => {
                    if stream.moved_at().is_some_and(|at| at + stall <= Instant::now()) {
                        tracing::debug!(why = %Overdue::Stalled, "stream reset");
                        return;
                    }
                }
            }
        }
    }

    fn moved(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When its response last moved; `None` before there is one.
    fn moved_at(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        if self.sending {
            state.sending -= 1;
        } else {
            state.handling -= 1;
        }
        state.moved = Instant::now();
    }
}

/// What an HTTP/2 client that was told nothing sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket that reports to its connection's [`Activity`].
#[derive(Debug)]
pub(crate) struct Watched<S> {
    socket: S,
    activity: Activity,
    /// What was read to tell the protocol, and is still to be handed on.
    sniffed: Bytes,
}

impl<S: AsyncRead + Unpin> Watched<S> {
    pub(crate) fn new(socket: S, activity: Activity) -> Self {
        Self { socket, activity, sniffed: Bytes::new() }
    }

    /// Whether the client speaks HTTP/2, by its first bytes, which stay to be read.
    pub(crate) async fn speaks_h2(&mut self) -> io::Result<bool> {
        let mut first = Vec::with_capacity(PREFACE.len());
        while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
            let mut rest = (&mut self.socket).take((PREFACE.len() - first.len()) as u64);
            if rest.read_buf(&mut first).await? == 0 {
                break;
            }
        }
        self.activity.read(&first);
        let h2 = first == PREFACE;
        self.sniffed = first.into();
        Ok(h2)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.sniffed.is_empty() {
            let length = self.sniffed.len().min(buffer.remaining());
            buffer.put_slice(&self.sniffed.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.activity.read(bytes);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin + 'static> Watched<S> {
    /// From here on files are sent by the kernel, where it can: HTTP/1.1 over a plain socket.
    pub(crate) fn send_files(&self) {
        if sendfile::can_send(&self.socket) {
            self.activity.send_files();
        }
    }
}

impl<S: AsyncWrite + Unpin + 'static> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.activity.wrote(wrote.is_pending());
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = match First::of(slices) {
            First::Bytes(slices) => Pin::new(&mut self.socket).poll_write_vectored(context, slices),
            First::Promised(length) => {
                sendfile::poll_send(&self.socket, &self.activity, length, context)
            }
        };
        self.activity.wrote(wrote.is_pending());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(activity: &Activity) -> Option<(Duration, Overdue)> {
        let deadline = activity.deadline(&Limits::default());
        deadline.map(|(at, why)| (at - Instant::now(), why))
    }

    #[tokio::test(start_paused = true)]
    async fn each_stretch_of_a_connection_has_its_own_deadline() {
        let limits = Limits::default();
        let activity = Activity::new();
        assert_eq!(due(&activity), Some((limits.first_byte_timeout, Overdue::FirstByte)));

        activity.read(b"G");
        tokio::time::advance(Duration::from_secs(1)).await;
        activity.read(b"ET / HTTP/1.1\r\n");
        let left = limits.header_timeout.checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(due(&activity), Some((left, Overdue::Header)), "a dribble wins no time");

        activity.read(b"\r\n");
        let (mut handling, verdict) = activity.request();
        assert_eq!(verdict, Verdict::Clear);
        assert_eq!(due(&activity), None);

        handling.sending();
        tokio::time::advance(Duration::from_secs(1)).await;
        handling.moved();
        assert_eq!(due(&activity), Some((limits.stall_timeout, Overdue::Stalled)));

        drop(handling);
        assert_eq!(due(&activity), Some((limits.idle_timeout, Overdue::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_given_up_by_its_client_leaves_the_connection_idle() {
        let activity = Activity::new();
        activity.read(b"GET / HTTP/1.1\r\n\r\n");
        drop(activity.request());
        assert_eq!(due(&activity).unwrap().1, Overdue::Idle);
    }
}
