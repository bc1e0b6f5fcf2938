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

/// Keys as the engine lays them out, and some that begin with each other.
fn keys_of(organisations: u32, each: u32) -> Vec<ObjectKey> {
    let mut keys = Vec::new();
    for organisation in 0..organisations {
        for n in 0..each {
            let digest =
                crate::digest::Digest::of(crate::digest::Algorithm::Sha256, &n.to_be_bytes());
            let (hex, shard) = (digest.hex(), digest.hex()[..2].to_owned());
            keys.push(key(&format!("{organisation:016x}/sha256/{shard}/{hex}.{n:032x}")));
        }
        for n in 0..3 {
            keys.push(key(&format!("{organisation:016x}/in-flight/{n}")));
            keys.push(key(&format!("{organisation:016x}/in-flight/{n}/part-000001.0")));
            keys.push(key(&format!("{organisation:016x}/in-flight/{n}-x")));
        }
    }
    keys.push(key("loose"));
    keys.sort();
    keys
}

/// All pages, and the most entries that the service told for one of them.
async fn pages(store: &OpendalStore, prefix: &str, limit: usize) -> (Vec<ObjectKey>, u64) {
    let (mut all, mut most): (Vec<ObjectKey>, _) = (Vec::new(), 0);
    loop {
        let after = all.last().cloned();
        let mut page = Page::new(&store.operator, prefix, after.as_ref(), limit);
        page.fill().await.unwrap();
        most = most.max(page.read);
        if page.found.is_empty() {
            return (all, most);
        }
        assert!(page.found.len() <= limit);
        all.extend(page.found.into_iter().map(|(key, _)| key));
    }
}

#[tokio::test]
async fn a_page_of_a_large_store_reads_a_page_and_not_the_store() {
    let store = OpendalStore::memory().unwrap();
    let keys = keys_of(4, 4000);
    for key in &keys {
        store.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    let (listed, most) = pages(&store, "", 500).await;
    assert_eq!(listed, keys);
    // The folders on the way, and those of some forty shards of sixteen.
    assert!(most < 2_000, "{most} entries were read for a page of 500 of {}", keys.len());
    let own: Vec<_> =
        keys.iter().filter(|key| key.as_str().starts_with("0000000000000002/")).collect();
    let (listed, most) = pages(&store, "0000000000000002/", 500).await;
    assert_eq!(listed.iter().collect::<Vec<_>>(), own);
    assert!(most < 2_000, "{most}");
}

#[tokio::test]
async fn pages_of_any_size_behind_any_key_are_what_a_sorted_list_says() {
    let store = OpendalStore::memory().unwrap();
    let keys = keys_of(3, 12);
    for key in &keys {
        store.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    let prefixes = [
        "",
        "0000000000000001/",
        "0000000000000001/in",
        "0000000000000001/in-flight/1",
        "lo",
        "zzz",
    ];
    for prefix in prefixes {
        for limit in [1, 2, 7, 1000] {
            let own: Vec<_> =
                keys.iter().filter(|key| key.as_str().starts_with(prefix)).cloned().collect();
            assert_eq!(pages(&store, prefix, limit).await.0, own, "{prefix:?}, {limit}");
        }
        for after in &keys {
            let listed = store.list(prefix, Some(after), 3).await.unwrap();
            let listed: Vec<_> = listed.into_iter().map(|entry| entry.key).collect();
            let behind = keys.iter().filter(|key| *key > after && key.as_str().starts_with(prefix));
            assert_eq!(
                listed,
                behind.take(3).cloned().collect::<Vec<_>>(),
                "{prefix:?} behind {after}"
            );
        }
    }
}
