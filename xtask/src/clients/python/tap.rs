//! A tap on the wire between an installer and the registry: it keeps the first line of each request,
//! and can leave the installer no choice but the HTML form.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

/// What asks for the JSON form, and what the registry reads in its place: as long, and nothing it knows.
const JSON: &[u8] = b"application/vnd.pypi.simple.v1+json";
const NONE: &[u8] = b"application/vnd.none.simple.v1+json";

/// A listener whose connections lead to the registry. Its threads end with their connections, the
/// first with the process.
pub(super) struct Tap {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tap {
    /// In front of the registry at `registry`; without JSON where `html`.
    pub(super) fn start(registry: &str, html: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (registry, kept) = (registry.to_owned(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&registry) else { continue };
                let (Ok(from), Ok(to)) = (server.try_clone(), client.try_clone()) else { continue };
                std::thread::spawn(move || back(from, to));
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || forth(client, server, &kept, html));
            }
        });
        Ok(Self { address, asked })
    }

    /// `127.0.0.1:PORT`
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The requests since this was asked last, as `METHOD PATH`.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Installers ask without bodies, so what they send is heads of requests, each in one piece.
fn forth(mut from: TcpStream, mut to: TcpStream, asked: &Mutex<Vec<String>>, html: bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let sent = &mut buffer[..read];
        let text = String::from_utf8_lossy(sent);
        let lines = text.lines().filter_map(|line| line.strip_suffix(" HTTP/1.1"));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        asked.lock().unwrap_or_else(PoisonError::into_inner).extend(lines);
        while html && let Some(at) = sent.windows(JSON.len()).position(|part| part == JSON) {
            sent[at..at + JSON.len()].copy_from_slice(NONE);
        }
        if to.write_all(sent).is_err() {
            break;
        }
    }
    let _ended = to.shutdown(Shutdown::Write);
}

fn back(mut from: TcpStream, mut to: TcpStream) {
    // Whoever goes first, the other is told.
    let _copied = std::io::copy(&mut from, &mut to);
    let _ended = to.shutdown(Shutdown::Write);
}
