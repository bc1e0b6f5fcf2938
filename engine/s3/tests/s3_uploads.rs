//! Uploads of many chunks, writers and nodes, on real servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails as a test does")]

mod support;

use std::time::Duration;

use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use bytes::Bytes;
use strongroom_engine::content::{BlobStore, ObjectKey, Presigner, Then, WriteState};
use strongroom_s3::{Encryption, S3Store};
use strongroom_s3_testing::{Bucket, Fault, FaultProxy, Operation, S3Kind, Server};

use self::support::{append, claim, content, key, read, small_parts};

const BOTH: [S3Kind; 2] = [S3Kind::Versity, S3Kind::Minio];
const MIB: usize = 1 << 20;

async fn uploads_left(server: &Server, key: &str) -> usize {
    let client = server.client();
    let listed = client.list_multipart_uploads().bucket(server.bucket()).prefix(key).send().await;
    listed.expect("uploads can be listed").uploads().len()
}

#[tokio::test]
async fn chunks_of_any_size_make_the_same_object_each_at_another_node() {
    for kind in BOTH {
        let server = Server::start(kind).await;
        let options = small_parts(server.options());
        for (run, (chunk, total)) in [
            (1, 5),
            (3_000, 20_000),
            (MIB, 12 * MIB),
            (5 * MIB - 1, 16 * MIB),
            (5 * MIB, 15 * MIB),
            (5 * MIB + 1, 16 * MIB),
            (6 * MIB, 6 * MIB),
            (13 * MIB, 27 * MIB + 7),
        ]
        .into_iter()
        .enumerate()
        {
            let (unfinished, whole) = (key(&format!("in-flight/{run}")), content(total));
            let mut state = S3Store::new(&options).await.start(&unfinished).await.unwrap();
            let chunks: Vec<Bytes> = whole.chunks(chunk).map(|c| whole.slice_ref(c)).collect();
            for (number, bytes) in chunks.iter().enumerate() {
                let node = S3Store::new(&options).await;
                let last = number + 1 == chunks.len();
                let then = if last { Then::Finishes } else { Then::Rests };
                let nonce = number as u64 + 1;
                state = append(&node, &unfinished, &state, nonce, bytes, then).await.unwrap();
            }
            assert_eq!(state.offset, total as u64);
            let node = S3Store::new(&options).await;
            let lies = node.finish(&unfinished, &state, &key("done")).await.unwrap();
            assert_eq!(lies, unfinished, "nothing is copied");
            node.tidy(&lies, &state).await.unwrap();
            assert!(read(&node, &lies).await == whole, "{kind:?}: chunks of {chunk}");
            let left = node.list("in-flight/", None, 100).await.unwrap();
            assert_eq!(left.len(), run + 1, "{kind:?}: tails are left: {left:?}");
            assert_eq!(uploads_left(&server, unfinished.as_str()).await, 0);
        }
    }
}

#[tokio::test]
async fn a_writer_that_stalled_can_not_change_a_part_of_its_successor() {
    for kind in BOTH {
        let server = Server::start(kind).await;
        let options = small_parts(server.options());
        let (node, other) = (S3Store::new(&options).await, S3Store::new(&options).await);
        let unfinished = key("in-flight/1");
        let begun = content(6 * MIB);
        let state = node.start(&unfinished).await.unwrap();
        let state = append(&node, &unfinished, &state, 1, &begun, Then::Rests).await.unwrap();

        let (mut stalled, claimed) = claim(&node, &unfinished, &state, 2).await.unwrap();
        stalled.write(vec![Bytes::from(vec![7; 6 * MIB])]).await.unwrap();
        let rest = content(7 * MIB);
        let (mut successor, _) = claim(&other, &unfinished, &claimed, 3).await.unwrap();
        successor.write(vec![rest.clone()]).await.unwrap();
        let sealed = successor.checkpoint(Then::Finishes).await.unwrap();
        // It wakes up, and does all it can.
        stalled.write(vec![Bytes::from(vec![8; 6 * MIB])]).await.unwrap();
        let late = stalled.checkpoint(Then::Finishes).await.unwrap();

        let lies = other.finish(&unfinished, &sealed, &key("done")).await.unwrap();
        let outcome = node.finish(&unfinished, &late, &key("done")).await;
        assert!(outcome.is_err(), "{kind:?}: {outcome:?}");
        assert!(read(&other, &lies).await == [begun, rest].concat(), "{kind:?}");
    }
}

