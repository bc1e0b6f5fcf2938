//! What flows: the bodies of responses ([`Body`]) and of requests ([`RequestBody`]).
//!
//! **Promises.** A response's length is told exactly wherever it is known, and a body that turns out
//! shorter or longer breaks the connection, so that nobody takes half for whole. A file is sent by the
//! kernel where the connection can, or read in blocks, one ahead of the socket. A request's body stops at its bound and at its idle time-out.
//! Nothing is buffered whole but by [`RequestBody::collect_limited`]. Dropping a body frees all it
//! holds, after at most one block.

mod file;
mod request;
mod stretch;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response};
use http_body::{Frame, SizeHint};

use file::FileBlocks;
pub use request::{RequestBody, RequestBodyError};
pub(crate) use stretch::{Part, Stretch};

/// Why a response's body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response.
#[derive(Debug, Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    File(FileBlocks),
    Stream {
        stream: BoxStream<'static, Result<Bytes, BodyError>>,
        left: Option<u64>,
    },
    Chain(VecDeque<Body>),
    Later {
        make: BoxFuture<'static, Result<Body, BodyError>>,
        length: u64,
    },
}

/// A stream that had told its length gave another one.
#[derive(Debug, thiserror::Error)]
#[error("the stream of a response's body ended {0} than the length it had told")]
struct WrongLength(&'static str);

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::default()
    }

    /// `length` bytes of `file` from `offset` on. What the kernel has not in its memory is read on the
    /// blocking pool; where the file is shorter, the connection is broken off.
    pub fn file(file: impl Into<Arc<std::fs::File>>, offset: u64, length: u64) -> Self {
        if length == 0 {
            Self::empty()
        } else {
            Self(Kind::File(FileBlocks::new(file.into(), offset, length)))
        }
    }

    /// Bytes as they come; `length` is all of them together, where it is known.
    pub fn stream<S>(stream: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
    {
        Self(Kind::Stream { stream: Box::pin(stream), left: length })
    }

    /// A body of `length` bytes that is made when its turn comes: for what costs something while it
    /// waits.
    pub fn later<F>(make: F, length: u64) -> Self
    where
        F: Future<Output = Result<Self, BodyError>> + Send + 'static,
    {
        Self(Kind::Later { make: make.boxed(), length })
    }

    /// One body after the other, as `multipart/byteranges` needs.
    pub fn chain(parts: impl IntoIterator<Item = Body>) -> Self {
        Self(Kind::Chain(parts.into_iter().collect()))
    }

    /// Makes the answer to a `GET` one to a `HEAD`: its header, with the length, without its body
    /// (RFC 9110, section 9.3.2).
    pub fn leave_out(response: &mut Response<Self>) {
        let body = std::mem::take(response.body_mut());
        if let Some(length) = body.length().filter(|length| *length > 0) {
            let headers = response.headers_mut();
            headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
    }

    /// What is to be sent next; `files` says whether the connection can send files by itself.
    pub(crate) fn poll_part(
        &mut self,
        context: &mut Context<'_>,
        files: bool,
    ) -> Poll<Option<Result<Part, BodyError>>> {
        let chunk = match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(bytes)))
            }
            Kind::File(file) => {
                if files && let Some(stretch) = file.stretch() {
                    return Poll::Ready(Some(Ok(Part::Stretch(stretch))));
                }
                file.poll_block(context).map(|block| block.map(|b| b.map_err(Into::into)))
            }
            Kind::Stream { stream, left } => {
                stream.as_mut().poll_next(context).map(|chunk| measured(chunk, left))
            }
            Kind::Chain(parts) => loop {
                let Some(first) = parts.front_mut() else { break Poll::Ready(None) };
                match std::task::ready!(first.poll_part(context, files)) {
                    None => drop(parts.pop_front()),
                    part => return Poll::Ready(part),
                }
            },
            Kind::Later { make, length } => {
                let made = std::task::ready!(make.poll_unpin(context));
                let due = *length;
                match made {
                    Ok(made) if made.length() == Some(due) => {
                        *self = made;
                        return self.poll_part(context, files);
                    }
                    Ok(_) => Poll::Ready(Some(Err(WrongLength("elsewhere").into()))),
                    Err(error) => Poll::Ready(Some(Err(error))),
                }
            }
        };
        chunk.map(|chunk| chunk.map(|bytes| bytes.map(Part::Bytes)))
    }

    /// The exact length, where it is known.
    pub fn length(&self) -> Option<u64> {
        http_body::Body::size_hint(self).exact()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) })
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::File(file) => file.fmt(f),
            Self::Stream { left, .. } => write!(f, "Stream({left:?})"),
            Self::Chain(parts) => parts.fmt(f),
            Self::Later { length, .. } => write!(f, "Later({length} bytes)"),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_part(context, false).map(|part| {
            part.map(|part| match part? {
                Part::Bytes(bytes) => Ok(Frame::data(bytes)),
                Part::Stretch(_) => Err("a file that nobody asked for".into()),
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::File(file) => file.left() == 0,
            Kind::Chain(parts) => parts.iter().all(http_body::Body::is_end_stream),
            // A stream must be asked, even where nothing more is due: it may still say that it failed.
            Kind::Full(_) | Kind::Stream { .. } | Kind::Later { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Later { length, .. } => SizeHint::with_exact(*length),
            Kind::File(file) => SizeHint::with_exact(file.left()),
            Kind::Stream { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Kind::Chain(parts) => parts
                .iter()
                .map(Body::length)
                .try_fold(0_u64, |sum, length| sum.checked_add(length?))
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// Holds a stream to the length it told.
fn measured(
    chunk: Option<Result<Bytes, BodyError>>,
    left: &mut Option<u64>,
) -> Option<Result<Bytes, BodyError>> {
    let Some(due) = left else { return chunk };
    match chunk {
        Some(Ok(bytes)) => match due.checked_sub(bytes.len() as u64) {
            Some(rest) => {
                *due = rest;
                Some(Ok(bytes))
            }
            None => Some(Err(WrongLength("later").into())),
        },
        None if *due > 0 => Some(Err(WrongLength("earlier").into())),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures::stream;
    use http_body_util::BodyExt;

    use super::*;

    async fn all(body: Body) -> Result<Bytes, BodyError> {
        Ok(body.collect().await?.to_bytes())
    }

    fn chunks(parts: &'static [&'static str]) -> impl Stream<Item = Result<Bytes, BodyError>> {
        stream::iter(parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))))
    }

    fn file_of(bytes: &[u8]) -> std::fs::File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// More than two blocks, and no multiple of one.
    fn long() -> Vec<u8> {
        (0..=250).cycle().take(2 * file::BLOCK + 4321).collect()
    }

    #[tokio::test]
    async fn a_file_is_sent_byte_for_byte_and_tells_its_length() {
        let bytes = long();
        let body = Body::file(file_of(&bytes), 0, bytes.len() as u64);
        assert_eq!(body.length(), Some(bytes.len() as u64));
        assert!(all(body).await.unwrap() == bytes);
    }

    #[tokio::test]
    async fn every_range_of_a_file_is_exact() {
        let bytes = long();
        let (block, end) = (file::BLOCK, bytes.len());
        for (from, to) in
            [(0, 1), (1, 1), (block - 1, block + 1), (7, end), (end - 1, end), (end, end)]
        {
            let body = Body::file(file_of(&bytes), from as u64, (to - from) as u64);
            assert_eq!(body.length(), Some((to - from) as u64));
            assert!(all(body).await.unwrap() == bytes[from..to], "{from}..{to}");
        }
    }

    #[tokio::test]
    async fn a_file_shorter_than_told_is_an_error_and_never_an_early_end() {
        let body = Body::file(file_of(b"short"), 0, 6);
        assert!(all(body).await.unwrap_err().to_string().contains("1 bytes"));
    }

    #[tokio::test]
    async fn a_stream_is_held_to_its_length() {
        assert_eq!(all(Body::stream(chunks(&["ab", "c"]), Some(3))).await.unwrap(), "abc");
        assert_eq!(all(Body::stream(chunks(&["ab", "c"]), None)).await.unwrap(), "abc");
        all(Body::stream(chunks(&["ab"]), Some(3))).await.unwrap_err();
        all(Body::stream(chunks(&["ab", "cd"]), Some(3))).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_later_body_is_made_in_its_turn_and_of_its_length() {
        let later = |length| Body::later(async { Ok("abc".into()) }, length);
        let body = Body::chain(["<".into(), later(3), ">".into()]);
        assert_eq!(body.length(), Some(5));
        assert_eq!(all(body).await.unwrap(), "<abc>");
        all(later(4)).await.unwrap_err();
        all(Body::later(async { Err("away".into()) }, 3)).await.unwrap_err();
        drop(Body::later(async { panic!("its turn never came") }, 3));
    }

    #[tokio::test]
    async fn a_chain_is_the_sum_of_its_parts() {
        let file = Body::file(file_of(b"0123456789"), 3, 4);
        let body = Body::chain(["<".into(), file, Body::empty(), ">".into()]);
        assert_eq!(body.length(), Some(6));
        assert_eq!(all(body).await.unwrap(), "<3456>");
    }
}
