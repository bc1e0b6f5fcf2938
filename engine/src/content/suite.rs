//! What every [`BlobStore`] must do: call [`all`] with a way to open the same store again.

#![allow(clippy::panic, reason = "a suite says what is wrong by panicking")]

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::TryStreamExt;

use super::{BlobStore, ObjectKey, ObjectRead, ObjectWriter, StoreError, Then, WriteState};

/// The store under test; opening it again is what a restart of the process does.
pub type Shared = Arc<dyn BlobStore>;

/// Runs the whole suite. `open` opens the same, at first empty, store each time it is called.
///
/// # Panics
/// Where the store does not keep [`BlobStore`]'s promises.
pub async fn all<F, O>(open: O)
where
    F: Future<Output = Shared>,
    O: Fn() -> F,
{
    keys_have_a_grammar();
    an_object_is_written_resumed_and_finished(&open).await;
    what_came_after_the_checkpoint_is_dropped(&open).await;
    finishing_may_be_repeated(&open).await;
    what_was_finished_in_vain_goes_on(&open).await;
    an_object_may_be_finished_where_it_lies(&open).await;
    a_sealed_object_is_finished(&open).await;
    a_writer_left_behind_changes_nothing(&open).await;
    an_object_of_no_bytes_is_an_object(&open).await;
    giving_up_may_be_repeated(&open).await;
    too_few_bytes_are_never_published(&open).await;
    ranges_are_read_exactly(&open).await;
    an_object_deleted_while_it_is_read_is_whole_or_fails(&open).await;
    a_settled_object_lies_under_both_keys(&open).await;
    a_small_object_is_put_whole(&open).await;
    listings_are_ordered_and_paged(&open).await;
    unfinished_objects_are_listed_and_deleted(&open).await;
    many_objects_are_written_at_once(&open).await;
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).expect("the suite's keys are good")
}

fn text(bytes: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(bytes.as_bytes())]
}

/// Opens an object to write on, as another request would: with a claim, and keeping it.
async fn resume(
    store: &Shared,
    unfinished: &ObjectKey,
    state: &WriteState,
) -> Result<Box<dyn ObjectWriter>, StoreError> {
    static NONCE: AtomicU64 = AtomicU64::new(1);
    let nonce = NONCE.fetch_add(1, Ordering::Relaxed);
    let claimed = store.claim(state, nonce)?;
    store.resume(unfinished, claimed.as_ref().unwrap_or(state)).await
}

/// Appends `batch` in one go.
async fn append(
    store: &Shared,
    unfinished: &ObjectKey,
    state: &WriteState,
    batch: Vec<Bytes>,
) -> WriteState {
    let mut writer = resume(store, unfinished, state).await.expect("the object can be resumed");
    writer.write(batch).await.expect("the batch is taken");
    writer.checkpoint(Then::Rests).await.expect("the bytes become durable")
}

/// Starts an object and writes `batch`.
async fn begin(store: &Shared, unfinished: &ObjectKey, batch: Vec<Bytes>) -> WriteState {
    let state = store.start(unfinished).await.expect("an object can be started");
    append(store, unfinished, &state, batch).await
}

/// Takes away what is left of an object that was finished and now `lies` somewhere for good.
async fn clear(store: &Shared, unfinished: &ObjectKey, state: &WriteState, lies: &ObjectKey) {
    let cleared = if lies == unfinished {
        store.tidy(lies, state).await
    } else {
        store.abort(unfinished, state).await
    };
    cleared.expect("what is left can be taken away");
}

/// The bytes that a read gives, where it gives them all.
///
/// # Errors
/// What the store said.
///
/// # Panics
/// Where a file that the store handed out can't be read.
pub async fn read(
    store: &dyn BlobStore,
    key: &ObjectKey,
    range: Range<u64>,
) -> Result<Vec<u8>, StoreError> {
    drain(store.read(key, range).await?).await
}

