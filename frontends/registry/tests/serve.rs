//! The built binary, as a person uses it: serve, push, pull, verbs beside it, kill, and again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::{Duration, Instant};

use support::{PASSWORD, Served, basic, digest, manifest, push_blob, send_to, serve, verb};

#[test]
fn it_serves_takes_verbs_beside_and_loses_nothing_when_killed() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = Served::start(&data, "127.0.0.1:0");

    let (status, head, _) = served.ask("GET /v2/", "", b"", false);
    assert_eq!(status, 401);
    assert!(
        head.contains(&format!("bearer realm=\"http://{}/v2/token\"", served.address)),
        "{head}"
    );
    assert_eq!(served.ask("GET /v2/", "", b"", true).0, 200);
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 401), ("/else", 404)] {
        assert_eq!(served.ask(&format!("GET {path}"), "", b"", false).0, status, "{path}");
    }

    let (config, layer) = (b"{}".as_slice(), vec![7_u8; 300_000]);
    push_blob(&served, config);
    push_blob(&served, &layer);
    let manifest = manifest(config, &layer);
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    assert_eq!(served.ask("PUT /v2/default/main/app/manifests/1.0", kind, &manifest, true).0, 201);
    assert_eq!(served.ask("GET /v2/default/main/app/manifests/1.0", "", b"", false).0, 401);

    for words in
        [&["gc", "--json"][..], &["fsck", "--deep"], &["scrub"], &["adopt"], &["audit", "verify"]]
    {
        let done = verb(&data, words);
        assert!(done.status.success(), "{words:?}: {done:?}");
    }
    let listed = verb(&data, &["user", "list", "--json"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("user:admin"), "{listed:?}");

    let address = served.kill();
    // Now the verbs open the data themselves, past the socket that was left.
    let clean = verb(&data, &["fsck", "--deep"]);
    assert!(clean.status.success(), "{clean:?}");
    let served = Served::start(&data, &address);
    let (status, _, pulled) = served.ask("GET /v2/default/main/app/manifests/1.0", "", b"", true);
    assert_eq!((status, pulled), (200, manifest));
    let blob = format!("GET /v2/default/main/app/blobs/{}", digest(&layer));
    assert_eq!(served.ask(&blob, "", b"", true).2, layer);
}

