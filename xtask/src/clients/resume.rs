//! A chunked upload through a `kill -9`: the server dies in the middle of a PATCH, comes back, says
//! how far it got, and the upload goes on from there. Of several nodes one dies, and another goes on.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use ureq::SendBody;

use super::{Scene, measure};
use crate::http::{Client, Tripwire, expect, header};
use crate::registry::HOME;
use crate::site::Ground;

const SIZE: u64 = 300 << 20;
/// What one ordinary PATCH brings before the deadly one.
const FIRST: u64 = 16 << 20;
/// How much of the deadly PATCH is sent before the server is killed: more than it may keep unsaved.
const DEADLY: u64 = 200 << 20;

const BYTES: &str = "application/octet-stream";

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let path = scene.real_file("large.bin", SIZE)?;
    let (size, digest) = measure(File::open(&path)?)?;
    let mut file = File::open(&path)?;
    let client = scene.registry.nodes()[0].client();
    let repository = format!("/v2/{HOME}/resumed/blob");

    let started =
        client.send("POST", &format!("{repository}/blobs/uploads/"), &[], SendBody::none())?;
    let session = header(&expect(started, 202)?, "location")?.to_owned();
    let session = patch(&client, &session, &mut file, 0, FIRST)?;
    ensure!(status(&client, &session)?.0 == FIRST, "an acknowledged chunk counts");

    // The kill comes from inside the body being sent, so it is in the middle of the PATCH.
    let pid = scene.registry.pid()?;
    let body = (&mut file).take(size - FIRST);
    let mut body = Tripwire::new(body, DEADLY, move || kill(pid));
    let deadly = client.send(
        "PATCH",
        &session,
        &chunk_headers(FIRST, size - FIRST).each(),
        SendBody::from_reader(&mut body),
    );
    ensure!(deadly.is_err(), "a killed server answered: {deadly:?}");
    scene.registry.kill()?; // collects the dead process
    let client = if let [_, other] = scene.registry.nodes() {
        other.client()
    } else {
        scene.registry.restart()?;
        client
    };

    let (kept, session) = status(&client, &session)?;
    println!("killed after {DEADLY} bytes of a PATCH at {FIRST}; {kept} of {size} bytes were kept");
    ensure!(kept > FIRST, "nothing of the long PATCH was kept: {kept} bytes");
    ensure!(kept < size, "more was kept than was sent: {kept} bytes");

    file.seek(SeekFrom::Start(kept))?;
    let session = patch(&client, &session, &mut file, kept, size - kept)?;
    let separator = if session.contains('?') { '&' } else { '?' };
    let finish = format!("{session}{separator}digest={digest}");
    expect(client.send("PUT", &finish, &[], SendBody::none())?, 201)?;

    let pulled = expect(client.get(&format!("{repository}/blobs/{digest}"))?, 200)?;
    let pulled = measure(pulled.into_body().into_reader())?;
    ensure!(pulled == (size, digest), "other bytes came back: {pulled:?}");
    if scene.ground == Ground::Nodes { scene.registry.restart() } else { Ok(()) }
}

/// Sends `length` bytes of `file` from where it stands; returns where to go on.
fn patch(client: &Client, session: &str, file: &mut File, at: u64, length: u64) -> Result<String> {
    let mut body = file.take(length);
    let headers = chunk_headers(at, length);
    let sent = client.send("PATCH", session, &headers.each(), SendBody::from_reader(&mut body))?;
    Ok(header(&expect(sent, 202)?, "location")?.to_owned())
}

/// How many bytes the registry says it has, and where to go on.
fn status(client: &Client, session: &str) -> Result<(u64, String)> {
    let status = expect(client.get(session)?, 204)?;
    let range = header(&status, "range")?;
    let last = range.strip_prefix("0-").context("a range of an upload begins at 0")?;
    Ok((last.parse::<u64>()? + 1, header(&status, "location")?.to_owned()))
}

struct ChunkHeaders {
    range: String,
    length: String,
}

fn chunk_headers(at: u64, length: u64) -> ChunkHeaders {
    ChunkHeaders { range: format!("{at}-{}", at + length - 1), length: length.to_string() }
}

impl ChunkHeaders {
    fn each(&self) -> [(&str, &str); 3] {
        [("content-type", BYTES), ("content-range", &self.range), ("content-length", &self.length)]
    }
}

fn kill(pid: Pid) {
    if let Err(error) = kill_process(pid, Signal::KILL) {
        println!("the registry could not be killed: {error}");
    }
}
