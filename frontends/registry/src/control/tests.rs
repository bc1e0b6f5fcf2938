//! Verbs over the socket: what a person types reaches the engine, and what goes wrong is told.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::app::App;
use crate::bootstrap::{Made, bootstrap, first_start};
use crate::config::Config;
use crate::data::DataFolder;
use crate::ops::{Command, RobotVerb};

/// A server's control socket over a new folder.
struct Running {
    home: tempfile::TempDir,
    end: CancellationToken,
    task: JoinHandle<()>,
}

async fn running() -> Running {
    let home = tempfile::tempdir().unwrap();
    let folder = DataFolder::open_or_make(&home.path().join("data")).unwrap();
    let app = App::open(&Config::default(), folder).await.unwrap();
    let first = first_start(&app, None).await.unwrap().unwrap();
    assert_eq!(bootstrap(&app, &first).await.unwrap(), Made::Now);
    assert!(first_start(&app, None).await.unwrap().is_none(), "there is one first start");
    let control = Control::listen(home.path().join("c.sock")).unwrap();
    let end = CancellationToken::new();
    let task = tokio::spawn({
        let end = end.clone();
        async move { control.serve(app, end).await }
    });
    Running { home, end, task }
}

fn robot(verb: &str, name: &str) -> Command {
    let verb = serde_json::json!({ verb: { "name": name } });
    Command::Robot(serde_json::from_value::<RobotVerb>(verb).unwrap())
}

async fn ask(path: &Path, command: &Command) -> Result<Outcome, Failure> {
    connect(path).await.unwrap().unwrap().run(command, |_| Ok(())).await
}

#[tokio::test]
async fn a_verb_runs_in_the_server_and_its_refusal_comes_back() {
    let running = running().await;
    let path = running.home.path().join("c.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let made = ask(&path, &robot("create", "ci")).await.ok().unwrap();
    assert_eq!(made.text, "robot:ci is created\n");
    let again = ask(&path, &robot("create", "ci")).await.err().unwrap();
    assert!(again.message.contains("robot:ci is taken"), "{again}");
    let clean = ask(&path, &Command::Fsck { deep: true }).await.unwrap();
    assert!(!clean.findings, "{}", clean.text);

    running.end.cancel();
    running.task.await.unwrap();
    assert!(!path.exists(), "it goes with its server");
}

#[tokio::test]
async fn what_is_no_verb_is_answered_with_why() {
    let running = running().await;
    let path = running.home.path().join("c.sock");
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"{\"format_the_disk\":{}}\n").await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.contains("of another version"), "{answer}");
    running.end.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn a_socket_that_a_killed_server_left_is_no_server_and_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("c.sock");
    assert!(connect(&path).await.unwrap().is_none());
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert!(connect(&path).await.unwrap().is_none());
    let control = Control::listen(path.clone()).unwrap();
    assert!(connect(&path).await.unwrap().is_some());
    drop(control);
}

#[tokio::test]
async fn a_server_that_ends_in_the_middle_says_to_run_it_again() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("c.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let asking = tokio::spawn({
        let path = path.clone();
        async move { ask(&path, &Command::Compact).await }
    });
    drop(listener.accept().await.unwrap());
    let failure = asking.await.unwrap().err().unwrap();
    assert_eq!(failure.exit_code(), Failure::away("").exit_code());
}

#[test]
fn no_secret_shows_in_what_the_server_logs_of_a_verb() {
    let verb = r#"{"user":{"create":{"name":"ann","operator":false,"password":"canary-canary"}}}"#;
    let command: Command = serde_json::from_str(verb).unwrap();
    let shown = format!("{command:?}");
    assert!(shown.contains("[redacted]") && !shown.contains("canary"), "{shown}");
}
