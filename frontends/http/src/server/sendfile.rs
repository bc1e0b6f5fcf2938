//! Files that the kernel sends by itself, without their bytes coming here.
//!
//! hyper knows only bytes. So a body's [`Stretch`] of a file goes into the connection's [`Promises`],
//! and hyper gets a stand-in for it: as many bytes of one static, which is no content of anybody. Over
//! HTTP/1.1 without TLS bytes reach the socket in the order and the number in which bodies gave them,
//! and uncopied; so where the socket is given the stand-in, which is told by its address, the first
//! promise that is open is what belongs there.
//!
//! **Promises.** Nothing of the stand-in is ever sent: a stand-in that is copied instead of written is a
//! bug that panics (and so ends one connection), one that does not fit the first promise is an
//! error. Only connections that [`carry`](can_send) to a TCP socket directly are given any.
//!
//! What waits in the socket are pages of the file itself: whoever cuts or overwrites one in place changes
//! what is on its way. Files of blobs are written once and then only unlinked, which changes nothing.

use std::any::Any;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;

use super::Activity;
use crate::body::Stretch;
use crate::context::RequestContext;

/// Stands for bytes of files. Never read, so it takes no memory.
static STAND_IN: [u8; Stretch::MOST] = [0; Stretch::MOST];

/// What hyper is given of a response's body.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Bytes(Bytes),
    /// So many bytes of the first open promise.
    Promised(usize),
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Promised(left) => *left,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Promised(0) => &[],
            Self::Promised(_) => unreachable!("what the kernel sends can't be copied"),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.chunks_vectored(slices),
            Self::Promised(left) => {
                let stand_in = STAND_IN.get(..*left).filter(|bytes| !bytes.is_empty());
                let Some((slice, stand_in)) = slices.first_mut().zip(stand_in) else { return 0 };
                *slice = IoSlice::new(stand_in);
                1
            }
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::Promised(left) => *left -= count,
        }
    }
}

/// The stretches that a connection owes, in the order of their turns, with the requests they answer.
#[derive(Debug, Default)]
pub(super) struct Promises(VecDeque<(Stretch, Arc<RequestContext>)>);

impl Promises {
    pub(super) fn add(&mut self, stretch: Stretch, context: &Arc<RequestContext>) -> Outgoing {
        let promised = Outgoing::Promised(stretch.length());
        self.0.push_back((stretch, Arc::clone(context)));
        promised
    }

    /// Sends what it can of the first one, for which hyper gave `length` bytes of the stand-in.
    #[cfg(target_os = "linux")]
    fn send(&mut self, length: usize, socket: &TcpStream) -> io::Result<usize> {
        let first = self.0.front_mut().filter(|(stretch, _)| stretch.length() == length);
        let (stretch, context) = first
            .ok_or_else(|| io::Error::other("the file that is due is not the one promised"))?;
        let sent = stretch.send(socket);
        match &sent {
            Ok(sent) if *sent == length => drop(self.0.pop_front()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                crate::log::body_failed(context, error);
            }
            _ => {}
        }
        sent
    }

    #[cfg(not(target_os = "linux"))]
    fn send(&mut self, _: usize, _: &TcpStream) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What is first among slices on their way to the socket.
pub(super) enum First<'a, 'b> {
    /// Bytes, up to the first stand-in.
    Bytes(&'a [IoSlice<'b>]),
    /// So many bytes of a promise.
    Promised(usize),
}

impl<'a, 'b> First<'a, 'b> {
    pub(super) fn of(slices: &'a [IoSlice<'b>]) -> Self {
        match slices.iter().position(|slice| stands_in(slice)) {
            Some(0) => Self::Promised(slices.first().map_or(0, |slice| slice.len())),
            Some(at) => Self::Bytes(slices.get(..at).unwrap_or(slices)),
            None => Self::Bytes(slices),
        }
    }
}

fn stands_in(slice: &[u8]) -> bool {
    !slice.is_empty() && STAND_IN.as_ptr_range().contains(&slice.as_ptr())
}

/// Whether the kernel can send files over `socket`.
pub(super) fn can_send(socket: &dyn Any) -> bool {
    cfg!(target_os = "linux") && socket.is::<TcpStream>()
}