async fn drain(read: ObjectRead) -> Result<Vec<u8>, StoreError> {
    use std::io::{Read, Seek, SeekFrom};

    match read {
        ObjectRead::Stream(stream) => {
            let chunks: Vec<Bytes> = stream.try_collect().await?;
            Ok(chunks.concat())
        }
        ObjectRead::File { mut file, offset, length } => {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(offset)).expect("the file can be read anywhere");
            file.take(length).read_to_end(&mut bytes).expect("the file can be read");
            Ok(bytes)
        }
    }
}

async fn whole(store: &Shared, key: &ObjectKey) -> Option<Vec<u8>> {
    let size = store.stat(key).await.expect("objects can be looked at")?;
    Some(read(&**store, key, 0..size).await.expect("what has a size can be read"))
}

async fn listed(store: &Shared, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let after = after.map(key);
    let entries = store.list(prefix, after.as_ref(), limit).await.expect("objects can be listed");
    entries.into_iter().map(|entry| entry.key.to_string()).collect()
}

fn keys_have_a_grammar() {
    let long = format!("{}/a", "x".repeat(510));
    let too_long = format!("{}/a", "x".repeat(511));
    for good in ["a", "a/b", "0-9_a.b/..c", "a/...", long.as_str()] {
        assert!(ObjectKey::new(good).is_some(), "{good} is a key");
    }
    for bad in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "a/../b",
        "a/./b",
        "A",
        "a\\b",
        "a b",
        "a\0",
        "ä",
        "a%2e",
        "a\n",
        "~a",
        "a:b",
        too_long.as_str(),
    ] {
        assert!(ObjectKey::new(bad).is_none(), "{bad:?} is no key");
    }
}

async fn an_object_is_written_resumed_and_finished<F: Future<Output = Shared>>(
    open: &impl Fn() -> F,
) {
    let (unfinished, finished) = (key("life/in-flight/1"), key("life/done/ab/1"));
    let state = open().await.start(&unfinished).await.expect("an object can be started");
    assert_eq!(state.offset, 0);
    let pieces = vec![Bytes::from_static(b"one "), Bytes::new(), Bytes::from_static(b"two ")];
    let state = append(&open().await, &unfinished, &state, pieces).await;
    assert_eq!(state.offset, 8);
    assert_eq!(open().await.stat(&finished).await.expect("it can be asked for"), None);
    let state = append(&open().await, &unfinished, &state, text("three")).await;
    let store = open().await;
    let lies = store.finish(&unfinished, &state, &finished).await.expect("it can be finished");
    assert_eq!(whole(&open().await, &lies).await.as_deref(), Some(&b"one two three"[..]));

    // Two checkpoints by one writer, the second with nothing new.
    let unfinished = key("life/in-flight/2");
    let state = store.start(&unfinished).await.expect("an object can be started");
    let mut writer = resume(&store, &unfinished, &state).await.expect("it can be written");
    for batch in [text("four "), text("five")] {
        writer.write(batch).await.expect("the batch is taken");
        writer.checkpoint(Then::Writes).await.expect("the bytes become durable");
    }
    let state = writer.checkpoint(Then::Writes).await.expect("nothing is durable already");
    let finished = key("life/done/ab/2");
    let lies = store.finish(&unfinished, &state, &finished).await.expect("it can be finished");
    assert_eq!(whole(&store, &lies).await.as_deref(), Some(&b"four five"[..]));
}

