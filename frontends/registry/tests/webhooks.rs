//! Webhooks of the built binary: made by a verb, delivered by the server, kept over a kill.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{PASSWORD, Served, push_blob, verb};

/// Takes one request and answers it: its header in small letters, and its body.
fn received(listener: &TcpListener, status: u16) -> (String, String) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "it ended: {head}");
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn served(data: &Path) -> Served {
    Served::start_with(data, "127.0.0.1:0", PASSWORD, |command: &mut Command| {
        command
            .env("STRONGROOM_WEBHOOKS_ALLOW_HTTP", "true")
            .env("STRONGROOM_WEBHOOKS_ALLOWED_NETWORKS", "127.0.0.0/8");
    })
}

#[test]
fn a_push_is_told_and_told_again_after_a_kill_where_nobody_took_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    let server = served(&data);

    let create = ["webhook", "create", "default/main", &url, "--event", "blob_pushed", "--json"];
    let made = verb(&data, &create);
    assert!(made.status.success(), "{made:?}");
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));

    push_blob(&server, b"one");
    let (head, body) = received(&listener, 500);
    assert!(head.contains("webhook-signature: v1,"), "{head}");
    let event: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(event["type"], "strongroom.blob_pushed");
    assert_eq!(event["subject"], "default/main/app");

    server.kill();
    let _again = served(&data);
    let (_, repeated) = received(&listener, 204);
    assert_eq!(repeated, body, "the same event, as it was");
    let listed = verb(&data, &["webhook", "list", "default/main"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(&id) && !listed.contains("whsec_"), "{listed}");
    let unknown = verb(&data, &["webhook", "test", "default/main", "0000000000000000"]);
    assert_eq!(unknown.status.code(), Some(3), "{unknown:?}");
}

#[test]
fn threat_c20_by_default_no_hook_reaches_this_machine() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _server = Served::start(&data, "127.0.0.1:0");
    let plain = format!("http://127.0.0.1:{port}/");
    let refused = verb(&data, &["webhook", "create", "default/main", &plain]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");

    let url = format!("https://localhost:{port}/");
    let made = verb(&data, &["webhook", "create", "default/main", &url, "--json"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let tried = verb(&data, &["webhook", "test", "default/main", made["id"].as_str().unwrap()]);
    assert_eq!(tried.status.code(), Some(1), "{tried:?}");
    assert!(String::from_utf8_lossy(&tried.stdout).contains("not public"), "{tried:?}");
    assert!(listener.accept().is_err(), "nobody came");
}
