//! What a person at the terminal sees: help that teaches, errors that give the next step, output for
//! scripts where it is asked for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{PASSWORD, Served, basic, push_blob, serve, verb};

/// The program without a data folder of ours.
fn plain(words: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    let environment = environment.iter().copied();
    command.args(words).envs(environment).stdin(Stdio::null()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    out(output)
}

/// A file of settings.
fn settings(folder: &Path, text: &str) -> String {
    let file = folder.join("strongroom.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn help_says_how_to_begin_what_goes_where_and_what_the_exit_codes_mean() {
    let help = done(&plain(&["--help"], &[]));
    for says in [
        "strongroom serve",
        "STRONGROOM_",
        "config check",
        "Exit codes: 0 done; 1",
        "gc ",
        "backup ",
        "token ",
    ] {
        assert!(help.contains(says), "{says} is not in {help}");
    }
    // Each verb, and each of its own, says in a line what it does.
    let mut described = 0;
    for verb in ["user", "robot", "org", "registry", "token", "audit", "backup", "config"] {
        let help = done(&plain(&[verb, "--help"], &[]));
        let verbs = help.split_once("Commands:\n").unwrap().1.split("\n\n").next().unwrap();
        // What is indented more goes on from the line before.
        for line in verbs.lines().filter(|line| !line.starts_with("   ")) {
            let words: Vec<_> = line.split_whitespace().collect();
            assert!(words.len() >= 3, "{verb}: {line:?} does not say what it does");
            described += 1;
        }
    }
    assert!(described > 30, "{described}");
    let serve = done(&plain(&["serve", "--help"], &[]));
    assert!(serve.contains("STRONGROOM_BOOTSTRAP_PASSWORD"), "{serve}");
}

#[test]
fn a_mistyped_key_verb_or_flag_names_the_nearest_right_one() {
    let home = tempfile::tempdir().unwrap();
    for (text, nearest) in [
        ("[limits]\nmax_conections = 7\n", "limits.max_connections"),
        ("[guesses]\nadress = 7\n", "guesses.address"),
        ("[metrics]\nlisten_at = \"127.0.0.1:1\"\n", "metrics.listen"),
        ("[identity]\nhash_memmory = \"20MiB\"\n", "identity.hash_memory"),
        ("[upload]\nidle = \"1h\"\n", "uploads"),
    ] {
        let file = settings(home.path(), text);
        let refused = plain(&["config", "check", "--config", &file], &[]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let says = format!("did you mean {nearest}?");
        assert!(told(&refused).contains(&says), "{}", told(&refused));
        assert!(told(&refused).contains(&file), "and where it stands: {}", told(&refused));
    }
    let refused = plain(&["config", "check"], &[("STRONGROOM_METRICS_LISTN", "127.0.0.1:1")]);
    let says = "did you mean STRONGROOM_METRICS_LISTEN?";
    assert!(told(&refused).contains(says), "{}", told(&refused));
    for (words, nearest) in [(&["servee"][..], "serve"), (&["gc", "--dry-rnu"], "--dry-run")] {
        let refused = plain(words, &[]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(told(&refused).contains(nearest), "{}", told(&refused));
    }
}

#[test]
fn a_wrong_value_says_which_setting_and_what_would_be_right() {
    let home = tempfile::tempdir().unwrap();
    for (text, says) in [
        ("[limits]\nheader_timeout = \"fast\"\n", "30s, 5m, 24h or 7d"),
        ("[limits]\nmax_requests = 0\n", "limits.max_requests must be at least 1"),
        ("[limits]\nmax_header_size = \"1GiB\"\n", "limits.max_header_size must be 8KiB to 1MiB"),
        ("[identity]\nhash_memory = \"1MiB\"\n", "identity.hash_memory must be 8MiB to 256MiB"),
        ("[uploads]\nmax_manifest = \"1TiB\"\n", "uploads.max_manifest must be 1B to 64MiB"),
        ("[tls]\nkey = \"key.pem\"\n", "tls.certificate and tls.key"),
        ("[metrics]\nlisten = \"127.0.0.1:5000\"\n", "a port of its own"),
    ] {
        let file = settings(home.path(), text);
        let refused = plain(&["config", "check", "--config", &file], &[]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(told(&refused).contains(says), "{text}: {}", told(&refused));
    }
}

#[test]
fn config_check_prints_what_is_in_force_for_people_and_for_scripts() {
    let home = tempfile::tempdir().unwrap();
    let file = settings(home.path(), "[limits]\nmax_requests = 77\n");
    let words = ["config", "check", "--config", &file];
    let environment = [("STRONGROOM_GUESSES_PERSON", "33")];
    let text = done(&plain(&words, &environment));
    assert!(text.contains("max_requests = 77\n") && text.contains("person = 33\n"), "{text}");
    let json = done(&plain(&[&words[..], &["--json"]].concat(), &environment));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["limits"]["max_requests"], &json["guesses"]["person"]),
        (&77.into(), &33.into())
    );
    // What it prints can be given back to it, and says the same.
    let again = settings(home.path(), &text);
    assert_eq!(done(&plain(&["config", "check", "--config", &again], &[])), text);
}

#[test]
fn the_settings_that_are_set_are_those_that_hold() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = Served::start_with(&data, "127.0.0.1:0", PASSWORD, |command| {
        command
            .env("STRONGROOM_GUESSES_PERSON_AND_ADDRESS", "2")
            .env("STRONGROOM_GUESSES_PERSON_AND_ADDRESS_PAUSE", "1h")
            .env("STRONGROOM_IDENTITY_HASH_MEMORY", "8MiB")
            .env("STRONGROOM_UPLOADS_MAX_MANIFEST", "1KiB")
            .env("STRONGROOM_UPLOADS_MIN_CHUNK", "3MiB")
            .env("STRONGROOM_LIMITS_MAX_HEADERS", "10");
    });
    let guess = || served.send("GET /v2/", &basic("nobody", "wrong horse"), b"").0;
    assert_eq!([guess(), guess(), guess()], [401, 401, 429]);
    let put = "PUT /v2/default/main/app/manifests/1.0";
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    assert_eq!(served.ask(put, kind, &[b' '; 1025], true).0, 413);
    let start = "POST /v2/default/main/app/blobs/uploads/";
    let (status, head, _) = served.ask(start, "", b"", true);
    assert_eq!(status, 202, "{head}");
    assert!(head.contains("oci-chunk-min-length: 3145728"), "{head}");
    let many = (0..20).map(|n| format!("X-Header-{n}: x\r\n")).collect::<Vec<_>>().concat();
    assert_eq!(served.send("GET /v2/", &many, b"").0, 431);
}

#[test]
fn what_can_not_be_done_says_what_to_do_next() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let absent = verb(&data, &["user", "list"]);
    assert_eq!(absent.status.code(), Some(3));
    assert!(told(&absent).contains("--data") && told(&absent).contains("strongroom serve"));
    let served = Served::start(&data, "127.0.0.1:0");
    for (words, code, says) in [
        (&["user", "create", "Ann"][..], 2, "a-z, 0-9"),
        (&["user", "create", "admin"], 3, "choose another name"),
        (&["user", "demote", "admin"], 3, "make somebody else one first"),
        (&["user", "reset-password", "nobody"], 3, "there is no account user:nobody"),
        (&["token", "create", "admin"], 2, "user:"),
        (&["token", "create", "user:admin", "--for", "Acme"], 2, "Acme"),
        (&["token", "revoke", "x"], 3, "there is no token x"),
        (&["org", "create", "default", "--admin", "user:admin"], 3, "default"),
        (&["registry", "create", "default"], 2, "ORGANISATION/REGISTRY"),
        (&["registry", "create", "nowhere/main"], 3, "nowhere"),
        (&["scrub", "--subset", "8/7"], 2, "1/7"),
        (&["scrub", "--missing-in-a-row", "0"], 2, "at least 1"),
        (&["gc", "--organisation", "nowhere"], 3, "nowhere"),
        (&["gc", "--budget", "0"], 2, "--budget"),
        (&["backup", "drop", "1"], 2, "strongroom backup list"),
    ] {
        let refused = verb(&data, words);
        assert_eq!(refused.status.code(), Some(code), "{words:?}: {refused:?}");
        assert!(told(&refused).contains(says), "{words:?}: {}", told(&refused));
        assert!(refused.stdout.is_empty(), "what went wrong is no output: {refused:?}");
    }
    // A second server on the same folder, or on the same port.
    let log = home.path().join("log");
    let second = serve(&data, "127.0.0.1:0", PASSWORD, &log).output().unwrap();
    assert_eq!(second.status.code(), Some(4));
    let other = home.path().join("other");
    let second = serve(&other, &served.address, PASSWORD, &log).output().unwrap();
    assert_eq!(second.status.code(), Some(4));
    let told = std::fs::read_to_string(log).unwrap();
    assert!(told.contains("another strongroom is using"), "{told}");
    assert!(told.contains(&format!("can't listen on {}", served.address)), "{told}");
}

#[test]
fn a_weak_first_password_stops_the_start_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (data, log) = (home.path().join("data"), home.path().join("log"));
    for weak in ["short", "password123", "admin"] {
        let refused = serve(&data, "127.0.0.1:0", weak, &log).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
        let told = std::fs::read_to_string(&log).unwrap();
        assert!(told.contains("STRONGROOM_BOOTSTRAP_PASSWORD: this password is no good"), "{told}");
        assert!(!told.contains(weak) || weak == "admin" || weak == "short", "{told}");
    }
    for what in ["user", "org"] {
        assert_eq!(done(&verb(&data, &[what, "list", "--json"])), "[]\n", "{what}");
    }
    // Where somebody is there already it is not looked at.
    let first = Served::start(&data, "127.0.0.1:0");
    assert_eq!(first.ask("GET /v2/", "", b"", true).0, 200);
    drop(first);
    let served = Served::start_with(&data, "127.0.0.1:0", "short", |_| {});
    assert_eq!(served.ask("GET /v2/", "", b"", true).0, 200);
}

