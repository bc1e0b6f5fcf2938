//! Several nodes over one bucket and one database, under load, while nodes are killed at random and the
//! database crashes: whatever was acknowledged is there afterwards, byte for byte, and whatever was
//! not was answered so that a client knows to try again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use ureq::SendBody;
use ureq::http::Response;

use super::Scene;
use crate::http::{Client, expect};
use crate::registry::{HOME, PASSWORD, USER};

/// How often a node is killed; all of a long run is asked for by `STRONGROOM_LONG=1`.
const KILLS: u64 = 10;
const KILLS_LONG: u64 = 50;
/// How many clients push at once.
const CLIENTS: u64 = 4;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const BYTES: &str = "application/octet-stream";
/// The nodes stay dead and alive about so long.
const WHILE: Duration = Duration::from_millis(400);

/// What was acknowledged, and what was refused for now.
#[derive(Default)]
struct Told {
    over: AtomicBool,
    /// Tag to the digest of its manifest, and to the blob that it names.
    tags: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    refused: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let kills = if std::env::var_os("STRONGROOM_LONG").is_some() { KILLS_LONG } else { KILLS };
    let address = scene.registry.address();
    let told = Told::default();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (told, address) = (&told, address.clone());
            scope.spawn(move || client(number, &address, told));
        }
        let done = trouble(scene, kills);
        told.over.store(true, Ordering::Relaxed);
        done
    })?;
    scene.registry.check_alive()?;
    let wrong = told.wrong.into_inner().unwrap_or_default();
    ensure!(wrong.is_empty(), "answers that nobody can act on: {wrong:#?}");
    let tags = told.tags.into_inner().unwrap_or_default();
    println!(
        "{kills} kills and a crash of the database: {} images acknowledged, {} requests refused",
        tags.len(),
        told.refused.into_inner()
    );
    ensure!(tags.len() as u64 > kills, "hardly anything was pushed");
    for node in scene.registry.nodes() {
        let client = node.client();
        for (tag, (digest, blob)) in &tags {
            read_back(&client, tag, digest, blob).with_context(|| format!("image {tag}"))?;
        }
    }
    Ok(())
}

/// Kills one node after the other, and the database in the middle of it all.
fn trouble(scene: &mut Scene, kills: u64) -> Result<()> {
    for kill in 0..kills {
        sleep(WHILE);
        let at = usize::from(kill % 2 == 1);
        let node = scene.registry.nodes().get_mut(at).context("there are two nodes")?;
        node.kill()?;
        sleep(WHILE);
        node.restart()?;
        if kill == kills / 2 {
            sleep(WHILE);
            let database = scene.registry.database()?;
            database.crash();
            database.run()?;
        }
    }
    sleep(WHILE);
    Ok(())
}

/// Pushes one image after the other until it is over.
fn client(number: u64, address: &str, told: &Told) {
    let client = Client::new(address, USER, PASSWORD);
    for count in 0.. {
        if told.over.load(Ordering::Relaxed) {
            return;
        }
        let tag = format!("c{number}-{count}");
        let blob = format!("the layer of {tag} ").repeat(2000).into_bytes();
        match push(&client, &tag, &blob) {
            Ok(Some(digest)) => {
                let mut tags = told.tags.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                tags.insert(tag, (digest, blob));
            }
            Ok(None) => {
                told.refused.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(50));
            }
            Err(error) => {
                let mut wrong =
                    told.wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                wrong.push(format!("{tag}: {error:#}"));
            }
        }
    }
}

/// Pushes an image; `None` where somebody was away, and said so.
pub(super) fn push(client: &Client, tag: &str, blob: &[u8]) -> Result<Option<String>> {
    let repository = format!("/v2/{HOME}/nodes");
    let mut parts = Vec::new();
    for part in [&b"{}"[..], blob] {
        let digest = digest(part);
        let path = format!("{repository}/blobs/uploads/?digest={digest}");
        if !sent(client, "POST", &path, BYTES, part)? {
            return Ok(None);
        }
        parts.push((digest, part.len()));
    }
    let [(config, size), (layer, length)] = &parts[..] else { bail!("an image has two parts") };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"text/x","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":{size}}},"layers":[{{"mediaType":"{BYTES}","digest":"{layer}","size":{length}}}]}}"#
    );
    let path = format!("{repository}/manifests/{tag}");
    let taken = sent(client, "PUT", &path, MANIFEST, manifest.as_bytes())?;
    Ok(taken.then(|| digest(manifest.as_bytes())))
}

/// Whether a request was taken; an error where it was refused in a way that says nothing useful.
fn sent(client: &Client, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<bool> {
    let length = body.len().to_string();
    let headers = [("content-type", kind), ("content-length", length.as_str())];
    let mut reader = body;
    let Ok(answer) = client.send(method, path, &headers, SendBody::from_reader(&mut reader)) else {
        // The connection broke with its node.
        return Ok(false);
    };
    match answer.status().as_u16() {
        201 => Ok(true),
        // Of the proxy, whose node went away.
        502 | 504 => Ok(false),
        503 if says_when(&answer) => Ok(false),
        _ => expect(answer, 201).map(|_| true),
    }
}

fn says_when<B>(answer: &Response<B>) -> bool {
    answer.headers().contains_key("retry-after")
}

pub(super) fn read_back(client: &Client, tag: &str, wanted: &str, blob: &[u8]) -> Result<()> {
    let repository = format!("/v2/{HOME}/nodes");
    let mut manifest = expect(client.get(&format!("{repository}/manifests/{tag}"))?, 200)?;
    let manifest = manifest.body_mut().read_to_vec()?;
    ensure!(digest(&manifest) == wanted, "its manifest is another");
    let mut found = expect(client.get(&format!("{repository}/blobs/{}", digest(blob)))?, 200)?;
    ensure!(found.body_mut().read_to_vec()? == blob, "its layer has other bytes");
    Ok(())
}

pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", const_hex::encode(Sha256::digest(bytes)))
}