/// Sends of what `activity`'s connection promised first.
pub(super) fn poll_send(
    socket: &dyn Any,
    activity: &Activity,
    length: usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let Some(socket) = socket.downcast_ref::<TcpStream>() else {
        return Poll::Ready(Err(io::Error::other("a file is due where none can be sent")));
    };
    loop {
        std::task::ready!(socket.poll_write_ready(context))?;
        let send = || activity.promises(|promises| promises.send(length, socket));
        match socket.try_io(tokio::io::Interest::WRITABLE, send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => return Poll::Ready(sent),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets one fails"
)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::pin::Pin;

    use futures::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWrite};
    use tokio::net::TcpListener;

    use super::super::activity::Watched;
    use super::*;
    use crate::body::{Body, Part};
    use crate::forwarded::TrustedProxies;
    use crate::request_id::RequestId;

    fn context() -> Arc<RequestContext> {
        let peer = ([127, 0, 0, 1], 1).into();
        let origin = TrustedProxies::default().origin(peer, false, None, &http::HeaderMap::new());
        Arc::new(RequestContext::new(RequestId::generate(), origin, peer))
    }

    async fn stretch(file: &File, offset: u64, length: u64) -> Stretch {
        let mut body = Body::file(file.try_clone().unwrap(), offset, length);
        match poll_fn(|context| body.poll_part(context, true)).await {
            Some(Ok(Part::Stretch(stretch))) => stretch,
            other => panic!("not sent by the kernel: {other:?}"),
        }
    }

    async fn pair() -> (Watched<TcpStream>, Activity, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let activity = Activity::new();
        let socket = Watched::new(listener.accept().await.unwrap().0, activity.clone());
        socket.send_files();
        (socket, activity, client)
    }

    /// What hyper does with what it was given.
    async fn write(
        socket: &mut Watched<TcpStream>,
        mut queue: VecDeque<Outgoing>,
    ) -> io::Result<()> {
        while let Some(first) = queue.front_mut() {
            if !first.has_remaining() {
                queue.pop_front();
                continue;
            }
            let mut slices = [IoSlice::new(&[]); 8];
            let mut used = 0;
            for part in &queue {
                used += part.chunks_vectored(&mut slices[used..]);
            }
            let write = |context: &mut Context<'_>| {
                Pin::new(&mut *socket).poll_write_vectored(context, &slices[..used])
            };
            let mut sent = poll_fn(write).await?;
            for part in &mut queue {
                let step = sent.min(part.remaining());
                part.advance(step);
                sent -= step;
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn bytes_and_stretches_arrive_in_their_order() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
        file.write_all(&bytes).unwrap();
        let (mut socket, activity, mut client) = pair().await;
        let (handling, _) = activity.request();
        assert!(handling.sends_files());
        let (mut queue, mut expected) = (VecDeque::new(), Vec::new());
        for (at, part) in [(7, "one"), (1_000_000, "two"), (2_400_000, "three")] {
            queue.push_back(Outgoing::Bytes(Bytes::from_static(part.as_bytes())));
            expected.extend_from_slice(part.as_bytes());
            let stretch = stretch(&file, at, 600_000).await;
            let from = usize::try_from(at).unwrap();
            expected.extend_from_slice(&bytes[from..from + stretch.length()]);
            queue.push_back(handling.promise(stretch, &context()));
        }
        let mut arrived = vec![0; expected.len()];
        let (written, read) =
            tokio::join!(write(&mut socket, queue), client.read_exact(&mut arrived));
        written.unwrap();
        read.unwrap();
        assert!(arrived == expected);
    }

    #[tokio::test]
    async fn a_stand_in_that_fits_no_promise_is_never_sent() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 200_000]).unwrap();
        let (mut socket, activity, mut client) = pair().await;
        let alone = VecDeque::from([Outgoing::Promised(9)]);
        write(&mut socket, alone).await.unwrap_err();
        let (handling, _) = activity.request();
        let _elsewhere = handling.promise(stretch(&file, 0, 100_000).await, &context());
        let other = VecDeque::from([Outgoing::Promised(99_999)]);
        write(&mut socket, other).await.unwrap_err();
        file.set_len(0).unwrap();
        let gone = write(&mut socket, VecDeque::from([Outgoing::Promised(100_000)])).await;
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        drop(socket);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[test]
    #[should_panic(expected = "can't be copied")]
    fn a_stand_in_is_never_copied() {
        Outgoing::Promised(9).copy_to_bytes(9);
    }
}
