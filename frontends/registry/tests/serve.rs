//! The built binary, as a person uses it: serve, push, pull, verbs beside it, kill, and again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use support::{Served, digest, manifest, push_blob, verb};

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
