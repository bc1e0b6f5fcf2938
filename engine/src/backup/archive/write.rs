//! Writing an archive.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::{ArchiveHeader, ArchiveObject, COMPLETE, END, HEADER, MAGIC, OBJECT, ROW, VERSION};

/// Writes an archive, frame by frame. One that is dropped before [`Self::finish`] is torn, and
/// no reader takes it.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    out: W,
    hash: Sha256,
    rows: u64,
    objects: u64,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive in `out`, which should be buffered.
    pub fn new(out: W, header: &ArchiveHeader) -> io::Result<Self> {
        let mut writer = Self { out, hash: Sha256::new(), rows: 0, objects: 0 };
        writer.write(MAGIC)?;
        let payload = postcard::to_extend(header, vec![VERSION]).map_err(io::Error::other)?;
        writer.frame(HEADER, &[&payload])?;
        Ok(writer)
    }

    /// Adds a row. Rows come in the order of their keys, each key once.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let length = u16::try_from(key.len()).map_err(io::Error::other)?;
        self.rows += 1;
        self.frame(ROW, &[&length.to_be_bytes(), key, value])
    }

    /// Adds an object that the row before it needs.
    pub fn object(&mut self, object: &ArchiveObject) -> io::Result<()> {
        let digest = object.digest.to_bytes();
        let length = u8::try_from(digest.len()).map_err(io::Error::other)?;
        self.objects += 1;
        let key = object.key.as_str().as_bytes();
        self.frame(OBJECT, &[&object.size.to_be_bytes(), &[length], &digest, key])
    }

    /// Writes the end, and gives back what was written to. That it is durable is the caller's to see to.
    pub fn finish(mut self) -> io::Result<W> {
        let counts = [self.rows.to_be_bytes(), self.objects.to_be_bytes()].concat();
        let length = u32::try_from(counts.len() + super::HASH_BYTES).map_err(io::Error::other)?;
        self.write(&[END])?;
        self.write(&length.to_be_bytes())?;
        self.write(&counts)?;
        let hash = self.hash.finalize();
        self.out.write_all(&hash)?;
        self.out.write_all(COMPLETE)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u32::try_from(length).map_err(io::Error::other)?;
        self.write(&[kind])?;
        self.write(&length.to_be_bytes())?;
        parts.iter().try_for_each(|part| self.write(part))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}
