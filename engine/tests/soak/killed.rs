//! A child process pushes and tells what was acknowledged; its parent kills it and looks.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_engine::access::Action;
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::disk::RealDisk;
use strongroom_engine::id::SessionId;
use strongroom_engine::meta::RedbStore;
use strongroom_engine::seam::Seams;
use strongroom_engine::{Chunk, Engine, Error, Repository, Settings};

use crate::support::{self, body, image, sha256};

const FOLDER: &str = "STRONGROOM_SOAK_FOLDER";
const ROUND: &str = "STRONGROOM_SOAK_ROUND";
const TASKS: u64 = 6;

/// The layer that task `task` pushes as its `n`th in a round.
fn layer(round: u64, task: u64, n: u64) -> Bytes {
    format!("layer {n} of task {task} in round {round} ").repeat(40).into()
}

fn manifest(round: u64, task: u64, n: u64) -> Bytes {
    let layer = layer(round, task, n);
    image((&sha256(b"{}"), 2), &[(&sha256(&layer), layer.len())], "")
}

async fn engine(folder: &Path) -> Engine {
    let seams = Seams::default();
    let meta = RedbStore::open(folder.join("meta"), seams.clock.clone()).unwrap();
    let root = folder.join("objects");
    let blobs = FsStore::open(Arc::new(RealDisk), root, Durability::Full).unwrap();
    let mut settings = Settings::default();
    settings.reserve_bytes = 0;
    support::engine(Arc::new(meta), Arc::new(blobs), &seams, settings).await.unwrap()
}

async fn open(engine: &Engine, task: u64, action: Action) -> Repository {
    support::open(engine, "ann", &format!("acme/main/task{task}"), action).await.unwrap()
}

/// Says what was acknowledged, once it was.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ACK {line}").unwrap();
    out.flush().unwrap();
}

/// Pushes until it is killed.
pub fn child() {
    let folder = std::env::var_os(FOLDER).expect("the parent says where");
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = engine(folder.as_ref()).await;
        let tasks: Vec<_> =
            (0..TASKS).map(|task| tokio::spawn(work(engine.clone(), round, task))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn work(engine: Engine, round: u64, task: u64) {
    let config = Bytes::from_static(b"{}");
    for n in 0.. {
        let repository = open(&engine, task, Action::Push).await;
        repository.push_blob(&sha256(&config), None, body(&config)).await.unwrap();
        let layer = layer(round, task, n);
        let digest = sha256(&layer);
        if n % 3 == 0 {
            let upload = repository.start_upload(None, None).await.unwrap();
            for at in [0, 400] {
                let chunk = Chunk { at: Some(at as u64), length: None };
                let piece = body(&layer.slice(at..at + 400));
                let upload = repository.append(upload.id, chunk, piece).await.unwrap();
                tell(&format!("upload {task} {n} {} {}", upload.id, upload.offset));
            }
            let rest = body(&layer.slice(800..));
            repository
                .finish_upload_with(upload.id, Chunk::default(), rest, &digest)
                .await
                .unwrap();
        } else {
            let length = Some(layer.len() as u64);
            repository.push_blob(&digest, length, body(&layer)).await.unwrap();
        }
        tell(&format!("blob {task} {n}"));
        let bytes = manifest(round, task, n);
        let push = support::push_of(&bytes, None, &["latest", &format!("r{round}n{n}")]);
        repository.push_manifest(&push).await.unwrap();
        tell(&format!("manifest {task} {n}"));
    }
}

/// What the child acknowledged before it was killed: by task, the last of each.
#[derive(Debug, Default)]
struct Acknowledged {
    blobs: BTreeMap<u64, u64>,
    manifests: BTreeMap<u64, u64>,
    /// The last upload told of: its number, its id and where it stood.
    uploads: BTreeMap<u64, (u64, SessionId, u64)>,
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "blob" => drop(self.blobs.insert(number(1), number(2))),
            "manifest" => drop(self.manifests.insert(number(1), number(2))),
            "upload" => {
                let id = SessionId::parse(words[3]).unwrap();
                self.uploads.insert(number(1), (number(2), id, number(4)));
            }
            other => panic!("{other}"),
        }
    }
}