#[test]
fn tokens_are_listed_and_who_is_signed_in_where_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = Served::start(&data, "127.0.0.1:0");
    done(&verb(&data, &["token", "create", "user:admin", "--label", "for the build"]));
    let path = "GET /v2/token?service=strongroom&offline_token=true&client_id=laptop";
    assert_eq!(served.send(path, &basic("admin", PASSWORD), b"").0, 200);
    let list = |more: &[&str]| {
        let words = [&["token", "list", "user:admin"], more].concat();
        done(&verb(&data, &words))
    };
    let few = list(&[]);
    assert!(few.contains("for the build") && !few.contains("laptop"), "{few}");
    let all = list(&["--refresh"]);
    assert!(all.contains("for the build") && all.contains("laptop"), "{all}");
    let json: serde_json::Value = serde_json::from_str(&list(&["--refresh", "--json"])).unwrap();
    let uses: Vec<_> = json.as_array().unwrap().iter().map(|token| token["use"].clone()).collect();
    assert_eq!(uses, ["access", "refresh"]);
    // And can be ended there.
    let id = json[1]["id"].as_str().unwrap();
    done(&verb(&data, &["token", "revoke", id]));
    assert!(!list(&["--refresh"]).contains("laptop"));
}

#[test]
fn a_collection_with_a_budget_says_that_there_is_more() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = Served::start(&data, "127.0.0.1:0");
    for n in 0..20_u8 {
        push_blob(&served, &[n; 100]);
    }
    let part = done(&verb(&data, &["gc", "--budget", "1"]));
    assert!(part.contains("the next run goes on there"), "{part}");
    let json = done(&verb(&data, &["gc", "--organisation", "default", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["complete"], true, "{json}");
}

#[test]
fn output_for_scripts_is_json_on_its_own_and_nothing_is_drawn() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let _served = Served::start(&data, "127.0.0.1:0");
    for words in [
        &["gc"][..],
        &["fsck", "--deep"],
        &["scrub"],
        &["user", "list"],
        &["robot", "list"],
        &["org", "list"],
        &["registry", "list", "default"],
        &["token", "list", "user:admin"],
        &["backup", "list"],
        &["audit", "verify"],
    ] {
        let output = verb(&data, &[words, &["--json"]].concat());
        let text = done(&output);
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        assert_eq!(text.lines().count(), 1, "{words:?}: {text}");
        assert_eq!(told(&output), "", "{words:?}");
    }
}
