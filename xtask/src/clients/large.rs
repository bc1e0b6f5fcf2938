//! A blob of 6 GiB: past what S3 copies in one request. In chunks and in one request; settled, read back
//! whole and by ranges, in as little memory as any other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ureq::SendBody;

use super::{Scene, measure};
use crate::content::Content;
use crate::http::{Client, expect, header};
use crate::registry::HOME;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 6 << 30;
/// Five chunks and a part of one.
const CHUNK: u64 = 1100 * MIB;
/// How much is read at each place.
const RANGE: u64 = 4 * MIB;
/// How long the move of the chunked one may take behind its push.
const PATIENCE: Duration = Duration::from_mins(5);
/// What the server may ever hold: the pool of parts, what uploads gather, and itself.
const MOST_MEMORY: u64 = 400 * MIB;

const BYTES: &str = "application/octet-stream";

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let client = scene.registry.client();
    let pid = scene.registry.pid()?;
    let small = peak(pid.as_raw_nonzero().get())?;
    for (name, seed, push) in
        [("in chunks", 1, chunked as fn(&Client, u64, &str) -> Result<()>), ("whole", 2, whole)]
    {
        let (_, digest) = measure(Content::new(seed, 0, SIZE))?;
        let begin = Instant::now();
        push(&client, seed, &digest)?;
        told(&format!("pushed {name}"), begin);
        let begin = Instant::now();
        settled(scene, &digest)?;
        told("in its place", begin);

        let path = format!("/v2/{HOME}/large/blobs/{digest}");
        let begin = Instant::now();
        let pulled = measure(expect(client.get(&path)?, 200)?.into_body().into_reader())?;
        ensure!(pulled == (SIZE, digest.clone()), "other bytes came back: {pulled:?}");
        told("pulled", begin);
        for at in [0, 3 * MIB + 7, (5 << 30) - MIB, (5 << 30) + 1, SIZE - RANGE] {
            let range = format!("bytes={at}-{}", at + RANGE - 1);
            let headers = [("range", range.as_str())];
            let part = expect(client.send("GET", &path, &headers, SendBody::none())?, 206)?;
            let part = measure(part.into_body().into_reader())?;
            let wanted = measure(Content::new(seed, at, at + RANGE))?;
            ensure!(part == wanted, "other bytes came back for {range}");
        }
    }
    let most = peak(pid.as_raw_nonzero().get())?;
    println!("the server held at most {} MiB, {} before", most / MIB, small / MIB);
    ensure!(most <= MOST_MEMORY, "that is more than {} MiB", MOST_MEMORY / MIB);
    Ok(())
}

fn told(what: &str, begin: Instant) {
    let took = begin.elapsed().as_secs_f64();
    let millis = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    println!("6 GiB {what} in {took:.1} s ({} MB/s)", SIZE / 1000 / millis);
}

fn chunked(client: &Client, seed: u64, digest: &str) -> Result<()> {
    let repository = format!("/v2/{HOME}/large");
    let started =
        client.send("POST", &format!("{repository}/blobs/uploads/"), &[], SendBody::none())?;
    let mut session = header(&expect(started, 202)?, "location")?.to_owned();
    let mut at = 0;
    while at < SIZE {
        let end = SIZE.min(at + CHUNK);
        let (range, length) = (format!("{at}-{}", end - 1), (end - at).to_string());
        let headers =
            [("content-type", BYTES), ("content-range", &range), ("content-length", &length)];
        let mut body = Content::new(seed, at, end);
        let sent = client.send("PATCH", &session, &headers, SendBody::from_reader(&mut body))?;
        header(&expect(sent, 202)?, "location")?.clone_into(&mut session);
        at = end;
    }
    let separator = if session.contains('?') { '&' } else { '?' };
    let finish = format!("{session}{separator}digest={digest}");
    let begin = Instant::now();
    expect(client.send("PUT", &finish, &[], SendBody::none())?, 201)?;
    println!("the last request took {} ms", begin.elapsed().as_millis());
    Ok(())
}

fn whole(client: &Client, seed: u64, digest: &str) -> Result<()> {
    let path = format!("/v2/{HOME}/large/blobs/uploads/?digest={digest}");
    let length = SIZE.to_string();
    let headers = [("content-type", BYTES), ("content-length", &length)];
    let mut body = Content::new(seed, 0, SIZE);
    let sent = client.send("POST", &path, &headers, SendBody::from_reader(&mut body))?;
    expect(sent, 201).map(drop)
}

/// Waits until a pull is sent to where the object stays.
fn settled(scene: &Scene, digest: &str) -> Result<()> {
    let client = scene.registry.client().without_redirects();
    let begin = Instant::now();
    loop {
        let sent_on = expect(client.get(&format!("/v2/{HOME}/large/blobs/{digest}"))?, 307)?;
        let location = header(&sent_on, "location")?;
        if location.contains("/sha256/") {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "it was not moved: {location}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The most memory that a process ever had, in bytes.
fn peak(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmHWM")?;
    Ok(kib.parse::<u64>()? << 10)
}
