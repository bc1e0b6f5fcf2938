//! HTTP/2 floods, frame by frame (THREATS C23).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::Duration;

use support::{LONG, Running, limits, status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:method` GET or POST, `:scheme` http, `:path` /count, `:authority` a.
const GET: &[u8] = b"\x82\x86\x44\x06/count\x41\x01a";
const POST: &[u8] = b"\x83\x86\x44\x06/count\x41\x01a";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

async fn opened(server: &Running) -> TcpStream {
    let mut socket = server.connect().await;
    socket.write_all(PREFACE).await.unwrap();
    socket.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
    socket
}

/// Sends `flood` again and again, at most so many bytes; gives how many went out before the server
/// ended the connection. What the server sends is read all along.
async fn sent(socket: TcpStream, most: usize, mut flood: impl FnMut() -> Vec<u8>) -> usize {
    let (mut read, mut write) = socket.into_split();
    let reading = tokio::spawn(async move {
        let mut sink = vec![0; 64 * 1024];
        while read.read(&mut sink).await.is_ok_and(|length| length > 0) {}
    });
    let mut bytes = 0;
    while bytes < most && !reading.is_finished() {
        let frames = flood();
        if timeout(LONG, write.write_all(&frames)).await.is_ok_and(|wrote| wrote.is_err()) {
            break;
        }
        bytes += frames.len();
        tokio::task::yield_now().await;
    }
    bytes
}

const MOST: usize = 64 * 1024 * 1024;

#[tokio::test]
async fn threat_c23_a_header_that_never_ends_is_cut_off() {
    let server = Running::start(limits()).await;
    let mut socket = opened(&server).await;
    socket.write_all(&frame(HEADERS, END_STREAM, 1, GET)).await.unwrap();
    // A new field each time, which no table shortens.
    let field = [&b"\x00\x01x\x7f\x81\x7e"[..], &[b'y'; 382]].concat();
    let bytes = sent(socket, MOST, || frame(CONTINUATION, 0, 1, &field)).await;
    assert!(bytes < MOST / 4, "{bytes} bytes of one header were taken");
    assert_eq!(status(&server.get("/hello").await), "200");
}

#[tokio::test]
async fn threat_c23_streams_reset_as_soon_as_they_are_opened_are_cut_off() {
    let server = Running::start(limits()).await;
    let socket = opened(&server).await;
    let mut stream = 1;
    let flood = || {
        let frames = (0..100).flat_map(|_| {
            let open = frame(HEADERS, END_HEADERS, stream, POST);
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            stream += 2;
            [open, reset].concat()
        });
        frames.collect()
    };
    let bytes = sent(socket, MOST, flood).await;
    assert!(bytes < MOST / 4, "{bytes} bytes of opened and reset streams were taken");
    server.nothing_alive().await;
    assert_eq!(status(&server.get("/hello").await), "200");
}

#[tokio::test]
async fn threat_c23_data_without_bytes_is_cut_off_or_costs_others_nothing() {
    let mut limits = limits();
    limits.body_idle_timeout = Duration::from_millis(300);
    let server = Running::start(limits).await;
    let mut socket = opened(&server).await;
    socket.write_all(&frame(HEADERS, END_HEADERS, 1, POST)).await.unwrap();
    let empty = frame(DATA, 0, 1, b"").repeat(1_000);
    let flooding = sent(socket, MOST / 8, || empty.clone());
    let good = async {
        for _ in 0..20 {
            assert_eq!(status(&server.get("/hello").await), "200");
        }
    };
    tokio::join!(flooding, good);
    server.nothing_alive().await;
}

#[tokio::test]
async fn threat_c23_pings_and_settings_cost_others_nothing() {
    let server = Running::start(limits()).await;
    let pings = [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, b"")].concat().repeat(500);
    let flooding = sent(opened(&server).await, MOST / 8, || pings.clone());
    let good = async {
        for _ in 0..20 {
            assert_eq!(status(&server.get("/hello").await), "200");
        }
    };
    tokio::join!(flooding, good);
}
