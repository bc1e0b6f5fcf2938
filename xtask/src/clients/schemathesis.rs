//! What the admin API answers to requests made of its own description, good ones and bad ones: never a
//! failure of its own, and nothing that the description does not have.

use std::process::Command;

use anyhow::Result;

use super::Scene;
use crate::registry::{PASSWORD, USER};
use crate::{run, tools};

/// What is held against each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";
/// What would shut out who asks, in the middle of asking.
const LEFT_OUT: [&str; 4] = ["SetPassword", "DisableUser", "SetOperator", "DeleteUser"];

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let folder = tools::schemathesis()?;
    let mut command = Command::new("python3");
    command
        .args(["-m", "schemathesis.cli", "run", "--no-color", "--seed", "1"])
        .arg(format!("http://{}/api/v1/openapi.json", scene.registry.address()))
        .args(["--auth", &format!("{USER}:{PASSWORD}"), "--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "50"])
        .env("PYTHONPATH", folder)
        .current_dir(scene.path(""));
    for operation in LEFT_OUT {
        command.args(["--exclude-operation-id", operation]);
    }
    run::show(&mut command)
}
