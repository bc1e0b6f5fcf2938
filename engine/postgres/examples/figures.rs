//! What a database gives: commits and reads by key a second, from several numbers of tasks.
//!
//! `cargo run --release -p strongroom-postgres --example figures -- URL`, over a database of its own:
//! it is migrated and filled. Each line is three seconds.
#![allow(
    clippy::print_stdout,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program to read"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use strongroom_engine::meta::{
    Add, Append, Commit, CommitId, MetaError, MetaRead, MetaStore, Require,
};
use strongroom_postgres::{PostgresOptions, PostgresStore};

const LASTS: Duration = Duration::from_secs(3);
const ROWS: u64 = 100_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("figures URL")?;
    let options = PostgresOptions::new(url);
    PostgresStore::migrate(&options).await?;
    let store = Arc::new(PostgresStore::open(options).await?);
    fill(&store).await?;
    for tasks in [1, 16, 32, 64] {
        let (done, refused) = measure(&store, tasks, commit_like_a_push).await;
        println!(
            "commits (lean on 3, write 5, count, log), {tasks:2} tasks: {done:6}/s, {refused} refused"
        );
    }
    for tasks in [1, 16, 32] {
        let (done, refused) = measure(&store, tasks, commit_apart).await;
        println!(
            "commits (5 rows nobody else has),         {tasks:2} tasks: {done:6}/s, {refused} refused"
        );
    }
    for tasks in [16, 64] {
        let (done, refused) = measure(&store, tasks, swap_one_of_ten).await;
        println!(
            "swaps of one of 10 rows,                  {tasks:2} tasks: {done:6}/s, {refused} refused"
        );
    }
    for tasks in [1, 16, 64, 256] {
        let (done, _) = measure(&store, tasks, get_one).await;
        println!("reads of one of {ROWS} keys,             {tasks:3} tasks: {done:6}/s");
    }
    for tasks in [16, 64, 256] {
        let (done, _) = measure(&store, tasks, read_like_a_pull).await;
        println!("pulls by tag (5 keys, then 3),            {tasks:3} tasks: {done:6}/s");
    }
    Ok(())
}

/// What ran to its end within the time, a second, and how many were refused of all.
async fn measure<F>(
    store: &Arc<PostgresStore>,
    tasks: u64,
    one: impl Fn(Arc<PostgresStore>, u64, u64) -> F + Copy + Send + 'static,
) -> (u64, String)
where
    F: Future<Output = Result<(), MetaError>> + Send,
{
    let (done, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (store, done, refused) =
                (Arc::clone(store), Arc::clone(&done), Arc::clone(&refused));
            tokio::spawn(async move {
                for round in 0.. {
                    if start.elapsed() > LASTS {
                        break;
                    }
                    match one(Arc::clone(&store), task, round).await {
                        Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                        Err(MetaError::Conflict { .. }) => refused.fetch_add(1, Ordering::Relaxed),
                        Err(other) => panic!("{other}"),
                    };
                }
            })
        })
        .collect();
    for task in running {
        task.await.unwrap();
    }
    let (done, refused) = (done.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    let share = refused * 100 / (done + refused).max(1);
    let seconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(1);
    (done * 1000 / seconds, format!("{refused} ({share} %)"))
}

fn commit() -> Commit {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Spread, as random ids are, and other ones in each run.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mixed = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let run = u128::from(std::process::id()) << 64;
    Commit::new(CommitId((mixed ^ run).to_be_bytes()))
}

fn row(number: u64) -> Vec<u8> {
    // Far apart for neighbours in number.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [b"row ".as_slice(), &mixed.to_be_bytes(), &number.to_be_bytes()].concat()
}

async fn fill(store: &PostgresStore) -> Result<(), MetaError> {
    let value = Bytes::from(vec![7; 500]);
    for batch in 0..ROWS / 1000 {
        let mut rows = commit();
        rows.put.extend((0..1000).map(|number| (row(batch * 1000 + number), value.clone())));
        store.commit(rows).await?;
    }
    let mut live = commit();
    for key in [b"live a", b"live b", b"live c"] {
        live.put.push((key.to_vec(), Bytes::from_static(b"live")));
    }
    for number in 0..10_u8 {
        live.put.push((vec![b's', number], Bytes::from_static(&[0; 8])));
    }
    store.commit(live).await?;
    Ok(())
}

/// Three rows that everybody leans on, five of its own, a counter that all add to, a line in the log.
async fn commit_like_a_push(
    store: Arc<PostgresStore>,
    task: u64,
    round: u64,
) -> Result<(), MetaError> {
    let mut push = commit();
    for key in [b"live a", b"live b", b"live c"] {
        push.require.push(Require::Value(key.to_vec(), Bytes::from_static(b"live")));
    }
    let value = Bytes::from(vec![7; 200]);
    for kind in b"abcde" {
        let key = [&[b'p', *kind], push.id.0.as_slice()].concat();
        push.require.push(Require::Absent(key.clone()));
        push.put.push((key, value.clone()));
    }
    // Another organisation for each four tasks.
    let organisation = task / 4;
    push.add.push(Add { key: format!("count {organisation}").into(), delta: 1, max: None });
    let entry = Bytes::from(format!("{task} {round} {}", "x".repeat(150)));
    push.append.push(Append { log: format!("log {organisation} ").into(), entry });
    store.commit(push).await.map(drop)
}

async fn commit_apart(store: Arc<PostgresStore>, _: u64, _: u64) -> Result<(), MetaError> {
    let mut apart = commit();
    let value = Bytes::from(vec![7; 200]);
    for kind in b"abcde" {
        let key = [&[b'q', *kind], apart.id.0.as_slice()].concat();
        apart.require.push(Require::Absent(key.clone()));
        apart.put.push((key, value.clone()));
    }
    store.commit(apart).await.map(drop)
}

async fn swap_one_of_ten(
    store: Arc<PostgresStore>,
    task: u64,
    round: u64,
) -> Result<(), MetaError> {
    let key = vec![b's', u8::try_from((task * 7 + round) % 10).unwrap_or(0)];
    let mut swap = commit();
    let seen = store.get(&key).await?.unwrap_or_default();
    let next = swap.id.0[8..].to_vec();
    swap.require.push(Require::Value(key.clone(), seen));
    swap.put.push((key, next.into()));
    store.commit(swap).await.map(drop)
}

async fn get_one(store: Arc<PostgresStore>, task: u64, round: u64) -> Result<(), MetaError> {
    let key = row((task * 7919 + round * 104_729) % ROWS);
    store.get(&key).await?.ok_or(MetaError::Corrupted("a row is not there".into())).map(drop)
}

/// As a node reads that has the manifest in memory: the names and the role, then tag, link and blob.
async fn read_like_a_pull(
    store: Arc<PostgresStore>,
    task: u64,
    round: u64,
) -> Result<(), MetaError> {
    let image = (task * 7919 + round) % (ROWS / 10);
    let names: Vec<_> = [b"live a", b"live b", b"live c"]
        .iter()
        .map(|key| key.to_vec())
        .chain([row(image), row(image + 1)])
        .collect();
    store.get_many(&names).await?;
    store.get_many(&[row(image + 2), row(image + 3), row(image + 4)]).await.map(drop)
}
