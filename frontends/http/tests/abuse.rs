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

/// How many connections of each kind are held: as many as this process may have open, of which
/// each takes two.
fn as_many_as_may_be_open() -> usize {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = usize::try_from(most.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let each = (most.saturating_sub(200) / 4).min(1_000);
    assert!(each >= 100, "with {most} open files this shows nothing");
    each
}

#[tokio::test]
async fn threat_c22_silent_and_dribbling_connections_are_cut_while_others_are_served() {
    let each = as_many_as_may_be_open();
    let server = Running::start(with(|limits| {
        // Long enough that all of them are there at once.
        limits.first_byte_timeout = Duration::from_secs(3);
        limits.header_timeout = SHORT;
        limits.max_connections = 3 * each;
        limits.max_connections_per_address = 3 * each;
    }))
    .await;
    // A few at a time: what the kernel holds ready for a server is fewer than these.
    let mut silent = Vec::new();
    while silent.len() < each {
        silent.extend(futures::future::join_all((0..100).map(|_| server.connect())).await);
        assert_eq!(status(&server.get("/hello").await), "200");
    }
    let mut dribbling = Vec::new();
    while dribbling.len() < each {
        dribbling.extend(futures::future::join_all((0..100).map(|_| server.connect())).await);
    }
    let dribbling = futures::future::join_all(dribbling.into_iter().map(async |mut socket| {
        // It may be cut before the first of it is written.
        let opening = b"GET /hello HTTP/1.1\r\nHost: a\r\nX: ";
        let opened = socket.write_all(opening).await;
        // Writes one byte after the other until the server has closed.
        let dribble = async {
            while opened.is_ok() && socket.write_all(b"x").await.is_ok() {
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

#[tokio::test]
async fn somebody_with_too_many_requests_is_429_from_whatever_address() {
    let server = Running::start(with(|limits| limits.max_requests_per_principal = 1)).await;
    let held = tokio::spawn({
        let mut socket = server.connect().await;
        async move {
            socket
                .write_all(b"GET /as/ann HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            everything(&mut socket).await
        }
    });
    server.seen.reached.notified().await;
    assert_eq!(status(&server.get("/as/ann").await), "429");
    let other = server.get("/as/bob");
    let (other, ()) = tokio::join!(other, async {
        server.seen.reached.notified().await;
        server.seen.release.notify_waiters();
    });
    assert_eq!(status(&other), "200");
    assert_eq!(status(&held.await.unwrap()), "200");
    server.seen.release.notify_one();
    assert_eq!(status(&server.get("/as/ann").await), "200", "its place came back");
}

#[tokio::test]
async fn a_protocol_says_refusals_in_its_own_words() {
    let server = Running::start(with(|limits| limits.max_requests_per_address = 1)).await;
    let failed = server.get("/own/panic").await;
    assert_eq!(status(&failed), "500");
    assert!(
        failed.ends_with("own words for /panic: the request failed inside the server"),
        "{failed}"
    );
    let mut holding = server.connect().await;
    holding.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    server.seen.reached.notified().await;
    let refused = server.get("/own/x").await;
    assert_eq!(status(&refused), "429");
    assert!(
        refused.contains("own words for /x") && refused.contains("retry-after: 1"),
        "{refused}"
    );
    let ambiguous = "POST /own/y HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    server.seen.release.notify_one();
    drop(holding);
    server.nothing_alive().await;
    let ambiguous = server.raw(ambiguous).await;
    assert_eq!(status(&ambiguous), "400");
    assert!(ambiguous.contains("own words for /y"), "{ambiguous}");
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_sees_why_it_was_refused() {
    const SIZE: usize = 64 << 20;
    let server = Running::start(limits()).await;
    for (path, expected) in [("/nowhere", "404"), ("/collect", "413")] {
        let mut socket = server.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![7; 1 << 20];
        for _ in 0..SIZE / chunk.len() {
            socket.write_all(&chunk).await.expect("what it sends is taken to the end");
        }
        let answer = everything(&mut socket).await;
        assert_eq!(status(&answer), expected, "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_told() {
    let server = Running::start(limits()).await;
    let ask = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
    };
    let mut socket = server.connect().await;
    socket.write_all(ask("/count").as_bytes()).await.unwrap();
    let mut told = [0; 25];
    socket.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"abc").await.unwrap();
    let answer = everything(&mut socket).await;
    assert!(status(&answer) == "200" && answer.ends_with("\r\n\r\n3"), "{answer}");
    // Who is refused is not asked to send first.
    assert_eq!(status(&server.raw(ask("/nowhere")).await), "404");
}
