//! Small content, read whole.

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_engine::content::ObjectRead;
use strongroom_engine::digest::Digest;
use strongroom_engine::{Error, Repository};

/// The most that is read so: a file's metadata, its provenance.
const MAX_BYTES: u64 = 16 << 20;

/// A small blob, whole.
pub(crate) async fn small(repository: &Repository, digest: &Digest) -> Result<Bytes, Error> {
    let blob = repository.blob(digest).await?;
    let size = blob.info().size;
    if size > MAX_BYTES {
        return Err(Error::BlobTooLarge { max: MAX_BYTES });
    }
    match blob.read(0..size).await? {
        ObjectRead::Stream(stream) => {
            let parts: Vec<Bytes> = stream.try_collect().await?;
            Ok(parts.concat().into())
        }
        ObjectRead::File { file, offset, length } => {
            let read = tokio::task::spawn_blocking(move || {
                use std::os::unix::fs::FileExt;
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
                file.read_exact_at(&mut bytes, offset).map(|()| bytes)
            });
            match read.await {
                Ok(Ok(bytes)) => Ok(bytes.into()),
                Ok(Err(error)) => Err(Error::Unavailable(error.to_string())),
                Err(_) => Err(Error::Unavailable("the read was given up".to_owned())),
            }
        }
    }
}
