//! Many who do little: what they cost, and that others are served meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::Duration;

use futures::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{LONG, Running, limits, status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// One test at a time: each measures the memory of the process.
static ALONE: Mutex<()> = Mutex::const_new(());

const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Lets this process open `wanted` files, or as many as it may.
fn open_files(wanted: u64) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    // Refused is as good: what there is is looked at below.
    let _allowed = setrlimit(Resource::Nofile, raised)
        .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }));
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Sends a request and reads its answer; the connection stays.
async fn hello(socket: &mut TcpStream) {
    socket.write_all(HELLO).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let read = timeout(LONG, socket.read_buf(&mut answer)).await.unwrap().unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn threat_c22_ten_thousand_idle_connections_cost_others_nothing() {
    const MOST: usize = 10_000;
    /// Each connection has two ends here, of the server and of the client.
    const MOST_EACH: usize = 64 << 10;
    let _alone = ALONE.lock().await;
    let most = open_files(3 * MOST as u64).saturating_sub(200) / 2;
    let idle_count = most.min(MOST);
    assert!(idle_count >= 1_000, "too few files may be open: this shows nothing");
    let mut limits = limits();
    limits.max_connections = idle_count + 10;
    limits.max_connections_per_address = idle_count + 10;
    limits.first_byte_timeout = Duration::from_mins(10);
    limits.idle_timeout = Duration::from_mins(10);
    let server = Running::start(limits).await;
    let before = resident_bytes();
    let mut idle = Vec::with_capacity(idle_count);
    while idle.len() < idle_count {
        // A few at a time: what the kernel holds ready for a server is fewer than these.
        let mut some = join_all((0..100).map(|_| server.connect())).await;
        // Half of them have never said anything, half have been served once.
        for socket in some.iter_mut().step_by(2) {
            hello(socket).await;
        }
        idle.append(&mut some);
    }
    let each = resident_bytes().saturating_sub(before) / idle_count;
    assert!(each <= MOST_EACH, "{each} bytes for each idle connection");
    for _ in 0..50 {
        assert_eq!(status(&server.get("/hello").await), "200");
    }
    // They are there still, and are served when they ask.
    for socket in idle.iter_mut().step_by(97) {
        hello(socket).await;
    }
}

#[tokio::test]
async fn threat_c23_bodies_that_dribble_for_half_a_minute_take_no_memory() {
    const SLOW: usize = 200;
    const FOR: Duration = Duration::from_secs(30);
    const MOST: usize = 16 << 20;
    let _alone = ALONE.lock().await;
    let server = Running::start(limits()).await;
    let mut sockets = join_all((0..SLOW).map(|_| server.connect())).await;
    for (number, socket) in sockets.iter_mut().enumerate() {
        // By length, and in chunks.
        let framing =
            if number % 2 == 0 { "Content-Length: 5000" } else { "Transfer-Encoding: chunked" };
        let head =
            format!("POST /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
    }
    let dribble = async |sockets: &mut Vec<TcpStream>| {
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.write_all(if number % 2 == 0 { b"x" } else { b"1\r\nx\r\n" }).await.unwrap();
        }
    };
    dribble(&mut sockets).await;
    let (before, begin) = (resident_bytes(), Instant::now());
    let (mut most, mut sent) = (0, 1);
    while begin.elapsed() < FOR {
        dribble(&mut sockets).await;
        sent += 1;
        assert_eq!(status(&server.get("/hello").await), "200");
        most = most.max(resident_bytes().saturating_sub(before));
        sleep(Duration::from_millis(20)).await;
    }
    assert!(most <= MOST, "{most} bytes more for {SLOW} bodies");
    // None was lost by it.
    for (number, mut socket) in sockets.into_iter().enumerate() {
        if number % 2 == 0 {
            socket.write_all(&vec![b'x'; 5_000 - sent]).await.unwrap();
        } else {
            socket.write_all(b"0\r\n\r\n").await.unwrap();
        }
        let answer = support::everything(&mut socket).await;
        let counted = if number % 2 == 0 { 5_000 } else { sent };
        assert!(answer.ends_with(&format!("\r\n\r\n{counted}")), "{answer}");
    }
}
