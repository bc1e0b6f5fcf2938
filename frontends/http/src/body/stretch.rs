//! Stretches of a file that the kernel can send by itself.
//!
//! Sending from the kernel's memory waits for the disk where something is not there, and holds a
//! thread of the runtime meanwhile. So a stretch is only made of what is there, which is asked at a
//! few places of it: what the kernel reads ahead is longer than the steps between them. Where
//! something of it is dropped between the question and the sending, one thread waits for one read.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// What a body gives next to a connection that can send files.
#[derive(Debug)]
pub(crate) enum Part {
    Bytes(Bytes),
    Stretch(Stretch),
}

/// Bytes of a file that were in the kernel's memory when it was made.
#[derive(Debug)]
pub(crate) struct Stretch {
    file: Arc<File>,
    offset: u64,
    length: usize,
}

impl Stretch {
    /// The longest one: what a socket takes at most before it must be waited for is a few of them.
    pub(crate) const MOST: usize = 512 * 1024;

    /// Less is copied sooner than asked about.
    const LEAST: usize = 64 * 1024;

    /// How far apart the places are at which the kernel is asked.
    #[cfg(target_os = "linux")]
    const STEP: usize = 128 * 1024;

    /// The beginning of the `left` bytes of `file` from `offset` on; `None` where they are few, or not
    /// in memory, or past the file's end, or where a kernel can't tell or can't send.
    pub(super) fn begin(file: &Arc<File>, offset: u64, left: u64) -> Option<Self> {
        let length = usize::try_from(left).unwrap_or(Self::MOST).min(Self::MOST);
        let stretch = Self { file: Arc::clone(file), offset, length };
        (length >= Self::LEAST && stretch.in_memory()).then_some(stretch)
    }

    /// How many bytes are still to be sent.
    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

#[cfg(target_os = "linux")]
impl Stretch {
    fn in_memory(&self) -> bool {
        let last = self.length.saturating_sub(1);
        (0..last).step_by(Self::STEP).chain([last]).all(|at| {
            let mut byte = [0];
            let mut room = [io::IoSliceMut::new(&mut byte)];
            let (at, flags) = (self.offset + at as u64, rustix::io::ReadWriteFlags::NOWAIT);
            rustix::io::preadv2(&*self.file, &mut room, at, flags) == Ok(1)
        })
    }

    /// Lets the kernel send as much as `socket`, which does not block, takes now.
    pub(crate) fn send(&mut self, socket: impl rustix::fd::AsFd) -> io::Result<usize> {
        // The file's own position is left alone: others may share it.
        let mut offset = self.offset;
        let sent = rustix::fs::sendfile(socket, &*self.file, Some(&mut offset), self.length)?;
        if sent == 0 {
            let why = format!("the file ended {} bytes before the end of its body", self.length);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        self.offset += sent as u64;
        self.length -= sent;
        Ok(sent)
    }
}

#[cfg(not(target_os = "linux"))]
impl Stretch {
    fn in_memory(&self) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_what_is_long_and_there_is_a_stretch() {
        let mut file = tempfile::tempfile().unwrap();
        let size = Stretch::MOST + Stretch::LEAST;
        file.write_all(&vec![7; size]).unwrap();
        let file = Arc::new(file);
        let length = |offset: usize, left: usize| {
            Stretch::begin(&file, offset as u64, left as u64).map(|stretch| stretch.length())
        };
        assert_eq!(length(0, size), Some(Stretch::MOST));
        assert_eq!(length(Stretch::MOST, Stretch::LEAST), Some(Stretch::LEAST));
        assert_eq!(length(0, Stretch::LEAST - 1), None, "it is short");
        assert_eq!(length(Stretch::MOST + 1, Stretch::LEAST), None, "the file ends before it");
    }
}
