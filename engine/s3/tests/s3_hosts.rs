//! A bucket that is in the name of its host, as those of AWS are.
//!
//! Not every resolver knows the hosts below `localhost`, so the store runs in a process of its own,
//! which is told by its environment to ask a proxy. That tells afterwards what was asked.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use strongroom_engine::content::{BlobStore, Presigner, Then, suite};
use strongroom_s3::{S3Options, S3Store};
use strongroom_s3_testing::{Bucket, FaultProxy, Operation, S3Kind, Server};
use tokio::process::Command;

use self::support::{append, content, key, read, small_parts};

const MIB: usize = 1 << 20;
/// Names the bucket to the process that runs the store.
const BUCKET: &str = "STRONGROOM_S3_HOSTS_BUCKET";
const PREFIX: &str = "some/where/";

/// The only test of this file: it is what its second process runs, too.
#[tokio::test]
async fn it_behaves_as_every_store_must_where_the_bucket_is_in_the_name_of_the_host() {
    if let Ok(bucket) = std::env::var(BUCKET) {
        return behind_the_proxy(&bucket).await;
    }
    let server = Server::start(S3Kind::Minio).await;
    let proxy = FaultProxy::before(server.address).await;

    let ran = Command::new(std::env::current_exe().unwrap())
        .env(BUCKET, server.bucket())
        .env("HTTP_PROXY", format!("http://{}", proxy.address))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        // As a registry on AWS finds them.
        .env("AWS_ENDPOINT_URL", format!("http://{}:{}", Bucket::DOMAIN, server.address.port()))
        .env("AWS_REGION", "us-east-1")
        .envs(Bucket::credentials())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    for call in proxy.calls() {
        let path = call.path.trim_start_matches('/');
        assert!(path.is_empty() || path.starts_with(PREFIX), "the bucket is in a path: {call:?}");
    }
    for operation in Operation::ASKED {
        assert!(proxy.count(operation) > 0, "{operation:?} was not asked for");
    }
}

async fn behind_the_proxy(bucket: &str) {
    let mut options = small_parts(S3Options::new(bucket));
    PREFIX.clone_into(&mut options.prefix);
    // So that what is large is copied in parts.
    options.copy_bytes = 6 << 20;
    let options = &options;
    let store = &S3Store::new(options).await;
    store.check().await.unwrap();
    suite::all(|| async move { Arc::new(S3Store::new(options).await) as suite::Shared }).await;

    let (unfinished, whole) = (key("in-flight/large"), content(23 * MIB));
    let mut state = store.start(&unfinished).await.unwrap();
    for (chunk, nonce) in whole.chunks(8 * MIB).zip(1..) {
        let chunk = whole.slice_ref(chunk);
        state = append(store, &unfinished, &state, nonce, &chunk, Then::Rests).await.unwrap();
    }
    let lies = store.finish(&unfinished, &state, &key("large")).await.unwrap();
    store.settle(&lies, &key("large")).await.unwrap();
    assert!(read(store, &key("large")).await == whole);

    let expires = Duration::from_mins(1);
    let url = store.presign(&key("large"), expires, "application/x-thing").await.unwrap();
    let url = reqwest::Url::parse(&url).unwrap();
    let (host, port) = (url.host_str().unwrap(), url.port().unwrap());
    assert_eq!(host, format!("{bucket}.{}", Bucket::DOMAIN));
    assert_eq!(url.path(), format!("/{PREFIX}large"));
    // A client elsewhere, which has a resolver for it and no proxy.
    let anybody =
        reqwest::Client::builder().no_proxy().resolve(host, ([127, 0, 0, 1], port).into());
    let anybody = anybody.build().unwrap();
    let ask = |url| anybody.get(url).header("range", "bytes=6000000-6000999").send();
    let answer = ask(url.clone()).await.unwrap();
    assert_eq!(answer.status(), 206);
    assert_eq!(answer.headers()["content-type"], "application/x-thing");
    assert!(answer.bytes().await.unwrap() == whole.slice(6_000_000..6_001_000));
    let mut unsigned = url;
    unsigned.set_query(None);
    assert_eq!(ask(unsigned).await.unwrap().status(), 403);
}
