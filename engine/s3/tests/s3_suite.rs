//! What every store must do, on real servers.

mod support;

use std::sync::Arc;

use strongroom_engine::content::suite;
use strongroom_s3::S3Store;
use strongroom_s3_testing::{S3Kind, Server};

async fn suite_on(kind: S3Kind) {
    let server = Server::start(kind).await;
    let mut options = server.options();
    options.prefix = String::from("some/where/");
    let options = &options;
    suite::all(|| async move { Arc::new(S3Store::new(options).await) as suite::Shared }).await;
}

#[tokio::test]
async fn it_behaves_on_versitygw_as_every_store_must() {
    suite_on(S3Kind::Versity).await;
}

#[tokio::test]
async fn it_behaves_on_minio_as_every_store_must() {
    suite_on(S3Kind::Minio).await;
}

#[tokio::test]
async fn both_servers_pass_the_check_and_it_leaves_nothing() {
    for kind in [S3Kind::Versity, S3Kind::Minio] {
        let server = Server::start(kind).await;
        let store = S3Store::new(&server.options()).await;
        store.check().await.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let left = strongroom_engine::content::BlobStore::list(&store, "", None, 10).await.unwrap();
        assert!(left.is_empty(), "{kind:?}: {left:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_told_to_a_person() {
    let server = Server::start(S3Kind::Versity).await;
    let told = async |options| S3Store::new(&options).await.check().await.unwrap_err().to_string();

    let mut options = server.options();
    options.bucket = "nowhere".to_owned();
    let text = told(options).await;
    assert!(text.contains("there is no bucket nowhere"), "{text}");

    let mut options = server.options();
    options.keys = options.keys.map(|keys| strongroom_s3::Keys { secret: "wrong".into(), ..keys });
    let text = told(options).await;
    assert!(text.contains("denied access") && text.contains("credentials"), "{text}");

    let mut options = support::impatient(server.options());
    options.endpoint = Some("http://127.0.0.1:9".to_owned());
    let text = told(options).await;
    assert!(text.contains("refused") || text.contains("timed out"), "{text}");
}
