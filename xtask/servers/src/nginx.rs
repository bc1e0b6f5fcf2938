//! nginx, which gives each request to the next of several nodes, whoever sent it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::service::{Service, free_port, listens};

/// See the head of this file. Ended when dropped.
#[derive(Debug)]
pub struct RoundRobin {
    port: u16,
    _service: Service,
    _folder: TempDir,
}

impl RoundRobin {
    /// Before the nodes at these addresses (`127.0.0.1:PORT`).
    pub fn start(program: &Path, nodes: &[String]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("strongroom-nginx-").tempdir()?;
        // Its workers run as another user where it is started as root.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let port = free_port()?;
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, configuration(folder.path(), port, nodes))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&config);
        // Killed, it would leave its worker.
        let service = Service::start(command, folder.path(), Signal::QUIT, || listens(port))?;
        Ok(Self { port, _service: service, _folder: folder })
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Nothing is held back: bodies stream both ways. A request whose node is gone goes to the next only
/// where nothing of it was sent.
fn configuration(folder: &Path, port: u16, nodes: &[String]) -> String {
    let folder = folder.display();
    let servers: Vec<_> = nodes
        .iter()
        // A node that was away is asked again at once.
        .map(|node| format!("        server {node} max_fails=0;\n"))
        .collect();
    let servers = servers.concat();
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/errors;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n    access_log off;\n    client_max_body_size 0;\n\
         \x20   client_body_temp_path {folder}/body;\n    proxy_temp_path {folder}/proxy;\n\
         \x20   fastcgi_temp_path {folder}/f;\n    uwsgi_temp_path {folder}/u;\n    scgi_temp_path {folder}/s;\n\
         \x20   upstream nodes {{\n{servers}    }}\n\
         \x20   server {{\n        listen 127.0.0.1:{port};\n        location / {{\n\
         \x20           proxy_pass http://nodes;\n            proxy_http_version 1.1;\n\
         \x20           proxy_set_header Host $http_host;\n            proxy_set_header Connection \"\";\n\
         \x20           proxy_request_buffering off;\n            proxy_buffering off;\n\
         \x20           proxy_read_timeout 600s;\n            proxy_send_timeout 600s;\n\
         \x20       }}\n    }}\n}}\n"
    )
}
