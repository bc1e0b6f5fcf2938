//! What only the parts do; the rest is in [`crate::content::suite`].

use super::super::Then;
use super::super::suite;
use super::*;
use crate::seam::SeededEntropy;

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

#[tokio::test]
async fn it_behaves_as_every_store_must() {
    let store = OpendalStore::memory().unwrap();
    let operator = store.operator.clone();
    suite::all(|| async { Arc::new(OpendalStore::new(operator.clone())) as suite::Shared }).await;
}

#[tokio::test]
async fn a_writer_left_behind_changes_nothing_that_a_later_one_wrote() {
    let store = OpendalStore::memory().unwrap().with_entropy(Arc::new(SeededEntropy::new(7)));
    let (unfinished, finished) = (key("in-flight/1"), key("done"));
    let state = store.start(&unfinished).await.unwrap();
    let mut left = store.resume(&unfinished, &state).await.unwrap();
    left.write(vec![Bytes::from_static(b"old")]).await.unwrap();
    let mut later = store.resume(&unfinished, &state).await.unwrap();
    later.write(vec![Bytes::from_static(b"new")]).await.unwrap();
    let state = later.checkpoint(Then::Writes).await.unwrap();

    left.checkpoint(Then::Writes).await.unwrap();

    store.finish(&unfinished, &state, &finished).await.unwrap();
    store.abort(&unfinished, &state).await.unwrap();
    assert_eq!(suite::read(&store, &finished, 0..3).await.unwrap(), b"new");
    let left = store.list("", None, 9).await.unwrap();
    assert_eq!(left, [ObjectEntry::object(finished, 3)]);
}

#[tokio::test]
async fn a_part_that_changed_its_size_is_not_published() {
    let store = OpendalStore::memory().unwrap();
    let (unfinished, finished) = (key("in-flight/1"), key("done"));
    let state = store.start(&unfinished).await.unwrap();
    let mut writer = store.resume(&unfinished, &state).await.unwrap();
    writer.write(vec![Bytes::from_static(b"four")]).await.unwrap();
    let state = writer.checkpoint(Then::Writes).await.unwrap();
    let part = store.list("in-flight/", None, 1).await.unwrap().remove(0);
    store.put(&part.key, Bytes::from_static(b"two")).await.unwrap();

    let result = store.finish(&unfinished, &state, &finished).await;

    assert!(matches!(result, Err(StoreError::WrongSize { expected: 4, found: 3, .. })));
    assert_eq!(store.stat(&finished).await.unwrap(), None);
}

#[tokio::test]
async fn a_state_of_another_store_is_refused() {
    let store = OpendalStore::memory().unwrap();
    let state = WriteState { offset: 3, state: vec![0xff; 20] };

    let result = store.resume(&key("in-flight/1"), &state).await.map(|_| ());

    assert!(matches!(result, Err(StoreError::Failed { temporary: false, .. })));
}

#[test]
fn the_state_of_an_unfinished_object_is_as_its_golden_file() {
    let parts = vec![Part { nonce: 7, size: 300 }, Part { nonce: u32::MAX, size: 1 << 40 }];
    let state = postcard::to_stdvec(&parts).unwrap();
    crate::records::golden::compare("opendal-write.v1.sample", &state);
    assert_eq!(postcard::from_bytes::<Vec<Part>>(&state).unwrap(), parts);
}
