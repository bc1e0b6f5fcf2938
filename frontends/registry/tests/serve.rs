//! The built binary, as a person uses it: serve, push, pull, verbs beside it, kill, and again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const PASSWORD: &str = "only-for-this-test";

struct Served {
    child: Child,
    address: String,
}

impl Served {
    /// Starts it, and waits for the line that tells where it listens.
    fn start(data: &Path, listen: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .args(["serve", "--listen", listen, "--data"])
            .arg(data)
            .env("STRONGROOM_BOOTSTRAP_PASSWORD", PASSWORD)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let address = line.strip_prefix("listening on http://").unwrap().to_owned();
        // What more it prints has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.address.clone()
    }

    /// One request on a connection of its own: status, header and body.
    fn ask(
        &self,
        request: &str,
        headers: &str,
        body: &[u8],
        signed_in: bool,
    ) -> (u16, String, Vec<u8>) {
        let authorization = if signed_in {
            let pair = STANDARD.encode(format!("admin:{PASSWORD}"));
            format!("Authorization: Basic {pair}\r\n")
        } else {
            String::new()
        };
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{authorization}{headers}\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head[9..12].parse().unwrap();
        (status, head.to_lowercase(), answer[end + 4..].to_vec())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn verb(data: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.args(words).arg("--data").arg(data).stdin(Stdio::null()).output().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    let hex: Vec<_> = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

fn push_blob(served: &Served, bytes: &[u8]) {
    let request = format!("POST /v2/default/main/app/blobs/uploads/?digest={}", digest(bytes));
    let kind = "Content-Type: application/octet-stream\r\n";
    assert_eq!(served.ask(&request, kind, bytes, true).0, 201);
}

fn manifest(config: &[u8], layer: &[u8]) -> Vec<u8> {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
        digest(config),
        config.len(),
        digest(layer),
        layer.len()
    )
    .into_bytes()
}

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
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/else", 404)] {
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