async fn what_came_after_the_checkpoint_is_dropped<F: Future<Output = Shared>>(
    open: &impl Fn() -> F,
) {
    let store = open().await;
    let (unfinished, finished) = (key("drop/in-flight/1"), key("drop/done/1"));
    let kept = begin(&store, &unfinished, text("kept ")).await;
    append(&store, &unfinished, &kept, text("checkpointed, and its state was lost")).await;
    let mut writer = resume(&store, &unfinished, &kept).await.expect("it can be resumed");
    writer.write(text("never checkpointed, and longer than all the others")).await.expect("taken");
    drop(writer);
    let store = open().await;
    let state = append(&store, &unfinished, &kept, text("and this")).await;
    let lies = store.finish(&unfinished, &state, &finished).await.expect("it can be finished");
    assert_eq!(whole(&store, &lies).await.as_deref(), Some(&b"kept and this"[..]));

    // Nothing need be resumed to drop it.
    let (unfinished, finished) = (key("drop/in-flight/2"), key("drop/done/2"));
    let state = begin(&store, &unfinished, text("all")).await;
    let mut writer = resume(&store, &unfinished, &state).await.expect("it can be resumed");
    writer.write(text(" and more")).await.expect("taken");
    drop(writer);
    let lies = store.finish(&unfinished, &state, &finished).await.expect("it can be finished");
    assert_eq!(whole(&store, &lies).await.as_deref(), Some(&b"all"[..]));
}

async fn finishing_may_be_repeated<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let (unfinished, finished) = (key("twice/in-flight/1"), key("twice/done/1"));
    let store = open().await;
    let state = begin(&store, &unfinished, text("once")).await;
    for store in [&store, &store, &open().await] {
        let lies = store.finish(&unfinished, &state, &finished).await.expect("it can be finished");
        assert_eq!(whole(store, &lies).await.as_deref(), Some(&b"once"[..]));
    }
}

async fn what_was_finished_in_vain_goes_on<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let unfinished = key("vain/in-flight/1");
    let store = open().await;
    let told = begin(&store, &unfinished, text("told, ")).await;
    let state = append(&store, &unfinished, &told, text("not told")).await;
    store.finish(&unfinished, &state, &key("vain/done/1")).await.expect("it can be finished");
    // Nobody learnt of that: the upload goes on from what was told.
    let store = open().await;
    let state = append(&store, &unfinished, &told, text("told again")).await;
    let finished = key("vain/done/2");
    let lies = store.finish(&unfinished, &state, &finished).await.expect("it can be finished");
    clear(&store, &unfinished, &state, &lies).await;
    assert_eq!(whole(&store, &lies).await.as_deref(), Some(&b"told, told again"[..]));
}

async fn an_object_may_be_finished_where_it_lies<F: Future<Output = Shared>>(
    open: &impl Fn() -> F,
) {
    let place = key("place/sha256/ab/abcd.1");
    let state = begin(&open().await, &place, text("in ")).await;
    let state = append(&open().await, &place, &state, text("place")).await;
    for _ in 0..2 {
        let store = open().await;
        let lies = store.finish(&place, &state, &place).await.expect("it can be finished");
        assert_eq!(lies, place);
        assert_eq!(whole(&store, &place).await.as_deref(), Some(&b"in place"[..]));
    }
    for _ in 0..2 {
        open().await.tidy(&place, &state).await.expect("what is left can be taken away");
    }
    assert_eq!(listed(&open().await, "place/", None, 9).await, [place.as_str()]);
}

async fn a_sealed_object_is_finished<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let store = open().await;
    for (number, wanted) in [("1", &b"first, last"[..]), ("2", &b"first, "[..]), ("3", b"")] {
        let unfinished = key(&format!("seal/in-flight/{number}"));
        let finished = key(&format!("seal/done/{number}"));
        let mut state = store.start(&unfinished).await.expect("it can be started");
        if !wanted.is_empty() {
            state = append(&store, &unfinished, &state, text("first, ")).await;
        }
        let mut writer = resume(&store, &unfinished, &state).await.expect("it can be resumed");
        if wanted.ends_with(b"last") {
            writer.write(text("last")).await.expect("the batch is taken");
        }
        let sealed = writer.checkpoint(Then::Finishes).await.expect("it can be sealed");
        assert_eq!(sealed.offset, wanted.len() as u64);
        drop(writer);
        let store = open().await;
        let lies = store.finish(&unfinished, &sealed, &finished).await.expect("it is finished");
        clear(&store, &unfinished, &sealed, &lies).await;
        assert_eq!(whole(&store, &lies).await.as_deref(), Some(wanted));
        assert_eq!(listed(&store, &format!("seal/done/{number}"), None, 9).await.len(), {
            usize::from(lies == finished)
        });
    }
    // What was sealed in vain goes on from the checkpoint before, and may be given up.
    let unfinished = key("seal/in-flight/4");
    let told = begin(&store, &unfinished, text("told")).await;
    let mut writer = resume(&store, &unfinished, &told).await.expect("it can be resumed");
    writer.write(text(" and lost")).await.expect("the batch is taken");
    writer.checkpoint(Then::Finishes).await.expect("it can be sealed");
    let state = append(&store, &unfinished, &told, text(" again")).await;
    let lies = store.finish(&unfinished, &state, &key("seal/done/4")).await;
    let lies = lies.expect("it can be finished");
    assert_eq!(whole(&store, &lies).await.as_deref(), Some(&b"told again"[..]));
    store.abort(&unfinished, &state).await.expect("it can be given up");
    assert!(listed(&store, unfinished.as_str(), None, 9).await.is_empty());
}

