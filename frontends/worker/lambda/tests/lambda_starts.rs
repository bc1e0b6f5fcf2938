//! The program that Lambda starts. What it does with events is tried with all that it stands between, by
//! `cargo xtask clients signups`, which runs what is built for this test.

use std::process::Command;

#[test]
fn without_a_queue_it_does_not_start_and_says_what_is_missing() {
    for value in [None, Some("")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        command.env_remove("STRONGROOM_SIGNUPS_QUEUE_URL");
        if let Some(value) = value {
            command.env("STRONGROOM_SIGNUPS_QUEUE_URL", value);
        }
        let ended = command.output().unwrap();
        assert!(!ended.status.success(), "{ended:?}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("STRONGROOM_SIGNUPS_QUEUE_URL is not set"), "{said}");
    }
}
