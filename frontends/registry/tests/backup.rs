//! Backup, restore and copy-storage with the built binary: beside a server that serves, and after it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::path::Path;
use std::process::Output;

use support::{Served, digest, manifest, push_blob, verb};

const KIND: &str = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";

/// Pushes an image of `layer` under `tag`, whole.
fn push(served: &Served, layer: &[u8], tag: &str) -> Vec<u8> {
    push_blob(served, b"{}");
    push_blob(served, layer);
    let manifest = manifest(b"{}", layer);
    let request = format!("PUT /v2/default/main/app/manifests/{tag}");
    assert_eq!(served.ask(&request, KIND, &manifest, true).0, 201);
    manifest
}

fn json(done: &Output) -> String {
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn serves(data: &Path, tag: &str, manifest: &[u8], layer: &[u8]) {
    let served = Served::start(data, "127.0.0.1:0");
    let request = format!("GET /v2/default/main/app/manifests/{tag}");
    let (status, _, pulled) = served.ask(&request, "", b"", true);
    assert_eq!((status, pulled.as_slice()), (200, manifest));
    let blob = format!("GET /v2/default/main/app/blobs/{}", digest(layer));
    assert_eq!(served.ask(&blob, "", b"", true).2, layer);
}

#[test]
fn a_backup_made_beside_a_server_becomes_an_installation_that_serves_and_moves_on() {
    let home = tempfile::tempdir().unwrap();
    let [data, backup, other, third] =
        ["data", "backup", "other", "third"].map(|n| home.path().join(n));
    let served = Served::start(&data, "127.0.0.1:0");
    let layer = vec![7_u8; 3_000_000];
    let pushed = push(&served, &layer, "1.0");

    let made = verb(&data, &["backup", "create", text(&backup), "--json"]);
    assert!(json(&made).contains("\"master_key\":false"), "{made:?}");
    // It was made by the server: it is stopped before anything is copied, and says so.
    let refused = verb(&data, &["copy-storage", "--to", text(&other)]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stop it"), "{refused:?}");
    let again = verb(&data, &["backup", "create", text(&backup), "--with-master-key", "--json"]);
    assert!(json(&again).contains("\"copied\":{\"bytes\":0,\"count\":0}"), "{again:?}");
    let verified = verb(&data, &["backup", "verify", text(&backup)]);
    assert!(json(&verified).contains("is whole"), "{verified:?}");
    let pinned = verb(&data, &["backup", "create", text(&backup), "--pin"]);
    let id = json(&pinned).split_whitespace().nth(1).unwrap().to_owned();
    assert!(json(&verb(&data, &["backup", "list"])).contains(&id));
    let listed = json(&verb(&data, &["backup", "list", text(&backup)]));
    assert_eq!(listed.matches("in the folder").count(), 2, "{listed}");
    assert!(json(&verb(&data, &["backup", "drop", &id, text(&backup)])).contains("are gone"));
    served.kill();

    let whole = verb(&other, &["restore", text(&backup), "--deep"]);
    assert!(json(&whole).contains("clean;"), "{whole:?}");
    serves(&other, "1.0", &pushed, &layer);
    let full = verb(&other, &["restore", text(&backup)]);
    assert_eq!(full.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&full.stderr).contains("empty stores only"), "{full:?}");

    let copied = verb(&other, &["copy-storage", "--to", text(&third)]);
    assert!(json(&copied).contains("clean;"), "{copied:?}");
    serves(&third, "1.0", &pushed, &layer);
    assert!(verb(&third, &["fsck", "--deep"]).status.success());
}

#[test]
fn a_restore_asks_for_the_master_key_and_refuses_a_torn_archive() {
    let home = tempfile::tempdir().unwrap();
    let [data, backup, other] = ["data", "backup", "other"].map(|name| home.path().join(name));
    Served::start(&data, "127.0.0.1:0").kill();
    json(&verb(&data, &["backup", "create", text(&backup)]));

    let sealed = verb(&other, &["restore", text(&backup)]);
    assert_eq!(sealed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&sealed.stderr).contains("--master-key"), "{sealed:?}");
    assert!(!other.exists());

    let master = data.join("keys/master");
    let archive =
        std::fs::read_dir(backup.join("archives")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, &whole[..whole.len() - 1]).unwrap();
    let torn = verb(&other, &["restore", text(&backup), "--master-key", text(&master)]);
    assert_eq!(torn.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&torn.stderr).contains("torn"), "{torn:?}");

    std::fs::write(&archive, &whole).unwrap();
    json(&verb(&other, &["restore", text(&backup), "--master-key", text(&master)]));
    assert!(verb(&other, &["fsck", "--deep"]).status.success());
}
