//! The rows of the attack table that only the whole program can show: how it starts, how long it
//! takes, what it listens on, and what is left of a secret anywhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use support::{PASSWORD, Served, basic, digest, push_blob, serve, verb};

const MANIFEST: &str = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";

#[test]
fn threat_a14_there_is_no_default_password_and_a_known_one_starts_nothing() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    for known in ["password", "Changeme", "Harbor12345", "strongroom", "admin", "12345678"] {
        let log = home.path().join("log");
        let refused = serve(&data, "127.0.0.1:0", known, &log).output().unwrap();
        assert!(!refused.status.success(), "{known}: {refused:?}");
        let said = String::from_utf8(refused.stdout).unwrap();
        assert!(!said.contains("listening"), "{known}: {said}");
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("this password is no good"), "{known}: {log}");
    }
    // What was refused left nothing that anybody could sign in to; a good one starts it.
    let served = Served::start(&data, "127.0.0.1:0");
    assert_eq!(served.ask("GET /v2/", "", b"", true).0, 200);
    for known in ["admin", "password", "strongroom", ""] {
        let guess = served.send("GET /v2/", &basic("admin", known), b"");
        assert_eq!(guess.0, 401, "{known}");
    }
    // Where none is chosen, each installation has another one.
    let mut generated = Vec::new();
    for name in ["one", "two"] {
        let fresh = Served::start_with(&home.path().join(name), "127.0.0.1:0", "", |_| {});
        let patience = Instant::now();
        let password = loop {
            let said = fresh.said.lock().unwrap().clone();
            let line = said.lines().find_map(|line| line.trim().strip_prefix("password"));
            if let Some(word) = line.and_then(|rest| rest.split_whitespace().next()) {
                break word.to_owned();
            }
            assert!(patience.elapsed() < Duration::from_secs(20), "no password in: {said}");
            std::thread::yield_now();
        };
        assert_eq!(fresh.send("GET /v2/", &basic("admin", &password), b"").0, 200);
        generated.push(password);
    }
    assert_ne!(generated[0], generated[1]);
}

/// An answer without what is another one each time.
fn lasting((status, head, body): &(u16, String, Vec<u8>)) -> (u16, Vec<String>, String) {
    let lines = head
        .lines()
        .filter(|line| !["date:", "x-request-id:"].iter().any(|passing| line.starts_with(passing)));
    (*status, lines.map(str::to_owned).collect(), String::from_utf8_lossy(body).into_owned())
}

#[test]
fn threat_a15_who_is_unknown_is_told_and_kept_waiting_as_who_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let served = Served::start(&home.path().join("data"), "127.0.0.1:0");
    let (mut known, mut unknown, mut first) = (Vec::new(), Vec::new(), None);
    // Taken in turns, so that a busy machine slows both; as many as one name has guesses.
    for n in 0..8 {
        for (times, name) in [(&mut known, "admin".to_owned()), (&mut unknown, format!("ghost{n}"))]
        {
            let start = Instant::now();
            let answer =
                served.send("GET /v2/token?service=strongroom", &basic(&name, "no horse"), b"");
            times.push(start.elapsed());
            let answer = lasting(&answer);
            assert_eq!(answer.0, 401, "{answer:?}");
            assert_eq!(answer, *first.get_or_insert_with(|| answer.clone()), "{name}");
        }
    }
    known.sort();
    unknown.sort();
    // A hash that is left out is a hundred times faster; noise between medians is not three times.
    let (known, unknown) = (known[known.len() / 2], unknown[unknown.len() / 2]);
    assert!(unknown * 3 > known && known * 3 > unknown, "known {known:?}, unknown {unknown:?}");
}