#[tokio::test]
async fn an_upload_that_was_finished_in_vain_goes_on_from_its_object() {
    for kind in BOTH {
        let server = Server::start(kind).await;
        let options = small_parts(server.options());
        let store = S3Store::new(&options).await;
        let unfinished = key("in-flight/1");
        let (first, last) = (content(11 * MIB), content(3 * MIB));
        let state = store.start(&unfinished).await.unwrap();
        let told = append(&store, &unfinished, &state, 1, &first, Then::Rests).await.unwrap();
        let sealed = append(&store, &unfinished, &told, 2, &last, Then::Finishes).await.unwrap();
        store.finish(&unfinished, &sealed, &key("vain")).await.unwrap();
        // Nobody learnt of it. The same bytes once more find the object there …
        let told = store.claim(&told, 2).unwrap().unwrap();
        let sealed = append(&store, &unfinished, &told, 3, &last, Then::Finishes).await.unwrap();
        let lies = store.finish(&unfinished, &sealed, &key("same")).await.unwrap();
        assert_eq!(lies, unfinished);
        assert!(read(&store, &lies).await == [first.clone(), last].concat(), "{kind:?}");
        // … and others make another one.
        let other = content(2 * MIB);
        let sealed = append(&store, &unfinished, &told, 4, &other, Then::Finishes).await.unwrap();
        let lies = store.finish(&unfinished, &sealed, &key("other")).await.unwrap();
        assert_eq!(lies, key("other"));
        assert!(read(&store, &lies).await == [first, other].concat(), "{kind:?}");
        store.abort(&unfinished, &sealed).await.unwrap();
        assert_eq!(store.list("in-flight/", None, 10).await.unwrap(), []);
    }
}

#[tokio::test]
async fn uploads_under_way_are_listed_and_given_up_without_their_object() {
    let server = Server::start(S3Kind::Versity).await;
    let store = S3Store::new(&small_parts(server.options())).await;
    let (unfinished, whole) = (key("in-flight/1"), content(6 * MIB));
    // Two nodes began one each, and a third finished the object in one go.
    let state = store.start(&unfinished).await.unwrap();
    for nonce in [1, 2] {
        append(&store, &unfinished, &state, nonce, &whole, Then::Rests).await.unwrap();
    }
    store.put(&unfinished, Bytes::from_static(b"finished")).await.unwrap();

    let entries = store.list("in-flight/", None, 10).await.unwrap();

    let under_way: Vec<&WriteState> =
        entries.iter().filter_map(|e| e.unfinished.as_ref()).collect();
    assert_eq!((entries.iter().filter(|e| e.key == unfinished).count(), under_way.len()), (2, 1));
    assert_eq!(uploads_left(&server, "in-flight/1").await, 2);
    store.abort(&unfinished, under_way[0]).await.unwrap();
    assert_eq!(uploads_left(&server, "in-flight/1").await, 0);
    assert_eq!(&read(&store, &unfinished).await[..], b"finished");
}

#[tokio::test]
async fn giving_up_leaves_no_upload_behind_even_where_the_row_never_learnt_of_it() {
    for kind in BOTH {
        let server = Server::start(kind).await;
        let store = S3Store::new(&small_parts(server.options())).await;
        let unfinished = key("in-flight/1");
        let state = store.start(&unfinished).await.unwrap();
        let (mut writer, claimed) = claim(&store, &unfinished, &state, 1).await.unwrap();
        writer.write(vec![content(6 * MIB)]).await.unwrap();
        drop(writer);
        assert_eq!(uploads_left(&server, "in-flight/1").await, 1);
        store.abort(&unfinished, &claimed).await.unwrap();
        assert_eq!(uploads_left(&server, "in-flight/1").await, 0, "{kind:?}");
    }
}

