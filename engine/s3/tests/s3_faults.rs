//! What the store makes of answers that are lost, false or refused.

mod support;

use bytes::Bytes;
use strongroom_engine::content::{BlobStore, ObjectRead, StoreError, Then};
use strongroom_s3::S3Store;
use strongroom_s3_testing::{Fault, FaultProxy, Operation, S3Kind, Server};

use self::support::{append, content, impatient, key, read, small_parts};

const MIB: usize = 1 << 20;

struct World {
    server: Server,
    proxy: FaultProxy,
    store: S3Store,
}

impl World {
    async fn new() -> Self {
        let server = Server::start(S3Kind::Versity).await;
        let proxy = FaultProxy::before(server.address).await;
        let options = impatient(small_parts(server.options_at(proxy.address)));
        let store = S3Store::new(&options).await;
        Self { server, proxy, store }
    }

    async fn push(
        &self,
        name: &str,
        whole: &Bytes,
    ) -> Result<strongroom_engine::content::ObjectKey, StoreError> {
        let unfinished = key(name);
        let state = self.store.start(&unfinished).await?;
        let sealed = append(&self.store, &unfinished, &state, 1, whole, Then::Finishes).await?;
        self.store.finish(&unfinished, &sealed, &key("done")).await
    }
}

#[tokio::test]
async fn threat_s15_a_busy_service_is_asked_again() {
    let world = World::new().await;
    let whole = content(11 * MIB);
    for (run, operation) in [
        Operation::CreateMultipartUpload,
        Operation::UploadPart,
        Operation::CompleteMultipartUpload,
        Operation::HeadObject,
    ]
    .into_iter()
    .enumerate()
    {
        for (kind, fault) in [
            Fault::Status(503, "SlowDown"),
            Fault::Status(500, "InternalError"),
            Fault::Reset,
            Fault::LostReply,
        ]
        .into_iter()
        .enumerate()
        {
            let faults = world.proxy.faults();
            world.proxy.fail_next(operation, 2, fault);
            let lies = world.push(&format!("in-flight/{run}-{kind}"), &whole).await;
            let lies = lies.unwrap_or_else(|error| panic!("{operation:?} {fault:?}: {error}"));
            assert_eq!(world.proxy.faults() - faults, 2, "{operation:?} {fault:?}");
            world.proxy.heal();
            assert!(read(&world.store, &lies).await == whole, "{operation:?} {fault:?}");
        }
    }
}

#[tokio::test]
async fn threat_s13_a_completion_whose_every_reply_is_lost_is_decided_by_the_object() {
    let world = World::new().await;
    let whole = content(11 * MIB);
    world.proxy.fail_next(Operation::CompleteMultipartUpload, 99, Fault::LostReply);
    let lies = world.push("in-flight/1", &whole).await.unwrap();
    assert!(world.proxy.faults() > 1);
    assert!(read(&world.store, &lies).await == whole);
}

#[tokio::test]
async fn threat_s14_a_completion_that_was_a_lie_is_no_object() {
    let world = World::new().await;
    world.proxy.fail_next(Operation::CompleteMultipartUpload, 1, Fault::Lie);
    let outcome = world.push("in-flight/1", &content(11 * MIB)).await;
    assert!(matches!(outcome, Err(StoreError::Failed { temporary: true, .. })), "{outcome:?}");
    assert_eq!(world.store.stat(&key("in-flight/1")).await.unwrap(), None);
}