#[test]
fn threat_a16_no_address_in_a_manifest_is_ever_asked_or_named() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = Served::start(&data, "127.0.0.1:0");
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = format!("http://{}/layer", elsewhere.local_addr().unwrap());
    push_blob(&served, b"{}");
    let foreign = digest(b"foreign");
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},
"layers":[{{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"{foreign}","size":7,"urls":["{url}"]}}]}}"#,
        digest(b"{}")
    );
    let put = "PUT /v2/default/main/app/manifests/1.0";
    let pushed = served.ask(put, MANIFEST, text.as_bytes(), true);
    assert_eq!(pushed.0, 201, "{pushed:?}");
    for (request, status) in [
        ("GET /v2/default/main/app/manifests/1.0".to_owned(), 200),
        (format!("GET /v2/default/main/app/blobs/{foreign}"), 404),
        (format!("HEAD /v2/default/main/app/blobs/{foreign}"), 404),
        (format!("POST /v2/default/main/app/blobs/uploads/?mount={foreign}&from={url}"), 202),
    ] {
        let (found, head, _) = served.ask(&request, "", b"", true);
        assert_eq!(found, status, "{request}");
        let location = head.lines().find_map(|line| line.strip_prefix("location: "));
        assert!(location.is_none_or(|path| path.starts_with("/v2/default/main/app/")), "{head}");
    }
    for words in [&["gc"][..], &["scrub"], &["fsck", "--deep"]] {
        let done = verb(&data, words);
        assert!(done.status.success(), "{words:?}: {done:?}");
    }
    let asked = elsewhere.accept();
    assert!(asked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "somebody came");
}

/// What the control socket answers to a line.
fn control(data: &Path, line: &str) -> String {
    let mut stream = UnixStream::connect(data.join("control.sock")).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    stream.write_all(b"\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn threat_b9_a_verb_with_a_field_too_many_does_nothing() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let _served = Served::start(&data, "127.0.0.1:0");
    for right in [
        r#"{"user":{"create":{"name":"ann","operator":false,"password":"correct horse"}}}"#,
        r#"{"user":{"promote":{"name":"ann"}}}"#,
        r#"{"robot":{"create":{"name":"ci"}}}"#,
        r#"{"token":{"create":{"owner":"user:admin","label":"","places":[],"can":[],"expires_in":null}}}"#,
        r#"{"gc":{"dry_run":true}}"#,
        r#"{"fsck":{"deep":false}}"#,
    ] {
        // At each of its depths.
        for (at, _) in right.match_indices("{\"") {
            let mut wrong = right.to_owned();
            wrong.insert_str(at + 1, "\"admin\":true,");
            let answer = control(&data, &wrong);
            assert!(answer.starts_with("{\"failed\""), "{wrong}: {answer}");
        }
        let twice = right.replacen('{', "{\"gc\":{\"dry_run\":true},", 1);
        assert!(control(&data, &twice).starts_with("{\"failed\""), "{twice}");
    }
    let users = verb(&data, &["user", "list", "--json"]);
    assert!(!String::from_utf8_lossy(&users.stdout).contains("user:ann"), "{users:?}");
    // And without it, each is done.
    let create =
        r#"{"user":{"create":{"name":"ann","operator":false,"password":"correct horse"}}}"#;
    assert!(control(&data, create).contains("\"done\""));
}

/// How many sockets of the process listen to the network.
fn listening(pid: u32) -> usize {
    let own: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let mut count = 0;
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        // A machine without the protocol has no table of it.
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        count += text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|row| {
                (row[3] == "0A" || table.starts_with("udp")) && own.iter().any(|own| own == row[9])
            })
            .count();
    }
    count
}