/// Starts the child, kills it after so many acknowledgements, and returns all that it gave.
fn kill_after(folder: &Path, round: u64, lines: u64) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut acknowledged = Acknowledged::default();
    let mut told = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        // What it was about to say when it was killed may be cut short.
        let line = String::from_utf8(line.unwrap()).unwrap_or_default();
        let Some((_, line)) = line.split_once("ACK ") else { continue };
        told += 1;
        if told == lines {
            child.kill().unwrap();
        }
        if whole(line) {
            acknowledged.note(line);
        }
    }
    let status = child.wait().unwrap();
    assert!(told >= lines, "the child ended by itself: {status}");
    acknowledged
}

/// Whether a line was not cut short: a number that lost digits would be another.
fn whole(line: &str) -> bool {
    let words = line.split(' ').count();
    match line.split(' ').next() {
        Some("upload") => words == 5,
        _ => words == 3,
    }
}

/// Requires all that was acknowledged.
async fn kept(engine: &Engine, round: u64, acknowledged: &Acknowledged) {
    for (task, last) in &acknowledged.blobs {
        let repository = open(engine, *task, Action::Pull).await;
        for n in 0..=*last {
            let layer = layer(round, *task, n);
            let read = support::read_blob(&repository, &sha256(&layer)).await;
            assert_eq!(read.unwrap(), layer, "layer {n} of task {task}");
        }
    }
    for (task, last) in &acknowledged.manifests {
        let repository = open(engine, *task, Action::Pull).await;
        for n in 0..=*last {
            let tag = format!("r{round}n{n}").parse().unwrap();
            let read = repository.manifest(&tag).await.unwrap();
            assert_eq!(read.bytes, manifest(round, *task, n), "image {n} of task {task}");
        }
        // The last acknowledged, or the one that was under way.
        let latest = repository.manifest(&"latest".parse().unwrap()).await.unwrap();
        let may_be = [*last, last + 1].map(|n| manifest(round, *task, n));
        assert!(may_be.contains(&latest.bytes), "latest of task {task} is neither");
    }
}

/// Goes on with the uploads that the child was killed in.
async fn go_on(engine: &Engine, round: u64, acknowledged: &Acknowledged) -> u64 {
    let mut resumed = 0;
    for (task, (n, id, told)) in &acknowledged.uploads {
        let repository = open(engine, *task, Action::Push).await;
        let layer = layer(round, *task, *n);
        match repository.upload(*id).await {
            Ok(upload) => {
                assert!(upload.offset >= *told, "upload {id} went back to {}", upload.offset);
                let chunk = Chunk { at: Some(upload.offset), length: None };
                let rest = body(&layer.slice(usize::try_from(upload.offset).unwrap()..));
                let digest = sha256(&layer);
                repository.finish_upload_with(*id, chunk, rest, &digest).await.unwrap();
                resumed += 1;
            }
            // Then it was finished, told or not.
            Err(Error::UploadUnknown { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        let repository = open(engine, *task, Action::Pull).await;
        assert_eq!(support::read_blob(&repository, &sha256(&layer)).await.unwrap(), layer);
    }
    resumed
}

/// Kills a child so many times, each over what the one before left.
pub fn parent(times: u64) {
    let seed = support::seed();
    println!("STRONGROOM_SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    // One for each look at the store: what the engine does behind requests ends with it, and lets go of
    // the store, which the next child opens.
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(async {
        let engine = engine(folder.path()).await;
        support::found(&engine, "acme", "ann", "vic").await.unwrap();
    });
    let (mut resumed, mut all) = (0, Vec::new());
    for round in 0..times {
        let lines = chance.random_range(1..200);
        let acknowledged = kill_after(folder.path(), round, lines);
        runtime().block_on(async {
            let engine = engine(folder.path()).await;
            kept(&engine, round, &acknowledged).await;
            resumed += go_on(&engine, round, &acknowledged).await;
            let found = support::gc::fsck(&engine).await.unwrap();
            assert!(found.is_empty(), "fsck after kill {round}: {found:?}");
        });
        all.push(acknowledged);
    }
    runtime().block_on(async {
        let engine = engine(folder.path()).await;
        support::gc::collect(&engine).await.unwrap();
        for (round, acknowledged) in (0..).zip(&all) {
            for (task, last) in &acknowledged.manifests {
                let repository = open(&engine, *task, Action::Pull).await;
                let layer = layer(round, *task, *last);
                assert_eq!(support::read_blob(&repository, &sha256(&layer)).await.unwrap(), layer);
            }
        }
    });
    println!("{times} kills, {resumed} uploads went on");
}
