//! What the log and the metrics tell of a request, and what they must not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use metrics_exporter_prometheus::PrometheusBuilder;
use support::{Running, limits, status};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn of_requests(&self) -> Vec<String> {
        self.text()
            .lines()
            .filter(|l| l.contains("strongroom::access"))
            .map(str::to_owned)
            .collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Everything that this thread logs from here on, down to the last detail of every library.
fn listen(json: bool) -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let plain = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .with_ansi(false);
    let guard = if json {
        tracing::subscriber::set_default(plain.json().flatten_event(true).finish())
    } else {
        tracing::subscriber::set_default(plain.finish())
    };
    (lines, guard)
}

#[tokio::test]
async fn every_request_leaves_one_line_with_its_facts() {
    let (lines, _guard) = listen(true);
    let server = Running::start(limits()).await;
    let put =
        "PUT /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nabcde";
    assert_eq!(status(&server.raw(put).await), "200");
    assert_eq!(status(&server.get("/panic").await), "500");
    let requests = lines.of_requests();
    assert_eq!(requests.len(), 2, "{requests:#?}");
    for fact in [
        "\"method\":\"PUT\"",
        "\"path\":\"/count\"",
        "\"status\":200",
        "\"bytes_in\":5",
        "\"bytes_out\":1",
        "\"client\":\"127.0.0.1\"",
        "\"whole\":true",
        "\"request_id\":\"",
        "\"duration_us\":",
    ] {
        assert!(requests[0].contains(fact), "{fact}: {}", requests[0]);
    }
    assert!(requests[1].contains("\"status\":500"), "{}", requests[1]);
    assert!(lines.text().contains("on purpose"), "a panic's message is for the operator");
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_leaves_a_line_too() {
    let (lines, _guard) = listen(true);
    let server = Running::start(limits()).await;
    let mut socket = server.connect().await;
    let held = "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut socket, held.as_bytes()).await.unwrap();
    server.seen.reached.notified().await;
    drop(socket);
    server.nothing_alive().await;
    let requests = lines.of_requests();
    assert!(requests.len() == 1 && requests[0].contains("\"status\":499"), "{requests:#?}");
    assert!(requests[0].contains("\"whole\":false"), "{requests:#?}");
}

#[tokio::test]
async fn threat_c25_no_secret_of_a_request_is_in_the_log() {
    for json in [true, false] {
        let (lines, _guard) = listen(json);
        let server = Running::start(limits()).await;
        let secrets = "Authorization: Bearer canary1\r\nCookie: s=canary2\r\nX-Token: canary3\r\n";
        let request = format!(
            "PUT /collect?token=canary4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{secrets}Content-Length: 7\r\n\r\ncanary5"
        );
        assert_eq!(status(&server.raw(request).await), "200");
        let ours: Vec<_> =
            lines.text().lines().filter(|l| l.contains("strongroom")).map(str::to_owned).collect();
        assert!(!ours.is_empty());
        assert!(ours.iter().all(|line| !line.contains("canary")), "{ours:#?}");
    }
}

#[tokio::test]
async fn threat_c16_a_request_cannot_forge_a_line() {
    let (lines, _guard) = listen(false);
    let server = Running::start(limits()).await;
    let path = "/x%0d%0a%1b[2Jforged";
    assert_eq!(status(&server.get(path).await), "404");
    let raw = b"GET /\x1b[2J\xc2\x9bforged HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = server.raw(raw).await;
    assert!(matches!(status(&answer), "400" | "404"), "{answer}");
    let text = lines.text();
    assert!(text.contains(path), "what was encoded stays encoded");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{9b}'));
    assert!(text.lines().all(|line| !line.starts_with("forged")));
}

#[tokio::test]
async fn metrics_count_requests_by_bounded_labels() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let guard = metrics::set_default_local_recorder(&recorder);
    let server = Running::start(limits()).await;
    server.get("/hello").await;
    server.get("/secret-name").await;
    server.raw("EVIL /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let text = handle.render();
    drop(guard);
    let count = |method: &str, status: u16| {
        format!("requests_total{{route=\"other\",method=\"{method}\",status=\"{status}\"}} 1")
    };
    for line in [count("GET", 200), count("GET", 404), count("other", 200)] {
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(text.contains("strongroom_http_requests_in_flight 0"), "{text}");
    assert!(!text.contains("secret-name") && !text.contains("EVIL"), "{text}");
}
