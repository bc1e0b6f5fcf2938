//! The unpacked stream: in blocks, one gzip member, nothing behind it.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::{BLOCK, TarFault};
use crate::archive::ArchiveError;
use crate::archive::budget::Budget;

const CHUNK: u64 = 64 << 10;

/// The unpacked bytes of a file.
pub(super) struct Stream<R: Read> {
    decoder: GzDecoder<BufReader<R>>,
    at: u64,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(file: R) -> Self {
        Self { decoder: GzDecoder::new(BufReader::with_capacity(64 << 10, file)), at: 0 }
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next block.
    pub(super) fn block(&mut self) -> Result<[u8; 512], ArchiveError> {
        let mut block = [0; 512];
        self.decoder.read_exact(&mut block).map_err(unreadable)?;
        self.at += BLOCK;
        Ok(block)
    }

    /// The next `count` bytes, which the caller has found few enough.
    pub(super) fn take(&mut self, count: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        let read = Read::take(&mut self.decoder, count).read_to_end(&mut bytes);
        self.passed(count, read.map(|read| read as u64))?;
        Ok(bytes)
    }

    /// Passes over `count` bytes.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), ArchiveError> {
        let read = io::copy(&mut Read::take(&mut self.decoder, count), &mut io::sink());
        self.passed(count, read)
    }

    fn passed(&mut self, count: u64, read: io::Result<u64>) -> Result<(), ArchiveError> {
        if read.map_err(unreadable)? < count {
            return Err(TarFault::CutOff.into());
        }
        self.at += count;
        Ok(())
    }

    /// Passes over what fills the last block of `size` bytes.
    pub(super) fn skip_padding(&mut self, size: u64) -> Result<(), ArchiveError> {
        self.skip(size.next_multiple_of(BLOCK) - size)
    }

    /// Behind the first empty block: zeros to the end of the member, and of the file.
    pub(super) fn finish(mut self, budget: &mut Budget) -> Result<(), ArchiveError> {
        loop {
            let mut chunk = Vec::new();
            let read = Read::take(&mut self.decoder, CHUNK).read_to_end(&mut chunk);
            let read = read.map_err(unreadable)?;
            budget.bytes(read as u64)?;
            if chunk.iter().any(|byte| *byte != 0) {
                return Err(TarFault::BehindEnd.into());
            }
            if read == 0 {
                break;
            }
        }
        let mut file = self.decoder.into_inner();
        if file.fill_buf().map_err(ArchiveError::Io)?.is_empty() {
            return Ok(());
        }
        Err(TarFault::BehindGzip.into())
    }
}

/// The decoder says of bad bytes that they are invalid, or end too soon; anything else is the file's
/// reader.
fn unreadable(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TarFault::CutOff.into(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => TarFault::Gzip.into(),
        _ => ArchiveError::Io(error),
    }
}
