//! What helm asks of a cluster before an `install --dry-run`: which version it has, which kinds of
//! things it knows, and whether those of the release are there already. This one has nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;

use anyhow::Result;
use serde_json::{Value, json};

/// Answers on a port of its own until it is dropped.
pub struct Cluster {
    address: SocketAddr,
    answering: Option<JoinHandle<()>>,
}

impl Cluster {
    /// Listens, and answers beside.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let answering = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Who leaves before the answer asks again.
                if matches!(answer(stream), Ok(false)) {
                    return;
                }
            }
        });
        Ok(Self { address, answering: Some(answering) })
    }

    /// Writes what clients find it by.
    pub fn write_config(&self, path: &Path) -> Result<()> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "c", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "u", "user": {} }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "c",
        });
        // JSON is YAML.
        Ok(std::fs::write(path, config.to_string())?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A connection that asks nothing is how the thread is told to end.
        let told = TcpStream::connect(self.address).map(drop);
        if let (Ok(()), Some(answering)) = (told, self.answering.take()) {
            // It has no more to do, and nobody listens to why it failed.
            let _ = answering.join();
        }
    }
}

/// Answers one request; whether there was one.
fn answer(mut stream: TcpStream) -> Result<bool> {
    let mut head = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    head.read_line(&mut first)?;
    let Some(path) = first.split(' ').nth(1) else { return Ok(false) };
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = path.split('?').next().unwrap_or_default();
    let (status, body) = known(path).map_or_else(
        || {
            let absent = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "reason": "NotFound", "code": 404 });
            ("404 Not Found", absent)
        },
        |body| ("200 OK", body),
    );
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(true)
}

fn known(path: &str) -> Option<Value> {
    let resource = |name: &str, kind: &str| json!({ "name": name, "kind": kind, "namespaced": true, "verbs": ["get"] });
    let version = json!({ "groupVersion": "apps/v1", "version": "v1" });
    Some(match path {
        "/version" => json!({ "major": "1", "minor": "31", "gitVersion": "v1.31.0" }),
        "/api" => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        "/api/v1" => json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [
            resource("pods", "Pod"), resource("services", "Service"),
            resource("serviceaccounts", "ServiceAccount"),
        ] }),
        "/apis" => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [
            { "name": "apps", "versions": [version], "preferredVersion": version },
        ] }),
        "/apis/apps/v1" => json!({ "kind": "APIResourceList", "groupVersion": "apps/v1",
            "resources": [resource("deployments", "Deployment")] }),
        _ => return None,
    })
}