#[tokio::test]
async fn a_url_reads_a_range_without_keys_and_with_its_content_type() {
    for kind in BOTH {
        let server = Server::start(kind).await;
        let store = S3Store::new(&server.options()).await;
        store.put(&key("blob"), Bytes::from_static(b"0123456789")).await.unwrap();
        let expires = Duration::from_mins(1);
        let url = store.presign(&key("blob"), expires, "application/x-thing").await.unwrap();
        let request = reqwest::Client::new().get(url).header("range", "bytes=2-4");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 206);
        assert_eq!(answer.headers()["content-type"], "application/x-thing");
        assert_eq!(&answer.bytes().await.unwrap()[..], b"234");
        let bare = format!("http://{}/{}/blob", server.address, server.bucket());
        assert_eq!(reqwest::get(bare).await.unwrap().status(), 403);
    }
}

#[tokio::test]
async fn parts_that_find_no_memory_wait_on_disk() {
    let server = Server::start(S3Kind::Versity).await;
    let mut options = small_parts(server.options());
    (options.pool_bytes, options.spool_bytes) = (6 << 20, 16 << 20);
    let store = &S3Store::new(&options).await;
    let one = |number: usize| async move {
        let unfinished = key(&format!("in-flight/{number}"));
        let whole = content(12 * MIB + number);
        let state = store.start(&unfinished).await.unwrap();
        let then = Then::Finishes;
        let sealed = append(store, &unfinished, &state, 1, &whole, then).await.unwrap();
        let lies = store.finish(&unfinished, &sealed, &key("done")).await.unwrap();
        assert!(read(store, &lies).await == whole);
    };
    futures::future::join_all((0..6).map(one)).await;
}

