//! The verbs against a server elsewhere, by the built binary: signing in, what a token may do, and what
//! takes the password.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{PASSWORD, Served};

/// Runs a verb at `server`; `input` is its standard input.
fn verb(server: &str, home: &Path, input: &str, verb: &[&str]) -> Output {
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

#[track_caller]
fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn threat_c25_a_sign_in_is_a_token_in_a_file_and_verbs_go_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(&folder.path().join("data"), "127.0.0.1:0");
    let (server, home) = (format!("http://{}", served.address), folder.path().join("home"));
    let run = |input: &str, words: &[&str]| verb(&server, &home, input, words);

    let unknown = run("", &["org", "list"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("login"), "{unknown:?}");
    let wrong = run("wrong\n", &["login", "--username", "admin"]);
    assert_eq!(wrong.status.code(), Some(3), "{wrong:?}");
    json(&run(&format!("{PASSWORD}\n"), &["login", "--username", "admin"]));
    let file = home.join("strongroom/servers.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(PASSWORD));

    assert_eq!(json(&run("", &["org", "list"]))[0]["name"], "default");
    json(&run("", &["registry", "create", "default/second", "--public"]));
    let set = json(&run("", &["registry", "set", "default/second", "--public", "false"]));
    assert_eq!(set["public"], false);
    assert_eq!(json(&run("", &["robot", "create", "default+ci"]))["principal"], "robot:default+ci");
    json(&run("", &["org", "grant", "default", "robot:default+ci", "writer"]));
    let token = json(&run("", &["token", "create", "robot:default+ci", "--for", "default/second"]));
    assert!(token["token"].as_str().unwrap().starts_with("srt_"));
    assert_eq!(json(&run("", &["robot", "list"]))[0]["name"], "default+ci");

    let refused = run("", &["user", "list"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--ask-password"), "{refused:?}");
    let users = json(&run(&format!("{PASSWORD}\n"), &["user", "list", "--ask-password"]));
    assert_eq!(users[0]["name"], "admin");
    let swept = json(&run(&format!("{PASSWORD}\n"), &["gc", "--dry-run", "--ask-password"]));
    assert_eq!(swept["refused"], false);

    json(&run(&format!("{PASSWORD}\n"), &["logout", "--ask-password"]));
    assert!(!run("", &["org", "list"]).status.success());
    served.kill();
}
