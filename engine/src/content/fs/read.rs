//! Reading where the disk has no file of the system's to hand out.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::super::{ObjectKey, StoreError};
use super::{failure, run_blocking};
use crate::disk::DiskFile;

/// How much of a file one step holds.
const READ_STEP: u64 = 512 * 1024;

/// The bytes of `file` in steps, each read in the blocking pool.
pub(super) fn stream_file(
    key: ObjectKey,
    file: Box<dyn DiskFile>,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let file: Arc<dyn DiskFile> = Arc::from(file);
    let step = move |range: Range<u64>| {
        let (file, key) = (Arc::clone(&file), key.clone());
        async move {
            if range.is_empty() {
                return Ok(None);
            }
            let wanted = (range.end - range.start).min(READ_STEP);
            let (start, of) = (range.start, key.clone());
            let bytes = run_blocking(&key, move || {
                let mut buffer = vec![0; usize::try_from(wanted).unwrap_or_default()];
                let read = file.read_at(&mut buffer, start).map_err(|e| failure(&of, &e))?;
                if read == 0 {
                    let (expected, found) = (range.end, start);
                    return Err(StoreError::WrongSize { key: of, expected, found });
                }
                buffer.truncate(read);
                Ok(Bytes::from(buffer))
            })
            .await?;
            let rest = start + bytes.len() as u64..range.end;
            Ok(Some((bytes, rest)))
        }
    };
    stream::try_unfold(range, step).boxed()
}
