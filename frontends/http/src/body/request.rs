//! The body of a request: a stream that stops at its bound and at its idle time-out.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use http::StatusCode;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use crate::context::RequestContext;

/// Why a request's body could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestBodyError {
    /// It is longer than what is asked for may be. Answer 413.
    #[error("the body is longer than {limit} bytes, the most that is taken here")]
    TooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// Nothing came for too long. Answer 408.
    #[error("nothing of the body came for {} seconds", .after.as_secs())]
    Idle {
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke, or the framing of the body is wrong. An answer may not arrive.
    #[error("the body broke off: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl RequestBodyError {
    /// The status that tells the client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Idle { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

enum Source {
    Incoming(Incoming),
    Stream(BoxStream<'static, Result<Bytes, RequestBodyError>>),
}

/// The body of a request, as a [`Stream`] of its bytes. After its first error it is at its end.
///
/// Dropping it before its end leaves the rest unread: over HTTP/1.1 the connection is closed then,
/// after the answer, and when what the client still sends was read for a while.
pub struct RequestBody {
    source: Option<Source>,
    context: Option<Arc<RequestContext>>,
    /// How many more bytes are taken, and the bound to name when there are more.
    left: u64,
    limit: u64,
    idle_timeout: Duration,
    /// Set up by the first wait: most bodies never wait.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the deadline is that of a wait under way: the reader's own slowness is no idleness of
    /// the sender.
    waiting: bool,
}

impl RequestBody {
    pub(crate) fn incoming(
        incoming: Incoming,
        context: Arc<RequestContext>,
        idle_timeout: Duration,
    ) -> Self {
        Self { context: Some(context), idle_timeout, ..Self::new(Source::Incoming(incoming)) }
    }

    /// A body out of a stream: for tests, and for handlers that call each other.
    pub fn from_stream<S>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, RequestBodyError>> + Send + 'static,
    {
        Self::new(Source::Stream(stream.boxed()))
    }

    fn new(source: Source) -> Self {
        Self {
            source: Some(source),
            context: None,
            left: u64::MAX,
            limit: u64::MAX,
            idle_timeout: Duration::MAX,
            deadline: None,
            waiting: false,
        }
    }

    /// Takes at most `limit` bytes from here on: beyond it the body is [`RequestBodyError::TooLarge`].
    pub fn limited(mut self, limit: u64) -> Self {
        self.limit = limit;
        self.left = limit;
        self
    }

    /// How many bytes are to come, where the client said so.
    pub fn length(&self) -> Option<u64> {
        match &self.source {
            Some(Source::Incoming(incoming)) => incoming.size_hint().exact(),
            Some(Source::Stream(_)) => None,
            None => Some(0),
        }
    }

    /// The whole body, if it has at most `limit` bytes. Where its length was told and is more, none
    /// of it is read.
    pub async fn collect_limited(self, limit: usize) -> Result<Bytes, RequestBodyError> {
        let bound = limit as u64;
        let told = self.length();
        if told.is_some_and(|length| length > bound) {
            return Err(RequestBodyError::TooLarge { limit: bound });
        }
        let mut body = self.limited(bound);
        let Some(first) = body.next().await.transpose()? else { return Ok(Bytes::new()) };
        let Some(second) = body.next().await.transpose()? else { return Ok(first) };
        // A told length is a promise of the client's: room is made for what came, not for that.
        let mut all = BytesMut::with_capacity((first.len() + second.len()) * 2);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(chunk) = body.next().await.transpose()? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    fn poll_source(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, RequestBodyError>>> {
        match &mut self.source {
            None => Poll::Ready(None),
            Some(Source::Stream(stream)) => stream.poll_next_unpin(context),
            Some(Source::Incoming(incoming)) => loop {
                match ready!(Pin::new(&mut *incoming).poll_frame(context)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => {
                        return Poll::Ready(Some(Err(RequestBodyError::Broken(error.into()))));
                    }
                    // Trailers carry nothing that a registry reads.
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Poll::Ready(Some(Ok(bytes)));
                        }
                    }
                }
            },
        }
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<RequestBodyError> {
        let after = self.idle_timeout;
        if after == Duration::MAX {
            return Poll::Pending;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(after)));
        if !std::mem::replace(&mut self.waiting, true) {
            deadline.as_mut().reset(Instant::now() + after);
        }
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(RequestBodyError::Idle { after })
    }

    fn admit(&mut self, bytes: Bytes) -> Result<Bytes, RequestBodyError> {
        self.waiting = false;
        if let Some(context) = &self.context {
            context.add_bytes_in(bytes.len());
        }
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or(RequestBodyError::TooLarge { limit: self.limit })?;
        Ok(bytes)
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, RequestBodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = match self.poll_source(context) {
            Poll::Ready(None) => None,
            Poll::Ready(Some(chunk)) => Some(chunk.and_then(|bytes| self.admit(bytes))),
            Poll::Pending => Some(Err(ready!(self.poll_idle(context)))),
        };
        if !matches!(chunk, Some(Ok(_))) {
            if let Some(context) = self.context.as_ref().filter(|_| chunk.is_none()) {
                context.end_body();
            }
            self.source = None;
        }
        Poll::Ready(chunk)
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        let chunk = (!bytes.is_empty()).then_some(Ok(bytes));
        Self::from_stream(futures::stream::iter(chunk))
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("length", &self.length()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn chunks(parts: &'static [&'static str]) -> RequestBody {
        let parts = parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes())));
        RequestBody::from_stream(stream::iter(parts))
    }

    #[tokio::test]
    async fn a_body_up_to_its_bound_is_collected() {
        assert_eq!(chunks(&[]).collect_limited(0).await.unwrap(), "");
        assert_eq!(chunks(&["abc"]).collect_limited(3).await.unwrap(), "abc");
        assert_eq!(chunks(&["ab", "c", "def"]).collect_limited(6).await.unwrap(), "abcdef");
    }

    #[tokio::test]
    async fn one_byte_over_the_bound_is_413_and_the_end() {
        let error = chunks(&["ab", "cd"]).collect_limited(3).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(matches!(error, RequestBodyError::TooLarge { limit: 3 }));

        let mut body = chunks(&["ab", "cd", "e"]).limited(3);
        assert!(body.next().await.unwrap().is_ok());
        assert!(body.next().await.unwrap().is_err());
        assert!(body.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_408() {
        let first = stream::iter([Ok(Bytes::from_static(b"a"))]);
        let mut body = RequestBody::from_stream(first.chain(stream::pending()));
        body.idle_timeout = Duration::from_secs(5);
        assert!(body.next().await.unwrap().is_ok());
        let error = body.next().await.unwrap().unwrap_err();
        assert_eq!(error.status(), StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_no_idle_sender() {
        let (sender, receiver) = futures::channel::mpsc::unbounded();
        let mut body = RequestBody::from_stream(receiver);
        body.idle_timeout = Duration::from_secs(5);
        assert!(futures::poll!(body.next()).is_pending());
        sender.unbounded_send(Ok(Bytes::from_static(b"a"))).unwrap();
        assert!(body.next().await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(futures::poll!(body.next()).is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_keeps_moving_is_never_too_slow() {
        let drips = stream::iter(0..10).then(|_| async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            Ok(Bytes::from_static(b"a"))
        });
        let mut body = RequestBody::from_stream(drips);
        body.idle_timeout = Duration::from_secs(5);
        assert_eq!(body.collect_limited(10).await.unwrap().len(), 10);
    }
}
