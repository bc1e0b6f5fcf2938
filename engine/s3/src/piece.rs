//! A run of bytes that becomes a part, a tail or a small object: gathered in memory as long as the
//! pool has some, and in a file from there on.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use crate::body::{Source, stream};
use crate::pool::{Pool, Room};

/// See the page of this module.
pub(crate) struct Piece {
    held: Held,
    room: Room,
    length: u64,
    crc: Digest,
}

enum Held {
    Memory(VecDeque<Bytes>),
    File(Arc<File>),
}

impl Piece {
    pub(crate) fn new() -> Self {
        Self {
            held: Held::Memory(VecDeque::new()),
            room: Room::none(),
            length: 0,
            crc: Digest::new(CrcAlgorithm::Crc64Nvme),
        }
    }

    /// How many bytes it has.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Their checksum.
    pub(crate) fn crc(&self) -> u64 {
        self.crc.finalize()
    }

    /// A body of all of them, which can be sent again.
    pub(crate) fn body(&self) -> ByteStream {
        let source = match &self.held {
            Held::Memory(chunks) => Source::Memory(chunks.clone()),
            Held::File(file) => Source::File(Arc::clone(file)),
        };
        stream(source, self.length)
    }

    /// Adds bytes. The piece will have up to about `wanted` in the end: it waits here for that
    /// much disk where there is no memory. After an error the piece is spent.
    pub(crate) async fn add(
        &mut self,
        pool: &Pool,
        batch: Vec<Bytes>,
        wanted: u64,
    ) -> io::Result<()> {
        let batch: Vec<Bytes> = batch.into_iter().filter(|bytes| !bytes.is_empty()).collect();
        let added: u64 = batch.iter().map(|bytes| bytes.len() as u64).sum();
        for bytes in &batch {
            self.crc.update(bytes);
        }
        let at = self.length;
        self.length += added;
        let in_memory = matches!(self.held, Held::Memory(_))
            && !pool.is_large(wanted.max(self.length))
            && pool.take_memory(&mut self.room, added);
        match &mut self.held {
            Held::Memory(chunks) if in_memory => {
                chunks.extend(batch);
                Ok(())
            }
            Held::Memory(chunks) => {
                let mut all = std::mem::take(chunks);
                all.extend(batch);
                let (room, file) = pool.take_disk(wanted.max(self.length)).await?;
                write(&file, all, 0).await?;
                self.held = Held::File(file);
                self.room = room;
                Ok(())
            }
            Held::File(file) => write(file, batch.into(), at).await,
        }
    }
}

async fn write(file: &Arc<File>, batch: VecDeque<Bytes>, mut at: u64) -> io::Result<()> {
    let file = Arc::clone(file);
    let written = tokio::task::spawn_blocking(move || {
        for bytes in batch {
            file.write_all_at(&bytes, at)?;
            at += bytes.len() as u64;
        }
        Ok(())
    });
    written.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_into_memory_goes_to_disk_and_comes_back_the_same() {
        let pool = Pool::new(64 << 10, 1 << 20, std::env::temp_dir());
        let content: Vec<u8> = (0..=250_u8).cycle().take(200_000).collect();
        let mut small = Piece::new();
        small.add(&pool, vec![Bytes::from(vec![1; 20_000])], 20_000).await.unwrap();
        let mut piece = Piece::new();
        for chunk in content.chunks(7_001) {
            piece.add(&pool, vec![Bytes::copy_from_slice(chunk)], 30_000).await.unwrap();
        }
        assert!(matches!(small.held, Held::Memory(_)) && matches!(piece.held, Held::File(_)));
        assert_eq!(piece.length(), content.len() as u64);
        assert_eq!(piece.crc(), crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &content));
        for _ in 0..2 {
            assert!(piece.body().collect().await.unwrap().to_vec() == content);
        }
    }

    #[tokio::test]
    async fn memory_is_given_back_when_a_piece_moves_to_disk() {
        let pool = Pool::new(64 << 10, 1 << 20, std::env::temp_dir());
        let mut piece = Piece::new();
        for _ in 0..9 {
            piece.add(&pool, vec![Bytes::from(vec![1; 8 << 10])], 16 << 10).await.unwrap();
        }
        assert!(matches!(piece.held, Held::File(_)));
        assert!(pool.take_memory(&mut Room::none(), 64 << 10));
    }
}
