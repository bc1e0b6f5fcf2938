//! A request's body from a piece, without copying it; made anew for each attempt.
//!
//! It is a stream to the SDK, so that it is not hashed once more for the signature: its integrity
//! is the checksum's business.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

/// How much of a file is read at a time.
const READ_BYTES: u64 = 256 << 10;

/// Where a body's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Memory.
    Memory(VecDeque<Bytes>),
    /// The first bytes of a file.
    File(Arc<File>),
}

/// A body of `length` bytes that can be sent again.
pub(crate) fn stream(source: Source, length: u64) -> ByteStream {
    let source = Arc::new(source);
    ByteStream::new(SdkBody::retryable(move || {
        let (source, at, reading) = (Source::clone(&source), 0, None);
        SdkBody::from_body_1_x(PieceBody { source, length, at, reading })
    }))
}

struct PieceBody {
    source: Source,
    length: u64,
    at: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Body for PieceBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let left = this.length.saturating_sub(this.at);
        if left == 0 {
            return Poll::Ready(None);
        }
        let bytes = match &mut this.source {
            Source::Memory(chunks) => chunks.pop_front().unwrap_or_default(),
            Source::File(file) => {
                let (file, at) = (Arc::clone(file), this.at);
                let reading = this.reading.get_or_insert_with(|| {
                    tokio::task::spawn_blocking(move || read(&file, at, left.min(READ_BYTES)))
                });
                let done = ready!(Pin::new(reading).poll(context));
                this.reading = None;
                done.map_err(io::Error::other)??
            }
        };
        if bytes.is_empty() {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.at += bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length.saturating_sub(self.at))
    }
}

fn read(file: &File, at: u64, length: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut buffer, at)?;
    Ok(Bytes::from(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(body: ByteStream) -> Vec<u8> {
        body.collect().await.unwrap().to_vec()
    }

    #[tokio::test]
    async fn memory_and_files_are_sent_whole() {
        let content: Vec<u8> = (0..=250_u8).cycle().take(600_000).collect();
        let length = content.len() as u64;
        let chunks = content.chunks(70_001).map(Bytes::copy_from_slice).collect();
        assert!(sent(stream(Source::Memory(chunks), length)).await == content);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&content, 0).unwrap();
        file.write_all_at(b"what comes behind", length).unwrap();
        assert!(sent(stream(Source::File(Arc::new(file)), length)).await == content);
        assert!(sent(stream(Source::Memory(VecDeque::new()), 0)).await.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_ends_early_fails() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"short", 0).unwrap();
        assert!(stream(Source::File(Arc::new(file)), 6).collect().await.is_err());
    }
}
