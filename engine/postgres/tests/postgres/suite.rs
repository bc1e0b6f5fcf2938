//! The behaviour of every store, on a real server.

use std::sync::Arc;

use crate::support::Server;
use bytes::Bytes;
use strongroom_engine::meta::{Commit, CommitId, MetaRead as _, MetaStore as _, suite};
use strongroom_postgres::PostgresStore;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_keeps_the_promises() {
    let server = Server::start();
    suite::run(async || server.store().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_keep_them_together() {
    let server = Server::start();
    suite::run_across(async || {
        let options = server.fresh().await;
        let first = PostgresStore::open(options.clone()).await.unwrap();
        [Arc::new(first), Arc::new(PostgresStore::open(options).await.unwrap())]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_there_when_it_is_opened_again() {
    let server = Server::start();
    let options = server.fresh().await;
    suite::survives_reopening(async || {
        Arc::new(PostgresStore::open(options.clone()).await.unwrap())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_many_rows_there_are_is_known_about_once_the_table_was_looked_at() {
    let server = Server::start();
    let (options, schema) = server.fresh_in().await;
    let store = PostgresStore::open(options).await.unwrap();
    let mut commit = Commit::new(CommitId([1; 16]));
    commit.put.extend((0..5000_u32).map(|n| (n.to_be_bytes().to_vec(), Bytes::from_static(b"v"))));
    store.commit(commit).await.unwrap();
    server.execute(&format!("ANALYZE {schema}.strongroom_rows")).await;
    let view = store.snapshot().await.unwrap();
    for about in [store.about_rows().await.unwrap(), view.about_rows().await.unwrap()] {
        assert!(about.is_some_and(|rows| (4500..5500).contains(&rows)), "{about:?}");
    }
}