async fn a_writer_left_behind_changes_nothing<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let unfinished = key("late/in-flight/1");
    let kept = begin(&open().await, &unfinished, text("kept, ")).await;
    let mut left = resume(&open().await, &unfinished, &kept).await.expect("it can be resumed");
    left.write(text("left behind")).await.expect("the batch is taken");
    let store = open().await;
    let state = append(&store, &unfinished, &kept, text("taken over")).await;
    // The one that was left behind wakes up: whether it is told or not, nothing changes.
    let _ = left.write(text(" and woken up")).await;
    let _ = left.checkpoint(Then::Writes).await;
    drop(left);
    let lies = store.finish(&unfinished, &state, &key("late/done/1")).await;
    let lies = lies.expect("it can be finished");
    assert_eq!(whole(&store, &lies).await.as_deref(), Some(&b"kept, taken over"[..]));
    clear(&store, &unfinished, &state, &lies).await;
}

async fn an_object_of_no_bytes_is_an_object<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let store = open().await;
    let state = store.start(&key("none/in-flight/1")).await.expect("it can be started");
    let (place, done) = (key("none/in-flight/1"), key("none/done/1"));
    let lies = store.finish(&place, &state, &done).await;
    let lies = lies.expect("nothing was written, nothing is missing");
    assert_eq!(whole(&store, &lies).await, Some(Vec::new()));
    let (place, done) = (key("none/in-flight/2"), key("none/done/2"));
    let state = begin(&store, &place, vec![Bytes::new()]).await;
    let lies = open().await.finish(&place, &state, &done).await.expect("it can be finished");
    assert_eq!(whole(&store, &lies).await, Some(Vec::new()));
    store.put(&key("none/put"), Bytes::new()).await.expect("it can be put");
    assert_eq!(whole(&store, &key("none/put")).await, Some(Vec::new()));
}

async fn giving_up_may_be_repeated<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let store = open().await;
    let unfinished = key("abort/in-flight/1");
    let state = begin(&store, &unfinished, text("unwanted")).await;
    for store in [&store, &store, &open().await] {
        store.abort(&unfinished, &state).await.expect("it can be given up");
    }
    assert!(listed(&store, "abort/", None, 9).await.is_empty());
    let finished = key("abort/done/1");
    match store.finish(&unfinished, &state, &finished).await {
        Err(StoreError::NotFound(_)) => {}
        other => panic!("what was given up is not found, not {other:?}"),
    }
    assert!(resume(&store, &unfinished, &state).await.is_err());
    assert_eq!(store.stat(&finished).await.expect("it can be asked for"), None);
}

async fn too_few_bytes_are_never_published<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let store = open().await;
    let (unfinished, finished) = (key("short/in-flight/1"), key("short/done/1"));
    let mut state = begin(&store, &unfinished, text("12345")).await;
    state.offset += 1;
    match resume(&store, &unfinished, &state).await.map(|_| ()) {
        Err(StoreError::WrongSize { expected: 6, found: 5, .. }) => {}
        other => panic!("a byte is missing: {other:?}"),
    }
    match store.finish(&unfinished, &state, &finished).await {
        Err(StoreError::WrongSize { expected: 6, found: 5, .. }) => {}
        other => panic!("a byte is missing: {other:?}"),
    }
    assert_eq!(store.stat(&finished).await.expect("it can be asked for"), None);
    state.offset -= 1;
    store.finish(&unfinished, &state, &finished).await.expect("nothing is missing");
}

