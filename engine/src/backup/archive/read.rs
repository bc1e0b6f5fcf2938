//! Reading an archive, whatever is in the file.

use std::io::{self, Read};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{
    ArchiveEntry, ArchiveError, ArchiveHeader, ArchiveObject, COMPLETE, END, END_COUNTS,
    HASH_BYTES, HEADER, MAGIC, MAX_HEADER_BYTES, MAX_KEY_BYTES, MAX_OBJECT_BYTES, MAX_ROW_BYTES,
    MAX_VALUE_BYTES, OBJECT, ROW, VERSION,
};
use crate::content::ObjectKey;
use crate::digest::Digest;
use crate::meta::Key;

/// Reads an archive. What it has returned is proven only when [`Self::next_entry`] has returned
/// `None`: read it to its end before anything is done with it.
#[derive(Debug)]
pub struct ArchiveReader<R> {
    input: R,
    hash: Sha256,
    header: ArchiveHeader,
    at: u64,
    rows: u64,
    objects: u64,
    last: Option<Key>,
    may_have_object: bool,
    done: bool,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the header. `input` should be buffered.
    pub fn open(input: R) -> Result<Self, ArchiveError> {
        let header = ArchiveHeader {
            id: crate::id::BackupId(0),
            created_at: crate::seam::Timestamp(0),
            format: Vec::new(),
            pinned: false,
            program: String::new(),
        };
        let mut reader = Self {
            input,
            hash: Sha256::new(),
            header,
            at: 0,
            rows: 0,
            objects: 0,
            last: None,
            may_have_object: false,
            done: false,
        };
        let mut magic = [0; MAGIC.len()];
        match reader.take(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) | Err(ArchiveError::Torn { .. }) => return Err(ArchiveError::NotAnArchive),
            Err(error) => return Err(error),
        }
        let (kind, length) = reader.frame()?;
        if kind != HEADER {
            return Err(reader.altered("its header is missing"));
        }
        let payload = reader.payload(length, MAX_HEADER_BYTES)?;
        let Some((version, fields)) = payload.split_first() else {
            return Err(reader.altered("its header is empty"));
        };
        if *version != VERSION {
            return Err(ArchiveError::Version { found: *version });
        }
        let header = postcard::from_bytes::<ArchiveHeader>(fields).ok();
        // Only what this program would have written so is a header.
        let again = header.as_ref().and_then(|header| postcard::to_stdvec(header).ok());
        match header {
            Some(header) if again.as_deref() == Some(fields) => reader.header = header,
            _ => return Err(reader.altered("its header can't be read")),
        }
        Ok(reader)
    }

    /// What the archive says of itself.
    pub fn header(&self) -> &ArchiveHeader {
        &self.header
    }

    /// How many bytes of the archive were read.
    pub(in crate::backup) fn position(&self) -> u64 {
        self.at
    }

    /// The next entry; `None` once all of the archive was read and is proven to be whole.
    pub fn next_entry(&mut self) -> Result<Option<ArchiveEntry>, ArchiveError> {
        if self.done {
            return Ok(None);
        }
        let (kind, length) = self.frame()?;
        match kind {
            ROW => self.row(length).map(Some),
            OBJECT => self.object(length).map(Some),
            END => self.end(length).map(|()| None),
            _ => Err(self.altered("a frame is of no known kind")),
        }
    }

    fn row(&mut self, length: usize) -> Result<ArchiveEntry, ArchiveError> {
        let payload = self.payload(length, MAX_ROW_BYTES)?;
        let split = payload.split_first_chunk::<2>().and_then(|(length, rest)| {
            let length = usize::from(u16::from_be_bytes(*length));
            rest.split_at_checked(length)
        });
        let Some((key, value)) = split else { return Err(self.altered("a row is too short")) };
        if key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES {
            return Err(self.altered("a row is too long"));
        }
        if self.last.as_deref().is_some_and(|last| last >= key) {
            return Err(self.altered("rows are not in order"));
        }
        let (key, value) = (key.to_vec(), payload.slice_ref(value));
        self.last = Some(key.clone());
        self.may_have_object = true;
        self.rows += 1;
        Ok(ArchiveEntry::Row(key, value))
    }

    fn object(&mut self, length: usize) -> Result<ArchiveEntry, ArchiveError> {
        let payload = self.payload(length, MAX_OBJECT_BYTES)?;
        if !std::mem::take(&mut self.may_have_object) {
            return Err(self.altered("an object belongs to no row"));
        }
        match parse_object(&payload) {
            Some(object) => {
                self.objects += 1;
                Ok(ArchiveEntry::Object(object))
            }
            None => Err(self.altered("an object can't be read")),
        }
    }

    fn end(&mut self, length: usize) -> Result<(), ArchiveError> {
        if length != END_COUNTS + HASH_BYTES {
            return Err(self.altered("its end has another length"));
        }
        let (mut rows, mut objects) = ([0; 8], [0; 8]);
        self.take(&mut rows)?;
        self.take(&mut objects)?;
        let right = self.hash.clone().finalize();
        let (mut hash, mut complete) = ([0; HASH_BYTES], [0; COMPLETE.len()]);
        self.take(&mut hash)?;
        self.take(&mut complete)?;
        if hash.as_slice() != right.as_slice() {
            return Err(self.altered("its bytes do not have its hash"));
        }
        if u64::from_be_bytes(rows) != self.rows || u64::from_be_bytes(objects) != self.objects {
            return Err(self.altered("it has not as many rows as it says"));
        }
        if complete != *COMPLETE {
            return Err(self.altered("its last mark is missing"));
        }
        if self.read_some(&mut [0])? != 0 {
            return Err(self.altered("something stands behind its end"));
        }
        self.done = true;
        Ok(())
    }

    fn frame(&mut self) -> Result<(u8, usize), ArchiveError> {
        let mut kind = [0; 1];
        let mut length = [0; 4];
        self.take(&mut kind)?;
        self.take(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let [kind] = kind;
        Ok((kind, length))
    }

    fn payload(&mut self, length: usize, max: usize) -> Result<Bytes, ArchiveError> {
        if length > max {
            return Err(self.altered("a frame is too long"));
        }
        let mut payload = vec![0; length];
        self.take(&mut payload)?;
        Ok(payload.into())
    }

    /// Fills `buffer` with the next bytes, which belong to what is hashed.
    fn take(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_some(rest)? {
                0 => return Err(ArchiveError::Torn { at: self.at }),
                count => filled += count,
            }
        }
        self.hash.update(&*buffer);
        Ok(())
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        loop {
            match self.input.read(buffer) {
                Ok(count) => {
                    self.at += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn altered(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Altered { what, at: self.at }
    }
}

fn parse_object(payload: &[u8]) -> Option<ArchiveObject> {
    let (size, rest) = payload.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first()?;
    let (digest, key) = rest.split_at_checked(usize::from(*length))?;
    Some(ArchiveObject {
        key: ObjectKey::new(std::str::from_utf8(key).ok()?)?,
        size: u64::from_be_bytes(*size),
        digest: Digest::from_bytes(digest)?,
    })
}
