//! Runs of CI at the built binary: an issuer of our own on this machine, rules by verbs, here and from
//! afar, and the exchange of its tokens for what pushes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use strongroom_engine::seam::{Clock as _, SystemClock};
use strongroom_identity::testing::{Pair, set};
use support::{PASSWORD, Served, basic, digest, json, verb, verb_at};

const AUDIENCE: &str = "https://registry.test";

/// An issuer with a key, its discovery document and its key set.
struct Issuer {
    url: String,
    pair: Pair,
    away: Arc<AtomicBool>,
}

impl Issuer {
    fn start() -> Self {
        let pair = Pair::ec("k");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = set(&[&pair]);
        let document = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        let away = Arc::new(AtomicBool::new(false));
        let is_away = Arc::clone(&away);
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let body = match first.split(' ').nth(1).unwrap() {
                    _ if is_away.load(Ordering::SeqCst) => "{}".to_owned(),
                    "/.well-known/openid-configuration" => document.to_string(),
                    "/keys" => keys.clone(),
                    other => panic!("nobody asks for {other}"),
                };
                let length = body.len();
                let head =
                    format!("HTTP/1.1 200 x\r\nContent-Length: {length}\r\nConnection: close");
                write!(stream, "{head}\r\n\r\n{body}").unwrap();
            }
        });
        Self { url, pair, away }
    }

    /// A token for a run of `repository`; `id` makes it another one.
    fn token(&self, repository: &str, audience: &str, id: &str) -> String {
        let now = SystemClock.now().0 / 1_000;
        self.pair.token(&json!({
            "iss": self.url, "sub": format!("repo:{repository}:ref:refs/heads/main"),
            "aud": audience, "iat": now, "nbf": now, "exp": now + 300, "jti": id,
            "repository": repository, "ref": "refs/heads/main",
        }))
    }
}

fn served(home: &Path, issuer: &Issuer) -> Served {
    let config = home.join("strongroom.toml");
    let text = format!(
        "[[workload_issuers]]\nname = \"ci\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\n",
        issuer.url
    );
    std::fs::write(&config, text).unwrap();
    Served::start_with(&home.join("data"), "127.0.0.1:0", PASSWORD, |command| {
        command.arg("--config").arg(config);
    })
}

fn exchange(served: &Served, token: &str) -> (u16, Value) {
    let body = json!({ "token": token }).to_string();
    let kind = "Content-Type: application/json\r\n";
    let (status, _, body) = served.send("POST /token/workload", kind, body.as_bytes());
    (status, serde_json::from_slice(&body).unwrap())
}

/// Whether somebody may push to a repository: the status.
fn push(served: &Served, repository: &str, authorization: &str) -> u16 {
    let bytes = b"of a run";
    let request = format!("POST /v2/{repository}/blobs/uploads/?digest={}", digest(bytes));
    let kind = format!("{authorization}Content-Type: application/octet-stream\r\n");
    served.send(&request, &kind, bytes).0
}

const ADD: [&str; 11] = [
    "workload",
    "add",
    "default/main",
    "--issuer",
    "ci",
    "--claim",
    "repository=acme/api",
    "--can",
    "push",
    "--repository",
    "app",
];