async fn ranges_are_read_exactly<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let store = open().await;
    let content: Vec<u8> = (0..=250_u8).cycle().take(1_300_000).collect();
    let (unfinished, object) = (key("range/in-flight/1"), key("range/done/1"));
    let pieces: Vec<Bytes> = content.chunks(70_001).map(Bytes::copy_from_slice).collect();
    let state = begin(&store, &unfinished, pieces).await;
    let object = store.finish(&unfinished, &state, &object).await.expect("it can be finished");
    let end = content.len() as u64;
    for range in [0..end, 0..0, 0..1, 7..8, 69_999..70_003, 524_287..1_048_577, end - 1..end] {
        let found = read(&*store, &object, range.clone()).await.expect("the range is there");
        let at = usize::try_from(range.start).expect("small");
        let length = usize::try_from(range.end - range.start).expect("small");
        assert!(Some(&*found) == content.get(at..at + length), "range {range:?} differs");
    }
    for range in [0..end + 1, end..end + 1, end + 5..end + 6] {
        match read(&*store, &object, range.clone()).await {
            Err(StoreError::WrongSize { found, .. }) => assert_eq!(found, end),
            other => panic!("{range:?} is past the end: {:?}", other.map(|bytes| bytes.len())),
        }
    }
    match read(&*store, &key("range/absent"), 0..0).await {
        Err(StoreError::NotFound(absent)) => assert_eq!(absent, key("range/absent")),
        other => panic!("nothing is there: {other:?}"),
    }
}

async fn an_object_deleted_while_it_is_read_is_whole_or_fails<F: Future<Output = Shared>>(
    open: &impl Fn() -> F,
) {
    let store = open().await;
    let (object, content) = (key("gone/1"), Bytes::from(vec![7; 3 << 20]));
    store.put(&object, content.clone()).await.expect("it can be put");
    let read = store.read(&object, 0..content.len() as u64).await.expect("it is there");
    for _ in 0..2 {
        store.delete(&object).await.expect("it can be deleted");
    }
    if let Ok(found) = drain(read).await {
        assert!(found == content, "a read that ends well is whole");
    }
    assert_eq!(store.stat(&object).await.expect("it can be asked for"), None);
    assert!(store.read(&object, 0..1).await.is_err());
}

async fn a_settled_object_lies_under_both_keys<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let store = open().await;
    let (from, to) = (key("settle/from"), key("settle/sha256/ab/to"));
    store.put(&from, Bytes::from_static(b"moved")).await.expect("it can be put");
    for _ in 0..2 {
        store.settle(&from, &to).await.expect("it can be settled, again too");
    }
    store.settle(&from, &from).await.expect("it lies there");
    assert_eq!(whole(&store, &from).await.as_deref(), Some(&b"moved"[..]));
    store.delete(&from).await.expect("it can be deleted");
    assert_eq!(whole(&open().await, &to).await.as_deref(), Some(&b"moved"[..]));
    match store.settle(&key("settle/absent"), &key("settle/other")).await {
        Err(StoreError::NotFound(_)) => {}
        other => panic!("nothing is there: {other:?}"),
    }
}

async fn a_small_object_is_put_whole<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let (store, object) = (open().await, key("put/ab/1"));
    for _ in 0..2 {
        store.put(&object, Bytes::from_static(b"{}")).await.expect("it can be put, again too");
    }
    assert_eq!(whole(&open().await, &object).await.as_deref(), Some(&b"{}"[..]));
    assert_eq!(listed(&store, "put/", None, 9).await, [object.as_str()]);
}