#[test]
fn what_can_not_be_done_has_its_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let absent = verb(&home.path().join("absent"), &["gc"]);
    assert_eq!(absent.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("strongroom serve"), "{absent:?}");
    assert_eq!(verb(home.path(), &["no-such-verb"]).status.code(), Some(2));
    let file = home.path().join("strongroom.toml");
    std::fs::write(&file, "lisen = \"127.0.0.1:0\"\n").unwrap();
    let wrong = verb(home.path(), &["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("did you mean listen?"), "{wrong:?}");
}

/// Waits until `found` says so of what was printed.
fn said<T>(served: &Served, found: impl Fn(&str) -> Option<T>) -> T {
    let patience = Instant::now();
    loop {
        let said = served.said.lock().unwrap().clone();
        if let Some(found) = found(&said) {
            return found;
        }
        assert!(patience.elapsed() < Duration::from_secs(20), "it said: {said}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn metrics_at_an_address_of_their_own_are_at_no_other() {
    let home = tempfile::tempdir().unwrap();
    let served =
        Served::start_with(&home.path().join("data"), "127.0.0.1:0", PASSWORD, |command| {
            command.env("STRONGROOM_METRICS_LISTEN", "127.0.0.1:0");
        });
    for credentials in [String::new(), basic("admin", PASSWORD)] {
        assert_eq!(served.send("GET /metrics", &credentials, b"").0, 404);
    }
    let address = said(&served, |said| {
        let line = said.lines().find_map(|line| line.strip_prefix("metrics on http://"))?;
        Some(line.strip_suffix("/metrics")?.to_owned())
    });
    let metrics = |request: &str| send_to(&address, request, "", b"");
    let (status, head, body) = metrics("GET /metrics");
    assert_eq!(status, 200, "{head}");
    let text = String::from_utf8(body).unwrap();
    for name in
        ["strongroom_http_requests_total", "strongroom_background_failures_total{task=\"seals\"} 0"]
    {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    // And nothing else is there.
    for path in ["GET /v2/", "GET /healthz", "POST /metrics", "GET /v2/token", "GET /"] {
        assert_eq!(metrics(path).0, 404, "{path}");
    }
}

#[test]
fn somebody_who_is_no_operator_reads_no_metrics() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = Served::start(&data, "127.0.0.1:0");
    let made = verb(&data, &["user", "create", "ann", "--json"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let password = made["password"].as_str().unwrap();
    assert_eq!(served.send("GET /metrics", &basic("ann", password), b"").0, 403);
    // Nor does a token of an operator: what was given away for pulling must not tell more.
    let made = verb(&data, &["token", "create", "user:admin", "--json"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let token = made["token"].as_str().unwrap();
    for header in [basic("admin", token), format!("Authorization: Bearer {token}\r\n")] {
        assert_eq!(served.send("GET /metrics", &header, b"").0, 403);
    }
}

#[test]
fn a_password_that_nobody_could_see_makes_no_account() {
    let home = tempfile::tempdir().unwrap();
    let (data, log) = (home.path().join("data"), home.path().join("log"));
    // Nobody reads: the reader of the pipe is gone before the first word.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = serve(&data, "127.0.0.1:0", "", &log).stdout(writer).status().unwrap();
    assert_eq!(ended.code(), Some(3));
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("shown only once"), "{told}");
    assert_eq!(verb(&data, &["user", "list", "--json"]).stdout, b"[]\n");
    // The next start shows another one, and that is good.
    let served = Served::start_with(&data, "127.0.0.1:0", "", |_| {});
    let password = said(&served, |said| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix("password"))?;
        line.split_whitespace().next().map(str::to_owned)
    });
    assert_eq!(served.send("GET /v2/", &basic("admin", &password), b"").0, 200);
}

#[test]
fn readiness_asks_the_blob_store_too() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = Served::start(&data, "127.0.0.1:0");
    assert_eq!(served.send("GET /readyz", "", b"").0, 200);
    std::fs::rename(data.join("objects"), data.join("elsewhere")).unwrap();
    let patience = Instant::now();
    loop {
        let (status, _, body) = served.send("GET /readyz", "", b"");
        if status == 503 {
            let text = String::from_utf8(body).unwrap();
            assert!(text.contains("the blob store does not answer"), "{text}");
            break;
        }
        assert!(patience.elapsed() < Duration::from_secs(20), "{status}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(served.send("GET /healthz", "", b"").0, 200);
}

#[test]
fn behind_a_proxy_the_client_is_sent_where_it_came_from_and_only_a_trusted_one_says_where() {
    let told = [
        ("Forwarded: proto=https;host=registry.example\r\n", "https://registry.example"),
        (
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: registry.example:8443\r\n",
            "https://registry.example:8443",
        ),
    ];
    for trusted in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let served = Served::start_with(&data, "127.0.0.1:0", PASSWORD, |command| {
            if trusted {
                command.env("STRONGROOM_TRUSTED_PROXIES", "127.0.0.0/8");
            }
        });
        for (headers, outside) in told {
            let base =
                if trusted { outside.to_owned() } else { format!("http://{}", served.address) };
            let (status, head, _) = served.ask("GET /v2/", headers, b"", false);
            assert_eq!(status, 401);
            let realm = format!("www-authenticate: bearer realm=\"{base}/v2/token\"");
            assert!(head.contains(&realm), "trusted {trusted}: {head}");
            // Addresses of the registry's own are relative, and so right whatever the proxy is called.
            let start = "POST /v2/default/main/app/blobs/uploads/";
            let (status, head, _) = served.ask(start, headers, b"", true);
            assert_eq!(status, 202, "{head}");
            assert!(head.contains("\r\nlocation: /v2/default/main/app/blobs/uploads/"), "{head}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn many_uploads_at_once_have_no_more_threads_than_there_may_be() {
    let home = tempfile::tempdir().unwrap();
    let served = Served::start(&home.path().join("data"), "127.0.0.1:0");
    let bytes = vec![7_u8; 6 << 20];
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| push_blob(&served, &bytes));
        }
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", served.child.id())).unwrap();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    // Those that block stay for ten seconds; beside them are tokio's own and a few of ours.
    let processors = std::thread::available_parallelism().unwrap().get();
    let most = (8 * processors).max(64) + processors + 16;
    assert!(threads.trim().parse::<usize>().unwrap() <= most, "{threads}, not {most} at most");
}