#[test]
fn threat_a10_a_run_publishes_by_its_own_token_once_and_only_where_the_rule_says() {
    let home = tempfile::tempdir().unwrap();
    let (issuer, data) = (Issuer::start(), home.path().join("data"));
    let served = served(home.path(), &issuer);
    let run = |words: &[&str]| verb(&data, &[words, &["--json"]].concat());
    assert_eq!(json(&run(&["workload", "issuers"]))[0]["audience"], AUDIENCE);
    // Trusted is not let in.
    let (status, answer) = exchange(&served, &issuer.token("acme/api", AUDIENCE, "0"));
    assert_eq!(status, 403, "{answer}");
    let said = answer["error_description"].as_str().unwrap();
    assert!(said.contains("repo:acme/api:ref:refs/heads/main"), "{said}");

    let rule = json(&run(&ADD));
    let id = rule["id"].as_str().unwrap();
    assert_eq!(json(&run(&["workload", "list", "default/main"]))[0], rule);
    let token = issuer.token("acme/api", AUDIENCE, "1");
    let (status, given) = exchange(&served, &token);
    assert_eq!(status, 200, "{given}");
    assert_eq!((&given["registry"], &given["expires_in"]), (&json!("default/main"), &json!(900)));
    let ours = given["token"].as_str().unwrap();
    for shown in [basic("__token__", ours), format!("Authorization: Bearer {ours}\r\n")] {
        assert_eq!(push(&served, "default/main/app", &shown), 201);
        assert_eq!(push(&served, "default/main/app/sub", &shown), 201);
        // What it does not reach is as what is not there.
        let other = push(&served, "default/main/other", &shown);
        assert_eq!(other, push(&served, "nobody/main/other", &shown));
        assert_ne!(other, 201);
    }
    // Once, and for whom it was made.
    assert_eq!(exchange(&served, &token).0, 401);
    for (repository, audience, status) in
        [("evil/api", AUDIENCE, 403), ("acme/api", "https://other.test", 403)]
    {
        assert_eq!(exchange(&served, &issuer.token(repository, audience, "2")).0, status);
    }
    let forged = issuer.token("evil/api", AUDIENCE, "3");
    let (signed, _) = forged.rsplit_once('.').unwrap();
    let (_, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(exchange(&served, &format!("{signed}.{signature}")).0, 401);

    json(&run(&["workload", "remove", "default/main", id]));
    assert_eq!(push(&served, "default/main/app", &basic("__token__", ours)), 401);
    assert_eq!(exchange(&served, &issuer.token("acme/api", AUDIENCE, "4")).0, 403);
    let principal = format!("workload:{id}");
    let trail = json(&run(&["audit", "list", "--principal", &principal]));
    assert!(trail.to_string().contains("signed_in"), "{trail}");
    let pushed = json(&run(&["audit", "list", "default", "--principal", &principal]));
    assert!(pushed.to_string().contains("blob_pushed"), "{pushed}");
    assert!(run(&["audit", "verify"]).status.success());
}

#[test]
fn threat_a17_with_the_issuer_away_no_run_gets_in() {
    let home = tempfile::tempdir().unwrap();
    let (issuer, data) = (Issuer::start(), home.path().join("data"));
    issuer.away.store(true, Ordering::SeqCst);
    let served = served(home.path(), &issuer);
    assert!(verb(&data, &ADD).status.success());
    let (status, answer) = exchange(&served, &issuer.token("acme/api", AUDIENCE, "1"));
    assert_eq!((status, &answer["error"]), (503, &json!("temporarily_unavailable")));
    assert!(answer.get("token").is_none(), "{answer}");
}

#[test]
fn rules_and_webhooks_are_looked_after_from_afar() {
    let home = tempfile::tempdir().unwrap();
    let issuer = Issuer::start();
    let served = served(home.path(), &issuer);
    let (server, folder) = (format!("http://{}", served.address), home.path().join("home"));
    let run = |input: &str, words: &[&str]| verb_at(&server, &folder, input, words);
    json(&run(&format!("{PASSWORD}\n"), &["login", "--username", "admin"]));
    assert_eq!(json(&run("", &["workload", "issuers"]))[0]["name"], "ci");
    let rule = json(&run("", &ADD));
    assert_eq!(rule["issuer"], issuer.url.as_str());
    assert_eq!(json(&run("", &["workload", "list", "default/main"])), json!([rule]));
    assert_eq!(exchange(&served, &issuer.token("acme/api", AUDIENCE, "1")).0, 200);
    let id = rule["id"].as_str().unwrap();
    json(&run("", &["workload", "remove", "default/main", id]));
    assert_eq!(json(&run("", &["workload", "list", "default/main"])), json!([]));

    let url = "https://hooks.invalid/in";
    let made = json(&run("", &["webhook", "create", "default/main", url, "--event", "pulled"]));
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let id = made["id"].as_str().unwrap();
    let listed = json(&run("", &["webhook", "list", "default/main"]));
    assert_eq!((&listed[0]["url"], &listed[0]["state"]), (&json!(url), &json!("active")));
    assert!(!listed.to_string().contains("whsec_"), "{listed}");
    let tried = run("", &["webhook", "test", "default/main", id]);
    assert_eq!(tried.status.code(), Some(1), "{tried:?}");
    let off = json(&run("", &["webhook", "update", "default/main", id, "--enabled", "false"]));
    assert_eq!(off["state"], "disabled");
    let other = json(&run("", &["webhook", "rotate-secret", "default/main", id]));
    assert_ne!(other["secret"], made["secret"]);
    assert_eq!(json(&run("", &["webhook", "deliveries", "default/main", id])), json!([]));
    json(&run("", &["webhook", "delete", "default/main", id]));
    assert_eq!(json(&run("", &["webhook", "list", "default/main"])), json!([]));
    let plain = run("", &["webhook", "create", "default/main", "http://hooks.invalid/"]);
    let said = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(!plain.status.success() && said.contains("https://"), "{said}");
}
