//! The bytes of one entry: exactly as many as its header says, packed and unpacked.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::bufread::DeflateDecoder;

use super::{Entry, bytes_fault};
use crate::archive::ArchiveError;

/// What is unpacked at once.
const CHUNK: usize = 64 << 10;

/// Hands an entry's bytes to `take`, and checks size, checksum and the end of the packed bytes.
pub(in crate::archive) fn copy(
    file: &mut (impl Read + Seek),
    entry: &Entry,
    take: impl FnMut(&[u8]),
) -> Result<(), ArchiveError> {
    file.seek(SeekFrom::Start(entry.data)).map_err(ArchiveError::Io)?;
    let packed = BufReader::with_capacity(CHUNK, Read::take(&mut *file, entry.packed));
    if !entry.deflated {
        return pump(packed, entry, take);
    }
    let mut decoder = DeflateDecoder::new(packed);
    pump(&mut decoder, entry, take)?;
    if decoder.total_in() != entry.packed {
        return Err(bytes_fault(entry, "there are more behind the end of its compressed stream"));
    }
    Ok(())
}

fn pump(
    mut reader: impl Read,
    entry: &Entry,
    mut take: impl FnMut(&[u8]),
) -> Result<(), ArchiveError> {
    let mut chunk = vec![0; CHUNK];
    let mut size = 0_u64;
    let mut crc = crc32fast::Hasher::new();
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(entry, error)),
        };
        size += read as u64;
        // Before they are used: nobody is made to take more than was announced.
        if size > entry.size {
            return Err(bytes_fault(entry, "there are more"));
        }
        let bytes = chunk.get(..read).unwrap_or_default();
        crc.update(bytes);
        take(bytes);
    }
    if size < entry.size {
        return Err(bytes_fault(entry, "there are fewer"));
    }
    if crc.finalize() != entry.crc {
        return Err(bytes_fault(entry, "they have another checksum"));
    }
    Ok(())
}

/// The decoder says of bad bytes that they are invalid; anything else is the file's reader.
fn unreadable(entry: &Entry, error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            bytes_fault(entry, "they are no valid compressed stream")
        }
        _ => ArchiveError::Io(error),
    }
}