#[tokio::test]
async fn threat_s14_an_object_that_is_shorter_or_other_than_what_was_sent_is_not_taken_for_it() {
    let world = World::new().await;
    let whole = content(11 * MIB);
    let client = world.server.client();
    for (name, object) in [
        ("in-flight/1", whole.slice(..7 * MIB)),
        ("in-flight/2", content(11 * MIB + 4).slice(4..)),
        ("in-flight/3", Bytes::new()),
    ] {
        // The service says that it put the parts together, and has something else there.
        let body = aws_sdk_s3::primitives::ByteStream::from(object.clone());
        let put = client.put_object().bucket(world.server.bucket()).key(name).body(body);
        put.checksum_algorithm(aws_sdk_s3::types::ChecksumAlgorithm::Crc64Nvme)
            .send()
            .await
            .unwrap();
        world.proxy.fail_next(Operation::CompleteMultipartUpload, 9, Fault::Lie);
        let outcome = world.push(name, &whole).await;
        world.proxy.heal();
        let told = match (&outcome, object.len() == whole.len()) {
            (Err(StoreError::WrongSize { expected, found, .. }), false) => {
                *expected == whole.len() as u64 && *found == object.len() as u64
            }
            (Err(StoreError::Failed { temporary: false, .. }), true) => true,
            _ => false,
        };
        assert!(told, "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_service_that_stays_away_fails_within_the_deadline() {
    let world = World::new().await;
    for fault in [Fault::Status(503, "SlowDown"), Fault::Hang] {
        world.proxy.fail(move |_| Some(fault));
        let start = tokio::time::Instant::now();
        let outcome = world.push("in-flight/1", &content(MIB)).await;
        assert!(matches!(outcome, Err(StoreError::Failed { temporary: true, .. })), "{outcome:?}");
        assert!(start.elapsed() < std::time::Duration::from_secs(30), "{:?}", start.elapsed());
        world.proxy.heal();
    }
    world.push("in-flight/2", &content(MIB)).await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_final_and_told_to_a_person() {
    let world = World::new().await;
    world.proxy.fail_next(Operation::PutObject, 9, Fault::Status(403, "AccessDenied"));
    let error = world.push("in-flight/1", &content(MIB)).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { temporary: false, .. }), "{error:?}");
    assert!(error.to_string().contains("check the credentials"), "{error}");
    assert_eq!(world.proxy.faults(), 1, "it is not asked again");
}

#[tokio::test]
async fn a_read_that_breaks_is_taken_up_where_it_broke_or_fails() {
    let world = World::new().await;
    let whole = content(3 * MIB);
    world.store.put(&key("blob"), whole.clone()).await.unwrap();
    world.proxy.fail_next(Operation::GetObject, 2, Fault::Short);
    assert!(read(&world.store, &key("blob")).await == whole);
    assert_eq!(world.proxy.count(Operation::GetObject), 3);

    world.proxy.fail(|call| (call.operation == Operation::GetObject).then_some(Fault::Short));
    let size = whole.len() as u64;
    let ObjectRead::Stream(stream) = world.store.read(&key("blob"), 0..size).await.unwrap() else {
        panic!("a bucket has no files")
    };
    // Each attempt halves what is left; the last byte never comes.
    let outcome: Result<Vec<Bytes>, _> = futures::TryStreamExt::try_collect(stream).await;
    assert!(matches!(outcome, Err(StoreError::Failed { temporary: true, .. })));
}

#[tokio::test]
async fn a_tail_whose_read_breaks_is_read_on() {
    let world = World::new().await;
    let (first, second) = (content(MIB), content(2 * MIB));
    let whole = Bytes::from([first.as_ref(), second.as_ref()].concat());
    for (run, fault) in [Fault::Short, Fault::Cut, Fault::Reset].into_iter().enumerate() {
        let unfinished = key(&format!("tail-{run}"));
        let state = world.store.start(&unfinished).await.unwrap();
        let kept = append(&world.store, &unfinished, &state, 1, &first, Then::Rests).await.unwrap();
        world.proxy.fail_next(Operation::GetObject, 1, fault);
        let faults = world.proxy.faults();
        let sealed = append(&world.store, &unfinished, &kept, 2, &second, Then::Finishes).await;
        let sealed = sealed.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(world.proxy.faults(), faults + 1, "{fault:?}: nothing failed");
        let finished = world.store.finish(&unfinished, &sealed, &key("done")).await.unwrap();
        assert_eq!(read(&world.store, &finished).await, whole, "{fault:?}");
    }
}
