//! What the tests on servers share.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

pub(crate) mod installation;

use std::time::Duration;

use bytes::Bytes;
use strongroom_engine::content::{
    BlobStore, ObjectKey, ObjectRead, ObjectWriter, StoreError, Then, WriteState,
};
use strongroom_s3::{S3Options, S3Store};

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

/// Bytes that differ at every place a part may end.
pub(crate) fn content(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(next).take(length.div_ceil(4)).flatten().collect();
    bytes.truncate(length);
    Bytes::from(bytes)
}

/// Parts as small as S3 takes them, so that tests have many.
pub(crate) fn small_parts(mut options: S3Options) -> S3Options {
    options.part_bytes = 5 << 20;
    options
}

/// Gives up soon.
pub(crate) fn impatient(mut options: S3Options) -> S3Options {
    options.limits.attempts = 3;
    options.limits.attempt = Duration::from_secs(2);
    options.limits.deadline = Duration::from_secs(8);
    options.limits.back_off = Duration::from_millis(5);
    options.limits.max_back_off = Duration::from_millis(50);
    options
}

/// Opens a writer as another request would: with a claim that was kept.
pub(crate) async fn claim(
    store: &S3Store,
    unfinished: &ObjectKey,
    state: &WriteState,
    nonce: u64,
) -> Result<(Box<dyn ObjectWriter>, WriteState), StoreError> {
    let claimed = store.claim(state, nonce)?.expect("this store has something to claim");
    Ok((store.resume(unfinished, &claimed).await?, claimed))
}

/// Appends in one request.
pub(crate) async fn append(
    store: &S3Store,
    unfinished: &ObjectKey,
    state: &WriteState,
    nonce: u64,
    bytes: &Bytes,
    then: Then,
) -> Result<WriteState, StoreError> {
    let (mut writer, _) = claim(store, unfinished, state, nonce).await?;
    for piece in bytes.chunks(1 << 20) {
        writer.write(vec![bytes.slice_ref(piece)]).await?;
    }
    writer.checkpoint(then).await
}

pub(crate) async fn read(store: &S3Store, key: &ObjectKey) -> Bytes {
    use futures::TryStreamExt;
    let size = store.stat(key).await.unwrap().expect("it is there");
    let ObjectRead::Stream(stream) = store.read(key, 0..size).await.unwrap() else {
        panic!("a bucket has no files")
    };
    let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
    Bytes::from(chunks.concat())
}
