//! The behaviour of every store, on a real server.

use std::sync::Arc;

use crate::support::Server;
use strongroom_engine::meta::suite;
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