/// Goes on from `state` with what is left of `whole` at another node, and requires that all of it is
/// there then.
async fn goes_on(node: &S3Store, unfinished: &ObjectKey, state: &WriteState, whole: &Bytes) {
    let rest = whole.slice(usize::try_from(state.offset).unwrap()..);
    let sealed = append(node, unfinished, state, 77, &rest, Then::Finishes).await.unwrap();
    let lies = node.finish(unfinished, &sealed, &key("done")).await.unwrap();
    node.tidy(&lies, &sealed).await.unwrap();
    assert!(read(node, &lies).await == *whole);
    // No tail of it is left.
    let beside = format!("{unfinished}.");
    assert_eq!(node.list(&beside, None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_told_midway_is_durable_and_another_node_goes_on_from_each_of_it() {
    for kind in BOTH {
        let server = Server::start(kind).await;
        let options = small_parts(server.options());
        let (store, node) = (S3Store::new(&options).await, S3Store::new(&options).await);
        // The number of bytes that an earlier request left in a tail.
        for (run, begun) in [0, 3 * MIB, 5 * MIB].into_iter().enumerate() {
            // Each state that is told is one where the node may die: the run is made again up to there.
            let mut most = usize::MAX;
            loop {
                let unfinished = key(&format!("in-flight/{run}-{most}"));
                let whole = content(33 * MIB);
                let mut state = store.start(&unfinished).await.unwrap();
                if begun > 0 {
                    let first = whole.slice(..begun);
                    state =
                        append(&store, &unfinished, &state, 1, &first, Then::Rests).await.unwrap();
                }
                let (mut writer, _) = claim(&store, &unfinished, &state, 2).await.unwrap();
                let (mut told, mut written, mut edges) = (Vec::new(), begun, Vec::new());
                for piece in whole.slice(begun..).chunks(MIB) {
                    writer.write(vec![whole.slice_ref(piece)]).await.unwrap();
                    written += piece.len();
                    if writer.is_edge() {
                        edges.push(written as u64);
                    }
                    let least = (written as u64).saturating_sub(15 << 20);
                    let Some(now) = writer.advance(least).await.unwrap() else { continue };
                    assert!(now.offset >= least && now.offset <= written as u64);
                    assert!(edges.contains(&now.offset), "{} is no edge: {edges:?}", now.offset);
                    let before = told.last().map_or(state.offset, |s: &WriteState| s.offset);
                    assert!(now.offset > before, "{told:?}");
                    told.push(now);
                    if told.len() == most {
                        break;
                    }
                }
                if most == usize::MAX {
                    assert!(!told.is_empty(), "{kind:?}");
                    most = told.len();
                } else {
                    most -= 1;
                }
                drop(writer);
                goes_on(&node, &unfinished, told.last().unwrap_or(&state), &whole).await;
                if most == 0 {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_told_midway_ends_before_a_part_that_is_missing() {
    let server = Server::start(S3Kind::Versity).await;
    let proxy = FaultProxy::before(server.address).await;
    let store = S3Store::new(&small_parts(server.options_at(proxy.address))).await;
    let node = S3Store::new(&small_parts(server.options())).await;
    let (unfinished, whole) = (key("in-flight/1"), content(21 * MIB));
    let state = store.start(&unfinished).await.unwrap();
    let (mut writer, _) = claim(&store, &unfinished, &state, 1).await.unwrap();
    // The second part is slow, and those behind it are there long before it.
    let mut parts = 0;
    proxy.fail(move |call| {
        parts += usize::from(call.operation == Operation::UploadPart);
        (call.operation == Operation::UploadPart && parts == 2)
            .then_some(Fault::Slow(Duration::from_secs(5)))
    });
    for piece in whole.slice(..20 * MIB).chunks(5 * MIB) {
        writer.write(vec![whole.slice_ref(piece)]).await.unwrap();
    }
    let parts_there = async || {
        let client = server.client();
        let uploads = client.list_multipart_uploads().bucket(server.bucket()).send().await.unwrap();
        let id = uploads.uploads()[0].upload_id().unwrap().to_owned();
        let parts = client.list_parts().bucket(server.bucket()).key("in-flight/1").upload_id(id);
        let parts = parts.send().await.unwrap();
        parts.parts().iter().filter_map(aws_sdk_s3::types::Part::part_number).collect::<Vec<_>>()
    };
    while parts_there().await != [1, 3, 4] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = writer.advance(0).await.unwrap().unwrap();
    assert_eq!(told.offset, 5 << 20, "parts behind a gap are not what can be gone on from");
    assert_eq!(writer.advance(0).await.unwrap(), None, "nothing new is there");

    // Another node takes over there and then, with other bytes; what the first still sends is nothing.
    let (mut other, claimed) = claim(&node, &unfinished, &told, 2).await.unwrap();
    let late = writer.advance(20 << 20).await.unwrap().unwrap();
    assert_eq!(late.offset, 20 << 20, "it waited for the slow part");
    other.write(vec![Bytes::from(vec![9; 7 * MIB])]).await.unwrap();
    let sealed = other.checkpoint(Then::Finishes).await.unwrap();
    let lies = node.finish(&unfinished, &sealed, &key("done")).await.unwrap();
    assert!(read(&node, &lies).await == [&whole[..5 * MIB], &vec![9; 7 * MIB]].concat());
    assert_eq!(claimed.offset, 5 << 20);
}

#[tokio::test]
async fn an_advance_that_waits_for_a_part_that_fails_fails() {
    let server = Server::start(S3Kind::Versity).await;
    let proxy = FaultProxy::before(server.address).await;
    let store =
        S3Store::new(&support::impatient(small_parts(server.options_at(proxy.address)))).await;
    let (unfinished, whole) = (key("in-flight/1"), content(11 * MIB));
    let state = store.start(&unfinished).await.unwrap();
    let (mut writer, claimed) = claim(&store, &unfinished, &state, 1).await.unwrap();
    proxy.fail_next(Operation::UploadPart, 99, Fault::Status(503, "SlowDown"));
    writer.write(vec![whole.slice(..5 * MIB)]).await.unwrap();
    let failed = writer.advance(5 << 20).await;
    assert!(
        matches!(
            failed,
            Err(strongroom_engine::content::StoreError::Failed { temporary: true, .. })
        ),
        "{failed:?}"
    );
    assert!(writer.checkpoint(Then::Writes).await.is_err(), "it is spent");
    proxy.heal();
    goes_on(&store, &unfinished, &claimed, &whole).await;
}

#[tokio::test]
async fn a_large_object_is_copied_in_parts_that_the_service_makes() {
    for kind in BOTH {
        let server = Server::start(kind).await;
        let proxy = FaultProxy::before(server.address).await;
        let mut options = small_parts(server.options_at(proxy.address));
        options.copy_bytes = 6 << 20;
        let store = S3Store::new(&options).await;
        let whole = content(15 * MIB + 3);
        store.put(&key("from"), whole.clone()).await.unwrap();
        store.settle(&key("from"), &key("to")).await.unwrap();
        assert!(read(&store, &key("to")).await == whole, "{kind:?}");
        assert_eq!(proxy.count(Operation::UploadPartCopy), 3, "{kind:?}");
        assert_eq!(proxy.count(Operation::CopyObject), 0, "{kind:?}");
        // Done again it finds the copy there.
        store.settle(&key("from"), &key("to")).await.unwrap();
        assert_eq!(proxy.count(Operation::UploadPartCopy), 3, "{kind:?}");
        assert_eq!(uploads_left(&server, "to").await, 0, "{kind:?}");
    }
}

#[tokio::test]
async fn threat_s17_of_a_hundred_who_finish_one_key_at_once_exactly_one_creates_it() {
    for kind in BOTH {
        let server = Server::start(kind).await;
        let store = &S3Store::new(&server.options()).await;
        let unfinished = &key("in-flight/1");
        let race = |number: u64| async move {
            let bytes = Bytes::from(format!("the bytes of {number}"));
            let state = store.start(unfinished).await.unwrap();
            let then = Then::Rests;
            let state = append(store, unfinished, &state, number, &bytes, then).await.unwrap();
            let finished = key(&format!("done/{number}"));
            (bytes, store.finish(unfinished, &state, &finished).await.unwrap())
        };
        let finished = futures::future::join_all((1..=100).map(race)).await;
        let created = finished.iter().filter(|(_, lies)| lies == unfinished).count();
        assert_eq!(created, 1, "{kind:?}");
        for (bytes, lies) in &finished {
            assert!(read(store, lies).await == *bytes, "{kind:?}: {lies}");
        }
    }
}

#[tokio::test]
async fn all_that_is_written_is_encrypted_and_classed_as_asked() {
    // versitygw knows neither.
    let server = Server::start(S3Kind::Minio).await;
    let kms = Encryption::Kms { key: Some(Bucket::ENCRYPTION_KEY.to_owned()) };
    let asked = [
        (Encryption::Bucket, None, None),
        (Encryption::S3, Some(ServerSideEncryption::Aes256), Some(StorageClass::ReducedRedundancy)),
        (kms, Some(ServerSideEncryption::AwsKms), None),
    ];
    for (run, (encryption, sealed, class)) in asked.into_iter().enumerate() {
        let mut options = small_parts(server.options());
        options.prefix = format!("run{run}/");
        options.encryption = encryption;
        options.storage_class = class.as_ref().map(|class| class.as_str().to_owned());
        // So that one of the copies is made in parts.
        options.copy_bytes = 5 << 20;
        let store = S3Store::new(&options).await;
        let (small, large, rest) = (content(100), content(6 * MIB), content(MIB));
        store.put(&key("small"), small.clone()).await.unwrap();
        let unfinished = key("in-flight/1");
        let state = store.start(&unfinished).await.unwrap();
        let state = append(&store, &unfinished, &state, 1, &large, Then::Rests).await.unwrap();
        // A tail, which no part can be yet.
        let open = key("in-flight/2");
        let begun = store.start(&open).await.unwrap();
        append(&store, &open, &begun, 1, &rest, Then::Rests).await.unwrap();
        let state = append(&store, &unfinished, &state, 2, &rest, Then::Finishes).await.unwrap();
        let lies = store.finish(&unfinished, &state, &key("large")).await.unwrap();
        store.settle(&lies, &key("large")).await.unwrap();
        store.settle(&key("small"), &key("again")).await.unwrap();
        assert!(read(&store, &key("large")).await == [large, rest].concat());
        assert!(read(&store, &key("again")).await == small);

        let client = server.client();
        let listed = client.list_objects_v2().bucket(server.bucket()).prefix(&options.prefix);
        let listed = listed.send().await.unwrap();
        let names: Vec<_> = listed.contents().iter().filter_map(|object| object.key()).collect();
        assert!(names.len() >= 3, "{names:?}");
        for name in names {
            let head = client.head_object().bucket(server.bucket()).key(name).send().await.unwrap();
            assert_eq!(head.server_side_encryption(), sealed.as_ref(), "{name}");
            assert_eq!(head.storage_class(), class.as_ref(), "{name}");
        }
    }
}