async fn listings_are_ordered_and_paged<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let store = open().await;
    // In the order of their bytes: `-` and `.` come before `/`, digits and letters after it.
    let all = [
        "list/a-b/x",
        "list/a.b",
        "list/a/b",
        "list/a/b-c/d",
        "list/a/b.c",
        "list/a/bb",
        "list/a/bb.c",
        "list/a/c/d/e",
        "list/a0/x",
        "list/ab",
        "list/b",
    ];
    for (index, text) in all.iter().enumerate().rev() {
        store.put(&key(text), Bytes::from(vec![0; index])).await.expect("it can be put");
    }
    let entries = store.list("list/", None, 100).await.expect("objects can be listed");
    for (index, (entry, text)) in entries.iter().zip(all).enumerate() {
        assert_eq!((entry.key.as_str(), entry.size), (text, index as u64));
    }
    assert_eq!(entries.len(), all.len());
    for limit in 1..=all.len() {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = listed(&store, "list/", after.as_deref(), limit).await;
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            seen.extend(page);
        }
        assert_eq!(seen, all, "in pages of {limit}");
    }
    let prefixes = ["list/a", "list/a/", "list/a/b", "list/a/b.", "list/ab", "list/c", "list/b/"];
    for prefix in prefixes {
        let wanted: Vec<_> = all.into_iter().filter(|text| text.starts_with(prefix)).collect();
        assert_eq!(listed(&store, prefix, None, 100).await, wanted, "below {prefix}");
    }
    // `after` need not be there, nor lie below the prefix.
    assert_eq!(
        listed(&store, "list/a/b", Some("list/a/b0"), 9).await,
        ["list/a/bb", "list/a/bb.c"]
    );
    assert_eq!(listed(&store, "list/ab", Some("list/a/b"), 9).await, ["list/ab"]);
    assert!(listed(&store, "list/a/", Some("list/b"), 9).await.is_empty());
    assert!(listed(&store, "list/", None, 0).await.is_empty());
    for text in all {
        assert!(listed(&store, "", None, 10_000).await.contains(&text.to_owned()));
    }
    for odd in ["list/../", "/", "list//", "LIST", ".."] {
        assert!(listed(&store, odd, None, 9).await.is_empty(), "{odd} is below no key");
    }
}

async fn unfinished_objects_are_listed_and_deleted<F: Future<Output = Shared>>(
    open: &impl Fn() -> F,
) {
    let unfinished = key("orphan/in-flight/1");
    let state = begin(&open().await, &unfinished, text("one")).await;
    append(&open().await, &unfinished, &state, text("two")).await;
    let store = open().await;
    let found = listed(&store, "orphan/", None, 9).await;
    assert!(!found.is_empty(), "a sweep must see what is left of an upload");
    assert!(found.iter().all(|text| text.starts_with(unfinished.as_str())), "{found:?}");
    store.delete(&unfinished).await.expect("it can be deleted");
    assert!(listed(&store, "orphan/", None, 9).await.is_empty());
}

async fn many_objects_are_written_at_once<F: Future<Output = Shared>>(open: &impl Fn() -> F) {
    let store = open().await;
    let one = |number: usize| {
        let store = Arc::clone(&store);
        async move {
            let unfinished = key(&format!("many/in-flight/{number:02}"));
            let finished = key(&format!("many/done/{:02}/{number:02}", number % 5));
            let content = Bytes::from(vec![number.to_le_bytes()[0]; 1000 + number]);
            let mut state = store.start(&unfinished).await.expect("it can be started");
            for piece in content.chunks(400) {
                let batch = vec![content.slice_ref(piece)];
                state = append(&store, &unfinished, &state, batch).await;
            }
            let lies = store.finish(&unfinished, &state, &finished).await;
            let lies = lies.expect("it can be finished");
            clear(&store, &unfinished, &state, &lies).await;
            assert!(whole(&store, &lies).await.is_some_and(|found| found == content));
        }
    };
    futures::future::join_all((0..64).map(one)).await;
    assert_eq!(listed(&store, "many/", None, 1000).await.len(), 64);
}