#[test]
fn threat_b14_what_is_served_is_what_is_declared_on_one_port() {
    let home = tempfile::tempdir().unwrap();
    let served = Served::start(&home.path().join("data"), "127.0.0.1:0");
    assert_eq!(listening(served.child.id()), 1);
    // What is declared beside the API of the distribution specification answers everybody alike, but
    // for the metrics (below).
    for credentials in [String::new(), basic("admin", PASSWORD), basic("admin", "wrong horse")] {
        for path in ["/healthz", "/readyz", "/metrics"] {
            if path != "/metrics" {
                assert_eq!(served.send(&format!("GET {path}"), &credentials, b"").0, 200, "{path}");
            }
            for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
                let status = served.send(&format!("{method} {path}"), &credentials, b"").0;
                assert_eq!(status, 404, "{method} {path}");
            }
        }
    }
    for (credentials, status) in [
        (String::new(), 401),
        (basic("admin", "wrong horse"), 401),
        ("Authorization: Basic !!!\r\n".to_owned(), 401),
        (basic("admin", PASSWORD), 200),
    ] {
        let (found, head, _) = served.send("GET /metrics", &credentials, b"");
        assert_eq!(found, status, "{head}");
        assert_eq!(head.contains("www-authenticate: basic"), status == 401, "{head}");
    }
    for (method, credentials, status) in [
        ("GET", String::new(), 200),
        ("GET", basic("admin", PASSWORD), 200),
        ("GET", basic("admin", "wrong horse"), 401),
        ("PUT", basic("admin", PASSWORD), 405),
        ("DELETE", String::new(), 405),
    ] {
        assert_eq!(served.send(&format!("{method} /v2/token"), &credentials, b"").0, status);
    }
    let mut tried = 0;
    for path in [
        "/",
        "/v1/",
        "/v3/",
        "/v22/",
        "/admin",
        "/api",
        "/api/v2.0/users",
        "/api/v1/repositories",
        "/debug/pprof/",
        "/debug/vars",
        "/_internal",
        "/internal/metrics",
        "/status",
        "/health",
        "/healthz/",
        "/metrics/",
        "/metrics/x",
        "//metrics",
        "/%6detrics",
        "/v2/../metrics",
        "/v2/_internal",
        "/v2/_admin/users",
        "/v2/token/",
        "/v2/token/x",
        "/v2/_oci/ext/discover",
        "/.env",
        "/.git/config",
        "/favicon.ico",
        "/control.sock",
        "/keys/master",
        "/meta.redb",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"] {
            for credentials in [String::new(), basic("admin", PASSWORD)] {
                let (status, head, _) = served.send(&format!("{method} {path}"), &credentials, b"");
                assert_eq!(status, 404, "{method} {path}: {head}");
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

/// All files below a folder, as bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn threat_c25_no_secret_is_left_in_a_log_an_answer_the_trail_or_the_data() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let chosen = "canary-of-the-first-start";
    let everything = "info,strongroom=trace,strongroom_http=trace,strongroom_oci=trace,\
                      strongroom_identity=trace,strongroom_engine=trace";
    let served = Served::start_with(&data, "127.0.0.1:0", chosen, |command| {
        command.env("STRONGROOM_LOG_FILTER", everything);
    });
    let made = verb(&data, &["token", "create", "user:admin", "--json"]);
    let made = String::from_utf8(made.stdout).unwrap();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let machine = made["token"].as_str().unwrap().to_owned();

    // Each secret shown in each way, right and wrong; what comes back is kept.
    let wrong = "canary-of-a-wrong-guess";
    let mut answers = Vec::new();
    let ask = |request: &str, headers: &str, body: &[u8]| {
        let (status, head, body) = served.send(request, headers, body);
        (status, [head.into_bytes(), body].concat())
    };
    let token = "/v2/token?service=strongroom&scope=repository:default/main/app:pull,push";
    let issued = served.send(
        &format!("GET {token}&offline_token=true&client_id=test"),
        &basic("admin", chosen),
        b"",
    );
    assert_eq!(issued.0, 200);
    let issued: serde_json::Value = serde_json::from_slice(&issued.2).unwrap();
    let word = |name: &str| issued[name].as_str().unwrap().to_owned();
    let (access, refresh) = (word("access_token"), word("refresh_token"));
    for secret in [chosen, &*machine, wrong] {
        for path in ["/v2/", "/v2/_catalog", "/v2/default/main/app/tags/list", "/metrics"] {
            answers.push(ask(&format!("GET {path}"), &basic("admin", secret), b"").1);
        }
    }
    for secret in [&access, &refresh, &machine] {
        let bearer = format!("Authorization: Bearer {secret}\r\n");
        answers.push(ask("GET /v2/default/main/app/tags/list", &bearer, b"").1);
        let query = format!("GET /v2/?access_token={secret}&password={secret}");
        answers.push(ask(&query, &format!("Cookie: token={secret}\r\n"), b"").1);
    }
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let grant = format!("grant_type=refresh_token&service=strongroom&refresh_token={access}");
    answers.push(ask("POST /v2/token", form, grant.as_bytes()).1);
    let grant = format!("grant_type=password&username=admin&password={wrong}");
    answers.push(ask("POST /v2/token", form, grant.as_bytes()).1);
    answers.push(ask("GET /metrics", &basic("admin", chosen), b"").1);
    let mut told = Vec::new();
    for words in [
        &["user", "list", "--json"][..],
        &["token", "list", "user:admin", "--json"],
        &["audit", "export"],
        &["audit", "export", "default"],
        &["config", "check"],
    ] {
        let done = verb(&data, words);
        assert!(done.status.success(), "{words:?}: {done:?}");
        told.push([done.stdout, done.stderr].concat());
    }
    let line = std::fs::read(format!("/proc/{}/cmdline", served.child.id())).unwrap();
    let log = std::fs::read(&served.log).unwrap();
    assert!(log.len() > 2_000, "the log has its lines");
    let said = served.said.lock().unwrap().clone().into_bytes();
    drop(served);

    let mut places: Vec<(String, Vec<u8>)> = files(&data);
    assert!(places.len() > 2, "the data has its files");
    places.push(("the log".to_owned(), log));
    places.push(("the command line".to_owned(), line));
    places.push(("standard output".to_owned(), said));
    places.extend(answers.into_iter().map(|answer| ("an answer".to_owned(), answer)));
    places.extend(told.into_iter().map(|told| ("a verb".to_owned(), told)));
    for (name, secret) in [
        ("the first password", chosen),
        ("the machine token", &machine),
        ("a wrong password", wrong),
        ("the access token", &access),
        ("the refresh token", &refresh),
    ] {
        for (place, bytes) in &places {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{name} is in {place}");
        }
    }
    // Nor as Basic writes them.
    let pair = basic("admin", chosen);
    let pair = pair.trim_start_matches("Authorization: Basic ").trim();
    assert!(places.iter().all(|(_, bytes)| !String::from_utf8_lossy(bytes).contains(pair)));
}

#[test]
fn threat_c18_nothing_that_was_pushed_is_ever_a_page() {
    let home = tempfile::tempdir().unwrap();
    let served = Served::start(&home.path().join("data"), "127.0.0.1:0");
    let page = b"<html><script>alert(1)</script>";
    push_blob(&served, page);
    push_blob(&served, b"{}");
    let (config, layer) = (digest(b"{}"), digest(page));
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"text/html",
"config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},
"layers":[{{"mediaType":"text/html","digest":"{layer}","size":{}}}],
"annotations":{{"org.opencontainers.image.title":"<script>alert(1)</script>"}}}}"#,
        page.len()
    );
    let put =
        served.ask("PUT /v2/default/main/app/manifests/page.html", MANIFEST, text.as_bytes(), true);
    assert_eq!(put.0, 201, "{put:?}");
    let html = "Accept: text/html,*/*\r\n";
    let mut whole = 0;
    for path in [
        &format!("/v2/default/main/app/blobs/{layer}"),
        "/v2/default/main/app/manifests/page.html",
        "/v2/default/main/app/tags/list",
        &format!("/v2/default/main/app/referrers/{layer}"),
        "/v2/%3Cscript%3Ealert(1)%3C/script%3E",
        "/%3Cscript%3Ealert(1)%3C/script%3E",
        "/api/v1/organisations/default/registries/main/repositories/app/manifests",
        "/api/v1/%3Cscript%3Ealert(1)%3C/script%3E",
        "/pypi/default/main/simple/",
        "/v2/token?service=%3Cscript%3E&scope=%3Cscript%3E",
        "/healthz",
    ] {
        let (status, head, body) = served.ask(&format!("GET {path}"), html, b"", true);
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
        assert!(head.contains("content-security-policy: default-src 'none';"), "{path}: {head}");
        let kind = head.lines().find(|line| line.starts_with("content-type:")).unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        assert!(!kind.contains("html") || !body.contains("<script"), "{path}: {kind}: {body}");
        whole += u16::from(status == 200);
    }
    assert!(whole >= 6, "{whole}");
}
