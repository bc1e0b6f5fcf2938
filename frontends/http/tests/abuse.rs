//! Clients that are slow, greedy or crooked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::Duration;

use strongroom_http::forwarded::TrustedProxies;
use strongroom_http::{Limits, Server};
use support::{LONG, Running, everything, limits, status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(300);

fn with(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = limits();
    change(&mut limits);
    limits
}

#[tokio::test]
async fn threat_c22_silent_and_dribbling_connections_are_cut_while_others_are_served() {
    let server = Running::start(with(|limits| {
        limits.first_byte_timeout = SHORT;
        limits.header_timeout = SHORT;
        limits.max_connections_per_address = 1_000;
    }))
    .await;
    let silent: Vec<_> = futures::future::join_all((0..100).map(|_| server.connect())).await;
    let dribbling = futures::future::join_all((0..100).map(async |_| {
        let mut socket = server.connect().await;
        socket.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\nX: ").await.unwrap();
        // Writes one byte after the other until the server has closed.
        let dribble = async {
            while socket.write_all(b"x").await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, dribble).await.expect("a dribbling connection is cut");
    }));
    let good = async {
        for _ in 0..20 {
            assert_eq!(status(&server.get("/hello").await), "200");
        }
    };
    tokio::join!(dribbling, good);
    for mut socket in silent {
        assert_eq!(everything(&mut socket).await, "");
    }
}

#[tokio::test]
async fn threat_c22_a_client_that_says_it_speaks_http_2_and_then_nothing_is_cut() {
    let server = Running::start(with(|limits| {
        limits.first_byte_timeout = SHORT;
        limits.header_timeout = SHORT;
    }))
    .await;
    for opening in [&b"PRI * HT"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PUT"] {
        let mut socket = server.connect().await;
        socket.write_all(opening).await.unwrap();
        everything(&mut socket).await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let server = Running::start(with(|limits| limits.idle_timeout = SHORT)).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut busy = server.connect().await;
    busy.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    // The idle one's end is well after the time-out that the busy one has to live through.
    assert_eq!(status(&everything(&mut idle).await), "200");
    server.seen.release.notify_one();
    assert!(everything(&mut busy).await.ends_with("held"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_its_body_freed() {
    let server = Running::start(with(|limits| limits.stall_timeout = SHORT)).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    timeout(LONG, socket.read_exact(&mut first)).await.unwrap().unwrap();
    server.nothing_alive().await;
}

#[tokio::test]
async fn a_request_whose_body_stands_still_is_408() {
    let server = Running::start(with(|limits| limits.body_idle_timeout = SHORT)).await;
    let answer =
        server.raw("PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_eq!(status(&answer), "408", "{answer}");
}

#[tokio::test]
async fn a_body_over_its_bound_is_413_told_or_not() {
    let server = Running::start(limits()).await;
    let put = "PUT /collect HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    let fits = server.raw(format!("{put}Content-Length: 10\r\n\r\n0123456789")).await;
    assert!(status(&fits) == "200" && fits.ends_with("0123456789"), "{fits}");
    let told = server.raw(format!("{put}Content-Length: 1099511627776\r\n\r\n")).await;
    assert_eq!(status(&told), "413", "{told}");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n67890\r\n0\r\n\r\n";
    let untold = server.raw(format!("{put}{chunked}")).await;
    assert_eq!(status(&untold), "413", "{untold}");
}

#[tokio::test]
async fn header_bombs_are_431() {
    let server = Running::start(limits()).await;
    let big = "x".repeat(40 * 1024);
    let answer = server.raw(format!("GET /hello HTTP/1.1\r\nHost: a\r\nX: {big}\r\n\r\n")).await;
    assert_eq!(status(&answer), "431", "{answer}");
    let many = "A: b\r\n".repeat(200);
    let answer = server.raw(format!("GET /hello HTTP/1.1\r\nHost: a\r\n{many}\r\n")).await;
    assert_eq!(status(&answer), "431", "{answer}");
    let authorization = format!("Authorization: Bearer {}\r\n", ".".repeat(1024 * 1024));
    let answer = server.raw(format!("GET /hello HTTP/1.1\r\nHost: a\r\n{authorization}\r\n")).await;
    // The server may have closed while the rest was on its way.
    assert!(answer.is_empty() || status(&answer) == "431", "threat_a9: {answer}");
}

#[tokio::test]
async fn threat_c24_requests_that_end_in_two_ways_are_400_and_the_connection_ends() {
    let server = Running::start(limits()).await;
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "X: folded\r\n line",
    ] {
        let smuggled = "0\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
        let request = format!("POST /count HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{smuggled}");
        let answer = server.raw(request).await;
        assert_eq!(status(&answer), "400", "{fields}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{fields}: {answer}");
    }
}

#[tokio::test]
async fn threat_c24_chunked_requests_in_a_row_keep_their_connection() {
    let server = Running::start(limits()).await;
    let patch = "PATCH /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let last = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = server.raw(format!("{patch}{patch}{last}")).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 3, "{answers}");
}

#[tokio::test]
async fn an_address_at_its_bound_of_connections_gets_no_more() {
    let server = Running::start(with(|limits| limits.max_connections_per_address = 2)).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut socket = server.connect().await;
        socket.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        timeout(LONG, socket.read_exact(&mut first)).await.unwrap().unwrap();
        held.push(socket);
    }
    assert_eq!(server.get("/hello").await, "");
    drop(held);
    let again = async {
        while status(&server.get("/hello").await) != "200" {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, again).await.expect("what was closed is given back");
}

#[tokio::test]
async fn a_client_with_too_many_requests_is_429_and_a_full_server_503() {
    for (client, all, expected) in [(1, 10, "429"), (10, 1, "503")] {
        let server = Running::start(with(|limits| {
            limits.max_requests_per_address = client;
            limits.max_requests = all;
        }))
        .await;
        let mut held = server.connect().await;
        held.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        server.seen.reached.notified().await;
        let answer = server.get("/hello").await;
        assert_eq!(status(&answer), expected);
        assert!(answer.contains("retry-after: 1"), "{answer}");
        server.seen.release.notify_one();
        everything(&mut held).await;
        assert_eq!(status(&server.get("/hello").await), "200");
    }
}

#[tokio::test]
async fn a_panic_is_500_and_the_connection_goes_on() {
    let server = Running::start(limits()).await;
    let answers = server
        .raw("GET /panic HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(status(&answers), "500");
    assert!(answers.ends_with("hello") && !answers.contains("on purpose"), "{answers}");
}

#[tokio::test]
async fn threat_a13_forwarding_headers_and_ids_count_only_from_a_trusted_proxy() {
    let forwarded =
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Request-Id: my-id\r\n";
    let request = |path| {
        format!("GET {path} HTTP/1.1\r\nHost: reg.example\r\nConnection: close\r\n{forwarded}\r\n")
    };
    let open = Running::start(limits()).await;
    assert!(open.raw(request("/client")).await.ends_with("127.0.0.1"));
    let answer = open.raw(request("/base")).await;
    assert!(answer.ends_with("http://reg.example") && !answer.contains("my-id"), "{answer}");
    assert!(answer.contains("x-request-id: "), "{answer}");

    let proxies = TrustedProxies::new(["127.0.0.0/8".parse().unwrap()]);
    let behind = Running::start_server(Server::new(limits()).trusted_proxies(proxies)).await;
    assert!(behind.raw(request("/client")).await.ends_with("192.0.2.7"));
    let answer = behind.raw(request("/base")).await;
    assert!(answer.ends_with("https://reg.example"), "{answer}");
    assert!(answer.contains("x-request-id: my-id"), "{answer}");
}
