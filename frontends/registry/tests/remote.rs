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

use std::os::unix::fs::PermissionsExt;

use support::{PASSWORD, Served, json, verb_at};

#[test]
fn threat_c25_a_sign_in_is_a_token_in_a_file_and_verbs_go_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(&folder.path().join("data"), "127.0.0.1:0");
    let (server, home) = (format!("http://{}", served.address), folder.path().join("home"));
    let run = |input: &str, words: &[&str]| verb_at(&server, &home, input, words);

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

#[test]
fn python_projects_and_upstreams_are_managed_from_afar_as_here() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let served = Served::start(&data, "127.0.0.1:0");
    let (server, home) = (format!("http://{}", served.address), folder.path().join("home"));
    let run = |input: &str, words: &[&str]| verb_at(&server, &home, input, words);
    json(&run(&format!("{PASSWORD}\n"), &["login", "--username", "admin"]));

    let url = "https://index.example/simple/";
    let mut set = vec!["python", "upstream", "set", "default/main", url, "--deny", "acme-*"];
    set.extend(["--cool-down", "7", "--fresh", "5m", "--username", "reader", "--password-stdin"]);
    let made = json(&run("hunter22\n", &set));
    assert_eq!((&made["cool_down_days"], &made["fresh_seconds"]), (&7.into(), &300.into()));
    // The same here, beside the server; and no password anywhere.
    let shown = support::verb(&data, &["python", "upstream", "show", "default/main", "--json"]);
    let shown = json(&shown);
    assert_eq!((&shown["url"], &shown["username"]), (&url.into(), &"reader".into()));
    assert_eq!(shown["deny"], serde_json::json!(["acme-*"]));
    assert!(!shown.to_string().contains("hunter22"));
    assert_eq!(json(&run("", &["python", "upstream", "show", "default/main"])), shown);
    json(&run("", &["python", "upstream", "remove", "default/main"]));
    let none = run("", &["python", "upstream", "show", "default/main"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("no upstream"), "{none:?}");

    let absent = run("", &["python", "yank", "default/main", "foo", "--all"]);
    assert!(String::from_utf8_lossy(&absent.stderr).contains("default/main/foo"), "{absent:?}");
    let twice = run("", &["python", "yank", "default/main", "foo", "--all", "--as", "user:admin"]);
    assert!(String::from_utf8_lossy(&twice.stderr).contains("--as"), "{twice:?}");
    let nobody = support::verb(&data, &["python", "yank", "default/main", "foo", "--all"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("--as"), "{nobody:?}");
    let log = std::fs::read_to_string(&served.log).unwrap();
    assert!(!log.contains("hunter22"), "{log}");
    served.kill();
}
