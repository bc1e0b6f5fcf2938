//! The built binary, started as a person would, with its log in a file.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) const PASSWORD: &str = "only-for-this-test";

/// A server that runs. Dropping it kills it.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: String,
    /// What it printed after its address.
    pub(crate) said: Arc<Mutex<String>>,
    pub(crate) log: PathBuf,
}

/// `serve`, about to be started: what it says on standard error goes to `log`.
pub(crate) fn serve(data: &Path, listen: &str, password: &str, log: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    let sink = File::options().create(true).append(true).open(log).unwrap();
    command
        .args(["serve", "--listen", listen, "--data"])
        .arg(data)
        .env("STRONGROOM_BOOTSTRAP_PASSWORD", password)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(sink);
    command
}

impl Served {
    /// Starts it, and waits for the line that tells where it listens.
    pub(crate) fn start(data: &Path, listen: &str) -> Self {
        Self::start_with(data, listen, PASSWORD, |_| {})
    }

    /// The same with what a test changes of the command.
    pub(crate) fn start_with(
        data: &Path,
        listen: &str,
        password: &str,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let log = data.with_extension("log");
        let mut command = serve(data, listen, password, &log);
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let address = line.strip_prefix("listening on http://").unwrap().to_owned();
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { child, address, said, log }
    }

    pub(crate) fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.address.clone()
    }

    /// One request on a connection of its own: status, header and body.
    pub(crate) fn ask(
        &self,
        request: &str,
        headers: &str,
        body: &[u8],
        signed_in: bool,
    ) -> (u16, String, Vec<u8>) {
        let authorization = if signed_in { basic("admin", PASSWORD) } else { String::new() };
        self.send(request, &format!("{authorization}{headers}"), body)
    }

    /// The same without any credentials but those in `headers`.
    pub(crate) fn send(&self, request: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        send_to(&self.address, request, headers, body)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The header of a name and a password.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

pub(crate) fn verb(data: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.args(words).arg("--data").arg(data).stdin(Stdio::null()).output().unwrap()
}

/// Runs a verb at `server`; `input` is its standard input.
pub(crate) fn verb_at(server: &str, home: &Path, input: &str, verb: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .args(["--server", server, "--json"])
        .args(verb)
        .env("XDG_CONFIG_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A verb that reads nothing may be gone already.
    let _gone = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What a verb that went well printed.
#[track_caller]
pub(crate) fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: Vec<_> = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

pub(crate) fn push_blob(served: &Served, bytes: &[u8]) {
    let request = format!("POST /v2/default/main/app/blobs/uploads/?digest={}", digest(bytes));
    let kind = "Content-Type: application/octet-stream\r\n";
    assert_eq!(served.ask(&request, kind, bytes, true).0, 201);
}

pub(crate) fn manifest(config: &[u8], layer: &[u8]) -> Vec<u8> {
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

/// One request to an address, on a connection of its own.
pub(crate) fn send_to(
    address: &str,
    request: &str,
    headers: &str,
    body: &[u8],
) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n",
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
